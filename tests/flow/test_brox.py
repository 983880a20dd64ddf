"""The settings of the flow, and what they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.flow.brox import Brox, gaussian, mirrored, pairs_of_images


def test_the_pyramid_ends_above_16_pixels():
    assert Brox().sizes(240, 320) == [(240, 320), (120, 160), (60, 80), (30, 40)]
    assert Brox().sizes(32, 64) == [(32, 64), (16, 32)]
    assert Brox().sizes(31, 64) == [(31, 64)]
    assert Brox().sizes(3, 2) == [(3, 2)]
    assert Brox(scales=2).sizes(240, 320) == [(240, 320), (120, 160)]
    # Halves are rounded up: 0.75 x 30 is 22.5.
    assert Brox(nu=0.75).sizes(30, 40) == [(30, 40), (23, 30), (17, 23)]


def test_taps_are_those_of_a_gaussian():
    taps = gaussian(0.8)
    assert len(taps) == 5  # to 5 sigma
    assert taps[0] + 2 * sum(taps[1:]) == pytest.approx(1)
    assert taps[2] / taps[0] == pytest.approx(np.exp(-(2**2) / (2 * 0.8**2)))
    assert Brox().zoom_sigma == pytest.approx(0.6 * 3**0.5)


def test_the_border_is_mirrored_as_far_as_there_are_pixels():
    assert mirrored(5, 2) == [2, 1, 0, 1, 2, 3, 4, 4, 3]
    assert mirrored(2, 3) == [0, 1, 1, 0, 1, 1, 0, 0]
    assert mirrored(1, 2) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 0}, "`alpha` must be above 0, got 0"),
        ({"alpha": float("nan")}, "`alpha` must be a finite number, got nan"),
        ({"gamma": -1}, "`gamma` must be at least 0, got -1"),
        ({"nu": 1}, "`nu` must be from 0.1 to 0.95, got 1"),
        ({"omega": 2}, "`omega` must be above 0 and below 2, got 2"),
        ({"tolerance": -1e-3}, "`tolerance` must be at least 0 pixels, got -0.001"),
        ({"warps": 0}, "`warps` must be a whole number of at least 1, got 0"),
        ({"inner": 1.5}, "`inner` must be a whole number of at least 1, got 1.5"),
        ({"most_sweeps": 13}, "`most_sweeps` must be a multiple of 5, got 13"),
    ],
)
def test_bad_settings_are_refused_with_their_names(setting, message):
    with pytest.raises(ValueError, match=message):
        Brox(**setting)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((0, 4)), np.zeros((0, 4)), r"`first` must be .* got \(0, 4\)"),
        (np.zeros(4), np.zeros(4), r"`first` must be .* got \(4,\)"),
        ([[1]], np.zeros((1, 1)), "`first` must be .* got list"),
        (np.zeros((2, 3)), np.zeros((3, 2)), r"`second` must be \(2, 3\) .* got \(3, 2\)"),
        (np.zeros((2, 2)), np.full((2, 2), np.nan), "must hold numbers below 1e"),
        (np.zeros((2, 2)), np.full((2, 2), 3e38), "must hold numbers below 1e"),
    ],
)
def test_what_is_no_pair_of_images_is_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        pairs_of_images(first, second)
