"""`Answer`: what was found, as rows of plain values that become a data frame, CSV or JSON."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kinema.datasets.csv_lists import FORMULA
from kinema.files import atomic_path, write_json
from kinema.notebook import MOST_ROWS, as_html, data_frame
from kinema.skipped import Skipped
from kinema.weights.file import cache_folder
from kinema.words import from_here, number_of


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What was found.

    Attributes:
        rows: one dataclass a finding, whose fields are plain values; the best comes first.
        skipped: videos that could not be used, and why.
        notes: what else the user should know, a line each.
    """

    rows: Sequence[Any] = ()
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def as_rows(self) -> list[dict[str, Any]]:
        """One mapping a row: names of columns to values; what is not known is None."""
        return [row_values(row) for row in self.rows]

    def to_pandas(self) -> Any:
        """The rows as a data frame. Needs pandas."""
        return data_frame(self.as_rows())

    def _repr_html_(self) -> str:
        title = f"{type(self).__name__}: {number_of(len(self), 'row')}"
        if self.skipped:
            title += f", {number_of(len(self.skipped), 'video')} skipped"
        first = [row_values(row) for row in self.rows[:MOST_ROWS]]
        first = [row | {"path": from_here(row["path"])} if "path" in row else row for row in first]
        return as_html(title, first, count=len(self), notes=self.notes)

    def as_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "rows": self.as_rows(),
            "skipped": [one.as_mapping() for one in self.skipped],
            "notes": [*self.notes],
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `as_mapping`."""
        write_json(path, self.as_mapping())

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows, cells guarded as `write_table` does."""
        write_table(path, self.as_rows())


def row_values(row: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON values; times that are not known are None."""
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def guarded(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a quote stands before such a text."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def write_table(
    path: str | os.PathLike[str],
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
) -> None:
    """Write rows as CSV, atomically; text that a spreadsheet would carry out is guarded.

    Args:
        path: the file.
        rows: mappings of the same names.
        columns: the names; None for those of the first row.
    """
    rows = [*rows]
    names = [*(columns or (rows[0] if rows else ()))]
    with (
        atomic_path(path) as partial,
        open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(map(guarded, names))
        writer.writerows(
            ["" if row[name] is None else guarded(row[name]) for name in names] for row in rows
        )


def kept_in(cache: str | os.PathLike[str] | None) -> Path:
    """Where features, sketches and indexes are kept: `cache`, or a folder of the user's own."""
    return cache_folder() / "finding" if cache is None else Path(cache)
