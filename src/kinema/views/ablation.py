"""An `Ablation` as the paper's two panels with a table below, and as Markdown."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import matplotlib.axes
import numpy as np
from matplotlib.figure import Figure

from kinema.evaluation.ablation_result import BASELINE, ERRORS, Ablation, Net, by_accident
from kinema.files import atomic_path
from kinema.plots import COLOURS, plain, shortened
from kinema.words import number_of

PANELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "One depth for all layers": ("depth-1", "depth-3", "depth-5", "depth-7"),
        "Depths that change from layer to layer": ("depth-3", "increasing", "decreasing"),
    }
)
"""The nets of each panel of Tran et al. 2015, figure 2."""

CAPACITY = (
    "The paper says that its nets have 17.5 million parameters, that neighbours among depth-1, 3, "
    "5 and 7 differ by 17 thousand and depth-1 and 7 by 51 thousand, less than 0.3 %, so that "
    "capacity plays no part. Counted from its own description (112 pixels, 101 classes), depth-1 "
    "has {low:.2f} and depth-7 {high:.2f} million, {ratio:.0%} more: only depth-3 fits the claim. "
    "Deeper kernels thus come with more parameters and more multiply-adds."
)
"""Tran et al. 2015, section 3.2, beside our count."""


def write(ablation: Ablation, out: str | os.PathLike[str], name: str = "ablation") -> None:
    """Write NAME.md, NAME.png and NAME.svg into a folder."""
    with atomic_path(Path(out, f"{name}.md")) as partial:
        partial.write_text(as_markdown(ablation, name), encoding="utf-8")
    draw(ablation, Path(out, name))


def draw(ablation: Ablation, path: str | os.PathLike[str]) -> None:
    """Draw clip accuracy by epoch and the table, as `path`.png and `path`.svg.

    Lines are means over the seeds, bands one standard error to each side.
    """
    figure = Figure(figsize=(11, 8), dpi=110)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1.5), hspace=0.32, wspace=0.08)
    colours = {net.name: COLOURS[index] for index, net in enumerate(ablation.nets)}
    first: matplotlib.axes.Axes | None = None
    for column, (title, names) in enumerate(PANELS.items()):
        axes = figure.add_subplot(grid[0, column], sharey=first)
        first = first or axes
        for index, name in enumerate(names):
            # A thinner line lies on each before it: nets that agree are seen, all of them.
            width = 1.2 + 0.8 * (len(names) - 1 - index)
            _curve(axes, ablation, ablation.net(name), colours[name], width)
        axes.axhline(100 * ablation.chance, color="#666666", ls="--", lw=1, label="chance")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper center", ncols=5, columnspacing=1.2,
                    bbox_to_anchor=(0.5, -0.13))  # fmt: skip
        if column == 0:
            axes.set_ylabel("clip accuracy on the test videos, %")
        else:
            axes.tick_params(labelleft=False)
    _draw_table(figure.add_subplot(grid[1, :]), ablation)
    where = f"{shortened(ablation.dataset, 40)}, {_size(ablation)}"
    figure.suptitle(plain(f"Temporal depth of the kernels: {where}"), fontsize=12, y=0.955)
    wrong = _not_conclusive(ablation)
    if wrong:
        figure.text(0.5, 0.925, plain(wrong), ha="center", va="top", fontsize=9, color="#c0392b")
    figure.text(0.5, 0.075, plain(_wrapped(ablation)), ha="center", va="top", fontsize=8,
                color="#444444")  # fmt: skip
    for ending in ("png", "svg"):
        with atomic_path(f"{os.fspath(path)}.{ending}") as partial:
            figure.savefig(partial, format=ending, bbox_inches="tight", facecolor="white")


def _curve(
    axes: matplotlib.axes.Axes,
    ablation: Ablation,
    net: Net,
    colour: tuple[float, float, float],
    width: float,
) -> None:
    curve = net.curve
    if not curve:
        axes.plot([], [], color=colour, label=f"{net.name} (diverged)")
        return
    epochs = [epoch for epoch, _, _ in curve]
    means = 100 * np.array([mean for _, mean, _ in curve])
    label = net.name if ablation.beats_chance(net) else f"{net.name} (inconclusive)"
    axes.plot(epochs, means, "o-", ms=2 + width, lw=width, color=colour, label=label)
    if curve[0][2] is not None:
        errors = 100 * np.array([error for _, _, error in curve])
        axes.fill_between(epochs, means - errors, means + errors, color=colour, alpha=0.18, lw=0)


def _draw_table(axes: matplotlib.axes.Axes, ablation: Ablation) -> None:
    axes.set_axis_off()
    titles, rows = table(ablation)
    heads = [textwrap.fill(title, 13) for title in titles]
    drawn = axes.table(cellText=rows, colLabels=heads, loc="center", cellLoc="center")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7.5)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_linewidth(0.3)
        cell.set_height(0.27 if row == 0 else 0.115)


def as_markdown(ablation: Ablation, name: str = "ablation") -> str:
    """What was found, the figure, the table, and what it is of.

    Args:
        ablation: the study.
        name: of the figure beside it, without its ending.
    """
    titles, rows = table(ablation)
    lines = [f"# The kernels' temporal depth: {ablation.dataset}", ""]
    lines += [*findings(ablation), "", f"![Clip accuracy by epoch]({name}.png)", ""]
    lines += [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [line for note in remarks(ablation) for line in ("", note)]
    return "\n".join(lines) + "\n"


def findings(ablation: Ablation) -> list[str]:
    """What the data show and how sure it is, a sentence a line; all of it computed."""
    lines = [_not_conclusive(ablation)] if ablation.inconclusive else []
    told = [net for net in ablation.nets if net.finals]
    if not told:
        return [*lines, "All runs diverged: nothing is shown."]
    highest = max(net.clip[0] for net in told)
    best = [net for net in told if net.clip[0] == highest]
    lines.append(
        f"The highest clip accuracy, {_accuracy(*best[0].clip)}, "
        f"{'has' if len(best) == 1 else 'have'} {', '.join(net.name for net in best)}; chance is "
        f"{100 * ablation.chance:.1f} %."
    )
    if BASELINE in ablation.inconclusive:
        return [*lines, f"So nothing is compared with {BASELINE}."]
    ahead: list[str] = []
    behind: list[str] = []
    unclear: list[str] = []
    single: list[str] = []
    for net in ablation.nets:
        difference = ablation.difference(net)
        if difference is None or net.name in ablation.inconclusive:
            continue
        if difference.error is None:
            single.append(net.name)
            continue
        told_as = f"{net.name} ({100 * difference.mean:+.1f} ± {100 * difference.error:.1f} points)"
        if not ablation.differs(net):
            unclear.append(told_as)
        else:
            (ahead if difference.mean > 0 else behind).append(told_as)
    beyond = f"{BASELINE} by more than {ERRORS:g} standard errors, paired by seed"
    if behind:
        lines.append(f"Behind {beyond}: {', '.join(behind)}; so has the paper.")
    if ahead:
        lines.append(f"Ahead of {beyond}: {', '.join(ahead)}; in the paper {BASELINE} is ahead.")
    if unclear:
        lines.append(
            f"Not told from {BASELINE} by {ERRORS:g} standard errors: {', '.join(unclear)}; in the "
            f"paper {BASELINE} is ahead."
        )
    if single:
        lines.append(
            f"One seed has no standard error: whether {', '.join(single)} differ from {BASELINE} "
            "is not told."
        )
    accident = by_accident(len(ablation.seeds))
    if accident is not None and (ahead or behind or unclear):
        lines.append(
            f"How sure: with {len(ablation.seeds)} seeds a difference of {ERRORS:g} standard "
            f"errors comes about by accident {accident:.0%} of the time (Student's t) in each "
            f"comparison; all are of the same {number_of(ablation.num_test, 'test video')}, and "
            "others may order the nets otherwise."
        )
    return lines


def table(ablation: Ablation) -> tuple[list[str], list[list[str]]]:
    """Its titles and rows."""
    titles = [
        "net", "depths", "parameters", "multiply-adds a clip", "seconds a step",
        "parameters at the paper's size", "the paper says", "clip accuracy, %",
        "video accuracy, %", f"to {BASELINE}, points", "seeds",
    ]  # fmt: skip
    rows = []
    for net in ablation.nets:
        difference = ablation.difference(net)
        to = ""
        if difference is not None:
            error = "" if difference.error is None else f" ± {100 * difference.error:.1f}"
            to = f"{100 * difference.mean:+.1f}{error}{' *' if ablation.differs(net) else ''}"
        rows.append(
            [
                net.name, "-".join(map(str, net.depths)), f"{net.num_parameters:,}",
                f"{net.num_multiply_adds / 1e6:,.0f} M", f"{net.seconds_a_step:.2f}",
                f"{net.paper_parameters / 1e6:.2f} M", "17.5 M", _accuracy(*net.clip, unit=""),
                _accuracy(*net.video, unit=""), to, str(len(net.finals)),
            ]
        )  # fmt: skip
    return titles, rows


def remarks(ablation: Ablation) -> list[str]:
    """What the table is of."""
    settings, facts = ablation.settings, ablation.machine
    paper = [net.paper_parameters for net in ablation.nets]
    length = max((p.iteration for net in ablation.nets for p in net.finals.values()), default=0)
    how = f"{settings['optimiser']}, rate {settings['learning_rate']:g}"
    how += ", batch normalisation" if settings["norm"] else ""
    how += ", clips mirrored" if settings["flip"] else ", clips not mirrored"
    lines = [
        f"{_size(ablation)}: recipe {settings['recipe']}, {length} steps of {settings['batch']} "
        f"clips for every net, learned from scratch ({how}); {ablation.num_train} training and "
        f"{ablation.num_test} test videos of {len(ablation.classes)} classes.",
        "Accuracies are mean ± standard error over the seeds, of the last step; bands in the "
        f"figure are one standard error to each side. A star marks a difference to {BASELINE}, "
        f"paired by seed, of more than {ERRORS:g} standard errors. Chance is to name the most "
        f"frequent class of the test videos, {100 * ablation.chance:.1f} %; against it an error "
        "counts no less than that of guessing on as many videos, "
        f"{100 * ablation.guess_error:.1f} points.",
        CAPACITY.format(low=paper[0] / 1e6, high=paper[3] / 1e6, ratio=paper[3] / paper[0] - 1),
        f"Seconds a step, reading included: {facts['cpu']}, {number_of(facts['cores'], 'core')}"
        f"{', ' + facts['gpu'] if 'gpu' in facts else ''}.",
    ]
    for net in ablation.nets:
        lines += [f"{net.name}, seed {r.seed}: {r.diverged}" for r in net.runs if r.diverged]
    return lines + list(ablation.notes) + [str(one) for one in ablation.skipped]


def summary(ablation: Ablation) -> Sequence[str]:
    """A line a net, for a terminal, and what was found."""
    lines = []
    for net in ablation.nets:
        lines.append(
            f"{net.name:<11} {net.num_parameters:>11,} parameters; clips "
            f"{_accuracy(*net.clip)}, videos {_accuracy(*net.video)}"
        )
    return [*lines, *findings(ablation)]


def _not_conclusive(ablation: Ablation) -> str:
    """Which nets do not beat chance; "" if all do."""
    names = ablation.inconclusive
    if not names:
        return ""
    verb = "does" if len(names) == 1 else "do"
    return (
        f"Inconclusive: {', '.join(names)} {verb} not beat chance by {ERRORS:g} standard errors, "
        "so nothing is said of "
        f"{'its' if len(names) == 1 else 'their'} kernels."
    )


def _wrapped(ablation: Ablation) -> str:
    found = [line for line in findings(ablation) if line != _not_conclusive(ablation)]
    band = "Bands: one standard error." if len(ablation.seeds) > 1 else "One seed: no bands."
    return "\n".join(textwrap.wrap(" ".join([band, *found]), 165))


def _size(ablation: Ablation) -> str:
    settings = ablation.settings
    crop = settings["arguments"].get("input_shape", (3, 16, 112, 112))[-1]
    width = settings["arguments"].get("width", 1)
    wide = "" if width == 1 else f", {width:g} of the width"
    return f"{crop} pixels{wide}, {number_of(len(ablation.seeds), 'seed')}"


def _accuracy(mean: float, error: float | None, unit: str = " %") -> str:
    if np.isnan(mean):
        return "diverged"
    return f"{100 * mean:.1f}{'' if error is None else f' ± {100 * error:.1f}'}{unit}"
