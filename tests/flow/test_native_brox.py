"""The solver on the CPU: the closed forms at full size. More of it in tests/native/test_flow.py."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.flow.known import MOTIONS, end_point_error, known_pair
from kinema.flow.native_brox import brox_flow


@pytest.mark.parametrize("motion", MOTIONS)
def test_mean_end_point_error_is_under_a_twentieth_of_a_pixel(motion):
    pair = known_pair(motion)
    assert end_point_error(brox_flow(pair.first, pair.second), pair.flow) < 0.05


@pytest.mark.parametrize("motion", MOTIONS)
def test_so_it_is_with_grey_levels_that_were_rounded(motion):
    pair = known_pair(motion)
    first, second = (
        np.clip(np.rint(80 + 0.4 * (image - 127.5)), 0, 255).astype(np.uint8)
        for image in (pair.first, pair.second)
    )
    assert end_point_error(brox_flow(first, second), pair.flow) < 0.06


def test_a_motion_of_many_pixels_is_found_through_the_pyramid():
    pair = known_pair(height=150, width=200)
    first, second = pair.first[:, 12:], pair.first[:, :-12]  # all goes right by 12 pixels
    found = brox_flow(np.ascontiguousarray(first), np.ascontiguousarray(second))
    inside = found[:, :-20]
    np.testing.assert_allclose(np.median(inside, (0, 1)), (12, 0), atol=0.02)
    assert end_point_error(inside, np.broadcast_to((12.0, 0.0), inside.shape)) < 0.1


def test_a_number_of_threads_is_refused():
    with pytest.raises(ValueError, match="`threads` must be at least 1, got 0"):
        brox_flow(np.zeros((4, 4)), np.zeros((4, 4)), threads=0)
