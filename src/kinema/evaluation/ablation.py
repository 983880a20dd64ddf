"""`ablation`: the paper's study of the kernels' temporal depth (section 3.2), on one's own videos.

    videos -> prepared.clips, once -> runs/seed-0/depth-1, runs/seed-0/depth-3, ... -> Ablation

All nets of a seed are learned before the next one begins, so a study that was stopped has a whole
figure of fewer seeds. Each run is one of `train`, in a folder of its own, and goes on from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.datasets.loaders import load
from kinema.evaluation.ablation_result import Ablation, Net, Point, SeedRun
from kinema.evaluation.runtime import machine
from kinema.files import locked_folder, remove_partial_files, write_json
from kinema.network import KERNEL_DEPTHS, as_network, kernel_depth
from kinema.skipped import Skipped
from kinema.training.budget import keep, kept_iterations
from kinema.training.clip_store import StoredVideo, is_clip_store
from kinema.training.log import read_rows
from kinema.training.material import Material, check_dataset, check_store, open_store
from kinema.training.plan import Options, Plan, as_json, steps
from kinema.training.prepare import prepare
from kinema.training.processes import Processes
from kinema.training.recipe import Recipe
from kinema.training.recipes import RECIPES, adapted
from kinema.training.run import Run, TrainingError
from kinema.training.sampling import Sampler
from kinema.training.train import learn

EVALUATIONS = 16
"""Of a run, evenly over it: the paper has one after each of 16 epochs."""


def ablation(
    dataset: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    seeds: int = 3,
    recipe: str = "kernel-depth-mini",
    split: str | None = None,
    crop: int | None = None,
    width: float | None = None,
    epochs: float | None = None,
    iterations: int | None = None,
    seconds: float | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    flip: bool | None = None,
    dropout: float | None = None,
    evaluations: int = EVALUATIONS,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    video_seconds: float | None = None,
    max_skipped: int = 0,
    progress: bool = False,
    each_seed: Callable[[Ablation], object] | None = None,
) -> Ablation:
    """Learn depth-1, 3, 5, 7, increasing and decreasing from scratch, all for as many steps.

    `out` gets ablation.json after each seed, and goes on when it was stopped.

    Args:
        dataset: prepared clips, or a dataset, which is prepared to `out/prepared.clips` once.
        out: the folder.
        seeds: how many each net is learned from: 0, 1, 2, ...; more of them later go on.
        recipe: a name of `RECIPES` whose network is of the study: "kernel-depth-mini", or
            "kernel-depth", the paper's.
        split, dropout: see `train`.
        crop, width, batch, learning_rate, flip: other than the recipe's, the same for all nets.
        epochs, iterations: another length than the recipe's; more of them later go on.
        seconds: instead, about how long the steps of the whole study may take; the speed of each
            net is measured, and the length that it gives is kept.
        evaluations: how many times each run is evaluated on the test videos, evenly.
        kind, lists: see `datasets.load`; for a dataset that is not prepared yet.
        device, engine, threads: see `Processes`.
        video_seconds: the longest time that preparing a video may take; None is for ever.
        max_skipped: more videos than this that could not be read make the command line exit with 1;
            here, see the result.
        progress: whether to show progress on standard error.
        each_seed: is given what was found so far, when all nets of a seed are learned.

    Raises:
        ValueError: a setting is wrong, there are fewer than two classes or no test videos, or
            `out` was begun with other settings.
        KeyboardInterrupt: it was stopped, after a last checkpoint.
    """
    if seeds < 1:
        raise ValueError(f"`seeds` must be at least 1, got {seeds}.")
    base = _recipe_of_study(
        recipe, crop=crop, width=width, epochs=epochs, iterations=iterations, batch=batch,
        learning_rate=learning_rate, flip=flip,
    )  # fmt: skip
    if seconds is not None:
        if epochs is not None or iterations is not None:
            raise ValueError("`seconds` gives the length of the study: name no other.")
        if not 0 < seconds < math.inf:
            raise ValueError(f"`seconds` must be more than 0, got {seconds}.")
    options = Options(
        device=device, engine=engine, threads=threads, evaluations=evaluations, kind=kind,
        lists=lists, video_seconds=video_seconds, max_skipped=max_skipped, progress=progress,
    )  # fmt: skip
    plan = Plan(base, recipe, split=split, dropout=dropout)
    out = Path(out)
    _check(Path(dataset), plan, options)
    with locked_folder(out):
        remove_partial_files(out)
        material = _material(Path(dataset), out, plan, options)
        study = _Study(Path(dataset).resolve().stem, out, material, plan, options)
        speeds = study.seconds_a_step()
        if seconds is not None:
            length = kept_iterations(out, seconds) or keep(
                out, seconds, seeds * sum(speeds.values())
            )
            study.plan = dataclasses.replace(
                plan, recipe=dataclasses.replace(base, iterations=length, epochs=None)
            )
        if progress:
            minutes = seeds * sum(speeds.values()) * study.num_steps / 60
            long = f"{minutes / 60:.2g} hours" if minutes > 90 else f"{max(1, round(minutes))} min"
            print(
                f"{seeds * len(KERNEL_DEPTHS)} runs of {study.num_steps} steps: about {long}, "
                "evaluations not counted",
                file=sys.stderr,
            )
        found: dict[str, list[SeedRun]] = {name: [] for name in KERNEL_DEPTHS}
        for seed in range(seeds):
            for number, name in enumerate(KERNEL_DEPTHS, start=seed * len(KERNEL_DEPTHS) + 1):
                if progress:
                    total = seeds * len(KERNEL_DEPTHS)
                    print(f"run {number} of {total}: {name}, seed {seed}", file=sys.stderr)
                found[name].append(study.run(name, seed))
            result = study.result(found, speeds)
            write_json(out / "ablation.json", result.as_mapping())
            if each_seed is not None:
                each_seed(result)
        return result


def _recipe_of_study(recipe: str, **changes: Any) -> Recipe:
    known = [name for name, each in RECIPES.items() if each.network == "kernel_depth"]
    if recipe not in known:
        raise ValueError(f"`recipe` must be one of {', '.join(known)}; got {recipe!r}.")
    return adapted(RECIPES[recipe], **changes)


def _of_net(recipe: Recipe, name: str) -> Recipe:
    """The study's recipe for one of its nets."""
    arguments = {**recipe.arguments, "depths": KERNEL_DEPTHS[name]}
    return dataclasses.replace(recipe, arguments=arguments)


