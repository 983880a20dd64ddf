"""The reference against loops over every index, and against sums worked by hand."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest

from kinema.engine import reference


def conv3d_by_loops(x, weight, bias):
    n_, _, t_, h_, w_ = x.shape
    o_, c_, i_, j_, k_ = weight.shape
    y = np.zeros((n_, o_, t_, h_, w_))
    for n, o, t, h, w in itertools.product(*map(range, y.shape)):
        total = bias[o]
        for c, i, j, k in itertools.product(range(c_), range(i_), range(j_), range(k_)):
            tt, hh, ww = t + i - i_ // 2, h + j - j_ // 2, w + k - k_ // 2
            if 0 <= tt < t_ and 0 <= hh < h_ and 0 <= ww < w_:
                total += weight[o, c, i, j, k] * x[n, c, tt, hh, ww]
        y[n, o, t, h, w] = total
    return y


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (1, 3, 3), (5, 3, 1), (7, 3, 3)])
def test_conv3d_is_the_sum_over_the_kernel(kernel):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 4, 5, 3))
    weight = rng.standard_normal((3, 2, *kernel))
    bias = rng.standard_normal(3)
    np.testing.assert_allclose(
        reference.conv3d(x, weight, bias), conv3d_by_loops(x, weight, bias), atol=1e-12
    )


def test_its_examples():
    failed, attempted = doctest.testmod(reference)
    assert (failed, attempted > 0) == (0, True)


@pytest.mark.parametrize(("sizes", "kernel"), [((4, 5, 3), (3, 1, 5)), ((5, 3), (3, 5))])
def test_one_grid_is_a_clip_of_one_channel(sizes, kernel):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal(sizes), rng.standard_normal(kernel)
    y = reference.conv3d(x, weight, 0.5)
    before = (1,) * (5 - len(sizes))
    expected = conv3d_by_loops(x.reshape(before + sizes), weight.reshape(before + kernel), [0.5])
    np.testing.assert_allclose(y, expected.reshape(sizes), atol=1e-12)


@pytest.mark.parametrize(("x", "weight"), [((4, 4), (1, 3, 3)), ((4,), (3,)), ((1, 4, 4, 4),) * 2])
def test_axes_that_do_not_go_together_are_refused(x, weight):
    with pytest.raises(ValueError, match="must both have 5 axes, or 2 or 3"):
        reference.conv3d(np.zeros(x), np.zeros(weight))


def test_conv3d_by_hand():
    # One frame [1 2; 3 4], kernel of ones: the sum of all four everywhere, plus the bias.
    x = np.array([[1, 2], [3, 4]], float).reshape(1, 1, 1, 2, 2)
    y = reference.conv3d(x, np.ones((1, 1, 3, 3, 3)), np.array([0.5]))
    np.testing.assert_array_equal(y, np.full((1, 1, 1, 2, 2), 10.5))
    # A tap one step before in time moves frames one step later: correlation.
    x = np.arange(1.0, 5).reshape(1, 1, 4, 1, 1)
    weight = np.zeros((1, 1, 3, 1, 1))
    weight[0, 0, 0] = 1
    y = reference.conv3d(x, weight, np.zeros(1))
    np.testing.assert_array_equal(y.ravel(), [0, 1, 2, 3])


def test_max_pool3d_by_hand():
    rows = np.array([1, 5, 2, 9, 3, 4, 7], float)
    x = rows.reshape(1, 1, 1, 7, 1)
    caffe = reference.max_pool3d(x, (1, 2, 1), (0, 0, 0), (1, 4, 1))
    np.testing.assert_array_equal(caffe.ravel(), [5, 9, 4, 7])
    symmetric = reference.max_pool3d(x, (1, 2, 1), (0, 1, 0), (1, 4, 1))
    np.testing.assert_array_equal(symmetric.ravel(), [1, 5, 9, 7])


def test_pooling_ignores_what_is_outside_even_for_negative_values():
    x = np.full((1, 1, 1, 3, 3), -2.0)
    y = reference.max_pool3d(x, (1, 2, 2), (0, 0, 0), (1, 2, 2))
    np.testing.assert_array_equal(y, np.full((1, 1, 1, 2, 2), -2.0))


def test_linear_flattens_with_the_channel_slowest():
    x = np.arange(8.0).reshape(1, 2, 1, 2, 2)
    weight = np.zeros((1, 8))
    weight[0, 5] = 1  # channel 1, row 0, column 1
    assert reference.linear(x, weight, np.zeros(1)).item() == x[0, 1, 0, 0, 1]


def test_softmax_sums_to_one_and_survives_large_values():
    y = reference.softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]]))
    np.testing.assert_allclose(y, [[0.5, 0.5], [0.25, 0.75]])
