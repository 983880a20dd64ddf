"""Every foreign weight file against arrays that its independent writer was given."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from kinema import network as networks
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.weights import convert as convert_room
from kinema.weights.convert import convert
from kinema.weights.file import Weights, random_weights
from kinema.weights.means import load_mean, save_mean

import foreign_weights as foreign

SMALL = foreign.small_c3d()


def small_network(arrays=SMALL, *, fc8=True) -> Network:
    """C3D's layers with the widths of `arrays`."""
    layers = []
    for layer in networks.c3d().layers:
        match layer:
            case Conv3d():
                layers.append(Conv3d(layer.name, len(arrays[f"{layer.name}.bias"])))
            case MaxPool3d():
                layers.append(layer)
            case Linear() if layer.name != "fc8" or fc8:
                layers.append(Linear(layer.name, len(arrays[f"{layer.name}.bias"])))
            case Softmax() if fc8:
                layers.append(layer)
    return Network((3, 16, 112, 112), tuple(layers))


def check(path, *, fc8=True, tolerance=0.0):
    weights = convert(path, network=small_network(fc8=fc8))
    expected = {name: a for name, a in SMALL.items() if fc8 or not name.startswith("fc8")}
    assert set(weights.arrays) == set(expected)
    for name, array in expected.items():
        got = weights[name]
        assert got.dtype == np.float32, name
        np.testing.assert_allclose(got, array, rtol=tolerance, atol=tolerance, err_msg=name)
    return weights


