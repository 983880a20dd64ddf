"""Find and sort videos: moments like this one, labels from a few examples, the same footage twice.

search     a query --features--> the most similar clips of folders, by an index of all of them
classify   labelled videos --SVM--> classes of the others, by video and over time
duplicates what frames look like over time --> pairs that show the same footage

Each gives an `Answer`: rows that become a table, CSV, JSON; `views.finding` draws their pages.
"""

from __future__ import annotations
