"""LRCN: sizes and counts by hand, the whole network in NumPy, the mean over steps, flow images."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import numpy_layers as by_hand  # noqa: E402
from kinema.models.lrcn import (  # noqa: E402
    LRCN,
    CaffeLSTM,
    LRCNFlow,
    LRCNOnImageNet,
)
from kinema.models.step_scores import log_mean_softmax  # noqa: E402

# Of 227x227: (227 - 7) / 2 + 1 = 111, pooled to 55; (55 - 5) / 2 + 1 = 26, pooled and rounded up
# to 13; pooled to 6. Frames go through one behind the other: 2 clips are 32.
SHAPES = {
    "maps.conv1": (32, 96, 111, 111),
    "maps.pool1": (32, 96, 55, 55),
    "maps.norm1": (32, 96, 55, 55),
    "maps.conv2": (32, 384, 26, 26),
    "maps.pool2": (32, 384, 13, 13),
    "maps.norm2": (32, 384, 13, 13),
    "maps.conv3": (32, 512, 13, 13),
    "maps.conv4": (32, 512, 13, 13),
    "maps.conv5": (32, 384, 13, 13),
    "maps.pool5": (32, 384, 6, 6),
    "fc6": (2, 16, 4096),
}
FRAMES = (
    (96 * 3 * 7 * 7 + 96)
    + (384 * 48 * 5 * 5 + 384)  # two groups: 48 of the 96 channels each
    + (512 * 384 * 3 * 3 + 512)
    + (512 * 256 * 3 * 3 + 512)
    + (384 * 256 * 3 * 3 + 384)
    + (4096 * 384 * 6 * 6 + 4096)
)


def lstm_count(inputs, cells):
    return 4 * cells * inputs + 4 * cells * cells + 4 * cells


@pytest.mark.parametrize(
    ("made", "cells", "total"), [(LRCN, 256, 65_421_285), (LRCNFlow, 1024, 82_016_997)]
)
def test_every_layer_is_of_the_published_size(made, cells, total):
    with torch.device("meta"):
        module, clips = made(101), torch.zeros(2, *made.input_shape)
    seen = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, __, y, name=name: seen.update({name: tuple(y.shape)}))
    assert module(clips).shape == (2, 101)
    expected = {**SHAPES, "lstm": (2, 16, cells), "fc8": (2, 16, 101)}
    assert {n: seen[n] for n in expected} == expected
    count = sum(p.numel() for p in module.parameters())
    assert count == FRAMES + lstm_count(4096, cells) + (101 * cells + 101) == total


def test_on_imagenet_only_what_is_above_the_frames_is_left():
    with torch.device("meta"):
        module = LRCNOnImageNet(101)
    count = sum(p.numel() for p in module.parameters())
    assert count == (4096 * 1280 + 4096) + lstm_count(4096, 256) + (101 * 256 + 101)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_step_worked_by_hand():
    """One cell, one input: W = (1, 2, 3, 4), V = (1, 0, -1, 2), b = (0, 1, 0, 0) for i, f, o, g."""
    lstm = CaffeLSTM(1, 1)
    with torch.no_grad():
        lstm.input.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        lstm.hidden.weight.copy_(torch.tensor([[1.0], [0.0], [-1.0], [2.0]]))
        lstm.input.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    c1 = sigmoid(0.5) * np.tanh(2.0)
    h1 = sigmoid(1.5) * np.tanh(c1)
    c2 = sigmoid(-2 + 1) * c1 + sigmoid(-1 + h1) * np.tanh(-4 + 2 * h1)
    h2 = sigmoid(-3 - h1) * np.tanh(c2)
    found = lstm(torch.tensor([[[0.5], [-1.0]]])).detach().numpy().ravel()
    np.testing.assert_allclose(found, [h1, h2], rtol=1e-6)


def test_probabilities_are_averaged_over_steps_and_every_step_has_the_label():
    steps = torch.tensor([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.4, 0.6]]]).log() + 3
    mean = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    torch.testing.assert_close(log_mean_softmax(steps).softmax(1), mean)
    torch.testing.assert_close(log_mean_softmax(steps).exp(), mean)
    far = torch.tensor([[[1000.0, 0.0], [0.0, 1000.0]]])
    torch.testing.assert_close(log_mean_softmax(far).softmax(1), torch.tensor([[0.5, 0.5]]))

    module = LRCNOnImageNet(2, width=1 / 256)
    module.steps = lambda clips: steps
    found = module.loss(None, torch.tensor([0, 1]))
    expected = -(math.log(0.5) + math.log(0.9) + math.log(0.8) + math.log(0.6)) / 4
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_flow_image_has_sixteen_levels_a_pixel_and_its_magnitude():
    module = LRCNFlow(2, width=1 / 64, input_shape=(2, 1, 49, 49))
    step = 127 / 20 * 256 / 240  # a pixel of 240 lines, in steps of frames of 256 lines
    flow = torch.zeros(1, 2, 1, 49, 49)
    flow[0, :, 0, 0, 0] = torch.tensor([3.0, -4.0]) * step
    flow[0, :, 0, 0, 1] = torch.tensor([-12.0, 0.0]) * step  # 192 levels: none so far from 128
    pictures = module.pictures(flow)[0, :, 0, 0]
    np.testing.assert_allclose(pictures[:, 0], [48, -64, 80], rtol=1e-5)
    np.testing.assert_allclose(pictures[:, 1], [-128, 0, 127], rtol=1e-5)
    assert pictures[:, 2:].abs().max() == 0


@pytest.mark.parametrize("made", [LRCN, LRCNFlow])
def test_the_network_is_that_of_numpy(made):
    torch.manual_seed(0)
    shape = (made.input_shape[0], 3, 51, 53)
    module = made(3, width=1 / 48, input_shape=shape)
    state = by_hand.arrays_of(module)
    clip = np.random.default_rng(0).uniform(-60, 60, shape)
    images = clip
    if made is LRCNFlow:
        levels = clip * 20 / 127 * 240 / 256 * 16
        levels = np.stack([*levels, np.hypot(*levels)])
        images = np.clip(levels, -128, 127)
        assert (images != levels).any()

    cells = module.fc8.in_features
    h = c = np.zeros(cells)
    probabilities = []
    for frame in range(3):
        x = images[:, frame] / 64
        for layer in ((1, 2, 0, 1), (2, 2, 0, 2), (3, 1, 1, 1), (4, 1, 1, 2), (5, 1, 1, 2)):
            number, stride, padding, groups = layer
            weight, bias = state[f"maps.conv{number}.weight"], state[f"maps.conv{number}.bias"]
            x = by_hand.relu(
                by_hand.convolve(x, weight, bias, stride=stride, padding=padding, groups=groups)
            )
            if number in (1, 2, 5):
                x = by_hand.pool(x, 3, 2)
            if number in (1, 2):
                x = by_hand.normalise(x, k=1, alpha=1e-4 / 5, beta=0.75)
        x = by_hand.relu(state["fc6.weight"] @ x.ravel() + state["fc6.bias"])
        gates = state["lstm.input.weight"] @ x + state["lstm.input.bias"]
        i, f, o, g = (gates + state["lstm.hidden.weight"] @ h).reshape(4, cells)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        scores = np.exp(state["fc8.weight"] @ h + state["fc8.bias"])
        probabilities.append(scores / scores.sum())
    found = module.eval()(torch.from_numpy(clip[None]).float())
    np.testing.assert_allclose(
        found.softmax(1)[0].detach().numpy(), np.mean(probabilities, 0), rtol=1e-4
    )


@pytest.mark.parametrize("made", [LRCN, LRCNFlow, LRCNOnImageNet])
def test_eight_clips_are_learned_by_heart(made):
    torch.manual_seed(0)
    frames = made is not LRCNOnImageNet
    shape = (made.input_shape[0], 4, *((49, 49) if frames else (7, 7)))
    width = 1 / 64 if made is LRCNFlow else 1 / 16  # of its 1024 cells, or of 256
    module = made(4, width=width, input_shape=shape, dropout=0, lstm_dropout=0)
    clips = torch.randn(8, *shape) * (60 if frames else 3)
    loss, right = by_hand.overfit(module, clips, torch.arange(8) % 4, steps=150, rate=3e-3)
    assert loss < 0.1
    assert right


def test_what_cannot_be_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"frames of 48x48 are too small .* at least 49x49"):
        LRCN(3, width=0.1, input_shape=(3, 16, 48, 48))
    with pytest.raises(ValueError, match=r"must have 1280 channels .*, got \(3, "):
        LRCNOnImageNet(3, input_shape=(3, 16, 7, 7))


def test_both_dropouts_are_those_of_training_alone():
    module = LRCNOnImageNet(3, width=1 / 64)
    assert (module.drop6.p, module.drop_lstm.p) == (0.9, 0.5)
    maps = torch.rand(2, 1280, 4, 7, 7)
    assert not torch.equal(module.steps(maps), module.steps(maps))
    module.eval()
    assert torch.equal(module.steps(maps), module.steps(maps))


def test_every_number_grows_with_the_width():
    module = LRCN(101, width=1 / 8, input_shape=(3, 16, 64, 64))
    sizes = [len(v) for n, v in module.named_parameters() if n.endswith("weight")]
    assert sizes == [12, 48, 64, 64, 48, 512, 101, 4 * 32, 4 * 32]


def test_groups_keep_their_channels_at_any_width():
    for width in (0.01, 0.13, 1 / 3):
        module = LRCN(3, width=width, input_shape=(3, 2, 56, 56))
        assert module(torch.zeros(1, 3, 2, 56, 56)).shape == (1, 3)
