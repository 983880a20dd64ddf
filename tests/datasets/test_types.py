"""Samples, splits and datasets at birth, and splits that are made."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.datasets.types import Dataset, Sample, Split, make_split


@st.composite
def datasets(draw, *, min_groups: int = 1, mixed: bool = False) -> Dataset:
    """Samples of a few classes in groups of up to six; groups hold one class unless `mixed`."""
    num_classes = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=min_groups, max_size=15))
    samples = []
    for group, size in enumerate(sizes):
        own = draw(st.integers(0, num_classes - 1))
        for _ in range(size):
            label = draw(st.integers(0, num_classes - 1)) if mixed else own
            name = f"{len(samples):04d}"
            samples.append(Sample(Path(name), name, (label,), f"group {group}"))
    return Dataset("folder", Path("."), tuple("abcd"[:num_classes]), tuple(samples))


def sides_by_group(dataset: Dataset, split: Split) -> dict[str, set[str]]:
    sides = defaultdict(set)
    for side in ("train", "test"):
        for index in getattr(split, side):
            sides[dataset.samples[index].group].add(side)
    return sides


def check_is_a_split(dataset: Dataset, split: Split) -> None:
    assert sorted(split.train + split.test) == list(range(len(dataset.samples)))
    assert all(len(sides) == 1 for sides in sides_by_group(dataset, split).values())


@given(datasets(mixed=True), st.floats(0.01, 0.99), st.integers(0, 5))
def test_no_group_straddles_and_each_class_can_be_trained_on(dataset, fraction, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = make_split(dataset, test_fraction=fraction, seed=seed)
        assert make_split(dataset, test_fraction=fraction, seed=seed) == split
    check_is_a_split(dataset, split)
    trained = {label for i in split.train for label in dataset.samples[i].labels}
    assert trained == {label for sample in dataset.samples for label in sample.labels}


@given(datasets(), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_class_with_two_groups_is_on_both_sides(dataset, fraction, seed):
    groups = defaultdict(set)
    for sample in dataset.samples:
        groups[sample.labels[0]].add(sample.group)
    single = [dataset.classes[label] for label in sorted(groups) if len(groups[label]) == 1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        split = make_split(dataset, test_fraction=fraction, seed=seed)
    check_is_a_split(dataset, split)
    tested = {dataset.samples[i].labels[0] for i in split.test}
    assert tested == {label for label in groups if len(groups[label]) > 1}
    said = [str(warning.message) for warning in caught]
    assert len(said) == bool(single)
    assert all(name in said[0] for name in single[:3])


def test_values_that_make_no_sense_are_refused_at_birth():
    a, b = (Sample(Path(name), name, (0,), name) for name in "ab")
    good = {"kind": "folder", "root": Path("."), "classes": ("x",), "samples": (a, b)}
    assert "2 videos, 1 classes" in repr(Dataset(**good))
    for bad, message in [
        ({"samples": (b, a)}, "sorted by name"),
        ({"samples": (a, a)}, "each name be there once"),
        ({"classes": ()}, "a has a label"),
        ({"kind": "x"}, "`kind` must be"),
        ({"splits": {"1": Split((0,), (2,))}}, "split '1' has an index"),
    ]:
        with pytest.raises(ValueError, match=message):
            Dataset(**{**good, **bad})
    with pytest.raises(ValueError, match="both sides"):
        Split((0, 1), (1,))
    with pytest.raises(ValueError, match="at least one class"):
        Sample(Path("a"), "a", (), "a")
    with pytest.raises(ValueError, match="stop after that"):
        Sample(Path("a"), "a", (0,), "a", 2.0, 1.0)
