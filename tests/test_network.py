"""Shapes, parameters and multiply-adds against the published figures and hand-worked windows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema import network as networks
from kinema.engine import reference
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax


def test_c3d_layer_by_layer():
    # C3D v1.0 prototxts: output shapes and parameters of every layer.
    expected = {
        "conv1a": ((64, 16, 112, 112), 5_248),
        "pool1": ((64, 16, 56, 56), 0),
        "conv2a": ((128, 16, 56, 56), 221_312),
        "pool2": ((128, 8, 28, 28), 0),
        "conv3a": ((256, 8, 28, 28), 884_992),
        "conv3b": ((256, 8, 28, 28), 1_769_728),
        "pool3": ((256, 4, 14, 14), 0),
        "conv4a": ((512, 4, 14, 14), 3_539_456),
        "conv4b": ((512, 4, 14, 14), 7_078_400),
        "pool4": ((512, 2, 7, 7), 0),
        "conv5a": ((512, 2, 7, 7), 7_078_400),
        "conv5b": ((512, 2, 7, 7), 7_078_400),
        "pool5": ((512, 1, 4, 4), 0),
        "fc6": ((4096,), 33_558_528),
        "fc7": ((4096,), 16_781_312),
        "fc8": ((487,), 1_995_239),
        "prob": ((487,), 0),
    }
    network = networks.c3d()
    assert network.shapes() == {name: shape for name, (shape, _) in expected.items()}
    parameters = dict.fromkeys(expected, 0)
    for name, shape in network.parameter_shapes().items():
        parameters[name.partition(".")[0]] += int(np.prod(shape))
    assert parameters == {name: number for name, (_, number) in expected.items()}


def test_c3d_totals():
    assert networks.c3d().num_parameters == 79_991_015
    assert networks.c3d(101).num_parameters == 78_409_573  # mmaction2's metafile
    gmac = networks.c3d().num_multiply_adds / 1e9
    assert gmac == pytest.approx(38.50 + 0.05, abs=0.01)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("depth-1", 14.34),
        ("depth-3", 17.44),
        ("depth-5", 20.54),
        ("depth-7", 23.65),
        ("increasing", 21.57),
        ("decreasing", 18.19),
    ],
)
def test_kernel_depth_networks(name, millions):
    network = networks.kernel_depth(networks.KERNEL_DEPTHS[name])
    assert network.num_parameters / 1e6 == pytest.approx(millions, abs=0.006)
    assert network.shapes()["pool5"] == (256, 1, 4, 4)


@pytest.mark.parametrize(("crop", "millions"), [(56, 11.15), (112, 17.44), (224, 34.75)])
def test_input_resolutions_of_the_appendix(crop, millions):
    network = networks.kernel_depth(input_shape=(3, 16, crop, crop))
    assert network.num_parameters / 1e6 == pytest.approx(millions, abs=0.006)


def test_a_quarter_of_the_width_by_hand():
    """Channels 16-32-64-64-64 and 512 units at 64 pixels, where pool5 leaves 2x2 places."""
    network = networks.kernel_depth((3, 3, 5, 5, 7), 4, input_shape=(3, 16, 64, 64), width=0.25)
    weights = 16 * 3 * 27 + 32 * 16 * 27 + 64 * 32 * 45 + 64 * 64 * 45 + 64 * 64 * 63
    weights += 512 * 256 + 512 * 512 + 4 * 512
    assert network.num_parameters == weights + 16 + 32 + 3 * 64 + 2 * 512 + 4
    assert networks.from_architecture(dict(network.architecture)) == network
    assert "width" not in networks.kernel_depth().architecture  # as in files of earlier versions


def test_mini_is_a_small_c3d():
    mini, full = networks.c3d_mini(), networks.c3d()
    assert mini.input_shape == full.input_shape
    assert mini.num_multiply_adds * 25 < full.num_multiply_adds
    assert mini.feature_shape("fc6") == (512,)


@pytest.mark.parametrize("make", [networks.c3d, networks.kernel_depth, networks.c3d_mini])
def test_an_architecture_makes_the_same_network_again(make):
    network = make(num_classes=7)
    assert networks.from_architecture(dict(network.architecture)) == network
    assert networks.from_architecture(
        networks.c3d(None, pool5="symmetric").architecture
    ) == networks.c3d(None, pool5="symmetric")


HAND_MADE = Network(
    (3, 4, 12, 16),
    (
        Conv3d("conv1a", 5, (1, 3, 3)),
        MaxPool3d("pool1", (2, 2, 2), (0, 1, 1)),
        Linear("fc6", 7, dropout=0.25),
        Linear("out", 3, relu=False),
        Softmax("prob"),
    ),
)


@pytest.mark.parametrize(
    "network",
    [
        HAND_MADE,
        HAND_MADE.up_to("fc6"),
        HAND_MADE.flattened(),
        networks.c3d(9, pool5="symmetric").up_to("fc6"),
        networks.c3d(9).up_to("fc7").up_to("pool5"),
        networks.kernel_depth((3, 3, 5, 5, 7), 4).flattened(),
        networks.c3d_mini(4).flattened().up_to("conv3a"),
        networks.c3d_mini(4).up_to("conv3a").flattened(),
    ],
)
def test_what_was_cut_flattened_or_made_by_hand_is_made_again_from_json(network):
    again = networks.from_architecture(json.loads(json.dumps(dict(network.architecture))))
    assert again == network
    assert again.architecture == network.architecture


def test_flattened_kernels_are_of_one_frame():
    flat = networks.flattened(networks.c3d(9))
    kernels = [layer.kernel for layer in flat.layers if isinstance(layer, Conv3d)]
    assert kernels == [(1, 3, 3)] * 8
    assert [layer.name for layer in flat.layers] == list(networks.c3d(9).layer_names)


def test_other_classes():
    assert networks.c3d(487).up_to("fc6").with_classes(3) == networks.c3d(3)
    assert networks.c3d(487).flattened().with_classes(3) == networks.c3d(3).flattened()
    assert HAND_MADE.with_classes(5).shapes()["prob"] == (5,)
    assert HAND_MADE.num_classes == 3
    cut = HAND_MADE.up_to("fc6")
    assert (cut.num_classes, cut.class_parameters) == (None, ())
    assert cut.with_classes(6).layer_names == ("conv1a", "pool1", "fc6", "fc8", "prob")
    assert HAND_MADE.class_parameters == ("out.weight", "out.bias")


def windows(pool: MaxPool3d, size: int) -> list[set[int]]:
    """Which rows each output row sees, found by lighting one row after the other."""
    count = pool.output_shape((1, 1, size, 1))[2]
    seen: list[set[int]] = [set() for _ in range(count)]
    for row in range(size):
        x = np.zeros((1, 1, 1, size, 1))
        x[0, 0, 0, row] = 1
        y = reference.max_pool3d(x, pool.kernel, pool.padding, (1, count, 1))
        for index in np.flatnonzero(y[0, 0, 0, :, 0]):
            seen[index].add(row)
    return seen


def test_pool5_has_caffes_windows():
    pool5 = next(layer for layer in networks.c3d().layers if layer.name == "pool5")
    assert windows(pool5, 7) == [{0, 1}, {2, 3}, {4, 5}, {6}]
    assert windows(pool5, 8) == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]


def test_symmetric_pool5_has_shifted_windows():
    layers = networks.c3d(pool5="symmetric").layers
    pool5 = next(layer for layer in layers if layer.name == "pool5")
    assert windows(pool5, 7) == [{0}, {1, 2}, {3, 4}, {5, 6}]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Conv3d("c", 0), "`out_channels` of c must be at least 1, got 0"),
        (lambda: Conv3d("c", 1, (2, 3, 3)), "`kernel` of c must be three odd"),
        (lambda: MaxPool3d("p", (2, 2, 2), (2, 0, 0)), "`padding` of p must be smaller"),
        (lambda: Linear("f", -1), "`out_features` of f must be at least 1"),
        (lambda: Network((3, 16, 0, 112), (Conv3d("c", 1),)), "`input_shape`"),
        (lambda: Network((3, 16, 8, 8), ()), "at least one layer"),
        (lambda: Network((3, 16, 8, 8), (Conv3d("c", 1), Conv3d("c", 1))), "different names"),
        (lambda: Network((3, 16, 8, 8), (Linear("f", 1), Conv3d("c", 1))), "c needs .channels"),
        (lambda: networks.c3d(pool5="same"), "`pool5` must be one of caffe, symmetric"),
        (lambda: networks.kernel_depth((3, 3)), "five temporal kernel sizes"),
        (lambda: networks.kernel_depth(width=0), "`width` must be more than 0, got 0"),
        (lambda: networks.c3d().feature_shape("fc9"), "`layer` must be one of conv1a"),
        (lambda: networks.from_architecture({"name": "i3d"}), "unknown network 'i3d'"),
        (lambda: networks.from_architecture({"name": "c3d", "depth": 3}), "cannot be made"),
        (
            lambda: networks.from_architecture(
                {"name": "chain", "input_shape": [3, 4, 8, 8], "layers": [{"type": "os.system"}]}
            ),
            "unknown layer 'os.system'; known: Conv3d",
        ),
    ],
)
def test_bad_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_printing_shows_shapes_and_totals():
    text = str(networks.c3d())
    assert "pool5    MaxPool3d  2x2x2  -> 512x1x4x4" in text
    assert "79,991,015 parameters" in text


def test_softmax_keeps_the_shape():
    assert Softmax().output_shape((5,)) == (5,)


def test_depth_1_is_one_thing():
    """The row of `compare` and the network of the kernel-depth study: every kernel's depth is 1."""
    study = networks.kernel_depth(networks.KERNEL_DEPTHS["depth-1"])
    assert networks.flattened(networks.kernel_depth()).layers == study.layers
