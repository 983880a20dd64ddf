"""The file formats of a `FeatureTable`: what it holds as plain arrays, to disk and back.

To add one, write its two functions and name them in `FORMATS`.

Note [Versions of a table]
    Beside `about` every file names its version, "format": "kinema-features-1", so that a later one
    is told from a damaged file. Those of before the name came went without, and are read.

Note [Original feature files]
    C3D v1.0 wrote one file a clip and layer (`extract_image_features.cpp`): five little-endian
    int32 (num = 1, channels, length, height, width), then the values as float32, width fastest.
    A blob's name is the ending: fc6 was called fc6-1. A file of fc6 has 20 + 4 * 4096 bytes.
    Here they are `<video>/<first frame, six digits>.fc6-1`, as in the original's examples, and
    beside them a `rows.json` with what the original could not say.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinema.files import atomic_path, check_not_newer, open_parquet, read_tensors, write_tensors

FORMAT = "kinema-features-1"

SHARD = "kinema-shard-1"
"""Of a file that holds the tables of many videos, see `shards`."""

ROW_COLUMNS: Mapping[str, Any] = {
    "start_frame": np.int64,
    "stop_frame": np.int64,
    "start_seconds": np.float64,
    "stop_seconds": np.float64,
    "num_padded_frames": np.int64,
}
"""Columns beside the features, one value a row."""

C3D_BLOB_NAMES = {"fc6": "fc6-1", "fc7": "fc7-1", "fc8": "fc8-1"}
"""What C3D v1.0 called a layer's output, where it is not our name."""

Content = dict[str, Any]
"""What a table is made of: `features` (n, D), the columns of `ROW_COLUMNS`, and `about`."""


def check_format(format: str) -> None:
    """Refuse a format that is unknown or whose library is not installed."""
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}; got {format!r}.")
    FORMATS[format].require()


# --- safetensors ----------------------------------------------------------------------------------


def _write_safetensors(content: Content, path: Path) -> None:
    tensors = {"features": content["features"], **_columns(content)}
    write_tensors(path, tensors, _versioned(content["about"]))


def _read_safetensors(path: Path) -> Content:
    tensors, about = read_tensors(path, format=FORMAT, older=[None])
    if about.pop("format", None) is None and tensors.keys() != {"features", *ROW_COLUMNS}:
        raise ValueError(f"it is not of the format {FORMAT}")
    return {**tensors, "about": about}


# --- npy with rows beside it ----------------------------------------------------------------------


def _write_npy(content: Content, path: Path) -> None:
    # The array comes last: a video counts as done when its .npy is there.
    with atomic_path(path.with_suffix(".json")) as partial:
        partial.write_text(_rows_to_json(content), encoding="utf-8")
    with atomic_path(path) as partial:
        partial.write_bytes(npy_bytes(content["features"]))


