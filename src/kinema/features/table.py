"""`FeatureTable`: the features of one video with the place of every row, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.features.shards import load_content
from kinema.features.table_files import FORMATS, ROW_COLUMNS, check_format
from kinema.files import NewerFormat
from kinema.notebook import MOST_ROWS, as_html, data_frame
from kinema.store import Store, is_url, open_store


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
        content = {"features": self.features, **self._columns(), "about": self.about}
        FORMATS[format].write(content, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, video: str | None = None) -> FeatureTable:
        """Read a table in any of `FORMATS`; a folder is read as original feature files.

        Args:
            path: of the file or folder; a URL (s3://bucket/features/cat.mp4.safetensors) is of a
                table that is one file, or of a shard.
            video: which one, of a shard (features/shards/000012.parquet); the others are not read.
                All that a run made: `ExtractedTables`.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ImportError: a package that the URL takes is not installed.
            NewerFormat: a newer version of Kinema wrote it.
            ValueError: it is no feature table, or holds none of `video`; the message names the
                file.
        """
        if video is not None:
            return cls(**load_content(path, video))
        if is_url(path):
            folder, _, name = os.fspath(path).rpartition("/")
            return cls._from_store(open_store(folder, "path"), name)
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file.")
        ending = "" if path.is_dir() else path.suffix
        for format in FORMATS.values():
            if format.ending == ending:
                try:
                    return cls(**format.read(path))
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

    @classmethod
    def from_bytes(cls, data: bytes, ending: str, sha256: str | None = None) -> FeatureTable:
        """A table of the bytes of its file, which ends in ".safetensors", say.

        Raises:
            NewerFormat: a newer version of Kinema wrote it.
            ValueError: it is no feature table, or its checksum is another one.
        """
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("its checksum is another one.")
        with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
            path = Path(folder, f"table{ending}")
            path.write_bytes(data)
            return cls.load(path)

    @classmethod
    def _from_store(cls, store: Store, name: str) -> FeatureTable:
        try:
            data = store.read(name)
        except FileNotFoundError:
            raise FileNotFoundError(f"{store}/{name}: no such file.") from None
        try:
            return cls.from_bytes(data, os.path.splitext(name)[1])
        except ValueError as error:
            raise type(error)(f"{store}/{name}: {error}") from None

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
