"""Samples that belong together, as groups that a split or a fold takes whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Group:
    """Samples that stay together.

    Attributes:
        samples: their indices.
        counts: how many there are of each label.
    """

    samples: list[int] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)


def groups_of(
    keys: Sequence[Hashable], labels: Sequence[tuple[int, ...]], seed: int
) -> list[Group]:
    """Samples of the same key, with their labels, in a random order."""
    groups: defaultdict[Hashable, Group] = defaultdict(Group)
    for index, (key, own) in enumerate(zip(keys, labels, strict=True)):
        group = groups[key]
        group.samples.append(index)
        group.counts.update(own)
    ordered = list(groups.values())
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]


def by_class_of(groups: Sequence[Group]) -> dict[int, list[int]]:
    """Indices of the groups that hold a class; classes with the fewest groups come first."""
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        for label in group.counts:
            by_class[label].append(index)
    return dict(sorted(by_class.items(), key=lambda item: (len(item[1]), item[0])))