@pytest.mark.parametrize("fc_suffix", ["-1", ""])
@pytest.mark.parametrize("with_diff", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_caffe_as_released(tmp_path, fc_suffix, with_diff, packed):
    path = tmp_path / "conv3d_deepnetA_sport1m_iter_1900000"
    foreign.write_caffe(path, SMALL, fc_suffix=fc_suffix, with_diff=with_diff, packed=packed)
    check(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("with_diff", [False, True])
def test_caffe_in_stock_numbering(tmp_path, version, with_diff):
    path = tmp_path / "net.caffemodel"
    foreign.write_caffe(path, SMALL, numbering="bvlc", layer_version=version, with_diff=with_diff)
    check(path)


TORCH_VARIANTS = [
    {},
    {"views": True},
    {"parameters": True},
    {"metadata": False, "old_rebuild": True},
    {"dtype": "float64"},
]


@pytest.mark.parametrize("zip", [True, False])
@pytest.mark.parametrize("options", TORCH_VARIANTS)
@pytest.mark.parametrize(
    ("writer", "fc8"),
    [
        (foreign.write_davidea, True),
        (foreign.write_jfzhang, False),
        (foreign.write_mmaction2_pretrain, False),
        (foreign.write_mmaction2_checkpoint, True),
    ],
)
def test_torch_ports(tmp_path, writer, fc8, options, zip):
    pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    writer(path, SMALL, zip=zip, **options)
    check(path, fc8=fc8, tolerance=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("zip", [True, False])
def test_torch_half_precision(tmp_path, dtype, tolerance, zip):
    pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    foreign.write_davidea(path, SMALL, zip=zip, dtype=dtype)
    check(path, tolerance=tolerance)


@pytest.mark.parametrize("protocol", [-1, 0, 1, 2])
@pytest.mark.parametrize("dense_transposed", [True, False])
@pytest.mark.parametrize("fortran", [True, False])
def test_lasagne(tmp_path, protocol, dense_transposed, fortran):
    path = tmp_path / "c3d_model.pkl"
    foreign.write_lasagne(
        path, SMALL, protocol=protocol, dense_transposed=dense_transposed, fortran=fortran
    )
    check(path)


@pytest.mark.parametrize("order", ["tf", "th"])
@pytest.mark.parametrize(
    ("style", "full_model"),
    [("keras1", False), ("keras1", True), ("keras2", False), ("keras2", True), ("layer_i", False)],
)
def test_keras(tmp_path, order, style, full_model):
    pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    foreign.write_keras(path, SMALL, order=order, style=style, full_model=full_model)
    check(path)


def test_the_released_net_in_full_size(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.random(shape, np.float32) for name, shape in foreign.full_c3d_shapes().items()
    }
    path = tmp_path / "conv3d_deepnetA_sport1m_iter_1900000"
    foreign.write_caffe(path, arrays)
    weights = convert(path, mean=np.full(3, 100))
    assert weights.network.num_parameters == 79_991_015
    assert weights.network.architecture["pool5"] == "caffe"
    weights.save(tmp_path / "c3d.safetensors")
    again = Weights.load(tmp_path / "c3d.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    assert again.sha256 == weights.sha256
    assert again.source_sha256 == weights.source_sha256


@pytest.mark.parametrize(
    ("writer", "symmetric"),
    [
        (foreign.write_davidea, False),
        (foreign.write_mmaction2_pretrain, False),
        (foreign.write_mmaction2_checkpoint, True),
    ],
)
def test_symmetric_pool5_only_for_nets_that_mmaction2_trained(tmp_path, writer, symmetric):
    pytest.importorskip("torch")
    writer(tmp_path / "w.pth", SMALL)
    assert convert_room._read(tmp_path / "w.pth").symmetric_pool5 is symmetric


# --- names and keys from elsewhere ----------------------------------------------------------------


def named(arrays=SMALL, prefix=""):
    """A state dict by the names of DavideA's port, behind a prefix."""
    short = {"conv1a": "conv1", "conv2a": "conv2"}
    parts = {name: name.split(".") for name in arrays}
    return {
        f"{prefix}{short.get(layer, layer)}.{kind}": arrays[name]
        for name, (layer, kind) in parts.items()
    }


def save_torch(path, content, **options):
    """torch.save of a content whose arrays become tensors."""
    torch = pytest.importorskip("torch")

    def tensors(value):
        if isinstance(value, np.ndarray):
            return torch.tensor(value)
        if isinstance(value, dict):
            return {key: tensors(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(tensors, value))
        return value

    torch.save(tensors(content), path, **options)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
@pytest.mark.parametrize(
    "prefix",
    ["module.", "backbone.", "model.", "net.", "encoder.", "module.model.c3d.", "_orig_mod."],
)
def test_any_prefix_of_names(tmp_path, prefix, kind):
    write = save_torch if kind == "torch" else lambda path, state: save_file(state, path)
    write(tmp_path / "w", named(prefix=prefix))
    check(tmp_path / "w")


STATE = named()
OTHER = named({name: array + 1 for name, array in SMALL.items()})
HEAD = {name: array for name, array in STATE.items() if name.startswith("fc8")}
BODY = {name: array for name, array in STATE.items() if name not in HEAD}


@pytest.mark.parametrize("zip", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE},
        {"model_state_dict": STATE, "epoch": 3},
        {"net": STATE, "acc": 0.5},
        {"model": {"state_dict": STATE, "version": 1}},
        {"epoch": 7, "checkpoint": {"model": {"params": STATE}}},
        [STATE, {"epoch": 1}],
        (3, {"model": STATE}),
        {"state_dict": named(prefix="model.module."), "loops": {"fit": {"n": 1}}},
        {"ema": {"module": OTHER}, "model": STATE},
        {"state_dict_ema": OTHER, "state_dict": STATE},
        {"state_dict": {f"teacher.{name}": array for name, array in OTHER.items()}
            | named(prefix="student.")},
        {"last": STATE, "best": dict(STATE)},
        {"model": STATE, "optimizer": {"state": {0: {"exp_avg": np.ones((4, 3, 3, 3, 3))}}}},
        {"encoder": BODY, "classifier": HEAD},
        {"state_dict": {f"backbone.{name}": array for name, array in BODY.items()}
            | {f"head.{name}": array for name, array in HEAD.items()}},
        {"state_dict": named(prefix="model.") | {"criterion.weight": np.ones(5)}},
        {name: {"weight": STATE[f"{name}.weight"], "bias": STATE[f"{name}.bias"]}
            for name in {name.partition(".")[0] for name in STATE}},
    ],
)  # fmt: skip
def test_a_state_dict_under_any_key(tmp_path, content, zip):
    save_torch(tmp_path / "w.pth", content, _use_new_zipfile_serialization=zip)
    check(tmp_path / "w.pth")


def test_what_lies_beside_the_network_is_told(tmp_path):
    state = named(prefix="model.") | {"criterion.weight": np.ones(5, np.float32)}
    save_file(state, tmp_path / "w.safetensors")
    source = check(tmp_path / "w.safetensors").source
    assert source == "safetensors, w.safetensors, without criterion.weight"


def test_what_else_stands_in_a_checkpoint_is_not_run_and_does_no_harm(tmp_path):
    import argparse
    import collections
    import pathlib

    checkpoint = {
        "hyper_parameters": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/tmp")),
        "history": collections.defaultdict(list, loss=[np.float64(0.5)]),
        "ids": {1, 2},
        "state_dict": named(prefix="model."),
    }
    save_torch(tmp_path / "w.ckpt", checkpoint)
    check(tmp_path / "w.ckpt")


def test_two_networks_in_one_file_are_told(tmp_path):
    save_torch(tmp_path / "w.pth", {"one": STATE, "two": OTHER})
    with pytest.raises(ValueError, match=r"two networks, one and two: save the one"):
        convert(tmp_path / "w.pth", network=small_network())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "cfg": "x"}, r"holds no state dict \(its keys are epoch, cfg\)"),
        ({"G": {"up.weight": np.ones(3)}, "epoch": 3}, r"no layer of C3D .*found G\.up\.weight"),
        ({"model": {**BODY, "fc8.weight": HEAD["fc8.weight"]}}, "fc8.bias is missing"),
        ({"net": {k: a for k, a in STATE.items() if k != "conv3b.bias"}}, "conv3b.bias is missing"),
        ({"net": {**STATE, "bn1.weight": np.ones(3)}}, "net.bn1.weight is not one of C3D's"),
        (5, "holds no state dict"),
    ],
)
def test_where_nothing_fits_what_was_seen_is_named(tmp_path, content, message):
    save_torch(tmp_path / "w.pth", content)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "w.pth")


