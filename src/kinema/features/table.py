"""`FeatureTable`: the features of one video with the place of every row, in memory and on disk.

To add a file format, write its two functions and name them in `FORMATS`.

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
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinema.files import (
    NewerFormat,
    atomic_path,
    check_not_newer,
    read_tensors,
    write_tensors,
)
from kinema.notebook import MOST_ROWS, as_html, data_frame

FORMAT = "kinema-features-1"

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


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of the clips of one video, one row a clip.

    Attributes:
        features: (n, D) float32; a layer with axes (C, T, H, W) is flattened, width fastest.
        start_frame: (n,) int64, number of the first frame: from 0 in a video file, from 1 in a
            folder of pictures.
        stop_frame: (n,) int64, number behind the last frame used.
        start_seconds: (n,) float64, when the first frame is shown; NaN if it has no times.
        stop_seconds: (n,) float64, when the last frame stops being shown.
        num_padded_frames: (n,) int64, how often the last frame was repeated to fill the clip.
        about: what all rows share, as JSON values: video, layer, layer_shape, plan, weights,
            preprocessing, decoder, versions, and `partial` with the reason if the video broke.

    Example:
        >>> table = FeatureTable(
        ...     features=np.array([[3, 0], [0, 4]]),
        ...     start_frame=np.array([0, 8]),
        ...     stop_frame=np.array([16, 24]),
        ...     start_seconds=np.array([0, 0.32]),
        ...     stop_seconds=np.array([0.64, 0.96]),
        ...     num_padded_frames=np.array([0, 0]),
        ... )
        >>> table.video_vector()
        array([0.6, 0.8], dtype=float32)
    """

    features: np.ndarray
    start_frame: np.ndarray
    stop_frame: np.ndarray
    start_seconds: np.ndarray
    stop_seconds: np.ndarray
    num_padded_frames: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        features = np.ascontiguousarray(self.features, np.float32)
        if features.ndim != 2:
            raise ValueError(f"`features` must be (n, D), got shape {features.shape}.")
        object.__setattr__(self, "features", features)
        for name, dtype in ROW_COLUMNS.items():
            column = np.ascontiguousarray(getattr(self, name), dtype)
            if column.shape != (len(features),):
                raise ValueError(
                    f"`{name}` must be ({len(features)},), one a row, got shape {column.shape}."
                )
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.features)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The features, (n, D) float32: what `np.asarray(table)` gives, without a copy."""
        if copy is None:  # NumPy 1 takes no None
            return np.asarray(self.features, dtype)
        return np.array(self.features, dtype, copy=copy)

    def __getitem__(self, rows: Any) -> FeatureTable:
        """Some of the rows, a table again.

        Args:
            rows: a number, from the end if it is negative; a slice; an array of numbers (in its
                order); or (n,) bool, True where a row stays, as `table.start_seconds < 10`.

        Raises:
            IndexError: there is no such row, or a mask is of another length.
        """
        if isinstance(rows, tuple):
            raise IndexError("a table is indexed by its rows alone; columns are its attributes.")
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        columns = {name: column[chosen] for name, column in self._columns().items()}
        return FeatureTable(self.features[chosen], **columns, about=self.about)

    def to_pandas(self) -> Any:
        """A row a clip, with the columns of a Parquet file; `features` holds arrays. Needs pandas.

        What all rows share is the frame's `attrs`.
        """
        places = {"clip_index": self.clip_index, **self._columns()}
        frame = data_frame({**places, "features": [*self.features]})
        frame.attrs.update(self.about)
        return frame

    def _repr_html_(self) -> str:
        shown = self[:MOST_ROWS]
        rows = [
            {
                "clip": clip,
                "frames": f"{shown.start_frame[clip]} to {shown.stop_frame[clip]}",
                "from, s": float(shown.start_seconds[clip]),
                "to, s": float(shown.stop_seconds[clip]),
                "features": f"{', '.join(f'{value:.3g}' for value in row[:4])}, ...",
            }
            for clip, row in enumerate(shown.features)
        ]
        return as_html(repr(self), rows, count=len(self))

    def __repr__(self) -> str:
        return (
            f"FeatureTable({self.about.get('video')!r}, {self.about.get('layer')}: "
            f"{len(self)} clips x {self.features.shape[1]})"
        )

    @property
    def clip_index(self) -> np.ndarray:
        """(n,) int64, 0 ... n - 1."""
        return np.arange(len(self))

    def video_vector(self) -> np.ndarray:
        """The video's descriptor: mean over clips, then L2-normalised (Tran et al., section 3.3).

        Returns:
            (D,) float32 of length 1; zeros if the mean is zero.
        """
        return normalized(self.features.mean(axis=0, dtype=np.float64))

    def save(self, path: str | os.PathLike[str], format: str = "safetensors") -> None:
        """Write the table in one of `FORMATS`, atomically."""
        check_format(format)
        FORMATS[format].write(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FeatureTable:
        """Read a table in any of `FORMATS`; a folder is read as original feature files.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            NewerFormat: a newer version of Kinema wrote it.
            ValueError: it is no feature table; the message names the file.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file.")
        ending = "" if path.is_dir() else path.suffix
        for format in FORMATS.values():
            if format.ending == ending:
                try:
                    return format.read(path)
                except NewerFormat as error:
                    raise NewerFormat(
                        f"{path} is not a feature table that this version reads ({error})."
                    ) from None
                except (KeyError, EOFError, json.JSONDecodeError, ValueError) as error:
                    raise ValueError(f"{path} is not a feature table ({error}).") from None
        raise ValueError(
            f"{path}: a feature table ends in "
            f"{', '.join(f.ending for f in FORMATS.values() if f.ending)}, "
            "or is a folder of original feature files."
        )

    def _columns(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ROW_COLUMNS}


