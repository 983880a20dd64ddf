"""Foreign C3D weight files to `Weights`, running no code that a file contains.

A reader turns a file into foreign names and arrays (`readers.py`); `picked` finds the network among
them (`foreign.py`); `_to_canonical` brings kernels and matrices into Caffe's order, which is ours:
convolutions (out, in, T, H, W), fully connected (out, in) with the input channel slowest.

    reader            file                                          told apart by
    read_safetensors  a state dict as safetensors                   length and start of its header
    read_torch        PyTorch, zip or legacy (DavideA, ...)         zip, or torch's magic number
    read_lasagne      Python 2 pickle of a list of arrays           a pickle without it
    read_keras        Keras HDF5, TF or Theano order                HDF5 signature
    read_caffe        Caffe model, C3D's or stock numbering         otherwise
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kinema import network as networks
from kinema.weights.file import Weights, check_arrays
from kinema.weights.foreign import LARGEST_PARAMETER, Foreign, Found, picked
from kinema.weights.pickled import TORCH_MAGIC, read_torch_legacy, read_torch_zip
from kinema.weights.readers import (
    read_caffe,
    read_keras,
    read_lasagne,
    read_safetensors,
    read_torch,
)
from kinema.words import first_of


def convert(
    source: str | os.PathLike[str],
    *,
    mean: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    pool5: str | None = None,
    name: str | None = None,
    network: networks.Network | None = None,
) -> Weights:
    """Read a C3D weight file of any known kind.

    Args:
        source: the file.
        mean: what to subtract from frames, see `load_mean`. None leaves the weights without one;
            they are then refused by `extract` until it is given a mean.
        labels: class names in the order of fc8.
        pool5: "caffe" or "symmetric"; None takes the kind that the weights were trained with:
            Caffe's windows, but symmetric ones for models that mmaction2 trained itself.
        name: what to call the weights; None takes the file's name.
        network: what the parameters must fit; None means C3D with the file's number of classes, or
            c3d_mini or one of the kernel-depth study if the file has its five convolutions.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of no known kind, would run code, or a parameter is missing, extra,
            misshapen or not finite; the message names it.
    """
    source = Path(source)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file.")
    try:
        foreign = _read(source)
        found, left_out = picked(foreign)
        trained_with = "symmetric" if foreign.symmetric_pool5 else "caffe"
        network = network or _network_for(found, pool5, trained_with)
        arrays = _to_canonical(found, foreign, network)
        check_arrays(arrays, network)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{source}: it is damaged ({type(error).__name__}: {error}).") from None
    return Weights(
        arrays,
        network,
        name=name or source.stem,
        source=f"{foreign.kind}, {source.name}{left_out}",
        source_sha256=file_sha256(source),
        mean=mean,
        labels=None if labels is None else tuple(labels),
    )


def file_sha256(path: Path) -> str:
    """Checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(source: Path) -> Foreign:
    with open(source, "rb") as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if not head:
        raise ValueError("the file is empty.")
    # First, because the length of the header can look like the start of a pickle.
    if head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size:
        return read_safetensors(source)
    if head.startswith(b"PK\x03\x04"):
        return read_torch(read_torch_zip(source))
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras(source)
    if head.startswith(TORCH_MAGIC):
        return read_torch(read_torch_legacy(source))
    if head[:1] == b"\x80" or head[:2] in (b"(l", b"]q"):
        return read_lasagne(source)
    if head[8:10] == b'{"':
        raise ValueError("this is a safetensors file that was cut off.")
    return read_caffe(source)