def test_lists_within_lists_end(tmp_path):
    """Forty lists, each twice in the next: 2^40 ways to the innermost one."""
    nested = STATE
    for _ in range(40):
        nested = [nested, nested]
    torch = pytest.importorskip("torch")
    torch.save(nested, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="no state dict"):
        convert(tmp_path / "w.pth")  # its arrays are NumPy's, which are not read in a torch file


def test_a_torchscript_program_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", b"")
    with pytest.raises(ValueError, match="a TorchScript program; save the `state_dict"):
        convert(tmp_path / "w.pt")


# --- safetensors ----------------------------------------------------------------------------------


def write_safetensors(path, tensors, **header):
    """By the format's definition: length, header, bytes; of (type, shape, bytes) by name."""
    content, data = dict(header), b""
    for name, (kind, shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        content[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(content).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("names", ["ours", "davidea", "jfzhang", "mmaction2", "blocks"])
def test_safetensors_of_every_naming_scheme(tmp_path, names):
    convs = [f"features.{index}" for index in (0, 3, 6, 8, 11, 13, 16, 18)]
    calls = {
        "ours": {},
        "davidea": {"conv1a": "conv1", "conv2a": "conv2"},
        "jfzhang": dict(
            zip(foreign.LAYERS, [*convs, "classifier.0", "classifier.3"], strict=False)
        ),
        "mmaction2": {name: f"backbone.{name}.conv" for name in foreign.CONVS}
        | {"fc6": "backbone.fc6", "fc7": "backbone.fc7", "fc8": "cls_head.fc_cls"},
        "blocks": {name: f"{name}.0" for name in foreign.CONVS},
    }[names]
    state = {
        f"{calls.get(layer, layer)}.{kind}": SMALL[f"{layer}.{kind}"]
        for layer in foreign.LAYERS
        for kind in foreign.KINDS
        if not (names == "jfzhang" and layer == "fc8")
    }
    save_file(state, tmp_path / "w.safetensors")
    weights = check(tmp_path / "w.safetensors", fc8=names != "jfzhang")
    assert (
        weights.source_sha256
        == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    )
    read = convert_room._read(tmp_path / "w.safetensors")
    assert read.symmetric_pool5 is (names == "mmaction2")


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16"])
def test_safetensors_of_any_precision(tmp_path, kind):
    def raw(array):
        if kind == "BF16":  # the upper two bytes of each little-endian float32
            halves = np.frombuffer(array.astype("<f4").tobytes(), np.uint8).reshape(-1, 4)[:, 2:]
            return halves.tobytes()
        return array.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind]).tobytes()

    tensors = {name: (kind, array.shape, raw(array)) for name, array in STATE.items()}
    write_safetensors(tmp_path / "w", tensors)
    check(tmp_path / "w", tolerance={"F16": 1e-3, "BF16": 1e-2}.get(kind, 0.0))


