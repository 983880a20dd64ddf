"""What every model's constructor is given: a width, and the shape of a clip."""

import pytest

from kinema.models.sizes import clip_shape, scaled

PUBLISHED = (3, 16, 112, 112)


def test_a_width_scales_and_leaves_one():
    assert [scaled(number, 0.125) for number in (64, 96, 3)] == [8, 12, 1]
    assert scaled(2048, 1.0) == 2048


def test_a_given_shape_replaces_the_published_one():
    assert clip_shape(None, PUBLISHED) == PUBLISHED
    # A weight file keeps a list.
    assert clip_shape([3, 8, 56, 64], PUBLISHED, frames=8, pixels=56) == (3, 8, 56, 64)
    assert clip_shape((4096, 8, 1, 1), (1280, 16, 7, 7), any_channels=True) == (4096, 8, 1, 1)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((3, 16, 112), "must be four sizes"),
        ((3, 16, 112, 0), "must be four sizes"),
        ((3, 16, 112, 1.5), "must be four sizes"),
        ((2, 16, 112, 112), "must have 3 channels"),
        ((3, 7, 112, 112), "at least 8 frames"),
        ((3, 8, 112, 31), "at least 32x32 pixels"),
    ],
)
def test_other_shapes_are_refused(shape, text):
    with pytest.raises(ValueError, match=text):
        clip_shape(shape, PUBLISHED, frames=8, pixels=32)


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_width_is_above_0(width):
    with pytest.raises(ValueError, match="`width` must be a positive number"):
        scaled(64, width)
