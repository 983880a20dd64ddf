"""Folds against what their rules promise: each video tested once, each class learned."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loaders import touch
from test_types import check_is_a_split, datasets

from kinema.datasets.folds import SAME_SCENE, make_folds, plan_folds
from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample, make_split


@given(datasets(min_groups=2, mixed=True), st.integers(2, 5), st.integers(0, 5))
@settings(deadline=None)
def test_folds_test_each_video_once_and_learn_each_class(dataset, num_folds, seed):
    """Whatever the groups: those of several classes are torn only where a note names the class."""
    folds = plan_folds(dataset, num_folds, seed)
    assert folds == plan_folds(dataset, num_folds, seed)
    everything = list(range(len(dataset.samples)))
    assert sorted(i for split in folds.splits for i in split.test) == everything
    num_videos = Counter(sample.labels[0] for sample in dataset.samples)
    several = {label for label, count in num_videos.items() if count > 1}
    for split in folds.splits:
        assert split.test
        assert sorted(split.train + split.test) == everything
        assert {dataset.samples[i].labels[0] for i in split.train} >= several
    told = " ".join(note for note in folds.notes if SAME_SCENE in note)
    for label in several:
        whole = dataclasses.replace(
            dataset, samples=tuple(s for s in dataset.samples if s.labels == (label,))
        )
        places = {sample.name: index for index, sample in enumerate(dataset.samples)}
        for split in folds.splits:
            test = {places[s.name] for s in whole.samples} & set(split.test)
            torn = {dataset.samples[i].group for i in test} & {
                s.group for s in whole.samples if places[s.name] not in test
            }
            assert not torn or re.search(rf"\b{dataset.classes[label]}\b|\d classes", told)


@given(datasets(min_groups=3), st.integers(2, 5), st.integers(0, 5))
@settings(deadline=None)
def test_each_class_is_in_each_fold_and_there_are_as_many_as_its_groups_allow(
    dataset, num_folds, seed
):
    groups = {(sample.group, sample.labels[0]) for sample in dataset.samples}
    num_groups = Counter(label for _, label in groups)
    num_videos = Counter(sample.labels[0] for sample in dataset.samples)
    # A class of one group is parted into videos; one of one video hinders nobody.
    num_parts = {
        label: num_videos[label] if count == 1 else count
        for label, count in num_groups.items()
        if num_videos[label] > 1
    }
    folds = plan_folds(dataset, num_folds, seed)
    if num_parts:
        assert len(folds.splits) == min(num_folds, *num_parts.values())
        assert (len(folds.splits) < num_folds) == any("in place of" in n for n in folds.notes)
    for split in folds.splits:
        assert {dataset.samples[i].labels[0] for i in split.test} >= set(num_parts)


def of_groups(*members: str) -> Dataset:
    """A dataset by hand: "a:g1 b:g1" are two videos of two classes in one group."""
    parts = [part.partition(":") for part in " ".join(members).split()]
    classes = tuple(sorted({label for label, _, _ in parts}))
    samples = tuple(
        Sample(Path(f"{i:03d}"), f"{i:03d}", (classes.index(label),), group or f"own {i}")
        for i, (label, _, group) in enumerate(parts)
    )
    return Dataset("folder", Path("/d"), classes, samples)


def classes_of(dataset: Dataset, side) -> Counter:
    return Counter(dataset.classes[dataset.samples[i].labels[0]] for i in side)


def test_two_classes_of_one_scene_each_are_parted_singly_and_that_is_told():
    dataset = of_groups("a:x " * 5, "b:y " * 5)
    folds = plan_folds(dataset)
    assert len(folds.splits) == 5
    for split in folds.splits:
        assert classes_of(dataset, split.train) == {"a": 4, "b": 4}
        assert classes_of(dataset, split.test) == {"a": 1, "b": 1}
    assert folds.notes == (
        "the videos of 2 classes (a, b) are one scene (group) each: the same scene is on both "
        "sides, so this measures scenes.",
    )
    with pytest.warns(UserWarning, match="so this measures scenes"):
        assert make_folds(dataset) == folds.splits


def test_only_the_class_of_one_scene_is_parted_singly():
    """Its group holds two videos of another class, too: they stay together."""
    dataset = of_groups("a:x a:x a:x", "b:x b:x b:y b:z")
    folds = plan_folds(dataset, 3)
    assert [classes_of(dataset, split.test)["a"] for split in folds.splits] == [1, 1, 1]
    assert sorted(classes_of(dataset, split.test)["b"] for split in folds.splits) == [1, 1, 2]
    (note,) = folds.notes
    assert note.startswith("the videos of class a are one scene (group): the same scene")


def test_fewer_folds_where_a_class_has_few_groups():
    dataset = of_groups("a " * 3, "b " * 50)
    folds = plan_folds(dataset, 5)
    assert [classes_of(dataset, split.test)["a"] for split in folds.splits] == [1, 1, 1]
    assert all(16 <= classes_of(dataset, s.test)["b"] <= 17 for s in folds.splits)
    assert folds.notes == ("3 folds in place of 5: class a has 3 groups only.",)
    pairs = plan_folds(of_groups("a a b b"), 5)
    assert [len(split.test) for split in pairs.splits] == [2, 2]
    assert pairs.notes == ("2 folds in place of 5: 2 classes (a, b) have 2 groups only.",)
    same = plan_folds(of_groups("a:x a:x b:y b:y"), 5)
    assert [len(split.test) for split in same.splits] == [2, 2]
    assert same.notes[1] == "2 folds in place of 5: 2 classes (a, b) have 2 videos only."


def test_groups_of_several_classes_are_kept_whole_where_it_can_be():
    """Three scenes, each class in two of them: two folds would hold all of one class."""
    triangle = of_groups("a:x a:y b:y b:z c:z c:x")
    folds = plan_folds(triangle, 5)
    assert [len(split.test) for split in folds.splits] == [2, 2, 2]
    for split in folds.splits:
        check_is_a_split(triangle, split)
    # Two folds are wanted, so one of the classes cannot stay whole.
    two = plan_folds(triangle, 2)
    assert len(two.splits) == 2
    assert two.notes[0].startswith("no folds keep the scenes (groups) of class ")
    assert two.notes[0].endswith(f": {SAME_SCENE}.")
    for split in two.splits:
        assert set(classes_of(triangle, split.train)) == set("abc")


def test_a_video_counts_for_the_first_of_its_labels():
    dataset = of_groups("a a b b")
    second = dataclasses.replace(
        dataset,
        classes=("a", "b", "c"),
        samples=tuple(dataclasses.replace(s, labels=(*s.labels, 2)) for s in dataset.samples),
    )
    assert plan_folds(second, 2).splits == plan_folds(dataset, 2).splits


def test_a_class_of_one_video_is_told():
    folds = plan_folds(of_groups("a b b"), 5)
    assert len(folds.splits) == 2
    assert folds.notes[-1] == "one video only, so never both learned and tested: class a."
    with pytest.raises(ValueError, match="fewer than two videos"):
        plan_folds(of_groups("a"))


def test_made_splits_come_near_the_fraction_and_depend_on_the_seed(tmp_path):
    touch(
        tmp_path / "d",
        *(
            f"{c}/v_{c}_g{g:02d}_c{i}.avi"
            for c in "ab"
            for g in range(25)
            for i in range(3 + g % 3)
        ),
    )
    dataset = load(tmp_path / "d")
    splits = [make_split(dataset, test_fraction=0.3, seed=seed) for seed in range(3)]
    assert len(set(splits)) == 3
    for split in splits:
        for label in range(2):
            total = sum(sample.labels == (label,) for sample in dataset.samples)
            tested = sum(dataset.samples[i].labels == (label,) for i in split.test)
            assert abs(tested - 0.3 * total) <= 2.5
    assert dataset.split() == make_split(dataset)
    folds = make_folds(dataset)
    assert len(folds) == 5
    for fold in folds:
        tested = Counter(dataset.samples[i].labels[0] for i in fold.test)
        assert max(tested.values()) - min(tested.values()) <= 3
    with pytest.raises(ValueError, match="`num_folds` must be at least 2"):
        make_folds(dataset, 1)
    with pytest.warns(UserWarning, match=r"^25 folds in place of 51: 2 classes .* 25 groups only"):
        assert len(make_folds(dataset, 51)) == 25
    with pytest.raises(ValueError, match="`test_fraction` must be between 0 and 1, got 1"):
        make_split(dataset, test_fraction=1)