@pytest.mark.parametrize("length", [0x80, 0x100])
def test_a_header_whose_length_looks_like_a_pickle(tmp_path, length):
    """0x80 is how pickles begin."""
    text = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})
    data = length.to_bytes(8, "little") + text.ljust(length).encode() + bytes(4)
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(ValueError, match="parameter conv1a.bias is missing"):
        convert(tmp_path / "w")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv1.weight": ("F32", (1,), bytes(4))}, "conv1a.bias is missing"),
        ({"conv1.weight": ("F8_E4M3", (4,), bytes(4))}, "conv1.weight holds F8_E4M3"),
        ({"layer1.0.w": ("F32", (1,), bytes(4))}, r"no layer of C3D .*\(found layer1\.0\.w\)"),
        ({"conv1.weight": ("F32", (2,), bytes(4))}, "safetensors file is damaged"),
        ({}, "no layer of C3D"),
    ],
)
def test_wrong_safetensors_are_told(tmp_path, tensors, message):
    write_safetensors(tmp_path / "w.safetensors", tensors)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "w.safetensors")


def test_integers_are_no_parameters(tmp_path):
    tensors = {name: ("I64", a.shape, bytes(8 * a.size)) for name, a in STATE.items()}
    write_safetensors(tmp_path / "w.safetensors", tensors)
    with pytest.raises(ValueError, match="parameter conv1.weight holds int64, not real numbers"):
        convert(tmp_path / "w.safetensors", network=small_network())


