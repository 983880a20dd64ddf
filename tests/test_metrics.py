"""Hits, intervals and confusion by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.metrics import (
    confusion_matrix,
    group_interval,
    hits,
    knn_purity,
    num_alike,
    paired_interval,
    purity_note,
    wilson,
)


def test_hits_with_several_true_classes():
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.6, 0.3, 0.1]])
    assert hits(scores, [(1,), (0, 2), (2,)], 1).tolist() == [True, False, False]
    assert hits(scores, [(1,), (0, 2), (2,)], 2).tolist() == [True, True, False]


def test_the_interval_of_independent_videos_is_the_binomial_one():
    right = np.zeros(400)
    right[:300] = 1
    interval = group_interval(right, [str(index) for index in range(400)])
    error = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert interval.mean == 0.75
    assert interval.low == pytest.approx(0.75 - error, abs=0.006)
    assert interval.high == pytest.approx(0.75 + error, abs=0.006)


def test_videos_of_a_group_count_as_one():
    """40 groups of ten videos each that are right or wrong together: as sure as of 40 videos."""
    right = np.repeat(np.arange(40) < 30, 10).astype(float)
    groups = [str(index // 10) for index in range(400)]
    interval = group_interval(right, groups)
    error = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert interval.low == pytest.approx(0.75 - error, abs=0.02)
    assert interval.high == pytest.approx(0.75 + error, abs=0.02)
    assert group_interval(right, groups) == interval  # the same in every run


def test_a_paired_difference_is_narrower_than_the_methods_own_intervals():
    generator = np.random.default_rng(0)
    groups = [str(index // 5) for index in range(500)]
    first = (generator.random(500) < 0.7).astype(float)
    second = first.copy()
    second[::25] = 1 - second[::25]
    difference = paired_interval(second, first, groups)
    assert difference.resampled
    own = group_interval(first, groups)
    assert difference.low <= (second - first).mean() <= difference.high
    assert difference.high - difference.low < own.high - own.low


@pytest.mark.parametrize(
    ("right", "num", "low", "high"),
    [
        # As `scipy.stats.binomtest(right, num).proportion_ci(method="wilson")` gives them.
        (10, 10, 0.722467, 1.0),
        (0, 10, 0.0, 0.277533),
        (2, 2, 0.342380, 1.0),
        (9, 10, 0.595850, 0.982124),
        (1, 1, 0.206549, 1.0),
    ],
)
def test_wilsons_interval(right, num, low, high):
    assert wilson(right / num, num) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 200), st.integers(0, 200))
def test_wilsons_interval_as_it_is_defined(num, right):
    """Its ends p are where the share is z standard deviations of p away from p."""
    right = min(right, num)
    for end in wilson(right / num, num):
        distance = abs(end - right / num)
        assert distance == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / num), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_certain(value):
    """Ten groups of three videos: as ten trials, whatever the videos."""
    groups = [str(index // 3) for index in range(30)]
    interval = group_interval(np.full(30, value), groups)
    assert interval.mean == value
    assert (interval.low, interval.high) == pytest.approx(wilson(value, 10))
    assert interval.high - interval.low > 0.27
    assert not interval.resampled


def test_one_group_alone_says_next_to_nothing():
    interval = group_interval(np.array([1.0, 1, 1, 0, 0]), ["x"] * 5)
    assert interval.mean == 0.6
    assert (interval.low, interval.high) == pytest.approx(wilson(0.6, 1))
    assert interval.high - interval.low > 0.8


def test_methods_that_agree_are_not_surely_the_same():
    """None of ten groups differs; up to 0.2775 of all may, in either direction."""
    groups = [str(index // 3) for index in range(30)]
    for right in (np.ones(30), np.zeros(30), np.arange(30) % 2):
        difference = paired_interval(right, right, groups)
        assert difference.mean == 0
        assert (difference.low, difference.high) == pytest.approx((-0.277533, 0.277533), abs=1e-6)
    better = paired_interval(np.ones(30), np.zeros(30), groups)
    assert (better.mean, better.high) == (1, 1)
    assert better.low == pytest.approx(0.722467 - 0.277533, abs=1e-6)
    worse = paired_interval(np.zeros(30), np.ones(30), groups)
    assert (worse.low, worse.high) == pytest.approx((-1, -better.low))


@given(st.integers(1, 40), st.floats(0.02, 0.2), st.integers(0, 10**6))
def test_the_interval_of_methods_that_agree_holds_what_it_says(num_groups, share, seed):
    """Groups in which a method differs are drawn: a true share beyond the interval is rare."""
    high = paired_interval(np.ones(num_groups), np.ones(num_groups), range(num_groups)).high
    if share > high:  # then it happens that none of so many groups differs ...
        assert (1 - share) ** num_groups < 0.05  # ... in less than one of twenty cases


def test_separate_classes_are_pure_however_small():
    """Two classes of five: each video's four of its class are nearest, and no others count."""
    points = np.array([0.0, 1, 2, 3, 4, 100, 101, 102, 103, 104])[:, None]
    labels = np.repeat([0, 1], 5)
    alone = [str(index) for index in range(10)]
    assert knn_purity(points, labels, alone) == 1.0
    # With pairs of groups the nearest three count: those of the class outside the group.
    assert num_alike(labels, list("aabbcddeef")).tolist() == [3, 3, 3, 3, 4, 3, 3, 3, 3, 4]
    assert knn_purity(points, labels, list("aabbcddeef")) == 1.0
    # One video among the others' class: of its four nearest none is of its class.
    points[4] = 102.5
    # Three zeros have three zeros and then one of the others; it itself has none; the nearest four
    # of 100, 101, 102, 103, 104 hold it each time.
    expected = (4 * 3 / 4 + 0 + 5 * 3 / 4) / 10
    assert knn_purity(points, labels, alone) == pytest.approx(expected)


def test_a_video_without_another_of_its_class_is_left_out():
    points = np.array([[0.0], [1.0], [1.1], [9.0]])
    labels, groups = np.array([0, 0, 1, 1]), ["a", "b", "c", "c"]
    # Of 0 the nearest is 1; of 1 it is 2, of the other class; 2 and 3 are one group.
    assert num_alike(labels, groups).tolist() == [1, 1, 0, 0]
    assert knn_purity(points, labels, groups) == 0.5
    assert purity_note(labels, groups).startswith("2 of 4 videos play no part in k-NN purity")
    assert purity_note(labels, list("abcd")) == ""
    assert knn_purity(points, labels, list("aabb")) is None  # each class is one group


def test_no_value():
    with pytest.raises(ValueError, match="at least one"):
        group_interval(np.array([]), [])


def test_confusion_matrix():
    matrix = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
