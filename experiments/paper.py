"""Writes the tables of docs/paper.md from docs/results/*.json, benchmarks/*.json and the networks.

    python experiments/paper.py

tests/test_paper.py sees to it that the page is up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.evaluation.ablation_result import BASELINE, ERRORS, Ablation
from kinema.evaluation.runtime import PAPER as RUNTIME
from kinema.methods.paper import PAPER
from kinema.network import c3d, kernel_depth
from kinema.views.ablation import table as study_table

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))
from tables import filled, load

PAGE = ROOT / "docs" / "paper.md"
RESULTS = ROOT / "docs" / "results"
PCA = {10: 52.8, 50: 72.6, 100: 75.6, 500: 79.4}
"""C3D's accuracy on UCF101 in so many dimensions (Tran et al. 2015, figure 5)."""
STUDIES = ("drawn", "ucf101-3")
MORE = ("c3d-random", "depth-1", "one-frame", "c3d+imagenet", "slowfast", "chance")
"""Rows of ours that the paper does not have."""


def results(name: str) -> dict[str, Any]:
    """One table's or figure's result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cost() -> str:
    """What deeper kernels cost."""
    benchmark = load("engines")
    rows = []
    for depth in (1, 3, 5, 7):
        network, speed = kernel_depth((depth,) * 5), benchmark["speed"][f"depth-{depth} x4"]
        times = [f"{1e3 / speed[way]['clips_per_second']:.0f}" for way in ("native", "torch")]
        multiply_adds = f"{network.num_multiply_adds / 1e9:.2f}"
        rows.append([f"{depth}x3x3", f"{network.num_parameters:,}", multiply_adds, *times])
    titles = ["kernel", "parameters", "10^9 multiply-adds a clip", "ms a clip, Kinema", "PyTorch"]
    machine = benchmark["machine"]
    return (
        f"{markdown(titles, rows)}\n\n{machine['cpu']}, {machine['cores']} cores, four clips at "
        "once ([engines.json](../benchmarks/engines.json))."
    )


def figure_2() -> str:
    """The study of the kernels' depth, on the sets of videos that it was made on."""
    files = {name: RESULTS / f"kernel-depth-{name}.json" for name in STUDIES}
    studies = {name: Ablation.load(file) for name, file in files.items() if file.is_file()}
    if not studies:
        return "**Ours:** the study has not been made yet: it takes two cores some hours a dataset."
    titles = ["net", "depths", "parameters at the paper's size"]
    columns: list[list[str]] = []
    for study in studies.values():
        known, rows = study_table(study)
        of_title = dict(zip(known, map(list, zip(*rows, strict=True)), strict=True))
        if not columns:
            columns = [of_title[title] for title in titles]
        for title in ("clip accuracy, %", f"to {BASELINE}, points"):
            titles.append(f"{study.dataset}: {title}")
            columns.append(of_title[title])
    told = "; ".join(
        f"{study.dataset}: {len(study.seeds)} seeds, chance {100 * study.chance:.1f} %, "
        f"[figure and what it shows](results/kernel-depth-{name}.md)"
        for name, study in studies.items()
    )
    made = markdown(titles, [list(row) for row in zip(*columns, strict=True)])
    return (
        f"{made}\n\nMean ± standard error over seeds; a star is a difference of more than "
        f"{ERRORS:g} standard errors, paired by seed. {told[0].upper()}{told[1:]}."
    )


def figure_3() -> str:
    """C3D's layers, what comes out of each, and their parameters."""
    network = c3d()
    shapes = network.shapes()
    before = [network.input_shape, *shapes.values()]
    rows = []
    for layer, shape in zip(network.layers, before, strict=False):
        count = sum(int(np.prod(one)) for one in layer.parameter_shapes(shape).values())
        if layer.name in shapes and ("conv" in layer.name or "pool" in layer.name or count):
            out = "x".join(map(str, shapes[layer.name]))
            rows.append([layer.name, out, f"{count:,}" if count else ""])
    titles = ["layer", "channels x frames x rows x columns", "parameters"]
    multiply_adds = network.num_multiply_adds / 1e9
    return (
        f"{markdown(titles, rows)}\n\n{network.num_parameters:,} parameters for 487 classes, "
        f"{multiply_adds:.2f} x 10^9 multiply-adds a clip."
    )