def test_a_cut_off_safetensors_file_is_told(tmp_path):
    save_file(STATE, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for size in (20, 500, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"safetensors file .*(cut off|damaged)"):
            convert(tmp_path / "cut", network=small_network())


def test_our_own_files_need_no_converting(tmp_path):
    random_weights(networks.c3d_mini(3)).save(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="Kinema's weights already; nothing has to be converted"):
        convert(tmp_path / "w.safetensors")
    table = {"features": np.zeros((1, 2), np.float32)}
    metadata = json.dumps({"format": "kinema-features-1"})
    save_file(table, tmp_path / "t.safetensors", metadata={"kinema": metadata})
    with pytest.raises(ValueError, match="a file of Kinema's .kinema-features-1., and no weights"):
        convert(tmp_path / "t.safetensors")
    with pytest.raises(
        ValueError, match="holds no weights .it is a file of Kinema's of the format"
    ):
        Weights.load(tmp_path / "t.safetensors")


def test_where_extract_sends_to_convert_converts(tmp_path):
    arrays = random_weights(networks.c3d_mini(3)).arrays
    save_file(dict(arrays), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="make those of others ready by `kinema weights convert`"):
        Weights.load(tmp_path / "w.safetensors")
    convert(tmp_path / "w.safetensors", mean=np.full(3, 100)).save(tmp_path / "out.safetensors")
    again = Weights.load(tmp_path / "out.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


# --- our own networks as state dicts --------------------------------------------------------------

OURS = {
    "mini": networks.c3d_mini(4),
    "mini without fc8": networks.c3d_mini(None),
    "depth-1": networks.kernel_depth((1, 1, 1, 1, 1), 3),
    "increasing": networks.kernel_depth(networks.KERNEL_DEPTHS["increasing"], 3),
}


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
@pytest.mark.parametrize("name", OURS)
def test_a_state_dict_of_our_own_network(tmp_path, name, kind):
    torch = pytest.importorskip("torch")
    from kinema.engine.torch_network import TorchNetwork

    network = OURS[name]
    model = TorchNetwork(network)
    arrays = {
        name: np.random.default_rng(0).random(shape, np.float32)
        for name, shape in network.parameter_shapes().items()
    }
    model.load_arrays(arrays)
    if kind == "torch":
        torch.save(model.state_dict(), tmp_path / "w")
    else:
        save_file({name: tensor.numpy() for name, tensor in model.state_dict().items()},
                  tmp_path / "w")  # fmt: skip
    weights = convert(tmp_path / "w")
    assert weights.network == network
    assert weights.network.architecture == network.architecture
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights[name], array)


def test_another_size_of_clips_is_told_or_given(tmp_path):
    network = networks.c3d_mini(4, input_shape=(3, 16, 56, 56))
    save_file(dict(random_weights(network).arrays), tmp_path / "w")
    with pytest.raises(
        ValueError, match=r"fc6.weight must have shape \(512, 2048\), got \(512, 512"
    ):
        convert(tmp_path / "w")
    assert convert(tmp_path / "w", network=network).network == network
    with pytest.raises(ValueError, match="`pool5` has no use for c3d_mini"):
        convert(tmp_path / "w", pool5="caffe")


# --- what is refused ------------------------------------------------------------------------------


def without(name):
    return {key: array for key, array in SMALL.items() if key != name}


def changed(name, array):
    return {**SMALL, name: array}


WRITERS = {
    "caffe": lambda path, arrays: foreign.write_caffe(path, arrays),
    "torch": lambda path, arrays: foreign.write_davidea(path, arrays),
    "keras": lambda path, arrays: foreign.write_keras(path, arrays, order="th"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (without("conv4b.weight"), "conv4b.weight is missing"),
        (without("fc6.weight"), "fc6.weight is missing"),
        (changed("conv3a.bias", np.zeros(3, np.float32)), r"conv3a.bias must have shape \(7,\)"),
        (changed("fc7.weight", np.full((12, 12), np.nan, np.float32)), "fc7.weight .*not finite"),
        (changed("fc8.bias", np.full(5, np.inf, np.float32)), "fc8.bias .*not finite"),
    ],
)
def test_bad_parameters_are_named(tmp_path, kind, arrays, named):
    if kind == "torch":
        pytest.importorskip("torch")
    if kind == "keras":
        pytest.importorskip("h5py")
    path = tmp_path / "weights"
    WRITERS[kind](path, arrays)
    with pytest.raises(ValueError, match=named) as raised:
        convert(path, network=small_network())
    assert str(path) in str(raised.value)


def test_an_extra_tensor_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in SMALL.items()}
    state["conv9.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="conv9.weight"):
        convert(tmp_path / "w.pth", network=small_network())


def test_a_tensor_that_reaches_outside_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"conv1a.weight": torch.zeros(4)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "short.pth", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data[:8] if "/data/0" in name else data)
    with pytest.raises(ValueError, match="outside its storage"):
        convert(tmp_path / "short.pth")


@pytest.mark.parametrize("zip", [True, False])
@pytest.mark.parametrize("call", ["system", "eval", "touch"])
def test_no_code_of_a_torch_file_runs(tmp_path, zip, call):
    pytest.importorskip("torch")
    marker = tmp_path / "marker"
    foreign.write_malicious_torch(tmp_path / "w.pth", marker, zip=zip, call=call)
    with pytest.raises(ValueError, match="refused"):
        convert(tmp_path / "w.pth")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 2])
def test_no_code_of_a_pickle_runs(tmp_path, protocol):
    marker = tmp_path / "marker"
    foreign.write_malicious_pickle(tmp_path / "w.pkl", marker, protocol=protocol)
    with pytest.raises(ValueError, match=r"refused|not a weight file"):
        convert(tmp_path / "w.pkl")
    assert not marker.exists()
    with open(tmp_path / "w.pkl", "rb") as file:  # the file does run code elsewhere
        pickle.load(file)
    assert marker.exists()


@pytest.mark.parametrize("size", [0, 1, 8, 9, 100, 5000])
def test_cut_off_and_random_files(tmp_path, size):
    rng = np.random.default_rng(size)
    (tmp_path / "noise").write_bytes(rng.bytes(size))
    with pytest.raises(ValueError, match="noise"):
        convert(tmp_path / "noise")
    foreign.write_caffe(tmp_path / "whole", SMALL)
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) - size - 1])
    with pytest.raises(ValueError, match="cut"):
        convert(tmp_path / "cut", network=small_network())