_BLOCK = 2048
"""Rows that are normalised at once."""


def normalized(vector: np.ndarray) -> np.ndarray:
    """Vector(s) along the last axis divided by their L2 norm, float32; zeros stay zeros."""
    if np.ndim(vector) == 2 and len(vector) > _BLOCK:  # in float64 all of a long video is large
        parts = [vector[start : start + _BLOCK] for start in range(0, len(vector), _BLOCK)]
        return np.concatenate([normalized(part) for part in parts])
    vector = np.asarray(vector, np.float64)
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.divide(vector, norm, out=np.zeros_like(vector), where=norm > 0).astype(np.float32)


def check_format(format: str) -> None:
    """Refuse a format that is unknown or whose library is not installed."""
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}; got {format!r}.")
    FORMATS[format].require()


# --- safetensors ----------------------------------------------------------------------------------


def _write_safetensors(table: FeatureTable, path: Path) -> None:
    tensors = {"features": table.features, **table._columns()}
    write_tensors(path, tensors, _versioned(table.about))


def _read_safetensors(path: Path) -> FeatureTable:
    tensors, about = read_tensors(path, format=FORMAT, older=[None])
    if about.pop("format", None) is None and tensors.keys() != {"features", *ROW_COLUMNS}:
        raise ValueError(f"it is not of the format {FORMAT}")
    return FeatureTable(**tensors, about=about)


# --- npy with rows beside it ----------------------------------------------------------------------


def _write_npy(table: FeatureTable, path: Path) -> None:
    # The array comes last: a video counts as done when its .npy is there.
    with atomic_path(path.with_suffix(".json")) as partial:
        partial.write_text(_rows_to_json(table), encoding="utf-8")
    with atomic_path(path) as partial:
        partial.write_bytes(npy_bytes(table.features))


