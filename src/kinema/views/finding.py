"""The pages of what was found: each one HTML file that needs no network, and no script to be read.

    Hits       --search_page-->     the query, and the moments that are like it
    Classified --classify_page-->   the videos by class, and their classes over time
    Duplicates --duplicates_page--> pairs that show the same footage, one above the other

The same answer gives the same bytes. Each page has a file of its own; what they are made of stands
in finding_html.py, their style in finding.html.
"""

from __future__ import annotations

from kinema.views.finding_classes import classify_page
from kinema.views.finding_duplicates import duplicates_page
from kinema.views.finding_search import search_page

__all__ = ["classify_page", "duplicates_page", "search_page"]
