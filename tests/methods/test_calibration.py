"""Sigmoids against a minimisation of their own, and what is none of the classes by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from kinema.features.table import FeatureTable
from kinema.methods.calibration import fit_sigmoids
from kinema.methods.classifier import Classifier, Net
from kinema.methods.seen import Seen, limit_of, parted_groups, remember, steady


def test_sigmoids_are_those_of_the_least_log_loss():
    """Platt's targets, minimised by Nelder and Mead, which knows nothing of regression."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 30, 40])
    distances = generator.normal(0, 1, (90, 3)) - 0.5
    distances[np.arange(90), labels] += 1.2
    found = fit_sigmoids(distances, labels)
    for index in range(3):
        mine = labels == index
        high, low = (mine.sum() + 1) / (mine.sum() + 2), 1 / ((~mine).sum() + 2)
        target = np.where(mine, high, low)

        def loss(values, column=distances[:, index], target=target):
            logit = values[0] * column + values[1]
            return np.sum(np.logaddexp(0, logit) - target * logit)

        least = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9})
        mine = [found.slopes[index], found.offsets[index]]
        assert mine == pytest.approx(least.x.tolist(), abs=1e-3)
        assert loss(mine) <= least.fun + 1e-6


def test_probabilities_are_one_against_the_rest_brought_to_one():
    found = fit_sigmoids(np.array([[1.0, -1.0], [-1.0, 1.0]] * 20), np.array([0, 1] * 20))
    single = 1 / (1 + np.exp(-(np.array([0.3, -0.9]) * found.slopes + found.offsets)))
    told = found.probabilities(np.array([[0.3, -0.9], [-1e6, -1e6]]))
    np.testing.assert_allclose(told[0], single / single.sum())
    np.testing.assert_allclose(told[1], [0.5, 0.5])


def test_a_class_that_is_told_backwards_gets_a_flat_sigmoid():
    labels = np.array([0] * 20 + [1] * 40)
    wrong = np.where(labels == 0, -1.0, 1.0)
    found = fit_sigmoids(np.stack([wrong, wrong], axis=1), labels)
    assert found.slopes[0] == 0
    assert found.slopes[1] > 0
    share = (20 * 21 / 22 + 40 / 42) / 60
    assert 1 / (1 + np.exp(-found.offsets[0])) == pytest.approx(share)


def test_the_threshold_is_wrong_once_in_twenty_times():
    assert limit_of(np.arange(1.0, 100), 99) == 95  # of 99: ceil(0.95 * 100)
    assert limit_of(np.arange(1.0, 20), 19) == 19
    assert limit_of(np.array([np.inf, 1.0]), 2) == 1


def test_of_few_groups_the_threshold_is_the_bound_of_the_next_value():
    """Mean 2, deviation 1; Student's 95 % quantile of 2 degrees is 2.919986 (tables)."""
    three = np.array([3.0, 1.0, 2.0])
    assert limit_of(three, 3) == pytest.approx(2 + 2.919986 * np.sqrt(4 / 3))
    # Most are alike and one is far: it is within.
    assert limit_of(np.array([1.0] * 17 + [9.0]), 18) == 9
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(20_000, 6))
    beyond = [one > limit_of(np.array(known), 5) for *known, one in draws[:4000]]
    assert 0.02 < np.mean(beyond) < 0.06  # of the largest of five: one in six