def npy_bytes(array: np.ndarray) -> memoryview:
    """An .npy file; np.save to a real file does not say that a disk is full."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getbuffer()


def _read_npy(path: Path) -> FeatureTable:
    rows = path.with_suffix(".json")
    if not rows.is_file():
        raise ValueError(f"{rows.name} with its rows is missing beside it")
    about = _checked(json.loads(rows.read_text(encoding="utf-8")))
    return _with_rows(np.load(path, allow_pickle=False), about)


def _rows_to_json(table: FeatureTable) -> str:
    # JSON has no NaN: a time that is unknown is null.
    columns = {
        name: [None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()]
        for name, column in table._columns().items()
    }
    return _to_json({**_versioned(table.about), "rows": columns}, indent=1) + "\n"


def _with_rows(features: np.ndarray, about: dict[str, Any]) -> FeatureTable:
    columns = {
        name: np.array([math.nan if value is None else value for value in column])
        for name, column in about.pop("rows").items()
    }
    return FeatureTable(features=features, **columns, about=about)


# --- Parquet --------------------------------------------------------------------------------------


def _write_parquet(table: FeatureTable, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    width = table.features.shape[1]
    columns = {"clip_index": pa.array(table.clip_index)}
    columns |= {name: pa.array(column) for name, column in table._columns().items()}
    columns["features"] = pa.FixedSizeListArray.from_arrays(table.features.reshape(-1), width)
    arrow = pa.table(columns).replace_schema_metadata({"kinema": _to_json(_versioned(table.about))})
    # A file, not its name: Arrow takes only names that are UTF-8.
    with atomic_path(path) as partial, open(partial, "wb") as file:
        parquet.write_table(arrow, file)


def _read_parquet(path: Path) -> FeatureTable:
    from pyarrow import parquet

    with open(path, "rb") as file:
        arrow = parquet.read_table(file)
    about = _checked(json.loads((arrow.schema.metadata or {})[b"kinema"]))
    features = arrow["features"].combine_chunks()
    return FeatureTable(
        features=features.flatten().to_numpy().reshape(len(features), -1),
        **{name: arrow[name].to_numpy() for name in ROW_COLUMNS},
        about=about,
    )


# --- HDF5 -----------------------------------------------------------------------------------------


def _write_hdf5(table: FeatureTable, path: Path) -> None:
    import h5py

    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["kinema"] = _to_json(_versioned(table.about))
        file["features"] = table.features
        for name, column in table._columns().items():
            file[name] = column


def _read_hdf5(path: Path) -> FeatureTable:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            about = _checked(json.loads(file.attrs["kinema"]))
            columns = {name: file[name][()] for name in ("features", *ROW_COLUMNS)}
    except OSError as error:
        raise ValueError(str(error)) from None
    return FeatureTable(**columns, about=about)


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


def _write_c3d(table: FeatureTable, path: Path) -> None:
    layer = table.about["layer"]
    ending = C3D_BLOB_NAMES.get(layer, layer)
    # Clips that start at the same frame are the same, and share a file.
    with atomic_path(path, folder=True) as partial:
        partial.mkdir()
        (partial / "rows.json").write_text(_rows_to_json(table), encoding="utf-8")
        for start, row in zip(table.start_frame, table.features, strict=True):
            values = row.reshape(table.about["layer_shape"])
            write_c3d_blob(partial / f"{start:06d}.{ending}", values)


def _read_c3d(path: Path) -> FeatureTable:
    rows = path / "rows.json"
    about = _checked(json.loads(rows.read_text(encoding="utf-8"))) if rows.is_file() else None
    files = [file for file in path.iterdir() if file.stem.isdecimal()]
    files.sort(key=lambda file: int(file.stem))
    endings = sorted({file.suffix for file in files})
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
    return FeatureTable(
        features=np.stack([blob.reshape(-1) for blob in blobs]),
        start_frame=starts,
        stop_frame=starts + 16,
        start_seconds=unknown,
        stop_seconds=unknown,
        num_padded_frames=np.zeros(len(files)),
        about={
            "video": path.name,
            "layer": ours.get(layer, layer),
            "layer_shape": list(blobs[0].shape),
        },
    )


def _versioned(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of `about`, see Note [Versions of a table]."""
    return {"format": FORMAT, **about}


def _checked(about: Any) -> dict[str, Any]:
    """What `_versioned` was given; one of a later version is refused."""
    if not isinstance(about, dict):
        raise ValueError("what its rows share is no JSON object")
    check_not_newer(name := about.pop("format", FORMAT), FORMAT)
    if name != FORMAT:
        raise ValueError(f"it is of the format {name}, not {FORMAT}")
    return about


def _to_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(dict(value), sort_keys=True, indent=indent)


class Format(NamedTuple):
    """How a table is written and read, the ending of its file and what it needs."""

    ending: str
    write: Callable[[FeatureTable, Path], None]
    read: Callable[[Path], FeatureTable]
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
