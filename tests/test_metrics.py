"""Hits, intervals and confusion by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.metrics import confusion_matrix, group_interval, hits


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
    difference = group_interval(second - first, groups)
    own = group_interval(first, groups)
    assert difference.low <= (second - first).mean() <= difference.high
    assert difference.high - difference.low < own.high - own.low


def test_no_value():
    with pytest.raises(ValueError, match="at least one"):
        group_interval(np.array([]), [])


def test_confusion_matrix():
    matrix = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