def test_distances_are_to_the_nearest_of_another_group():
    """Unit vectors at known angles: a chord of angle t is 2 sin(t / 2)."""
    degrees = np.array([0, 1, 10, 90, 92, 110])
    vectors = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1) * 7
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), ["a", "a", "b", "c", "c", "d"]
    seen = remember(vectors, labels, groups)

    def bound(degrees, quantile, groups):
        chords = 2 * np.sin(np.radians(degrees) / 2)
        return chords.mean() + quantile * chords.std(ddof=1) * np.sqrt(1 + 1 / groups)

    # Student's 95 % quantiles of 3 and 5 degrees of freedom: 2.353363 and 2.015048 (tables).
    expected = bound([10, 9, 9, 20, 18, 18], 2.353363, 4)
    assert seen.threshold == pytest.approx(expected, abs=3e-3)  # kept as float16
    assert 26 < 2 * np.degrees(np.arcsin(expected / 2)) < 28
    at = np.radians([138.0, 136.0, 50.0])  # 28 and 26 degrees from 110, 40 from 10 and from 90
    new = np.stack([np.cos(at), np.sin(at)], axis=1)
    assert seen.is_beyond(new).tolist() == [True, False, True]
    # In one scene a class the neighbours of the same scene count.
    one_scene = remember(vectors, labels, ["a"] * 3 + ["c"] * 3)
    expected = bound([1, 1, 9, 2, 2, 18], 2.015048, 6)
    assert one_scene.threshold == pytest.approx(expected, abs=3e-3)
    assert parted_groups(np.array([0, 0, 1, 1]), ["a", "b", "c", "c"]) == ["a", "b", "c#2", "c#3"]
    assert remember(vectors[[0, 3]], labels[[0, 3]], ["a", "c"]) is None


def test_what_is_kept_is_shared_among_classes():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [3000, 20])
    vectors = generator.normal(size=(3020, 4)) + np.array([[9, 0, 0, 0]])
    vectors[labels == 1] *= [-1, 1, 1, 1]
    seen = remember(vectors, labels, [str(index) for index in range(3020)])
    assert seen.vectors.shape == (1000, 4)
    assert seen.vectors.dtype == np.float16
    assert (seen.vectors[:, 0] < 0).sum() == 20


CLIPS = {"length": 16, "stride": 8, "sampling_rate": 1, "short": "pad"}


def test_a_classifier_keeps_both_and_refuses_other_shapes(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    sigmoids = fit_sigmoids(generator.normal(size=(40, 2)) + np.eye(2)[labels], labels)
    whole = {"classes": ("a", "b"), "coefficients": np.eye(2), "intercepts": np.zeros(2)}
    whole["nets"] = (Net("w", CLIPS),)
    seen = Seen(np.eye(2, dtype=np.float16), 0.7)
    made = Classifier(**whole, sigmoids=sigmoids, seen=seen)
    made.save(tmp_path / "c.safetensors")
    kept = Classifier.load(tmp_path / "c.safetensors")
    features = np.array([[3.0, 4.0], [-1.0, 0.2]])
    np.testing.assert_array_equal(kept.shown(features), made.shown(features))
    assert kept.score_kind == "probability"
    assert kept.is_none(features).tolist() == [False, True]
    Classifier(**whole).save(tmp_path / "plain.safetensors")
    plain = Classifier.load(tmp_path / "plain.safetensors")
    assert (plain.sigmoids, plain.seen, plain.is_none(features)) == (None, None, None)
    assert plain.score_kind == "distance"
    with pytest.raises(ValueError, match="`seen` must have vectors of 2 dimensions"):
        Classifier(**whole, seen=Seen(np.eye(3, dtype=np.float16), 0.7))


def test_the_running_mean_spans_a_second_to_each_side():
    """Clips every 0.4 s: two on each side, 0.8 s, and fewer at the ends."""
    values = np.array([[0.0], [10], [20], [60], [20], [10], [7]])
    start = 5 + 0.4 * np.arange(7)
    frames = 10 * np.arange(7)
    table = FeatureTable(values, frames, frames + 16, start, start + 0.64, np.zeros(7))
    expected = [[10], [22.5], [22], [24], [23.4], [24.25], [37 / 3]]
    np.testing.assert_allclose(steady(table), expected)
    unknown = np.full(7, np.nan)
    timeless = FeatureTable(values, frames, frames + 16, unknown, unknown, np.zeros(7))
    np.testing.assert_array_equal(steady(timeless), values)
