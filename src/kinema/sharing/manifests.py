"""Manifests: what became of each name of a chunk, a Parquet file a chunk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.files import NewerFormat, check_not_newer, read_parquet

FORMAT = "kinema-manifest-1"

FOLDER = "_shared/manifests"


@dataclass(frozen=True)
class Row:
    """What became of one name.

    Attributes:
        name: of the video.
        fingerprint: of what was read.
        num_clips: rows of its table.
        sha256: of the file that was written.
        reason: why it was skipped; then there is no file.
    """

    name: str
    fingerprint: str = ""
    num_clips: int = 0
    sha256: str = ""
    reason: str = ""


class DamagedManifest(ValueError):
    """A manifest cannot be read, or is of another chunk."""


def check_parquet() -> None:
    """Refuse to begin where manifests cannot be written.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ImportError(
            "shared runs keep their manifests as Parquet, which needs pyarrow: "
            "pip install 'kinema[shared]'."
        ) from None


def path_of(chunk: int) -> str:
    """Where the manifest of a chunk lies in its store."""
    return f"{FOLDER}/{chunk:06d}.parquet"


def chunk_of(name: str) -> int | None:
    """The chunk of a manifest by its file's name; None of other files."""
    number, _, ending = name.partition(".")
    return int(number) if ending == "parquet" and number.isdecimal() else None


def write(rows: Iterable[Row]) -> bytes:
    """The bytes of a manifest; equal rows give equal bytes."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = sorted(rows, key=lambda row: row.name)
    columns = {name: [getattr(row, name) for row in rows] for name in _FIELDS}
    arrays = {
        name: pa.array(values, pa.int64() if name == "num_clips" else pa.string())
        for name, values in columns.items()
    }
    about = {"format": FORMAT, "sha256": _sha256(columns)}
    table = pa.table(arrays).replace_schema_metadata({"kinema": json.dumps(about)})
    buffer = io.BytesIO()
    # No value stands there twice; checksums are half as long then as they are written.
    parquet.write_table(table, buffer, compression="zstd", use_dictionary=False)
    return buffer.getvalue()


_FIELDS = tuple(field.name for field in dataclasses.fields(Row))


def _sha256(columns: Mapping[str, Sequence[Any]]) -> str:
    """Of the columns, by which damage is told that Parquet reads over."""
    text = json.dumps([columns[name] for name in _FIELDS])
    return hashlib.sha256(text.encode()).hexdigest()


def read(data: bytes, names: Sequence[str]) -> list[Row]:
    """The rows of a manifest.

    Raises:
        DamagedManifest: it cannot be read, or is not of these names.
        NewerFormat: a newer version wrote it.
    """
    check_parquet()  # without it, whole manifests would seem damaged
    try:
        table = read_parquet(io.BytesIO(data))
        about = json.loads(table.schema.metadata[b"kinema"])
        check_not_newer(about["format"], FORMAT)
        columns = {name: table.column(name).to_pylist() for name in _FIELDS}
        is_whole = about["sha256"] == _sha256(columns)
    except NewerFormat:
        raise
    except Exception as error:  # whatever Arrow makes of changed bytes
        raise DamagedManifest(" ".join(str(error).split())) from None
    if not is_whole:
        raise DamagedManifest("its checksum is another")
    if columns["name"] != [*names]:
        raise DamagedManifest("it is of other videos")
    return [Row(*values) for values in zip(*columns.values(), strict=True)]
