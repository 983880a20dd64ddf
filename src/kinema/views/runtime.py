"""A `Runtime` as Markdown, as a bar chart, and as a section of the page of a comparison."""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from kinema.evaluation.runtime import DIFFERS, PAPER, UCF101_FRAMES, Cell, Runtime
from kinema.evaluation.systems import SYSTEMS
from kinema.files import atomic_path
from kinema.plots import COLOURS, plain, shortened
from kinema.words import number_of

THAN = {"c3d": "times slower than C3D (CPU)", "c3d-gpu": "than C3D (GPU)"}


def write(runtime: Runtime, out: str | os.PathLike[str]) -> None:
    """Write runtime.md and runtime.png into a folder."""
    with atomic_path(Path(out, "runtime.md")) as partial:
        partial.write_text(as_markdown(runtime), encoding="utf-8")
    draw(runtime, Path(out, "runtime.png"))


def draw(runtime: Runtime, path: str | os.PathLike[str]) -> None:
    """Draw frames a second, a bar a cell, and the paper's beside it, as PNG."""
    bars = [(_name(cell), cell.frames_per_second) for cell in runtime.cells]
    paper = [(SYSTEMS[name].title, values[0]) for name, values in PAPER.items()]
    _speeds(
        path,
        {f"here: {_cpu(runtime)}": bars, "Tran et al. 2015": paper},
        title="Frames a second, input and output included",
    )


def _speeds(
    path: str | os.PathLike[str],
    groups: Mapping[str, Sequence[tuple[str, float]]],
    *,
    title: str,
) -> None:
    """A PNG with a bar for each name and frames a second; groups have colours of their own."""
    num = sum(len(bars) + 1 for bars in groups.values())
    figure = Figure(figsize=(8, 0.32 * num + 1.1), dpi=110)
    axes = figure.add_subplot()
    place, ticks, labels = 0, [], []
    for index, (group, bars) in enumerate(groups.items()):
        places = range(place, place + len(bars))
        axes.barh(places, [value for _, value in bars], color=COLOURS[index], label=plain(group))
        for one, (name, value) in zip(places, bars, strict=True):
            axes.text(value * 1.06, one, _number(value), va="center", fontsize=8)
            ticks.append(one)
            labels.append(plain(shortened(name, 50)))
        place += len(bars) + 1
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 2)  # room for the numbers
    axes.set_xlabel("frames a second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)
    axes.set_title(plain(title), fontsize=11, loc="left", pad=26)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", facecolor="white")


def as_markdown(runtime: Runtime) -> str:
    """The table, and what it is of."""
    titles, rows = table(runtime)
    lines = ["# Runtime", ""]
    lines += [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [line for note in remarks(runtime) for line in ("", note)]
    return "\n".join(lines) + "\n"


def as_section(runtime: Runtime) -> str:
    """The table and the chart as HTML."""
    titles, rows = table(runtime)
    head = "".join(f'<th style="white-space: normal">{html.escape(title)}</th>' for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "runtime.png")
        draw(runtime, picture)
        content = base64.b64encode(picture.read_bytes()).decode()
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in remarks(runtime))
    return (
        f'<section id="runtime"><h2>Runtime</h2><div class="scroll"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
        f'<img alt="Frames a second" style="max-width: 100%" src="data:image/png;base64,'
        f'{content}">{notes}</section>'
    )


def table(runtime: Runtime) -> tuple[list[str], list[list[str]]]:
    """Its titles and rows."""
    than = [name for name in THAN if any(cell.system == name for cell in runtime.cells)]
    titles = ["system", "cores", "frames/s", "hours for UCF101 (extrapolated)"]
    titles += [THAN[name] for name in than]
    titles += ["the paper: frames/s", "hours", "times slower"]
    rows = []
    for cell in runtime.cells:
        ratios = [_number(runtime.slower(cell, name)) for name in than]
        paper = PAPER.get(SYSTEMS[cell.system].paper, (None, None, None))
        measured = [_number(cell.frames_per_second), _number(cell.ucf101_hours)]
        row = [SYSTEMS[cell.system].title, str(cell.cores), *measured, *ratios]
        rows.append([*row, *("" if value is None else f"{value:g}" for value in paper)])
    return titles, rows


def remarks(runtime: Runtime) -> list[str]:
    """What the table is of, and what the paper's differs in."""
    facts, settings = runtime.machine, runtime.settings
    gpu = f", {facts['gpu']}" if "gpu" in facts else ""
    lines = [
        f"Measured on {_cpu(runtime)}, {number_of(facts['cores'], 'core')}{gpu}: each system for "
        f"{settings['seconds']:g} s on {number_of(settings['num_videos'], 'video')}, decoding and "
        "writing included, loading of weights not; C3D (weights: "
        f"{settings['weights']}) takes a clip each {settings['stride']} frames. Times slower than "
        "C3D (CPU) are of as many cores.",
        f"Hours are extrapolated to UCF101's {UCF101_FRAMES:,} frames (by the paper's column for "
        "C3D): none of them was waited for.",
        DIFFERS,
    ]
    return lines + list(runtime.notes) + [str(one) for one in runtime.skipped]


def summary(runtime: Runtime) -> Sequence[str]:
    """A line a cell, for a terminal."""
    return [
        f"{_name(cell):<44}{_number(cell.frames_per_second):>9} frames/s" for cell in runtime.cells
    ]


def _cpu(runtime: Runtime) -> str:
    return str(runtime.machine["cpu"])


def _name(cell: Cell) -> str:
    return f"{SYSTEMS[cell.system].title}, {number_of(cell.cores, 'core')}"


def _number(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
