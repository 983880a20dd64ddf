"""A page is a template whose `{{name}}`s are filled; style.css is what all pages look like."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import kinema
from kinema.files import atomic_path

FOLDER = Path(__file__).parent


def fill(
    template: str, path: str | os.PathLike[str], parts: Mapping[str, str | Iterable[str]]
) -> None:
    """Write a template with its parts, atomically. `style` and `version` are given to each.

    Args:
        template: its name, a file beside this one.
        path: the file.
        parts: what stands in place of each `{{name}}`, HTML; several pieces are joined.
    """
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    parts = {"style": style, "version": kinema.__version__, **parts}
    pieces = re.split(r"\{\{(\w+)\}\}", (FOLDER / template).read_text(encoding="utf-8"))
    with (
        atomic_path(path) as partial,
        # Names of files that are no UTF-8 hold what cannot be written.
        open(partial, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for index, piece in enumerate(pieces):
            part = parts[piece] if index % 2 else piece
            file.writelines([part] if isinstance(part, str) else part)
