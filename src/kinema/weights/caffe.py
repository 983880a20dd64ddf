"""Caffe's files: the few protobuf messages that hold weights and means, read without protobuf.

C3D v1.0 is a fork of Caffe whose BlobProto is numbered unlike the original's, so stock readers
misread it: a blob has a `length`, and so width is field 5 and data field 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_UNKNOWN_KIND = (
    "not a weight file of a known kind (Caffe, PyTorch, Lasagne, Keras HDF5), or it is damaged."
)


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: Any  # int for varints, memoryview otherwise


def _fields(buffer: memoryview) -> Iterator[_Field]:
    """The fields of one protobuf message. A message that runs over its end is a ValueError."""
    position, size = 0, len(buffer)
    while position < size:
        tag, position = _varint(buffer, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(buffer, position)
            yield _Field(number, 0, value)
            continue
        if wire_type == 2:
            length, position = _varint(buffer, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(_UNKNOWN_KIND)
        if number == 0 or position + length > size:
            raise ValueError(_UNKNOWN_KIND)
        yield _Field(number, wire_type, buffer[position : position + length])
        position += length


def _varint(buffer: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(buffer) or shift > 63:
            raise ValueError(_UNKNOWN_KIND)
        byte = buffer[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7


@dataclass(frozen=True)
class _Numbering:
    """Field numbers of a BlobProto."""

    axes: tuple[int, ...]
    data: int


_C3D_BLOB = _Numbering(axes=(1, 2, 3, 4, 5), data=6)  # num, channels, length, height, width
_STOCK_BLOB = _Numbering(axes=(1, 2, 3, 4), data=5)  # num, channels, height, width
_SHAPE_FIELD = 7  # stock: BlobShape; C3D: diff


def read_blob(buffer: memoryview) -> np.ndarray:
    """One BlobProto. C3D v1.0 numbers its fields unlike stock Caffe: width is 5 and data is 6.

    The two are told apart by field 5, which is a number in one and data in the other. Stored
    diffs are passed over.
    """
    fields = list(_fields(buffer))
    stock = any(field.number == 5 and field.wire_type != 0 for field in fields)
    numbering = _STOCK_BLOB if stock else _C3D_BLOB
    parts = [f.value for f in fields if f.number == numbering.data and f.wire_type != 0]
    data = np.concatenate([np.frombuffer(part, "<f4") for part in parts] or [np.empty(0, "<f4")])
    sizes = {f.number: f.value for f in fields if f.number in numbering.axes and f.wire_type == 0}
    shape = tuple(sizes.get(axis, 1) for axis in numbering.axes)
    if stock:
        for field in fields:
            if field.number == _SHAPE_FIELD:
                shape = tuple(_blob_shape(field.value))
    if np.prod(shape, dtype=object) != data.size:
        raise ValueError(f"a blob of shape {shape} holds {data.size} numbers.")
    return data.reshape(shape)


def _blob_shape(buffer: memoryview) -> Iterator[int]:
    for field in _fields(buffer):
        if field.wire_type == 0:
            yield field.value
        else:
            position = 0
            while position < len(field.value):
                size, position = _varint(field.value, position)
                yield size


def read_net(source: Path) -> dict[str, np.ndarray]:
    """Blobs of a NetParameter as "conv1a.weight": V1 `layers` (field 2) or V2 `layer` (field 100).

    Layers without blobs are passed over. Legacy blobs lose their leading axes of one.
    """
    arrays: dict[str, np.ndarray] = {}
    for field in _fields(memoryview(source.read_bytes())):
        if field.number in (2, 100) and field.wire_type == 2:
            arrays.update(_caffe_layer(field.value, version=1 if field.number == 2 else 2))
    return arrays


def _caffe_layer(buffer: memoryview, *, version: int) -> dict[str, np.ndarray]:
    name_field, blobs_field = (4, 6) if version == 1 else (1, 7)
    fields = [field for field in _fields(buffer) if field.wire_type == 2]
    name = next(
        (bytes(f.value).decode("utf-8", "replace") for f in fields if f.number == name_field), ""
    )
    blobs = [field.value for field in fields if field.number == blobs_field]
    arrays = {}
    for index, blob in enumerate(blobs):
        kind = ("weight", "bias")[index] if index < 2 else f"blob{index}"
        try:
            array = read_blob(blob)
        except ValueError as error:
            raise ValueError(f"layer {name}, {kind}: {error}") from None
        arrays[f"{name}.{kind}"] = _without_leading_ones(name, kind, array)
    return arrays


def _without_leading_ones(name: str, kind: str, array: np.ndarray) -> np.ndarray:
    """Legacy blobs have five axes: biases are (1, 1, 1, 1, out), matrices (1, 1, 1, out, in)."""
    wanted = 1 if kind == "bias" else 2 if name.startswith("fc") else 5
    while array.ndim > wanted and array.shape[0] == 1:
        array = array[0]
    return array


def blob_bytes(array: np.ndarray) -> bytes:
    """A BlobProto in C3D's numbering, data packed."""
    if array.ndim == 1:
        array = array.reshape(3, 1, 1, 1)
    sizes = (1, *array.shape)
    message = b"".join(
        bytes([axis << 3]) + _to_varint(size)
        for axis, size in zip(_C3D_BLOB.axes, sizes, strict=True)
    )
    data = np.ascontiguousarray(array, "<f4").tobytes()
    return message + bytes([_C3D_BLOB.data << 3 | 2]) + _to_varint(len(data)) + data


def _to_varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
