"""What notebooks show of a table: a few rows as HTML; and tables as data frames of pandas."""

from __future__ import annotations

import html
import importlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

MOST_ROWS = 10
"""Rows that are shown of a longer table."""

_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, halves of characters, and ends of lines."""
_TURNS_AROUND = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text as HTML. What cannot be seen, or turns others around, is written as Python does."""
    shown = "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in _UNSEEN or _TURNS_AROUND.match(character)
        else character
        for character in text
    )
    return html.escape(shown)


def as_html(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    count: int | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A small table, a paragraph above it and one for each note below.

    Args:
        title: what it is.
        rows: the first rows, columns by name; `MOST_ROWS` of them are shown.
        count: how many there are in all; as many as are given by default.
        notes: lines below.
    """
    shown, count = rows[:MOST_ROWS], len(rows) if count is None else count
    lines = [f"<p>{visible(title)}</p>"]
    if shown:
        head = "".join(f"<th>{visible(name)}</th>" for name in shown[0])
        lines.append(f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>')
        for row in shown:
            cells = "".join(f"<td>{visible(_cell(value))}</td>" for value in row.values())
            lines.append(f"<tr>{cells}</tr>")
        lines.append("</tbody></table>")
    if count > len(shown):
        lines.append(f"<p>... and {count - len(shown)} more</p>")
    return "\n".join([*lines, *(f"<p>{visible(note)}</p>" for note in notes)])


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def data_frame(columns: Any) -> Any:
    """A data frame of whatever pandas makes one of.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise ImportError("`to_pandas` needs pandas: pip install pandas.") from None
    return pandas.DataFrame(columns)