def _check(dataset: Path, plan: Plan, options: Options) -> None:
    """Refuse what teaches or tells nothing, before a video is prepared."""
    if not dataset.exists():
        raise FileNotFoundError(f"{dataset}: no such file or folder.")
    if is_clip_store(dataset):
        store = open_store(dataset, plan.any_network)
        check_store(store, plan)
        _check_tested(dataset, Material.of(store, plan).test)
        return
    found = load(dataset, kind=options.kind, lists=options.lists)
    check_dataset(found, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the split of what could be read will warn again
        _check_tested(dataset, found.split(plan.split).test)


def _check_tested(dataset: Path, test: Sequence[Any]) -> None:
    if not test:
        raise ValueError(
            f"the split of {dataset} has no test video, so the nets cannot be compared: choose "
            "another `split`, or add videos."
        )


def _material(dataset: Path, out: Path, plan: Plan, options: Options) -> Material:
    """The clips, prepared if they are not; one preparation serves all runs."""
    skipped: list[Skipped] = []
    notes: list[str] = []
    path = dataset
    if not is_clip_store(dataset):
        path = out / "prepared.clips"
        report = prepare(
            dataset, out=path, clips=plan.recipe.clips, size=plan.any_network.frame_size,
            kind=options.kind, lists=options.lists, threads=options.threads,
            video_seconds=options.video_seconds, progress=options.progress,
        )  # fmt: skip
        skipped, notes = report.skipped, report.notes
    store = open_store(path, plan.any_network)
    material = Material.of(store, plan, skipped=skipped, notes=notes)
    _check_tested(dataset, material.test)
    return material


class _Study:
    """The runs of a study in one folder.

    Args:
        name: of the dataset.
        out: the folder.
        material: the clips, the same for all.
        plan: what is learned; its network is replaced by each of the study's.
        options: how it runs.
    """

    def __init__(
        self, name: str, out: Path, material: Material, plan: Plan, options: Options
    ) -> None:
        self.name, self.out, self.material = name, out, material
        self.plan, self.options = plan, options
        names = json.dumps(
            [[video.name for video in side] for side in (material.train, material.test)]
        )
        self._videos = hashlib.sha256(names.encode()).hexdigest()
        self._machine = machine()

    def _of(self, name: str, seed: int = 0) -> Plan:
        return dataclasses.replace(self.plan, recipe=_of_net(self.plan.recipe, name), seed=seed)

    @property
    def num_steps(self) -> int:
        """Of each run."""
        recipe, store = self.plan.recipe, self.material.store
        _, length, height, width = self.plan.any_network.input_shape
        sampler = Sampler(
            self.material.train,
            length=length,
            size=store.size,
            crop=(height, width),
            seed=0,
            once=store.about["clips"] == "five",
        )
        return steps(self.plan, len(sampler), (recipe.epochs, recipe.iterations))

    def seconds_a_step(self) -> dict[str, float]:
        """How long a step of each net takes, measured once; see `Run.seconds_a_step`."""
        path = self.out / "speed.json"
        key = as_json({"recipe": _without_length(self.plan.recipe), "machine": self._machine})
        if (kept := _kept(path, key)) is not None:
            return dict(kept["seconds_a_step"])
        options = self.options
        with Processes(options.device, options.engine, threads=options.threads) as processes:
            speeds = {name: self._measured(name, processes) for name in KERNEL_DEPTHS}
        write_json(path, {"key": key, "seconds_a_step": speeds})
        return speeds

    def _measured(self, name: str, processes: Processes) -> float:
        plan = self._of(name)
        one = dataclasses.replace(plan.recipe, iterations=1, epochs=None)
        plan = dataclasses.replace(plan, recipe=one)
        trial = Run(self.out, self.material, plan, self.options, processes, None)
        return round(trial.seconds_a_step(), 6)

    def run(self, name: str, seed: int) -> SeedRun:
        """One run, to its end; one that has ended is not made again."""
        folder, plan = self.out / "runs" / f"seed-{seed}" / name, self._of(name, seed)
        key = as_json(
            {
                "plan": plan.settings(),
                "split": plan.split,
                "dropout": plan.dropout,
                "evaluations": self.options.evaluations,
                "videos": self._videos,
            }
        )
        path = folder / "run.json"
        if (kept := _kept(path, key)) is not None:
            return SeedRun(seed, tuple(Point(**each) for each in kept["points"]), kept["diverged"])
        diverged = ""
        try:
            learn(self.material, folder, plan, self.options)
        except TrainingError as error:
            diverged = str(error)
        points = [
            Point(int(row["iteration"]), row["epoch"], row["clip_hit1"], row["video_hit1"])
            for row in read_rows(folder / "log.csv")
            if "clip_hit1" in row
        ]
        content = {"key": key, "points": [dataclasses.asdict(p) for p in points]}
        write_json(path, {**content, "diverged": diverged})
        return SeedRun(seed, tuple(points), diverged)

    def result(
        self, found: Mapping[str, Sequence[SeedRun]], speeds: Mapping[str, float]
    ) -> Ablation:
        """What the runs came to."""
        material, recipe = self.material, self.plan.recipe
        nets = []
        for name, runs in found.items():
            network = as_network(self._of(name).network(len(material.classes)))
            nets.append(
                Net(
                    name, KERNEL_DEPTHS[name], network.num_parameters, network.num_multiply_adds,
                    kernel_depth(KERNEL_DEPTHS[name]).num_parameters, speeds[name], tuple(runs),
                )
            )  # fmt: skip
        asked = {"recipe": self.plan.recipe_name, **as_json(dataclasses.asdict(recipe))}
        del asked["arguments"]["depths"], asked["heads"]
        return Ablation(
            self.name,
            material.classes,
            tuple(nets),
            _chance(material.test),
            len(material.train),
            len(material.test),
            {
                **asked,
                "split": self.plan.split,
                "dropout": self.plan.dropout,
                "evaluations": self.options.evaluations,
            },
            self._machine,
            tuple(material.notes),
            tuple(material.skipped),
        )


def _chance(test: Sequence[StoredVideo]) -> float:
    """Accuracy of always naming the most frequent class of the test videos."""
    counts = Counter(label for video in test for label in set(video.labels))
    return max(counts.values()) / len(test)


def _without_length(recipe: Recipe) -> dict[str, Any]:
    values = dataclasses.asdict(recipe)
    return {key: value for key, value in values.items() if key not in ("epochs", "iterations")}


def _kept(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was written before for the same key; None otherwise."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None
