"""The colour wheel, by hand from its definition."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from kinema.flow.colours import colours, legend, wheel, with_legend


def test_the_wheel_has_55_hues_and_its_six_main_ones_where_they_belong():
    hues = wheel()
    assert hues.shape == (55, 3)
    # Red, yellow, green, cyan, blue, magenta begin after 0, 15, 21, 25, 36, 49 steps.
    main = [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)]
    np.testing.assert_array_equal(hues[[0, 15, 21, 25, 36, 49]], main)
    np.testing.assert_allclose(hues[5], (1, 5 / 15, 0))
    np.testing.assert_allclose(hues[52], (1, 0, 1 - 3 / 6))


@pytest.mark.parametrize(
    ("direction", "rgb"),
    [
        ((1, 0), (255, 0, 0)),  # right: hue 0, red
        ((0, 1), (255, 234, 0)),  # down: 55 / 4 = 13.75 of 15 steps from red to yellow
        ((-1, 0), (0, 197, 255)),  # left: 27.5, 2.5 of 11 steps from cyan to blue
        ((0, -1), (103, 0, 255)),  # up: 41.25, 5.25 of 13 steps from blue to magenta
    ],
)
def test_hues_of_four_directions(direction, rgb):
    for length in (1, 10, 3.3):
        found = colours(length * np.array(direction, float), longest_px=length)
        np.testing.assert_allclose(found.astype(int), rgb, atol=1)
    half = colours(np.array(direction, float), longest_px=2)
    np.testing.assert_allclose(half.astype(int), 255 - (255 - np.array(rgb)) / 2, atol=1)
    hue = colorsys.rgb_to_hsv(*(half / 255))[0]
    assert hue == pytest.approx(colorsys.rgb_to_hsv(*np.array(rgb) / 255)[0], abs=0.01)


def test_no_motion_is_white_a_longer_one_is_darker_nothing_known_is_black():
    flow = np.array([[0.0, 0.0], [5.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]])
    found = colours(flow, longest_px=2)
    np.testing.assert_array_equal(found, [[255] * 3, [191, 0, 0], [0] * 3, [0] * 3])


def test_each_point_of_the_legend_has_the_colour_of_its_own_place():
    panel = legend(41, longest_px=4)
    assert panel.shape == (61, 41, 3)
    np.testing.assert_array_equal(panel[20, 20], 255)  # the middle
    np.testing.assert_array_equal(panel[0, 0], 255)  # outside of the circle
    np.testing.assert_array_equal(panel[20, 40], (255, 0, 0))
    np.testing.assert_array_equal(panel[30, 20], colours(np.array([0, 2.0]), longest_px=4))
    assert (panel[41:] < 100).any()  # the words


def test_the_picture_stands_beside_the_legend():
    flow = np.random.default_rng(0).normal(0, 3, (101, 51, 2))
    page = with_legend(flow)
    assert page.shape == (102, 124, 3)
    np.testing.assert_array_equal(page[:101, :51], colours(flow))
    np.testing.assert_array_equal(page[:84, 59:123], legend(64))


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match=r"`flow` must be \(..., 2\), got \(4, 3\)"):
        colours(np.zeros((4, 3)))
    for longest in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`longest_px` must be above 0 pixels"):
            colours(np.zeros(2), longest_px=longest)
