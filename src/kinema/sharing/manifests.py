"""Manifests: what became of each name of a chunk, a Parquet file a chunk."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.files import check_not_newer

FORMAT = "kinema-manifest-1"

FOLDER = "_shared/manifests"

Kept = tuple[str, str, int, str, str]
"""A row as JSON values."""


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
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata({"kinema": FORMAT})
    # A changed byte is found by the checksums of pages.
    parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def read(data: bytes, names: Sequence[str]) -> list[Row]:
    """The rows of a manifest.

    Raises:
        DamagedManifest: it cannot be read, or is not of these names.
        NewerFormat: a newer version wrote it.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data), page_checksum_verification=True)
        format = (table.schema.metadata or {}).get(b"kinema", b"").decode()
        columns: dict[str, list[Any]] = table.to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedManifest(" ".join(str(error).split())) from None
    check_not_newer(format, FORMAT)
    if format != FORMAT or columns.get("name") != [*names]:
        raise DamagedManifest("it is of other videos")
    fields = [columns[field.name] for field in dataclasses.fields(Row)]
    return [Row(*values) for values in zip(*fields, strict=True)]