def table_3() -> str:
    """Every row of the paper's table, its figure and ours."""
    tables = [
        {row["name"]: row for row in results(name)["rows"]} for name in ("paper", "paper-drawn")
    ]
    rows = []
    for name, title, accuracy in [*PAPER, *((name, "", None) for name in MORE)]:
        row = [title, "" if accuracy is None else f"{accuracy:.1f}"]
        for table in tables:
            found = table.get(name)
            row += (
                ["", ""]
                if found is None
                else [
                    f"{100 * found['accuracy']:.1f}",
                    " to ".join(f"{100 * value:.0f}" for value in found["interval"]),
                ]
            )
        row[0] = row[0] or tables[0][name]["title"]
        rows.append(row)
    ours = ["three classes", "interval", "drawn actions", "interval"]
    minutes = [sum(map(_minutes, table.values())) for table in tables]
    return (
        f"{markdown(['method', 'the paper, UCF101', *ours], rows)}\n\nThe steps of the networks "
        f"that are learned took {minutes[0]:.0f} minutes for the three splits and "
        f"{minutes[1]:.0f} for drawn actions, on two cores that had other work too."
    )


def _minutes(row: Mapping[str, Any]) -> float:
    """In which a row's own network was learned, all splits; notes of parts begin with a name."""
    notes = [note for split in row["splits"] for note in split["notes"]]
    found = (re.match(r"width .* in (\S+) minutes", note) for note in notes)
    return sum(float(match[1]) for match in found if match)


def figure_5() -> str:
    """Accuracy in few dimensions."""
    curves = results("ucf101-3-pictures")["accuracy_by_dimensions"]
    known = sorted({int(count) for curve in curves.values() for count in curve} | {*PCA})
    rows = []
    for count in known:
        paper = f"{PCA[count]:.1f}" if count in PCA else ""
        ours = (curve.get(str(count)) for curve in curves.values())
        rows.append(
            [str(count), paper, *("" if one is None else f"{100 * one:.1f}" for one in ours)]
        )
    return markdown(
        ["dimensions", "C3D, the paper, UCF101", *(f"{name}, three classes" for name in curves)],
        rows,
    )


def figure_6() -> str:
    """How pure the neighbourhoods are."""
    found = results("ucf101-3-pictures")
    told = " and ".join(f"{100 * value:.0f} % by {name}" for name, value in found["purity"].items())
    return (
        f"Of the {found['num_neighbours']} nearest neighbours of a video, outside its own "
        f"recording, those of its class are {told}."
    )


def table_6() -> str:
    """The paper's speeds beside those of two machines."""
    machines = {name: results(name) for name in ("runtime", "runtime-h200")}
    names = {
        cell["system"]: cell["title"] for table in machines.values() for cell in table["cells"]
    }
    rows = []
    for system, title in names.items():
        row = [title, f"{RUNTIME[system][0]:g}" if system in RUNTIME else ""]
        for table in machines.values():
            speeds = {
                cell["cores"]: cell["frames_per_second"]
                for cell in table["cells"]
                if cell["system"] == system
            }
            for cores in (1, table["machine"]["cores"]):
                speed = speeds.get(cores)
                row.append("" if speed is None else f"{speed:,.{0 if speed > 100 else 1}f}")
        rows.append(row)
    titles = ["system, frames a second", "the paper"]
    for table in machines.values():
        machine = table["machine"]
        named = f"{machine['cpu']}{', ' + machine['gpu'] if 'gpu' in machine else ''}"
        titles += [f"{named}: one core", f"all {machine['cores']}"]
    return markdown(titles, rows)


def appendix_a() -> str:
    """Parameters by input resolution."""
    paper = {56: "11.1", 112: "17.5", 224: "34.8"}
    rows = []
    for crop, theirs in paper.items():
        network = kernel_depth(input_shape=(3, 16, crop, crop))
        ours = [f"{network.num_parameters / 1e6:.2f}", f"{network.num_multiply_adds / 1e9:.1f}"]
        rows.append([f"{crop}x{crop}", theirs, *ours])
    return markdown(
        ["crop", "the paper, 10^6", "parameters, 10^6", "multiply-adds a clip, 10^9"], rows
    )


MADE: Mapping[str, Callable[[], str]] = {
    "cost": cost,
    "figure-2": figure_2,
    "figure-3": figure_3,
    "table-3": table_3,
    "figure-5": figure_5,
    "figure-6": figure_6,
    "table-6": table_6,
    "appendix-a": appendix_a,
}


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), MADE), encoding="utf-8")


if __name__ == "__main__":
    main()
