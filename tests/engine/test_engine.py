"""Engines against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from kinema import network as networks
from kinema.engine import reference
from kinema.engine.engine import Engine
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.video.clips import preprocess
from kinema.video.reader import VideoReader
from kinema.weights.file import random_weights

TOLERANCE = 5e-6  # relative L2 error


@pytest.fixture(params=["native", "torch"])
def kind(request):
    if request.param == "torch":
        pytest.importorskip("torch")
    return request.param


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30)


def small_network(pool5="caffe"):
    return Network(
        (3, 5, 13, 15),
        (
            Conv3d("conv1a", 4),
            MaxPool3d("pool1", (1, 2, 2)),
            Conv3d("conv2a", 6, (1, 3, 3)),
            Conv3d("conv2b", 5, (5, 3, 3)),
            MaxPool3d("pool2"),
            MaxPool3d("pool5", padding={"caffe": (0, 0, 0), "symmetric": (0, 1, 1)}[pool5]),
            Linear("fc6", 11),
            Linear("fc8", 3, relu=False),
            Softmax("prob"),
        ),
    )


@pytest.mark.parametrize("pool5", ["caffe", "symmetric"])
def test_every_layer_of_a_small_network(kind, pool5):
    network = small_network(pool5)
    weights = random_weights(network, seed=1)
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((3, *network.input_shape)).astype(np.float32)
    names = network.layer_names
    expected = reference.run(network, weights, clips, names)
    got = Engine(network, weights, engine=kind, device="cpu").run(clips, names)
    assert list(got) == list(names)
    for name in names:
        assert got[name].dtype == np.float32
        assert got[name].shape == (3, *network.shapes()[name])
        assert relative_error(got[name], expected[name]) < TOLERANCE, name


def test_c3d_on_real_frames(kind, ucf101):
    """What the whole of C3D gives for a real clip, against float64."""
    network = networks.c3d()
    weights = random_weights(network)
    frames = [frame.image for frame, _ in zip(VideoReader(ucf101[0]), range(16), strict=False)]
    clips = preprocess(frames, mean=weights.mean)[None]
    names = ("conv5b", "pool5", "fc6", "fc8")
    expected = reference.run(network, weights, clips, names)
    got = Engine(network, weights, engine=kind, device="cpu").run(clips, names)
    for name in names:
        assert relative_error(got[name], expected[name]) < TOLERANCE, name
    assert (got["fc6"] >= 0).all()
    assert (got["fc6"] > 0).any()  # after ReLU, and alive


def test_torch_threads_are_a_matter_of_one_run():
    torch = pytest.importorskip("torch")
    network = small_network()
    clips = np.zeros((1, *network.input_shape), np.float32)
    before = torch.get_num_threads()
    Engine(network, random_weights(network), engine="torch", threads=1).run(clips)
    assert torch.get_num_threads() == before


def test_read_only_arrays_are_taken_quietly(kind, recwarn):
    network = small_network()
    weights = {name: array.copy() for name, array in random_weights(network).items()}
    clips = np.zeros((1, *network.input_shape), np.float32)
    for array in (*weights.values(), clips):
        array.flags.writeable = False
    Engine(network, weights, engine=kind).run(clips)
    assert not recwarn.list


def test_a_cut_network_takes_the_whole_networks_weights(kind):
    network = small_network()
    weights = random_weights(network)
    clips = np.ones((1, *network.input_shape), np.float32)
    whole = Engine(network, weights, engine=kind).run(clips, ("fc6",))["fc6"]
    cut = Engine(network.up_to("fc6"), weights, engine=kind).run(clips, ("fc6",))["fc6"]
    np.testing.assert_array_equal(whole, cut)


def test_no_clips_give_no_rows(kind):
    network = small_network()
    engine = Engine(network, random_weights(network), engine=kind)
    empty = engine.run(np.empty((0, *network.input_shape), np.float32), ("fc6", "pool2"))
    assert empty["fc6"].shape == (0, 11)
    assert empty["pool2"].shape == (0, *network.shapes()["pool2"])
    assert engine.run(np.zeros((1, *network.input_shape), np.float32), ()) == {}


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


def changed(arrays, name, array):
    return {**arrays, name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "fc6.bias"), "no fc6.bias"),
        (lambda a: changed(a, "fc6.bias", np.zeros(3)), r"fc6.bias must have shape \(11,\)"),
        (
            lambda a: changed(a, "fc6.bias", np.full(11, np.nan)),
            "fc6.bias holds values that are not",
        ),
        (lambda a: changed(a, "fc6.bias", np.r_[np.inf, -np.inf, np.zeros(9)]), "not finite"),
    ],
)
def test_bad_weights_are_named(change, message):
    network = small_network()
    with pytest.raises(ValueError, match=message):
        Engine(network, change(dict(random_weights(network))))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((1, 3, 5, 13, 15)),), TypeError, "must be float32, got float64"),
        ((np.zeros((3, 5, 13, 15), np.float32),), ValueError, r"must be \(N, 3, 5, 13, 15\)"),
        ((np.zeros((1, 3, 5, 13, 14), np.float32),), ValueError, "got .1, 3, 5, 13, 14."),
        ((np.zeros((1, 3, 5, 13, 15), np.float32), ("fc9",)), ValueError, "`layer` must be one of"),
        ((np.zeros((1, 3, 5, 13, 15), np.float32), "fc6"), TypeError, "sequence of names"),
        ((np.full((1, 3, 5, 13, 15), np.nan, np.float32),), ValueError, "not finite"),
    ],
)
def test_bad_clips_are_named(arguments, error, message):
    network = small_network()
    with pytest.raises(error, match=message):
        Engine(network, random_weights(network)).run(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "caffe"}, "`engine` must be one of"),
        ({"device": "tpu"}, "`device` must be one of"),
        ({"engine": "native", "device": "cuda"}, "runs on a CPU"),
        ({"threads": 0}, "`threads` must be at least 1"),
        ({"threads": 10**8}, "`threads` must be at least 1 and at most"),
    ],
)
def test_bad_options_are_named(options, message):
    network = small_network()
    with pytest.raises(ValueError, match=message):
        Engine(network, random_weights(network), **options)


def test_a_profile_says_how_and_how_long():
    network = small_network()
    engine = Engine(network, random_weights(network), engine="native")
    assert engine.packed_bytes > 0
    before = engine.profile()
    assert list(before) == list(network.layer_names)
    assert before["conv1a"].how == "F(4,3) x F(4,3) x F(4,3)"
    assert before["conv2a"].how == "direct x F(4,3) x F(4,3)"
    # Two tiles of time, four by four of the map, of 6 x 6 x 6 products; 3 channels in and 4 out.
    assert before["conv1a"].multiply_adds == 2 * 4 * 4 * 216 * 3 * 4
    assert before["pool1"].multiply_adds == before["conv1a"].multiply_ms == 0
    engine.run(np.ones((2, *network.input_shape), np.float32), ("pool1",))
    after = engine.profile()
    assert min(after["conv1a"].input_ms, after["conv1a"].multiply_ms) > 0
    assert after["pool1"].other_ms == 0  # done with conv1a
    assert after["conv2a"] == before["conv2a"]


def test_only_the_native_engine_keeps_a_profile():
    pytest.importorskip("torch")
    network = small_network()
    engine = Engine(network, random_weights(network), engine="torch", device="cpu")
    with pytest.raises(ValueError, match="the engine torch keeps no profile"):
        engine.profile()
    assert engine.packed_bytes == 4 * network.num_parameters


def test_the_former_name_of_engine_works_with_a_note():
    network = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))
    with pytest.warns(DeprecationWarning, match="`kind` of Engine is now `engine`"):
        assert Engine(network, random_weights(network), kind="native").kind == "native"