@pytest.mark.parametrize("cut", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["torch-zip", "torch-legacy", "lasagne", "keras"])
def test_cut_off_containers(tmp_path, kind, cut):
    if kind.startswith("torch"):
        pytest.importorskip("torch")
        foreign.write_davidea(tmp_path / "whole", SMALL, zip=kind == "torch-zip")
    elif kind == "lasagne":
        foreign.write_lasagne(tmp_path / "whole", SMALL)
    else:
        pytest.importorskip("h5py")
        foreign.write_keras(tmp_path / "whole", SMALL)
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(ValueError, match="cut"):
        convert(tmp_path / "cut", network=small_network())


def test_a_small_file_cannot_claim_a_huge_tensor(tmp_path):
    torch = pytest.importorskip("torch")
    huge = torch.zeros(1).as_strided((10**6, 10**4, 3, 3, 3), (0, 0, 0, 0, 0))
    torch.save({"conv1.weight": huge}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="larger than its storage"):
        convert(tmp_path / "w.pth")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        shape = (10**6, 10**4, 3, 3, 3)
        file.create_dataset("conv1/conv1_W", shape, np.float32, chunks=(1, 1, 3, 3, 3))
    with pytest.raises(ValueError, match="conv1_W holds float32 of shape"):
        convert(tmp_path / "w.h5")


def test_hdf5_that_reads_another_file_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(3 * 27 * 64 * 4))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset(
            "conv1/conv1_W",
            (64, 3, 3, 3, 3),
            np.float32,
            external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)],
        )
    with pytest.raises(ValueError, match="keeps its numbers in another file"):
        convert(tmp_path / "w.h5")


@pytest.mark.parametrize("value", ["text", None])
def test_hdf5_of_other_things_is_refused(tmp_path, value):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv1/conv1_W"] = h5py.Empty("f4") if value is None else value
    with pytest.raises(ValueError, match=r"w\.h5"):
        convert(tmp_path / "w.h5")


def test_convert_does_not_import_torch(tmp_path):
    import subprocess
    import sys

    pytest.importorskip("torch")
    foreign.write_davidea(tmp_path / "w.pth", SMALL)
    code = (
        "import sys, kinema.weights.convert as c\n"
        f"try: c.convert({str(tmp_path / 'w.pth')!r})\n"
        "except ValueError as e: assert 'conv1a.weight' in str(e), e\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- means ----------------------------------------------------------------------------------------


def test_binaryproto_of_the_original_numbering(tmp_path):
    mean = np.random.default_rng(0).random((3, 16, 128, 171), np.float32)
    foreign.write_binaryproto(tmp_path / "mean.binaryproto", mean)
    np.testing.assert_array_equal(load_mean(tmp_path / "mean.binaryproto"), mean)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".binaryproto"])
def test_a_saved_mean_comes_back(tmp_path, ending):
    mean = np.random.default_rng(0).random((3, 16, 8, 9), np.float32)
    save_mean(tmp_path / f"mean{ending}", mean)
    np.testing.assert_array_equal(load_mean(tmp_path / f"mean{ending}"), mean)


def test_our_binaryproto_is_what_the_independent_writer_writes(tmp_path):
    mean = np.random.default_rng(0).random((3, 16, 8, 9), np.float32)
    foreign.write_binaryproto(tmp_path / "theirs.binaryproto", mean)
    save_mean(tmp_path / "ours.binaryproto", mean)
    assert (tmp_path / "ours.binaryproto").read_bytes() == (
        tmp_path / "theirs.binaryproto"
    ).read_bytes()


def test_three_numbers_are_a_mean():
    np.testing.assert_array_equal(load_mean("104,117.5,128"), [104, 117.5, 128])


@pytest.mark.parametrize("text", ["104,117", "a,b,c", "1,2,nan", "nowhere.npy"])
def test_a_wrong_mean_is_named(text):
    with pytest.raises((ValueError, FileNotFoundError), match=text.replace(",", ".")):
        load_mean(text)


def test_an_object_array_is_not_unpickled(tmp_path):
    np.save(tmp_path / "mean.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"mean\.npy"):
        load_mean(tmp_path / "mean.npy")
