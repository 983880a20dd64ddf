"""The two streams: sizes and counts by hand, the whole network in NumPy, the order of the stack."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import numpy_layers as by_hand  # noqa: E402
from kinema.models.two_stream import Spatial, SpatialOnImageNet, Temporal  # noqa: E402

# Of (N, 3, 1, 224, 224): (224 - 7) / 2 + 1 = 109, pooled to 54; (54 + 2 - 5) / 2 + 1 = 26, pooled
# and rounded up to 13; pooled to 6.
SHAPES = {
    "conv1": (96, 109, 109),
    "norm1": (96, 109, 109),
    "pool1": (96, 54, 54),
    "conv2": (256, 26, 26),
    "norm2": (256, 26, 26),
    "pool2": (256, 13, 13),
    "conv3": (512, 13, 13),
    "conv4": (512, 13, 13),
    "conv5": (512, 13, 13),
    "pool5": (512, 6, 6),
    "fc6": (4096,),
    "fc7": (2048,),
    "fc8": (101,),
}
ABOVE_CONV1 = (
    (256 * 96 * 5 * 5 + 256)
    + (512 * 256 * 3 * 3 + 512)
    + (512 * 512 * 3 * 3 + 512)
    + (512 * 512 * 3 * 3 + 512)
    + (4096 * 512 * 6 * 6 + 4096)
    + (2048 * 4096 + 2048)
    + (101 * 2048 + 101)
)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("made", "second_norm"), [(Spatial, True), (Temporal, False)])
def test_every_layer_is_of_the_published_size(made, second_norm):
    with torch.device("meta"):
        module = made(101)
        clips = torch.zeros(2, *made.input_shape)
    seen = {}
    for path, part in module.named_modules():
        name = path.rpartition(".")[2]
        part.register_forward_hook(lambda _, __, y, name=name: seen.update({name: tuple(y.shape)}))
    module(clips)
    expected = {n: s for n, s in SHAPES.items() if second_norm or n != "norm2"}
    assert {n: seen[n] for n in expected} == {n: (2, *s) for n, s in expected.items()}
    assert ("norm2" in seen) == second_norm
    for layer, size in (("pool5", (512, 6, 6)), ("fc6", (4096,)), ("fc7", (2048,))):
        assert module.features(clips, layer).shape == (2, *size)


def test_parameters_by_hand_and_as_published():
    with torch.device("meta"):
        spatial, temporal = count(Spatial(101)), count(Temporal(101))
    assert spatial == (96 * 3 * 7 * 7 + 96) + ABOVE_CONV1 == 90_627_813
    assert temporal == (96 * 20 * 7 * 7 + 96) + ABOVE_CONV1 == 90_707_781
    # Feichtenhofer et al., CVPR 2016, table 1: 181.42 M in two streams of VGG-M-2048 (UCF101). That
    # is twice the temporal one; with three channels in one of them it is 181.34 M.
    assert round(2 * temporal / 1e6, 2) == 181.42


@pytest.mark.parametrize(("made", "frames"), [(Spatial, 1), (Temporal, 3)])
def test_the_network_is_that_of_numpy(made, frames):
    torch.manual_seed(0)
    shape = (made.input_shape[0], frames, 53, 57)
    module = made(3, width=1 / 64, input_shape=shape)
    state = by_hand.arrays_of(module)
    clip = np.random.default_rng(0).uniform(-128, 127, shape)

    if made is Spatial:
        x = clip[:, 0] / 64
    else:  # x of frame 0, y of frame 0, x of frame 1, ...; 127 steps are 20 pixels
        fields = [clip[channel, frame] for frame in range(frames) for channel in (0, 1)]
        x = np.stack([(field - field.mean()) * 20 / 127 for field in fields])
    for layer, stride, padding in (("1", 2, 0), ("2", 2, 1), ("3", 1, 1), ("4", 1, 1), ("5", 1, 1)):
        weight, bias = state[f"maps.conv{layer}.weight"], state[f"maps.conv{layer}.bias"]
        x = by_hand.relu(by_hand.convolve(x, weight, bias, stride=stride, padding=padding))
        if layer == "1" or (layer == "2" and made is Spatial):
            x = by_hand.normalise(x, k=2, alpha=1e-4, beta=0.75)
        if layer in "125":
            x = by_hand.pool(x, 3, 2)
    x = x.ravel()
    for layer in ("fc6", "fc7"):
        x = by_hand.relu(state[f"{layer}.weight"] @ x + state[f"{layer}.bias"])
    expected = state["fc8.weight"] @ x + state["fc8.bias"]

    found = module.eval()(torch.from_numpy(clip[None]).float())[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_flow_that_moves_everything_alike_is_nothing():
    """A moving camera: each field less its mean vector is zero."""
    module = Temporal(2, width=1 / 64, input_shape=(2, 2, 48, 48))
    clips = torch.tensor([[3.0, -5.0], [7.0, 100.0]])[None, :, :, None, None]
    assert module.pictures(clips.expand(1, 2, 2, 48, 48)).abs().max() == 0
    clips = torch.zeros(1, 2, 2, 48, 48)
    clips[0, 1, 0, :24] = 127  # y of frame 0: 20 pixels in the upper half, their mean 10
    pictures = module.pictures(clips)[0]
    assert pictures[1, 0, 0] == pytest.approx(10)
    assert pictures[1, 47, 0] == pytest.approx(-10)
    assert pictures[[0, 2, 3]].abs().max() == 0


def test_on_imagenet_a_last_layer_sees_the_mean_of_the_maps():
    module = SpatialOnImageNet(4)
    assert count(module) == 1280 * 4 + 4
    maps = torch.rand(2, 1280, 1, 7, 7) * 6
    mean = maps.double().numpy().reshape(2, 1280, 49).mean(2)
    np.testing.assert_allclose(module.features(maps, "pool").numpy(), mean, rtol=1e-5)
    expected = mean @ module.fc8.weight.detach().double().numpy().T
    np.testing.assert_allclose(module.eval()(maps).detach().numpy(), expected, rtol=1e-3, atol=1e-4)
    dropped = module.train().dropout(torch.ones(10_000))
    assert set(dropped.tolist()) == {0.0, 2.0}  # half of them, the others twice as large


@pytest.mark.parametrize("made", [Spatial, Temporal, SpatialOnImageNet])
def test_eight_clips_are_learned_by_heart(made):
    torch.manual_seed(1)
    shape = (made.input_shape[0], 1 if made is Spatial else 2, 48, 48)
    if made is SpatialOnImageNet:
        shape = made.input_shape
    module = made(4, width=1 / 16, input_shape=shape, dropout=0)
    clips = torch.randn(8, *shape) * (2 if made is SpatialOnImageNet else 60)
    loss, right = by_hand.overfit(module, clips, torch.arange(8) % 4, steps=60, rate=3e-3)
    assert loss < 0.05
    assert right


def test_what_cannot_be_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"frames of 40x40 are too small .* at least 41x41"):
        Spatial(3, width=0.1, input_shape=(3, 1, 40, 40))
    Spatial(3, width=0.1, input_shape=(3, 1, 41, 41))
    with pytest.raises(ValueError, match=r"must have 1 frame, got \(3, 2, 64, 64\)"):
        Spatial(3, input_shape=(3, 2, 64, 64))
    with pytest.raises(ValueError, match=r"must have 2 channels .*, got \(3, 10"):
        Temporal(3, input_shape=(3, 10, 64, 64))
    with pytest.raises(ValueError, match="must be four sizes >= 1"):
        Temporal(3, input_shape=(2, 0, 64, 64))
    for width in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`width` must be a positive number"):
            SpatialOnImageNet(3, width=width)


def test_every_number_of_channels_grows_with_the_width():
    module = Temporal(101, width=1 / 8, input_shape=(2, 10, 64, 64))
    sizes = {n: len(v) for n, v in module.named_parameters() if n.endswith("weight")}
    assert list(sizes.values()) == [12, 32, 64, 64, 64, 512, 256, 101]
