"""The executed notebook examples/paper.ipynb, made from the script examples/paper.py.

    python experiments/notebook.py

It takes a few minutes and nothing but Kinema: cells run here, one after the other, what they print
and the figures that they leave open become their outputs. Jupyter shows and runs the notebook as
any other. Its cells begin with `# %%` in the script, text with `# %% [markdown]`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from kinema.files import atomic_path

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "paper.py", EXAMPLES / "paper.ipynb"

Cell = dict[str, Any]


def cells_of(script: str) -> list[Cell]:
    """The cells of a script, as the notebook format has them, not executed."""
    found: list[Cell] = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:], start=1):
        kind, _, body = part.partition("\n")
        text = kind.strip() == "[markdown]"
        body = body.strip("\n")
        if text:
            body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.split("\n"))
        cell: Cell = {
            "cell_type": "markdown" if text else "code",
            "id": f"cell-{number:02d}",
            "metadata": {},
            "source": body.splitlines(keepends=True),
        }
        found.append(cell if text else {**cell, "execution_count": None, "outputs": []})
    return found


def execute(cells: list[Cell]) -> dict[str, Any]:
    """Run the code of cells in one namespace, which is returned; their outputs become theirs."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        outputs: list[dict[str, Any]] = []
        if printed.getvalue():
            lines = printed.getvalue().splitlines(keepends=True)
            outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
        for figure in map(plt.figure, plt.get_fignums()):
            data = {"image/png": _png(figure), "text/plain": ["<Figure>"]}
            outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
        plt.close("all")
        cell["execution_count"], cell["outputs"] = number, outputs
    return namespace


def _png(figure: plt.Figure) -> str:
    """A figure in 256 colours, which take a third of the bytes, as a notebook has it."""
    drawn, written = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256).save(written, format="png", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def notebook(cells: list[Cell]) -> str:
    """Cells as a notebook file."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    cells = cells_of(SCRIPT.read_text(encoding="utf-8"))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        execute(cells)
    with atomic_path(NOTEBOOK) as partial:
        partial.write_text(notebook(cells), encoding="utf-8")
    size = NOTEBOOK.stat().st_size
    print(f"{NOTEBOOK}: {size / 1e6:.2f} MB, {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
