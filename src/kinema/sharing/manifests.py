"""Manifests: what became of each name of a chunk, a Parquet file a chunk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kinema.files import NewerFormat, check_not_newer

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
    columns = {
        field.name: pa.array(
            [getattr(row, field.name) for row in rows],
            pa.int64() if field.name == "num_clips" else pa.string(),
        )
        for field in dataclasses.fields(Row)
    }
    about = {"format": FORMAT, "sha256": _sha256(rows)}
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata({"kinema": json.dumps(about)})
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _sha256(rows: Sequence[Row]) -> str:
    """Of the rows, by which damage is told that Parquet reads over."""
    return hashlib.sha256(
        json.dumps([dataclasses.astuple(row) for row in rows]).encode()
    ).hexdigest()


def read(data: bytes, names: Sequence[str]) -> list[Row]:
    """The rows of a manifest.

    Raises:
        DamagedManifest: it cannot be read, or is not of these names.
        NewerFormat: a newer version wrote it.
    """
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        about = json.loads(table.schema.metadata[b"kinema"])
        check_not_newer(about["format"], FORMAT)
        columns = table.to_pydict()
        fields = [columns[field.name] for field in dataclasses.fields(Row)]
        rows = [Row(*values) for values in zip(*fields, strict=True)]
        is_whole = about["sha256"] == _sha256(rows)
    except NewerFormat:
        raise
    except Exception as error:  # whatever Arrow makes of changed bytes
        raise DamagedManifest(" ".join(str(error).split())) from None
    if not is_whole:
        raise DamagedManifest("its checksum is another")
    if [row.name for row in rows] != [*names]:
        raise DamagedManifest("it is of other videos")
    return rows
