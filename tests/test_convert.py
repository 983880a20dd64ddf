"""Every foreign weight file against arrays that its independent writer was given."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from kinema import convert as convert_room
from kinema import network as networks
from kinema.convert import convert
from kinema.mean import load_mean, save_mean
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.weights import Weights

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
    assert weights.network.recipe["pool5"] == "caffe"
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
        "import sys, kinema.convert as c\n"
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
