"""benchmarks/engines.json as a picture: docs/engines.png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinema.files import atomic_path
from kinema.network import KERNEL_DEPTHS
from kinema.plots import RIGHT

NATIVE = "native"
COLOURS = {
    NATIVE: RIGHT,
    "openvino": "#7d6aa8",
    "onnxruntime": "#5b8ec4",
    "torch-traced": "#b5541c",
    "torch-compiled": "#e08a4a",
    "torch": "#f2bd8f",
}
GREY = "#777777"


def best_rates(speed: Mapping[str, Any], network: str) -> dict[str, tuple[float, int]]:
    """Clips a second of each engine at its best batch size, and that batch size."""
    rates: dict[str, tuple[float, int]] = {}
    for workload, rows in speed.items():
        name, _, batch = workload.partition(" x")
        if name == network:
            for engine, row in rows.items():
                found = row["clips_per_second"], int(batch)
                rates[engine] = max(found, rates.get(engine, (0.0, 0)))
    return rates


def bars(axes: Axes, speed: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """C3D: one bar an engine, the fastest on top."""
    rates = sorted(best_rates(speed, "c3d").items(), key=lambda item: item[1])
    fastest = rates[-1][1][0]
    for place, (engine, (rate, batch)) in enumerate(rates):
        axes.barh(place, rate, height=0.68, color=COLOURS[engine])
        axes.text(rate + 0.012 * fastest, place, f"{rate:.2f}", va="center", fontsize=10,
                  weight="bold" if engine == NATIVE else "normal")  # fmt: skip
        said = f"batch {batch}"
        axes.text(rate + 0.17 * fastest, place, said, va="center", fontsize=8, color=GREY)
    axes.set_yticks(range(len(rates)), [labels[engine] for engine, _ in rates], fontsize=10)
    for tick, (engine, _) in zip(axes.get_yticklabels(), rates, strict=True):
        tick.set_fontweight("bold" if engine == NATIVE else "normal")
    axes.set_xlim(0, 1.36 * fastest)
    axes.set_ylim(-0.6, len(rates) - 0.4)
    axes.set_title("C3D", loc="left", fontsize=11, weight="bold")


def dots(axes: Axes, speed: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Kernel-depth networks: one row a network, one dot an engine."""
    names = [name for name in KERNEL_DEPTHS if best_rates(speed, name)]
    for place, name in enumerate(reversed(names)):
        rates = {engine: rate for engine, (rate, _) in best_rates(speed, name).items()}
        axes.plot([min(rates.values()), max(rates.values())], [place, place], color="#dddddd",
                  lw=2, zorder=1, solid_capstyle="round")  # fmt: skip
        for engine, rate in rates.items():
            axes.plot(rate, place, "o", color=COLOURS[engine], zorder=3 + (engine == NATIVE),
                      ms=10 if engine == NATIVE else 7.5, mec="white", mew=0.8)  # fmt: skip
    axes.set_yticks(
        range(len(names)),
        ["-".join(map(str, KERNEL_DEPTHS[name])) for name in reversed(names)],
        fontsize=10,
    )
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(left=0)
    axes.set_title("Kernel-depth networks, 4 clips at once", loc="left", fontsize=11,
                   weight="bold")  # fmt: skip
    axes.set_ylabel("temporal size of the five kernels", fontsize=8, color=GREY)
    present = {engine for name in names for engine in best_rates(speed, name)}
    for engine in (engine for engine in COLOURS if engine in present):
        axes.plot([], [], "o", color=COLOURS[engine], ms=7, label=labels[engine])
    axes.legend(loc="lower right", fontsize=8, frameon=False, handletextpad=0.2)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """The picture of a result."""
    speed = {name: rows for name, rows in result["speed"].items() if name != "num_rounds"}
    figure = Figure(figsize=(11, 3.6), dpi=150)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.05))
    bars(left, speed, result["labels"])
    dots(right, speed, result["labels"])
    for axes in (left, right):
        axes.set_xlabel("clips a second", fontsize=9, color=GREY)
        axes.tick_params(axis="x", labelsize=8, colors=GREY)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#eeeeee", lw=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color("#cccccc")
    machine = result["machine"]
    figure.text(
        0.995, 0.005,
        f"{machine['cpu']}, {machine['cores']} cores; fp32; 16 frames of 112x112 a clip; each "
        f"engine at its best settings; medians of {result['speed']['num_rounds']} rounds",
        ha="right", fontsize=7, color=GREY,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.035, 1, 1), w_pad=2.5)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", facecolor="white")


def main() -> None:
    folder = Path(__file__).parent
    result = json.loads((folder / "engines.json").read_text(encoding="utf-8"))
    plot(result, folder.parent / "docs" / "engines.png")


if __name__ == "__main__":
    main()