def _to_canonical(
    found: Mapping[str, Found], foreign: Foreign, network: networks.Network
) -> dict[str, np.ndarray]:
    """The parameters in Caffe's order, float32."""
    for name in network.parameter_shapes():  # before any shape is read
        if name not in found:
            there = first_of((one.foreign_name for one in found.values()), 3)
            raise ValueError(f"parameter {name} is missing (found {there}).")
    arrays: dict[str, np.ndarray] = {}
    for name, (foreign_name, array) in found.items():
        if array.dtype.kind != "f":
            raise ValueError(f"parameter {foreign_name} holds {array.dtype}, not real numbers.")
        if array.size > LARGEST_PARAMETER:
            raise ValueError(f"parameter {name} has shape {array.shape}, far too large for C3D.")
        dimensions = 1 if name.endswith(".bias") else 5 if name.startswith("conv") else 2
        if name.endswith(".bias"):
            array = array.reshape(-1) if array.size == max(array.shape, default=0) else array
        if array.ndim != dimensions:
            raise ValueError(
                f"parameter {name} must have {dimensions} dimensions, got shape {array.shape}."
            )
        arrays[name] = array
    transposed = _dense_is_transposed(foreign, arrays)
    for name, array in arrays.items():
        if array.ndim == 5:
            if foreign.layout == "keras-tf":
                array = array.transpose(4, 3, 0, 1, 2)
            elif foreign.layout == "keras-th":
                array = array[:, :, ::-1, ::-1, ::-1]  # Theano convolves, Caffe correlates
        elif array.ndim == 2 and transposed:
            array = array.T
        arrays[name] = array
    if foreign.layout == "keras-tf":
        arrays["fc6.weight"] = _channel_first_columns(
            arrays["fc6.weight"], len(arrays["conv5b.weight"])
        )
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _dense_is_transposed(foreign: Foreign, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether matrices are (in, out). Keras' are; Lasagne's tell by the length of fc6's bias."""
    if foreign.layout in ("keras-tf", "keras-th"):
        return True
    if foreign.layout == "lasagne":
        return arrays["fc6.weight"].shape[1] == len(arrays["fc6.bias"])
    return False


def _channel_first_columns(matrix: np.ndarray, channels: int) -> np.ndarray:
    """fc6's columns from (height, width, channel) order to (channel, height, width)."""
    outputs, inputs = matrix.shape
    places, rest = divmod(inputs, channels)
    if rest:
        raise ValueError(
            f"parameter fc6.weight has {inputs} inputs, not a multiple of conv5b's {channels}."
        )
    return matrix.reshape(outputs, places, channels).swapaxes(1, 2).reshape(outputs, inputs)


def _network_for(
    found: Mapping[str, Found], pool5: str | None, trained_with: str
) -> networks.Network:
    """C3D with as many classes as the file's fc8, or the network of ours that the file is of."""
    if "fc8.weight" in found and "fc8.bias" not in found:
        raise ValueError("parameter fc8.bias is missing.")
    num_classes = found["fc8.bias"].array.size if "fc8.bias" in found else None
    kernels = [name for name in found if name.startswith("conv") and name.endswith(".weight")]
    if sorted(kernels) == [f"conv{number}a.weight" for number in range(1, 6)]:
        shapes = [found[name].array.shape for name in sorted(kernels)]
        network = _of_five_convolutions(shapes, num_classes)
        if network is not None and pool5 is not None:
            raise ValueError(f"`pool5` has no use for {network.architecture['name']}.")
        if network is not None:
            return network
    return networks.c3d(num_classes, pool5=pool5 or trained_with)


def _of_five_convolutions(
    shapes: Sequence[tuple[int, ...]], num_classes: int | None
) -> networks.Network | None:
    """The network of ours whose five convolutions have kernels of these shapes, if there is one."""
    candidates = [networks.c3d_mini(num_classes)]
    if num_classes is not None and all(len(shape) == 5 and shape[2] % 2 for shape in shapes):
        candidates.append(networks.kernel_depth([shape[2] for shape in shapes], num_classes))
    for network in candidates:
        expected = network.parameter_shapes()
        if [expected[f"conv{number}a.weight"] for number in range(1, 6)] == list(shapes):
            return network
    return None


def load_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file, one a line in the order of the network's outputs."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"`labels` {path}: no such file.")
    return tuple(
        line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()
    )
