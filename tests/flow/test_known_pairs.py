"""The pairs that solvers are measured against are what their formulas say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kinema.flow.known import MOTIONS, end_point_error, known_pair


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_second_image_drawn_back_by_the_flow_is_the_first(motion):
    """By OpenCV's interpolation, which errs little on a smooth texture."""
    pair = known_pair(motion, height=60, width=80)
    y, x = np.mgrid[:60, :80].astype(np.float32)
    back = cv2.remap(pair.second, x + pair.flow[..., 0], y + pair.flow[..., 1], cv2.INTER_CUBIC)
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(back - pair.first)[inside].mean() < 0.5
    assert np.abs(pair.second - pair.first)[inside].mean() > 2.0


def test_flows_at_places_worked_by_hand():
    np.testing.assert_allclose(known_pair().flow, np.broadcast_to((2.7, -1.6), (240, 320, 2)), 1e-5)
    zoom = known_pair("zoom", height=101, width=201).flow
    np.testing.assert_allclose(zoom[50, 100], (0, 0), atol=1e-6)
    np.testing.assert_allclose(zoom[0, 200], (2.0, -1.0), atol=1e-5)  # 2 % of (100, -50)
    turned = known_pair("rotation", height=101, width=201).flow
    # To the right of the middle a turn, clockwise as y points down, moves down.
    np.testing.assert_allclose(turned[50, 200, 1], 100 * np.sin(np.radians(1.2)), rtol=1e-5)


def test_end_point_error_by_hand():
    assert end_point_error(np.array([[3.0, 4.0], [0, 0]]), np.zeros((2, 2))) == 2.5


def test_no_such_motion():
    with pytest.raises(ValueError, match="`motion` must be one of translation, rotation, zoom"):
        known_pair("leap")
