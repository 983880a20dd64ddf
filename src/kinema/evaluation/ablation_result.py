"""`Ablation`: what the study of the kernels' temporal depth found, a `Net` for each network.

Note [How sure it is]
    The standard error of a net's accuracy is that over its seeds. All of them are tested on the
    same videos, so against chance it counts no less than that of guessing on as many videos,
    sqrt(chance (1 - chance) / videos): three seeds may agree by accident. Differences to depth-3
    are paired by seed, which has the same clips in the same order for all nets; that other test
    videos may order the nets otherwise is not in them. Three standard errors decide in both cases,
    and Student's t tells how often that many come about by accident with so few seeds.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import check_not_newer
from kinema.skipped import Skipped

ABLATION_FORMAT = "kinema-ablation-1"

ERRORS = 3.0
"""Standard errors that decide, see Note [How sure it is]."""

BASELINE = "depth-3"
"""What the others are compared with: the paper's choice."""


@dataclass(frozen=True)
class Point:
    """An evaluation of a run on the test videos.

    Attributes:
        iteration, epoch: after how much of the run.
        clip, video: accuracy by clip and by video, 0 ... 1.
    """

    iteration: int
    epoch: float
    clip: float
    video: float


@dataclass(frozen=True)
class SeedRun:
    """One net, learned from one seed.

    Attributes:
        seed: the seed.
        points: its evaluations, in order.
        diverged: why it did not come to its end; "" if it did.
    """

    seed: int
    points: tuple[Point, ...]
    diverged: str = ""


