"""Shards: the tables of many videos in one Parquet file, and one of them read without the others.

Note [A shard]
    A row group is the table of one video, with the columns of a table's Parquet file and the
    video's name before them; they follow each other in the order of the names.

        schema metadata `kinema`: what all tables share of `about`, and for each video of the chunk
                                  its row of the manifest, and what its table alone has of `about`
        row group 0: cat.mp4      video, clip_index, start_frame, ..., features
        row group 1: dog.mp4
        footer                    where each row group begins

    Damage is told by a checksum of the metadata and, in it, one of each table's arrays; Parquet's
    own, of pages, leave out their headers. `sha256` of a row is that of the file which a run
    without shards would write as safetensors: of what is in a table and not of how Parquet packs
    it, so versions of pyarrow that pack otherwise agree on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kinema.features.table_files import (
    FORMATS,
    ROW_COLUMNS,
    SHARD,
    Content,
    of_arrow,
    to_arrow,
)
from kinema.files import NewerFormat, check_not_newer, open_parquet
from kinema.sharing.manifests import Row
from kinema.sharing.shards import DamagedShard, Packing
from kinema.store import StoreError, is_url, open_store
from kinema.words import first_of


def write_shard(path: Path, rows: Sequence[Row], files: Mapping[str, Path]) -> None:
    """Write the shard of some videos; equal rows and files give equal bytes.

    One table at a time is in memory.

    Args:
        path: where to.
        rows: of all videos, in order; those that were skipped have no table.
        files: of the others, their tables, as safetensors.
    """
    from pyarrow import parquet

    with_table = [row for row in rows if row.name in files]
    metadata = _metadata(rows, {row.name: _about(_content(row, files)) for row in with_table})
    schema = _arrow(with_table[0], files).schema
    how = {
        "compression": "zstd",
        "use_dictionary": ["video"],
        "write_statistics": [name for name in schema.names if name != "features"],
    }
    schema = schema.with_metadata({"kinema": metadata})
    # A file, not its name: Arrow takes only names that are UTF-8.
    with open(path, "wb") as file, parquet.ParquetWriter(file, schema, **how) as writer:
        for row in with_table:
            writer.write_table(_arrow(row, files), row_group_size=max(row.num_clips, 1))


def _content(row: Row, files: Mapping[str, Path]) -> Content:
    return FORMATS["safetensors"].read(files[row.name])


def _arrow(row: Row, files: Mapping[str, Path]) -> Any:
    import pyarrow as pa

    rows = to_arrow(_content(row, files))
    return rows.add_column(0, "video", pa.array([row.name] * len(rows), pa.string()))


def _about(content: Content) -> dict[str, str]:
    """What is told of a table beside its rows, each value as JSON."""
    told = {**content["about"], _ROWS: _sha256_of_rows(content)}
    return {name: json.dumps(value, sort_keys=True) for name, value in told.items()}


_ROWS = "rows_sha256"
"""Stands in `about` while it is in a shard."""


def _metadata(rows: Sequence[Row], abouts: Mapping[str, Mapping[str, str]]) -> str:
    """What a shard says of its videos, as JSON."""
    first, *more = abouts.values()
    same = {key for key, text in first.items() if all(each.get(key) == text for each in more)}
    videos = [
        {
            **dataclasses.asdict(row),
            "about": {
                key: json.loads(text)
                for key, text in abouts.get(row.name, {}).items()
                if key not in same
            },
        }
        for row in rows
    ]
    content = {"about": {key: json.loads(first[key]) for key in same}, "videos": videos}
    return json.dumps({"format": SHARD, "sha256": _sha256(content), **content}, sort_keys=True)


def _sha256(content: Mapping[str, Any]) -> str:
    """Of a shard's metadata."""
    text = json.dumps({key: content[key] for key in ("about", "videos")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256_of_rows(content: Content) -> str:
    """Of a table's arrays, little-endian as they lie: the features, then each column."""
    digest = hashlib.sha256()
    for name, dtype in {"features": np.float32, **ROW_COLUMNS}.items():
        array = np.ascontiguousarray(content[name], np.dtype(dtype).newbyteorder("<"))
        digest.update(array.data)
    return digest.hexdigest()


class Shard:
    """A shard that is read.

    Args:
        file: at any place; read in parts while this is used.

    Attributes:
        rows: of all videos of its chunk, by name; those that were skipped have no table.

    Raises:
        DamagedShard: it cannot be read, or is none.
        NewerFormat: a newer version wrote it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        with _damage():
            self._file = open_parquet(file)
            content = json.loads(self._file.schema_arrow.metadata[b"kinema"])
            check_not_newer(content["format"], SHARD)
            if content["format"] != SHARD:
                raise ValueError("it is no shard")
            if content["sha256"] != _sha256(content):
                raise ValueError("the checksum of its metadata is another")
            self._same, self._own = content["about"], {}
            self.rows: dict[str, Row] = {}
            for video in content["videos"]:
                self._own[video["name"]] = video.pop("about")
                self.rows[video["name"]] = Row(**video)
            self._groups = [name for name, row in self.rows.items() if row.sha256]
            if self._file.num_row_groups != len(self._groups):
                raise ValueError("it has more or fewer tables than it tells of")

    def read(self, name: str) -> Content:
        """What the table of a video is made of.

        Raises:
            ValueError: it holds none of this video.
            DamagedShard: it cannot be read.
        """
        if name not in self.rows:
            raise ValueError(f"it holds {first_of(self.rows, 3)}, but no video called {name}.")
        if name not in self._groups:
            raise ValueError(f"{name} was skipped: {self.rows[name].reason}")
        with _damage():
            arrow = self._file.read_row_group(self._groups.index(name), use_threads=False)
            about = {**self._same, **self._own[name]}
            content = {**of_arrow(arrow), "about": about}
            rows = arrow.select(["video", "clip_index"]).to_pylist()
            told = [{"video": name, "clip_index": index} for index in range(len(arrow))]
            if about.pop(_ROWS) != _sha256_of_rows(content) or rows != told:
                raise ValueError(f"the checksum of {name} is another")
            return content


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Tell what Arrow makes of changed bytes."""
    try:
        yield
    except (NewerFormat, StoreError):
        raise
    except Exception as error:
        raise DamagedShard(" ".join(str(error).split()) or type(error).__name__) from None


def read_shard(file: IO[bytes]) -> list[Row]:
    """The rows of a shard, after a look at each table."""
    shard = Shard(file)
    for name, row in shard.rows.items():
        if row.sha256:
            shard.read(name)
    return [*shard.rows.values()]


PACKING = Packing(write_shard, read_shard)


def load_content(path: str | os.PathLike[str], video: str) -> Content:
    """What the table of a video is made of, from a shard.

    Args:
        path: of the shard, or its URL.
        video: its name.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ImportError: a package is missing.
        ValueError: it is no shard, damaged, or without this video. `NewerFormat` is one of them.
    """
    FORMATS["parquet"].require()
    folder, _, name = os.fspath(path).rpartition("/")
    try:
        with open_store(folder, "path").open(name) if is_url(path) else open(path, "rb") as file:
            return Shard(file).read(video)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such file.") from None
    except DamagedShard as error:
        raise ValueError(f"{path} is no shard, or damaged ({error}).") from None
    except NewerFormat as error:
        raise NewerFormat(f"{path} is no shard that this version reads ({error}).") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
