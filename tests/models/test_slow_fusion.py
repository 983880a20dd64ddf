"""Slow fusion: sizes and counts by hand, the whole network in NumPy, what layers see of time."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import numpy_layers as by_hand  # noqa: E402
from kinema.models.slow_fusion import (  # noqa: E402
    SlowFusion,
    SlowFusionFovea,
    context_and_fovea,
)

# Of 170x170: (170 - 11) / 3 + 1 = 54; pooled to 27, 14, 7. Of 10 frames: 4, 2, 1.
SHAPES = {
    "conv1": (96, 4, 54, 54),
    "norm1": (96, 4, 54, 54),
    "pool1": (96, 4, 27, 27),
    "conv2": (256, 2, 27, 27),
    "pool2": (256, 2, 14, 14),
    "conv3": (384, 1, 14, 14),
    "conv4": (384, 1, 14, 14),
    "conv5": (256, 1, 14, 14),
    "pool5": (256, 1, 7, 7),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (101,),
}
# Of 89x89: (89 - 11) / 3 + 1 = 27; pooled to 14 and 7.
HALF = {
    "conv1": (96, 4, 27, 27),
    "pool1": (96, 4, 14, 14),
    "conv2": (256, 2, 14, 14),
    "pool2": (256, 2, 7, 7),
    "conv3": (384, 1, 7, 7),
    "conv4": (384, 1, 7, 7),
    "conv5": (256, 1, 7, 7),
}
COLUMN = (
    (96 * 3 * 4 * 11 * 11 + 96)
    + (256 * 96 * 2 * 5 * 5 + 256)
    + (384 * 256 * 2 * 3 * 3 + 384)
    + (384 * 384 * 3 * 3 + 384)
    + (256 * 384 * 3 * 3 + 256)
)
ABOVE_FC6 = (4096 * 4096 + 4096) + (101 * 4096 + 101)


def outputs(module, clips):
    seen = {}
    for name, part in module.named_modules():
        part.register_forward_hook(
            lambda _, __, y, name=name: seen.update({name: tuple(y.shape[1:])})
        )
    module(clips)
    return seen


def test_every_layer_is_of_the_published_size():
    with torch.device("meta"):
        module, clips = SlowFusion(101), torch.zeros(2, 3, 10, 170, 170)
    seen = outputs(module, clips)
    assert {n: seen.get(n, seen.get(f"maps.{n}")) for n in SHAPES} == SHAPES
    assert sum(p.numel() for p in module.parameters()) == (
        COLUMN + (4096 * 256 * 7 * 7 + 4096) + ABOVE_FC6
    )
    assert COLUMN + (4096 * 256 * 7 * 7 + 4096) + ABOVE_FC6 == 73_930_309


def test_context_and_fovea_end_in_maps_of_seven():
    with torch.device("meta"):
        module, clips = SlowFusionFovea(101), torch.zeros(2, 3, 10, 178, 178)
    seen = outputs(module, clips)
    for column in ("context", "fovea"):
        assert {n: seen[f"{column}.{n}"] for n in HALF} == HALF
        assert f"{column}.pool5" not in seen
    assert sum(p.numel() for p in module.parameters()) == (
        2 * COLUMN + (4096 * 2 * 256 * 7 * 7 + 4096) + ABOVE_FC6
    )
    assert module.features(clips, "fc6").shape == (2, 4096)


# Layer, depth, stride and padding of those that leave time alone.
SAME = ((4, 1, 1, 1), (5, 1, 1, 1))


def column_by_hand(x, state, name, *, last_pool):
    """(3, 10, H, W): frames joined by sums of convolutions of single frames."""
    joined = [x[:, frame] for frame in range(10)]
    for layer, depth, stride, padding in ((1, 4, 3, 0), (2, 2, 1, 2), (3, 2, 1, 1), *SAME):
        weight, bias = state[f"{name}.conv{layer}.weight"], state[f"{name}.conv{layer}.bias"]
        step = 2 if depth > 1 else 1
        joined = [
            by_hand.relu(
                sum(
                    by_hand.convolve(
                        joined[first + t],
                        weight[:, :, t],
                        bias if t == 0 else 0 * bias,
                        stride=stride,
                        padding=padding,
                    )
                    for t in range(depth)
                )
            )
            for first in range(0, len(joined) - depth + 1, step)
        ]
        if layer < 3:
            joined = [by_hand.normalise(x, k=2, alpha=1e-4, beta=0.5) for x in joined]
        if layer < 3 or (layer == 5 and last_pool):
            joined = [by_hand.pool(x, 2, 2) for x in joined]
    (last,) = joined  # four, two, one
    return last.ravel()


@pytest.mark.parametrize("made", [SlowFusion, SlowFusionFovea])
def test_the_network_is_that_of_numpy(made):
    torch.manual_seed(0)
    side = 34 if made is SlowFusion else 46
    module = made(3, width=1 / 96, input_shape=(3, 10, side, side))
    state = by_hand.arrays_of(module)
    clip = np.random.default_rng(0).uniform(-128, 127, (3, 10, side, side))

    if made is SlowFusion:
        x = column_by_hand(clip / 64, state, "maps", last_pool=True)
    else:
        half = clip.reshape(3, 10, 23, 2, 23, 2).mean((3, 5))
        centre = clip[:, :, 11:34, 11:34]
        x = np.concatenate(
            [
                column_by_hand(half / 64, state, "context", last_pool=False),
                column_by_hand(centre / 64, state, "fovea", last_pool=False),
            ]
        )
    for layer in ("fc6", "fc7"):
        x = by_hand.relu(state[f"{layer}.weight"] @ x + state[f"{layer}.bias"])
    expected = state["fc8.weight"] @ x + state["fc8.bias"]
    found = module.eval()(torch.from_numpy(clip[None]).float())[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_each_layer_sees_more_frames_and_the_third_sees_all():
    """The first response of conv1 sees frames 0 to 3, of conv2 0 to 5, of conv3 0 to 9."""
    module = SlowFusion(2, width=1 / 24, input_shape=(3, 10, 40, 40))
    for layer, frames in (("conv1", 4), ("conv2", 6), ("conv3", 10)):
        clip = torch.randn(1, 3, 10, 40, 40, requires_grad=True)
        x = clip
        for name, part in module.maps.named_children():
            x = part(x)
            if name == layer:
                break
        x[:, :, 0].sum().backward()
        seen = clip.grad.abs().amax((0, 1, 3, 4)) > 0
        assert seen.tolist() == [True] * frames + [False] * (10 - frames)


def test_the_fovea_is_the_centre_and_the_context_a_mean():
    picture = torch.arange(36.0).view(1, 1, 1, 6, 6)
    context, fovea = context_and_fovea(picture)
    # Rows of 6: the mean of 0, 1, 6, 7 is 3.5; the centre begins at row 1, column 1.
    assert context[0, 0, 0].tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5], [27.5, 29.5, 31.5]]
    assert fovea[0, 0, 0].tolist() == [[7, 8, 9], [13, 14, 15], [19, 20, 21]]


@pytest.mark.parametrize("made", [SlowFusion, SlowFusionFovea])
def test_eight_clips_are_learned_by_heart(made):
    torch.manual_seed(0)
    side = 32 if made is SlowFusion else 64
    module = made(4, width=1 / 16, input_shape=(3, 10, side, side), dropout=0)
    clips = torch.randn(8, 3, 10, side, side) * 60
    loss, right = by_hand.overfit(module, clips, torch.arange(8) % 4, steps=50, rate=3e-3)
    assert loss < 0.05
    assert right


def test_what_cannot_be_is_refused_in_a_line():
    with pytest.raises(ValueError, match="must have at least 10 frames, got 9"):
        SlowFusion(3, input_shape=(3, 9, 64, 64))
    with pytest.raises(ValueError, match=r"frames of 10x10 are too small .* at least 11x11"):
        SlowFusion(3, width=0.1, input_shape=(3, 10, 10, 10))
    with pytest.raises(ValueError, match=r"half frames of 10x10 are too small"):
        SlowFusionFovea(3, width=0.1, input_shape=(3, 10, 21, 21))
    assert SlowFusion(3, width=0.1, input_shape=[3, 22, 32, 32])  # longer clips: fc6 sees two steps


def test_every_number_grows_with_the_width():
    module = SlowFusion(101, width=1 / 8, input_shape=(3, 10, 64, 64))
    sizes = [len(v) for n, v in module.named_parameters() if n.endswith("weight")]
    assert sizes == [12, 32, 48, 48, 32, 512, 512, 101]
