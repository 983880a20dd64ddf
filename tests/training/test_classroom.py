"""The classroom pages: every number in them is computed here from the formula."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kinema.engine import reference

ROOT = Path(__file__).parent.parent.parent
HAND = (ROOT / "docs" / "convolution.md").read_text(encoding="utf-8")

F = np.arange(1, 17).reshape(4, 4)
G = np.array([[1, 2, 1], [0, 0, 0], [1, 2, 1]])
EDGE = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
RIGHT = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]])


def correlate(f, g):
    """Cross-correlation with zeros around, by the reference; 2-D or 3-D."""
    return reference.conv3d(f, g)


def convolve(f, g):
    """Convolution as textbooks write it: correlation with the filter turned around."""
    return correlate(f, g[tuple(slice(None, None, -1) for _ in g.shape)])


def block(matrix):
    """A matrix as the pages print it."""
    cells = [[f"{round(value):d}" for value in row] for row in np.asarray(matrix)]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join("    " + "  ".join(cell.rjust(width) for cell in row) for row in cells)


def moving_dot(step):
    """Three frames of 3x5 in which a dot goes `step` pixels to the right each."""
    frames = np.zeros((3, 3, 5))
    for t in range(3):
        frames[t, 1, 2 + step * (t - 1)] = 1
    return frames


DIAGONAL = np.zeros((3, 3, 3))
for _t in range(3):
    DIAGONAL[_t, 1, _t] = 1


def test_the_grid_by_hand():
    h = convolve(F, G)
    assert block(F) in HAND
    assert block(h) in HAND
    np.testing.assert_array_equal(h, correlate(F, G))  # g is its own mirror image
    # One cell by hand: f around (2, 2) times g.
    assert (F[0:3, 0:3] * G).sum() == h[1, 1] == 48
    assert "1·1 + 2·2 + 1·3 + 1·9 + 2·10 + 1·11 = 48" in HAND


@pytest.mark.parametrize("g", [RIGHT, EDGE])
def test_filters_that_tell_convolution_from_correlation(g):
    assert block(correlate(F, g)) in HAND
    assert block(convolve(F, g)) in HAND
    assert not np.array_equal(correlate(F, g), convolve(F, g))


def test_time():
    for step, expected in ((1, 3), (0, 1), (-1, 1)):
        y = correlate(moving_dot(step), DIAGONAL)
        assert y[1, 1, 2] == expected
        assert block(y[1]) in HAND
    frames = moving_dot(1)
    assert block(np.hstack(frames).reshape(3, 15)) in HAND
    # A 2-D filter of ones sees the same in all three.
    ones = np.ones((1, 3, 3))
    sums = {step: correlate(moving_dot(step), ones).sum() for step in (1, 0, -1)}
    assert len(set(sums.values())) == 1


def test_insides_numbers_are_the_committed_ones():
    page = " ".join((ROOT / "docs" / "inside.md").read_text(encoding="utf-8").split())
    content = json.loads((ROOT / "docs" / "results" / "inside.json").read_text(encoding="utf-8"))
    drawn, sports = content["excitation"]["drawn"], content["excitation"]["ucf101-3"]
    assert f"Test videos: {100 * content['accuracy']['drawn']:.0f} % right" in page
    assert f"Test videos: {100 * content['accuracy']['ucf101-3']:.0f} % right" in page
    for row, title in (
        ("drawn: motion", "conv1a of drawn"),
        ("ucf101-3: sports", "conv1a of ucf101-3"),
        ("ucf101-3 before learning", "conv1a of ucf101-3, start, not trained"),
    ):
        assert f"| {row} | {100 * content['kernels'][title]['change_over_time']:.1f} % |" in page
    expected, deviation = (100 * x for x in content["kernels"]["conv1a of drawn"]["by_chance"])
    assert f"| random numbers | {expected:.1f} ± {deviation:.1f} % |" in page
    for layers in content["deeper"].values():
        for share in layers.values():
            assert abs(share["change_over_time"] - share["by_chance"][0]) < 0.01
    turning = [
        sum(video.startswith("counterclockwise/") for video in found["strongest"])
        for found in drawn["maps"]
    ]
    assert f"{turning[0]} are of counterclockwise wheels" in page
    assert f"Of the next two maps' {turning[1]} and {turning[2]} are" in page
    assert f"({drawn['num_videos']} test videos" in page
    assert f"the {sports['num_videos']} test videos" in page
    punches = [v for v in sports["maps"][0]["strongest"] if v.startswith("Punch/")]
    groups = {re.search(r"_g\d+_", video)[0] for video in punches}
    assert (
        f"{len(punches)} of its nine strongest clips are of Punch, from {len(groups)} groups"
        in page
    )


def test_insides_example_by_hand():
    """docs/inside.md; tests/test_deconvolution.py holds the code to the same numbers."""
    page = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
    frame = np.array([[4, 7], [5, 1]])
    first, second = frame, 10 - frame
    assert f"2·7 - 3·9 + 20 = {2 * first.max() - 3 * second.max() + 20}" in page
    down = np.where(first == first.max(), 2 * 7, 0)
    assert f"{block(down)}\n" in page