@dataclass(frozen=True)
class Difference:
    """Clip accuracy less that of `BASELINE`, paired by seed.

    Attributes:
        mean: over the seeds that both have.
        error: its standard error; None with one seed.
        num_seeds: how many these are.
    """

    mean: float
    error: float | None
    num_seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether it is larger than `ERRORS` standard errors."""
        return self.error is not None and abs(self.mean) > ERRORS * self.error


@dataclass(frozen=True)
class Net:
    """A network of the study.

    Attributes:
        name: as "depth-3".
        depths: temporal size of each of the five kernels.
        num_parameters, num_multiply_adds: of the network that was learned, for one clip.
        paper_parameters: of the paper's, at its size and with 101 classes, by our own count.
        seconds_a_step: measured before the first run, reading included.
        runs: one a seed.
    """

    name: str
    depths: tuple[int, ...]
    num_parameters: int
    num_multiply_adds: int
    paper_parameters: int
    seconds_a_step: float
    runs: tuple[SeedRun, ...]

    @property
    def finals(self) -> dict[int, Point]:
        """The last evaluation by seed, of the runs that came to their end."""
        return {run.seed: run.points[-1] for run in self.runs if not run.diverged}

    @property
    def clip(self) -> tuple[float, float | None]:
        """Mean of the final clip accuracy and its standard error, see `mean_and_error`."""
        return mean_and_error([point.clip for point in self.finals.values()])

    @property
    def video(self) -> tuple[float, float | None]:
        """Mean of the final video accuracy and its standard error."""
        return mean_and_error([point.video for point in self.finals.values()])

    @property
    def curve(self) -> list[tuple[float, float, float | None]]:
        """Epoch, mean clip accuracy and its standard error, of evaluations that all runs have."""
        runs = [{p.iteration: p for p in run.points} for run in self.runs if not run.diverged]
        common = sorted(set.intersection(*map(set, runs))) if runs else []
        return [
            (runs[0][number].epoch, *mean_and_error([run[number].clip for run in runs]))
            for number in common
        ]


@dataclass(frozen=True, eq=False)
class Ablation:
    """The study.

    Attributes:
        dataset: its name.
        classes: K names.
        nets: in the paper's order, all with the same seeds.
        chance: share of the test videos that are of their most frequent class.
        num_train, num_test: videos.
        settings: what was asked, JSON values.
        machine: what the seconds were measured on.
        notes: what else the reader should know.
        skipped: videos that could not be read.
    """

    dataset: str
    classes: tuple[str, ...]
    nets: tuple[Net, ...]
    chance: float
    num_train: int
    num_test: int
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that every net has been learned from."""
        return tuple(run.seed for run in self.nets[0].runs)

    @property
    def guess_error(self) -> float:
        """Standard error of guessing, on as many videos as were tested."""
        return math.sqrt(self.chance * (1 - self.chance) / self.num_test)

    def beats_chance(self, net: Net) -> bool:
        """By `ERRORS` standard errors, see Note [How sure it is]; False where all runs diverged."""
        mean, error = net.clip
        return mean - self.chance > ERRORS * max(error or 0.0, self.guess_error)

    @property
    def inconclusive(self) -> tuple[str, ...]:
        """Nets that do not beat chance, of whose kernels the study therefore says nothing."""
        return tuple(net.name for net in self.nets if not self.beats_chance(net))

    def net(self, name: str) -> Net:
        """The net of a name."""
        return next(net for net in self.nets if net.name == name)

    def difference(self, net: Net) -> Difference | None:
        """To `BASELINE`; None for that itself, and where no seed came to its end with both."""
        base, own = self.net(BASELINE).finals, net.finals
        both = sorted(base.keys() & own.keys())
        if net.name == BASELINE or not both:
            return None
        mean, error = mean_and_error([own[seed].clip - base[seed].clip for seed in both])
        return Difference(mean, error, len(both))

    def differs(self, net: Net) -> bool:
        """Whether a net and `BASELINE` beat chance, and differ by `ERRORS` standard errors."""
        difference = self.difference(net)
        both = self.beats_chance(net) and self.beats_chance(self.net(BASELINE))
        return both and difference is not None and difference.is_clear

    def as_mapping(self) -> dict[str, Any]:
        """As JSON values."""
        nets = []
        for net in self.nets:
            (clip, clip_error), (video, video_error) = net.clip, net.video
            difference = self.difference(net)
            nets.append(
                {
                    **asdict(net),
                    "clip_accuracy": _number(clip),
                    "clip_standard_error": clip_error,
                    "video_accuracy": _number(video),
                    "video_standard_error": video_error,
                    "beats_chance": self.beats_chance(net),
                    "difference": None if difference is None else asdict(difference),
                    "differs": self.differs(net),
                }
            )
        return {
            "format": ABLATION_FORMAT,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "chance": self.chance,
            "guess_standard_error": self.guess_error,
            "num_train": self.num_train,
            "num_test": self.num_test,
            "seeds": list(self.seeds),
            "inconclusive": list(self.inconclusive),
            "nets": nets,
            "settings": dict(self.settings),
            "machine": dict(self.machine),
            "notes": list(self.notes),
            "skipped": [one.as_mapping() for one in self.skipped],
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ablation:
        """What `kinema ablation` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; `kinema ablation --out` writes one.")
        try:
            content = json.loads(Path(path).read_bytes())
            check_not_newer(content.get("format"), ABLATION_FORMAT)
            return cls(
                content["dataset"],
                tuple(content["classes"]),
                tuple(_net(net) for net in content["nets"]),
                content["chance"],
                content["num_train"],
                content["num_test"],
                content["settings"],
                content["machine"],
                tuple(content["notes"]),
                tuple(Skipped(**one) for one in content["skipped"]),
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeError):
            raise ValueError(f"{path}: it is no file that `kinema ablation` wrote.") from None


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, s / sqrt(n), s with n - 1; NaN of none, None below two."""
    if not values:
        return math.nan, None
    if len(values) == 1:
        return float(values[0]), None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def by_accident(num_seeds: int) -> float | None:
    """How often a difference of `ERRORS` standard errors comes about where there is none.

    Two-sided, by Student's t with one degree of freedom less than seeds; None with one seed.
    """
    if num_seeds < 2:
        return None
    from scipy.stats import t

    return float(2 * t.sf(ERRORS, num_seeds - 1))


def _net(content: Mapping[str, Any]) -> Net:
    runs = tuple(
        SeedRun(
            run["seed"], tuple(Point(**point) for point in run["points"]), diverged=run["diverged"]
        )
        for run in content["runs"]
    )
    return Net(
        content["name"],
        tuple(content["depths"]),
        content["num_parameters"],
        content["num_multiply_adds"],
        content["paper_parameters"],
        content["seconds_a_step"],
        runs,
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
