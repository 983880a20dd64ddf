"""A dataset of one's own: a list `clips.tab` beside the videos, a line a video.

name <tab> class <tab> train or test

CONTRIBUTING.md says where to name it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

from kinema.datasets.lists import Listed, Lists, Sides, bad_line, group_of, stem_of


def read_tab_list(lists: Sequence[Path]) -> Lists:
    """One split, called "official"."""
    videos: dict[Hashable, Listed] = {}
    sides: Sides = ([], [])
    classes: dict[str, int] = {}
    for number, line in enumerate(lists[0].read_text("utf-8").splitlines(), start=1):
        match line.split("\t"):
            case [name, label, "train" | "test" as side]:
                key = stem_of(name)
                index = classes.setdefault(label, len(classes))
                videos[key] = Listed(name, (index,), group_of(name), key)
                sides[side == "test"].append(key)
            case _:
                raise bad_line(lists[0], number, f"expected `name class train`, got {line!r}.")
    return Lists([*classes], videos, {"official": sides})