def npy_bytes(array: np.ndarray) -> memoryview:
    """An .npy file; np.save to a real file does not say that a disk is full."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getbuffer()


def _read_npy(path: Path) -> Content:
    rows = path.with_suffix(".json")
    if not rows.is_file():
        raise ValueError(f"{rows.name} with its rows is missing beside it")
    about = _checked(json.loads(rows.read_text(encoding="utf-8")))
    return _with_rows(np.load(path, allow_pickle=False), about)


def _rows_to_json(content: Content) -> str:
    # JSON has no NaN: a time that is unknown is null.
    columns = {
        name: [None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()]
        for name, column in _columns(content).items()
    }
    return _to_json({**_versioned(content["about"]), "rows": columns}, indent=1) + "\n"


def _with_rows(features: np.ndarray, about: dict[str, Any]) -> Content:
    columns = {
        name: np.array([math.nan if value is None else value for value in column])
        for name, column in about.pop("rows").items()
    }
    return {"features": features, **columns, "about": about}


# --- Parquet --------------------------------------------------------------------------------------


def _write_parquet(content: Content, path: Path) -> None:
    from pyarrow import parquet

    metadata = {"kinema": _to_json(_versioned(content["about"]))}
    arrow = to_arrow(content).replace_schema_metadata(metadata)
    # A file, not its name: Arrow takes only names that are UTF-8.
    with atomic_path(path) as partial, open(partial, "wb") as file:
        parquet.write_table(arrow, file)


def _read_parquet(path: Path) -> Content:
    with open(path, "rb") as file:
        opened = open_parquet(file)
        about = _checked(json.loads((opened.schema_arrow.metadata or {})[b"kinema"]))
        return {**of_arrow(opened.read(use_threads=False)), "about": about}


def to_arrow(content: Content) -> Any:
    """The rows as a table of Arrow."""
    import pyarrow as pa

    width = content["features"].shape[1]
    columns = {"clip_index": pa.array(np.arange(len(content["features"])))}
    columns |= {name: pa.array(column) for name, column in _columns(content).items()}
    columns["features"] = pa.FixedSizeListArray.from_arrays(content["features"].reshape(-1), width)
    return pa.table(columns)


def of_arrow(arrow: Any) -> Content:
    """What `to_arrow` was given, without `about`."""
    features = arrow["features"].combine_chunks()
    return {
        "features": features.flatten().to_numpy().reshape(len(features), -1),
        **{name: arrow[name].to_numpy() for name in ROW_COLUMNS},
    }


# --- HDF5 -----------------------------------------------------------------------------------------


def _write_hdf5(content: Content, path: Path) -> None:
    import h5py

    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["kinema"] = _to_json(_versioned(content["about"]))
        file["features"] = content["features"]
        for name, column in _columns(content).items():
            file[name] = column


def _read_hdf5(path: Path) -> Content:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            about = _checked(json.loads(file.attrs["kinema"]))
            columns = {name: file[name][()] for name in ("features", *ROW_COLUMNS)}
    except OSError as error:
        raise ValueError(str(error)) from None
    return {**columns, "about": about}


# --- the original's files, see Note [Original feature files] --------------------------------------


def write_c3d_blob(path: Path, values: np.ndarray) -> None:
    """One original feature file. `values` is (C,) or (C, T, H, W) float32."""
    sizes = (1, *values.shape, *(1,) * (4 - values.ndim))
    with open(path, "wb") as file:
        file.write(np.array(sizes, "<i4").tobytes())
        file.write(np.ascontiguousarray(values, "<f4").tobytes())


def read_c3d_blob(path: Path) -> np.ndarray:
    """The values of one original feature file, (C, T, H, W) float32."""
    data = Path(path).read_bytes()
    sizes = np.frombuffer(data[:20], "<i4") if len(data) >= 20 else np.zeros(5, np.int32)
    if (
        sizes.min() < 1
        or len(data) != 20 + 4 * int(np.prod(sizes, dtype=np.int64))
        or sizes[0] != 1
    ):
        raise ValueError(f"{path}: not an original feature file (20-byte header, then float32).")
    return np.frombuffer(data[20:], "<f4").reshape(sizes[1:])


def _write_c3d(content: Content, path: Path) -> None:
    layer = content["about"]["layer"]
    ending = C3D_BLOB_NAMES.get(layer, layer)
    # Clips that start at the same frame are the same, and share a file.
    with atomic_path(path, folder=True) as partial:
        partial.mkdir()
        (partial / "rows.json").write_text(_rows_to_json(content), encoding="utf-8")
        for start, row in zip(content["start_frame"], content["features"], strict=True):
            values = row.reshape(content["about"]["layer_shape"])
            write_c3d_blob(partial / f"{start:06d}.{ending}", values)


def _read_c3d(path: Path) -> Content:
    rows = path / "rows.json"
    about = _checked(json.loads(rows.read_text(encoding="utf-8"))) if rows.is_file() else None
    files = [file for file in path.iterdir() if file.stem.isdecimal()]
    files.sort(key=lambda file: int(file.stem))
    endings = sorted({file.suffix for file in files})
    if not files:
        raise ValueError("it holds no feature file of the original; name one table in it")
    if len(endings) != 1:
        raise ValueError(
            f"it holds files of {len(endings)} layers {', '.join(endings)}; one is needed"
        )
    if about is not None:
        starts = about["rows"]["start_frame"]
        files = [path / f"{start:06d}{endings[0]}" for start in starts]
        return _with_rows(np.stack([read_c3d_blob(file).reshape(-1) for file in files]), about)
    # Files of the original itself: clips of 16 frames, and no times.
    blobs = [read_c3d_blob(file) for file in files]
    starts = np.array([int(file.stem) for file in files])
    unknown = np.full(len(files), np.nan)
    ours = {theirs: layer for layer, theirs in C3D_BLOB_NAMES.items()}
    layer = endings[0].removeprefix(".")
    return {
        "features": np.stack([blob.reshape(-1) for blob in blobs]),
        "start_frame": starts,
        "stop_frame": starts + 16,
        "start_seconds": unknown,
        "stop_seconds": unknown,
        "num_padded_frames": np.zeros(len(files)),
        "about": {
            "video": path.name,
            "layer": ours.get(layer, layer),
            "layer_shape": list(blobs[0].shape),
        },
    }


def _columns(content: Content) -> dict[str, np.ndarray]:
    return {name: content[name] for name in ROW_COLUMNS}


def _versioned(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of `about`, see Note [Versions of a table]."""
    return {"format": FORMAT, **about}


def _checked(about: Any) -> dict[str, Any]:
    """What `_versioned` was given; one of a later version is refused."""
    if not isinstance(about, dict):
        raise ValueError("what its rows share is no JSON object")
    check_not_newer(name := about.pop("format", FORMAT), FORMAT)
    if name == SHARD:
        raise ValueError('it is a shard, of many videos: name one of them, as video="cat.mp4"')
    if name != FORMAT:
        raise ValueError(f"it is of the format {name}, not {FORMAT}")
    return about


def _to_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(dict(value), sort_keys=True, indent=indent)


class Format(NamedTuple):
    """How a table is written and read, the ending of its file and what it needs."""

    ending: str
    write: Callable[[Content, Path], None]
    read: Callable[[Path], Content]
    module: str | None = None
    extra: str | None = None

    def require(self) -> None:
        if self.module is None:
            return
        try:
            __import__(self.module)
        except ImportError:
            raise ImportError(
                f"this format needs {self.module}: pip install 'kinema[{self.extra}]'."
            ) from None


FORMATS: Mapping[str, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "npy": Format(".npy", _write_npy, _read_npy),
    "parquet": Format(".parquet", _write_parquet, _read_parquet, "pyarrow", "parquet"),
    "hdf5": Format(".hdf5", _write_hdf5, _read_hdf5, "h5py", "hdf5"),
    "c3d": Format("", _write_c3d, _read_c3d),
}
