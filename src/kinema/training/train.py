"""`train`: learn a network from prepared videos, on one processor or many.

    ClipStore -> Sampler -> clips -> Learner -> checkpoint.safetensors -> weights.safetensors

The same command goes on with a run that was stopped, and gives the same weights as one that was
not; with more epochs or iterations it makes the run longer. Under torchrun each process takes its
part of every batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema import plots
from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample
from kinema.engine.engine import Engine
from kinema.files import locked_folder, remove_partial_files
from kinema.network import Network, from_recipe
from kinema.progress import TrainingProgress
from kinema.skipped import Skipped
from kinema.threads import mapped
from kinema.training.checkpoint import Checkpoint, Raised, length_text
from kinema.training.clip_store import ClipStore, StoredVideo, is_clip_store
from kinema.training.learner import Learner
from kinema.training.log import TrainingLog
from kinema.training.prepare import prepare, split_videos
from kinema.training.processes import Processes, stop_signal
from kinema.training.recipes import RECIPES, Recipe, adapted
from kinema.training.sampling import Sampler, mean_volume, read_clip
from kinema.training.scoring import Evaluation, evaluate
from kinema.weights import file as weights_room
from kinema.weights.file import Weights, carried_over, check_mean, initial_arrays
from kinema.weights.means import load_mean

_MOST_BYTES = 1 << 30
"""Batches that wait in memory; on many cores there would be more."""

_WEIGHTS, _DROPOUT = 1, 2
"""What tells the random numbers of one seed apart."""

_LENGTH = ("recipe's epochs", "recipe's iterations")
"""Settings that a run may be gone on with at a larger value."""


class TrainingError(RuntimeError):
    """Learning has come apart; the message says at which iteration, and what to do."""


@dataclass
class TrainingReport:
    """What a run of `train` came to.

    Attributes:
        out: its folder.
        iterations: steps of the whole run, those before it was gone on with too.
        num_clips: clips that it learned from.
        evaluation: of the test videos at the end; None if the split has none.
        skipped: videos of the dataset that could not be read when it was prepared; none where
            prepared clips were given, whose preparation told them.
        notes: what else the user should know, a line each.
        seconds: how long this call took.
    """

    out: Path
    iterations: int = 0
    num_clips: int = 0
    evaluation: Evaluation | None = None
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> str:
        """The report in a line."""
        line = f"{self.out}: {self.iterations} iterations, {self.num_clips} clips"
        if self.evaluation is not None:
            line += f"; {self.evaluation}"
        if self.skipped:
            line += f"; {_videos(len(self.skipped))} could not be read"
        return line


def train(
    dataset: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    recipe: str | Recipe = "mini",
    weights: str | os.PathLike[str] | Weights | None = None,
    split: str | None = None,
    network: str | None = None,
    crop: int | None = None,
    epochs: float | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    carry: str | None = None,
    flip: bool | None = None,
    dropout: float | None = None,
    mean: Any = None,
    seed: int = 0,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "fp32",
    compile: bool = False,
    accumulate: int = 1,
    evaluations: int = 10,
    checkpoint_seconds: float = 300.0,
    resume: bool = False,
    video_seconds: float | None = None,
    max_skipped: int = 0,
    progress: bool = False,
) -> TrainingReport:
    """Learn a network and write its weights to `out/weights.safetensors`.

    `out` also gets log.csv, curve.png, a TensorBoard log if that is installed, and
    checkpoint.safetensors, from which the same call goes on when it was stopped.

    Args:
        dataset: prepared clips, or a dataset, which is prepared to `out/prepared.clips` first.
        out: the folder.
        recipe: a name of `RECIPES`, or a `Recipe`.
        weights: what fine-tuning starts from, a name, a file, or `Weights`: their network is
            learned, with as many classes as the dataset has.
        split: name of an official split, as "1"; None for the first, or, where there is none, a
            quarter of the videos for testing, whole groups.
        network: another network than the recipe's, see `recipes.NETWORK_NAMES`.
        crop: height and width of the network's input in pixels, instead of the recipe's.
        epochs, iterations: another length than the recipe's. A run that is there goes on with more
            of them than it was begun with: from its checkpoint the learning rate and the
            evaluations are those of the longer run.
        batch, learning_rate, carry, flip: other than the recipe's, see `Recipe`. A third of the
            batch wants a third of the rate and three times the iterations.
        dropout: probability, instead of the network's own; 0 switches it off.
        mean: what to subtract (see `extract`); by default that of the weights, or else the mean
            volume of the training clips.
        seed: of the initial weights, the order of the clips, crops, flips and dropout.
        kind, lists: see `datasets.load`; for a dataset that is not prepared yet.
        device, engine, precision, threads: see `Processes`.
        compile: let PyTorch compile the network.
        accumulate: parts that a batch is computed in, for less memory; the step is the same.
        evaluations: how many times to evaluate on the test videos, evenly over the run.
        checkpoint_seconds: longest time between two checkpoints.
        resume: insist on a checkpoint; without it, one that is there is gone on with all the same.
        video_seconds: the longest time that preparing a video may take; None is for ever.
        max_skipped: more videos than this that could not be read make the command line exit with 1;
            here, see the report.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: a setting is wrong, the dataset has nothing to tell apart, or `out` was begun
            with other settings or as a longer run.
        TrainingError: the loss is not finite any more; the last good checkpoint is kept.
        OSError: `out` cannot be written, or the disk is full; the last checkpoint is kept.
        KeyboardInterrupt: it was stopped (also by SIGTERM), after a last checkpoint.
    """
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {', '.join(RECIPES)}; got {recipe!r}.")
    plan = adapted(
        RECIPES[recipe] if isinstance(recipe, str) else recipe,
        network=network,
        crop=crop,
        epochs=epochs,
        iterations=iterations,
        batch=batch,
        learning_rate=learning_rate,
        carry=carry,
        flip=flip,
    )
    for what, value in (("accumulate", accumulate), ("evaluations", evaluations)):
        if value < 1:
            raise ValueError(f"`{what}` must be at least 1, got {value}.")
    if max_skipped < 0:
        raise ValueError(f"`max_skipped` must not be negative, got {max_skipped}.")
    if not checkpoint_seconds >= 0:
        raise ValueError(f"`checkpoint_seconds` must be at least 0, got {checkpoint_seconds}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be at least 0 and less than 1, got {dropout}.")
    start = None if weights is None else weights_room.resolve(weights)
    if start is None and plan.needs_weights:
        raise ValueError(f"the recipe {recipe} starts from weights: name them with `weights`.")
    if start is not None and (network is not None or crop is not None):
        raise ValueError(
            "`network` and `crop` cannot be chosen with `weights`: their network is learned."
        )
    if start is None and carry is not None:
        raise ValueError("`carry` says what is taken from weights: name them with `weights`.")
    out = Path(out)
    path = Path(dataset)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    if path.is_file() and path.suffix.lower() != ".csv" and not is_clip_store(path):
        raise ValueError(
            f"{path} is neither prepared clips, as `kinema prepare` writes them, nor a dataset: a "
            "folder, or a CSV file."
        )
    if resume and not (out / "checkpoint.safetensors").is_file():
        raise ValueError(f"`resume`: {out} holds no checkpoint to go on from.")
    # Neither frames nor the mean's fit depend on the number of classes.
    any_network = _network(plan, start, 2)
    if mean is not None:
        mean = load_mean(mean) if isinstance(mean, str | os.PathLike) else mean
        mean = check_mean(mean, any_network)
    with (
        Processes(device, engine, precision, threads) as processes,
        contextlib.ExitStack() as stack,
    ):
        if plan.batch % (processes.size * accumulate):
            raise ValueError(
                f"`batch` {plan.batch} must be divisible by {processes.size} processes times "
                f"`accumulate` {accumulate}."
            )
        found = store = None
        if is_clip_store(path):
            store = _open(path, any_network.frame_size)
            _check_store(store, split)
            _check_carried(plan, start, store.classes)
        elif processes.is_first:
            found = load(path, kind=kind, lists=lists)
            _check_dataset(found, split)
            _check_carried(plan, start, found.classes)
        if processes.is_first:
            _lock(out, stack)
        values = {f"recipe's {key}": value for key, value in dataclasses.asdict(plan).items()}
        settings = _as_json({"recipe": recipe if isinstance(recipe, str) else "custom", **values})
        del settings["recipe's what"]
        checkpoint = None
        if (out / "checkpoint.safetensors").is_file():
            checkpoint = Checkpoint.load(out / "checkpoint.safetensors")
            checkpoint.check_settings(_without_length(settings), out)
            named = epochs is not None or iterations is not None or not isinstance(recipe, str)
            _check_length(checkpoint, plan, out, named=named)
        skipped: list[Skipped] = []
        notes: list[str] = []
        if store is None:
            prepared = out / "prepared.clips"
            if found is not None:
                skipped, notes = _prepare(
                    found, prepared, plan.clips, any_network.frame_size, threads, progress,
                    video_seconds=video_seconds, begun=checkpoint is not None,
                )  # fmt: skip
            processes.wait()
            store = _open(prepared, any_network.frame_size)
        elif store.skipped:
            first = store.skipped[0]
            notes.append(
                f"{_videos(len(store.skipped))} could not be read in the preparation, the "
                f"first of them {first['path']}: {first['reason']}"
            )
        run = _Run(
            out,
            store,
            _network(plan, start, len(store.classes)),
            plan,
            processes,
            settings=settings,
            checkpoint=checkpoint,
            start=start,
            split=split,
            mean=mean,
            dropout=dropout,
            seed=seed,
        )
        del checkpoint  # the run's alone, which lets it go: it is as large as the network, twice
        run.report.notes = notes + run.report.notes
        run.report.skipped = skipped
        return run.carry_out(
            accumulate=accumulate,
            compile=compile,
            evaluations=evaluations,
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
        )


def _network(plan: Recipe, start: Weights | None, num_classes: int) -> Network:
    """The recipe's network, or that of the weights, for a number of classes."""
    if start is None:
        return plan.make_network(num_classes)
    return from_recipe({**start.network.recipe, "num_classes": num_classes})


# --- what is checked before the first dear step ---------------------------------------------------


def _check_dataset(dataset: Dataset, split: str | None) -> None:
    """Refuse a dataset that cannot be learned from, before its videos are prepared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the split of what could be read will warn again
        chosen = dataset.split(split)
    if not chosen.train:
        raise ValueError(
            f"the split of {dataset.root} has no training video: choose another `split`."
        )
    train = [dataset.samples[index] for index in chosen.train]
    _check_classes(dataset.root, dataset.classes, train)


def _check_store(store: ClipStore, split: str | None) -> None:
    """Refuse prepared clips that cannot be learned from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run splits them again, and keeps the warnings
        train, _ = split_videos(store, split)
    _check_classes(store.path, store.classes, train, store.skipped)


def _check_classes(
    where: Path,
    classes: Sequence[str],
    train: Sequence[Sample | StoredVideo],
    skipped: Sequence[Any] = (),
) -> None:
    """Refuse to learn one class, which leaves nothing to tell apart."""
    if len(classes) < 2:
        raise ValueError(
            f"{where} has one class, {classes[0]}: nothing to tell apart; add videos of another."
        )
    labels = {label for video in train for label in video.labels}
    if len(labels) < 2:
        (label,) = labels
        unread = ""
        if skipped:
            first = skipped[0]
            unread = (
                f" ({_videos(len(skipped))} could not be read, the first of them {first['path']}: "
                f"{first['reason'].rstrip('.')})"
            )
        raise ValueError(
            f"the training videos of {where} are all of one class, {classes[label]}{unread}: "
            "nothing to tell apart; choose another `split`, or add videos of another class."
        )


def _check_carried(plan: Recipe, start: Weights | None, classes: Sequence[str]) -> None:
    """Refuse weights of which nothing would be taken."""
    if start is not None:
        network = _network(plan, start, len(classes))
        if not carried_over(start, network, layers=plan.carry, labels=classes):
            raise ValueError(f"no layer of weights {start.name} fits the network.")


def _lock(out: Path, stack: contextlib.ExitStack) -> None:
    """Make the folder and keep others out of it; refuse one that cannot be written."""
    for name in ("weights.safetensors", "checkpoint.safetensors", "log.csv", "curve.png"):
        if (out / name).is_dir():
            raise ValueError(
                f"{out / name} is a folder, but training writes a file of this name: choose "
                "another `out`."
            )
    if (out / "tensorboard").is_file():
        raise ValueError(
            f"{out / 'tensorboard'} is a file, but training writes a folder of this name: choose "
            "another `out`."
        )
    stack.enter_context(locked_folder(out))
    remove_partial_files(out)


def _without_length(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _LENGTH}


def _check_length(checkpoint: Checkpoint, plan: Recipe, out: Path, *, named: bool) -> None:
    """Refuse another length that nobody asked for, and a shorter one where no clips tell steps."""
    epochs, iterations = (checkpoint.settings.get(key) for key in _LENGTH)
    if (epochs, iterations) == (plan.epochs, plan.iterations):
        return
    before, now = length_text(iterations, epochs), length_text(plan.iterations, plan.epochs)
    if not named:
        raise ValueError(
            f"{out} was begun with a length of {before}, the recipe's is {now}: name `epochs` or "
            "`iterations`, the same to go on or more for a longer run."
        )
    for had, wanted in ((epochs, plan.epochs), (iterations, plan.iterations)):
        if had is not None and wanted is not None and wanted < had:
            _refuse_shorter(out, before, now)


def _refuse_shorter(out: Path, before: str, now: str) -> None:
    raise ValueError(
        f"{out} is a run of {before}, and cannot be shortened to {now}: it has learned at the "
        f"rates of the longer run. Go on with {before} or more, or choose another `out`."
    )


# --- the clips ------------------------------------------------------------------------------------


def _open(path: Path, size: tuple[int, int]) -> ClipStore:
    """Prepared clips, whose frames must be as large as the network needs them."""
    store = ClipStore(path)
    if store.size != size:
        (h, w), (height, width) = store.size, size
        raise ValueError(
            f"{path} holds frames of {h}x{w} pixels, but the network needs {height}x{width}: "
            f"`kinema prepare ... --size {height}x{width}`."
        )
    return store


def _prepare(
    dataset: Dataset,
    out: Path,
    clips: str,
    size: tuple[int, int],
    threads: int | None,
    progress: bool,
    *,
    video_seconds: float | None,
    begun: bool,
) -> tuple[list[Skipped], list[str]]:
    """Prepare a dataset for a run, if that has not been done; what was skipped, and notes.

    The clips of a run that has `begun` are not touched again: with others it would be another run.
    """
    if begun and out.is_file():
        store = ClipStore(out)
        _check_same_videos(store, dataset, out.parent)
        path_of = {sample.name: sample.path for sample in dataset.samples}
        return [Skipped(str(path_of[e["path"]]), e["reason"]) for e in store.skipped], []
    report = prepare(
        dataset,
        out=out,
        clips=clips,
        size=size,
        threads=threads,
        video_seconds=video_seconds,
        progress=progress,
    )
    return report.skipped, report.notes


def _check_same_videos(store: ClipStore, dataset: Dataset, out: Path) -> None:
    """Refuse to go on with other videos than those the run was begun with."""
    before = {video.name for video in store.videos} | {entry["path"] for entry in store.skipped}
    if before != {sample.name for sample in dataset.samples} or store.classes != dataset.classes:
        raise ValueError(
            f"{dataset.root} has other videos or classes than {out} was begun with: choose another "
            f"`out`, or name {store.path} instead of it to go on with what was there."
        )


class _Run:
    """One run of `train` in one folder: what is learned, from which clips, where it stands."""

    def __init__(
        self,
        out: Path,
        store: ClipStore,
        network: Network,
        plan: Recipe,
        processes: Processes,
        *,
        settings: Mapping[str, Any],
        checkpoint: Checkpoint | None,
        start: Weights | None,
        split: str | None,
        mean: np.ndarray | None,
        dropout: float | None,
        seed: int,
    ) -> None:
        self.out, self.store, self.network, self.plan = out, store, network, plan
        self.processes, self.start, self.dropout, self.seed = processes, start, dropout, seed
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.train_videos, self.test_videos = split_videos(store, split)
        _check_classes(store.path, store.classes, self.train_videos, store.skipped)
        self.report = TrainingReport(out, notes=[*self._notes(), *(str(w.message) for w in caught)])
        _, self.length, *crop = network.input_shape
        self.crop = (crop[0], crop[1])
        self.sampler = Sampler(
            self.train_videos,
            length=self.length,
            size=store.size,
            crop=self.crop,
            seed=seed,
            flip=plan.flip,
            once=store.about["clips"] == "five",
        )
        self.iterations = self._steps(plan.epochs, plan.iterations)
        self.given_mean = start.mean if mean is None and start is not None else mean
        names = json.dumps([video.name for video in self.train_videos])
        own = {
            "network": dict(network.recipe),
            "classes": store.classes,
            "split": split,
            "training videos": hashlib.sha256(names.encode()).hexdigest(),
            "clips": [store.about[key] for key in ("clips", "size", "quality", "seed")],
            "weights": start and start.sha256,
            "mean": None if self.given_mean is None else _sha256(self.given_mean),
            "dropout": dropout,
            "seed": seed,
            "precision": processes.precision,
        }
        self.settings: dict[str, Any] = {**settings, **_as_json(own)}
        self.checkpoint = checkpoint
        self.raised: tuple[Raised, ...] = ()
        self.length_before = self.iterations
        if checkpoint is not None:
            self._raise_from(checkpoint)

    def _steps(self, epochs: float | None, iterations: int | None) -> int:
        """Length of a run in steps."""
        num_clips = (epochs or 0) * len(self.sampler)
        return iterations or max(math.ceil(num_clips / self.plan.batch), 1)

    def _raise_from(self, checkpoint: Checkpoint) -> None:
        """Go on as a longer run, where that is wanted; what was one before is known, too.

        The n-th clip and what is dropped are functions of the seed, and the rate and the
        evaluations are of the iteration and the length: so from here on all is as it would be if
        the run had been begun with the new length.
        """
        epochs, iterations = (checkpoint.settings.get(key) for key in _LENGTH)
        self.length_before = before = self._steps(epochs, iterations)
        now = Raised(checkpoint.iteration, before, self.iterations, epochs, self.plan.epochs)
        if self.iterations < before:
            _refuse_shorter(
                self.out,
                length_text(before, epochs),
                length_text(self.iterations, self.plan.epochs),
            )
        self.raised = checkpoint.raised + ((now,) if self.iterations > before else ())
        self.report.notes += [
            f"the run was {each}: from there its learning rate and evaluations are the longer "
            "run's."
            for each in self.raised
        ]

    def _notes(self) -> list[str]:
        """What the user should know of the dataset."""
        store, train, test = self.store, self.train_videos, self.test_videos
        notes = []
        learned = {label for video in train for label in video.labels}
        lost = [name for index, name in enumerate(store.classes) if index not in learned]
        if lost:
            shown = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else ".")
            notes.append(
                f"{len(lost)} of {len(store.classes)} classes have no training video that can be "
                f"read, and are not learned: {shown}"
            )
        if not store.splits:
            notes.append(
                f"no official split: {len(test)} of {len(store.videos)} videos are kept for "
                "testing, whole groups, the same in every run."
            )
        if not test:
            notes.append("there is no test video: nothing is evaluated.")
        return notes

    def first_checkpoint(self) -> Checkpoint:
        """Where it goes on: the folder's checkpoint, or the very beginning."""
        if self.checkpoint is not None:
            self.checkpoint.check_settings(_without_length(self.settings), self.out)
            return self.checkpoint
        mean = self.given_mean
        if mean is None:
            threads = self.processes.threads
            mean = mean_volume(self.store, self.train_videos, length=self.length, threads=threads)
        arrays = initial_arrays(
            self.network,
            kind=self.plan.initial,
            pixel_scale=self.plan.pixel_scale,
            seed=_seed(self.seed, _WEIGHTS),
        )
        if self.start is not None:
            names = carried_over(
                self.start, self.network, layers=self.plan.carry, labels=self.store.classes
            )
            arrays |= {name: self.start[name] for name in names}
            anew = {name.partition(".")[0] for name in arrays if name not in names}
            self.report.notes.append(
                f"from weights {self.start.name}: {', '.join(sorted(anew)) or 'no layer'} "
                "start anew, all others are carried over."
            )
        return Checkpoint(self.settings, 0, arrays, {}, None, mean)

    def batches(self, first: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """This process's part of each batch from step `first` on, read in threads."""
        share = self.plan.batch // self.processes.size

        def read(draws: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
            clips = np.empty((len(draws), *self.network.input_shape), np.float32)
            for clip, draw in zip(clips, draws, strict=True):
                clip[:] = read_clip(
                    self.store,
                    draw.segment,
                    draw.start,
                    length=self.length,
                    mean=self.mean,
                    crop=self.crop,
                    offset=draw.offset,
                    flip=draw.flip,
                )
            return clips, np.array([draw.label for draw in draws])

        begins = (
            iteration * self.plan.batch + self.processes.rank * share
            for iteration in range(first, self.iterations)
        )
        draws = ([self.sampler[n] for n in range(begin, begin + share)] for begin in begins)
        threads = max(self.processes.threads, 2)
        in_memory = _MOST_BYTES // (4 * share * math.prod(self.network.input_shape))
        return mapped(read, draws, threads=threads, ahead=max(min(2 * threads, in_memory), 1))

    def carry_out(
        self,
        *,
        accumulate: int,
        compile: bool,
        evaluations: int,
        checkpoint_seconds: float,
        progress: bool,
    ) -> TrainingReport:
        """The loop."""
        begun = saved = time.monotonic()
        processes, plan, is_first = self.processes, self.plan, self.processes.is_first
        checkpoint = self.first_checkpoint()
        self.checkpoint = None
        begun_at = checkpoint.iteration
        processes.wait()  # all have read the checkpoint before the first one writes another
        self.mean = checkpoint.mean
        learner = Learner(
            self.network,
            processes,
            momentum=plan.momentum,
            weight_decay=plan.weight_decay,
            pixel_scale=plan.pixel_scale,
            dropout=self.dropout,
            accumulate=accumulate,
            compile=compile,
        )
        learner.load(checkpoint.parameters, checkpoint.momentum, checkpoint.learning_rate)
        log = None
        if is_first:
            log = TrainingLog(
                self.out,
                iterations=self.iterations,
                batch=plan.batch,
                epoch=len(self.sampler),
                num_classes=len(self.store.classes),
                start=begun_at,
                before=self.length_before,
                losses=checkpoint.log.get("losses", ()),
            )
            self.report.notes += [log.note] if log.note else []
        del checkpoint
        points = {
            math.ceil(self.iterations * (n + 1) / evaluations)
            for n in range(evaluations)
            if self.test_videos
        }
        evaluation = None
        with (
            TrainingProgress(self.iterations, plan.batch, enabled=progress and is_first) as bar,
            stop_signal() as stop_came,
            contextlib.closing(self.batches(begun_at)) as batches,
        ):
            for done, (clips, labels) in enumerate(batches, start=begun_at + 1):
                rate = plan.learning_rate_at(done - 1, self.iterations)
                loss = learner.step(
                    clips, labels, rate=rate, seed=_seed(self.seed, _DROPOUT, done, processes.rank)
                )
                # All processes stop at the same step, or none.
                mean_loss, stopped = processes.mean(loss, stop_came())
                if not math.isfinite(mean_loss):
                    raise TrainingError(self._come_apart(f"the loss is {mean_loss}", done, rate))
                bar.advance(done, mean_loss)
                if log is not None:
                    late = time.monotonic() - saved > checkpoint_seconds
                    saves = stopped or late or done in points or done == self.iterations
                    if saves:
                        self._check_finite(learner, done, rate)
                    if done in points:
                        evaluation = self._evaluate(learner)
                    log.add(done, mean_loss, rate, evaluation if done in points else None)
                    if saves:
                        self._save(learner, log, done)
                        saved = time.monotonic()
                if done in points or stopped:  # torchrun ends all when one of them has ended
                    processes.wait()
                if stopped:
                    raise KeyboardInterrupt
        if log is not None:
            if evaluation is None and self.test_videos:  # it had been finished before
                evaluation = self._evaluate(learner)
                log.evaluated_again(evaluation)
            self._finish(learner, log)
        processes.wait()
        self.report.evaluation = evaluation
        self.report.iterations = self.iterations
        self.report.num_clips = self.iterations * plan.batch
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _evaluate(self, learner: Learner) -> Evaluation:
        processes = self.processes
        engine = Engine(
            self.network,
            learner.parameters(),
            kind="native" if processes.native else "torch",
            device=processes.kind,
            threads=processes.threads,
        )
        return evaluate(
            engine,
            self.store,
            self.test_videos,
            mean=self.mean,
            threads=max(processes.threads, 2),
        )

    def _save(self, learner: Learner, log: TrainingLog, iteration: int) -> None:
        Checkpoint(
            self.settings,
            iteration,
            learner.parameters(),
            learner.momentum(),
            learner.rate,
            self.mean,
            log.state(),
            self.raised,
        ).save(self.out / "checkpoint.safetensors")

    def _check_finite(self, learner: Learner, iteration: int, rate: float) -> None:
        for name, array in learner.parameters().items():
            if not np.isfinite(array).all():
                what = f"{name} is not finite any more"
                raise TrainingError(self._come_apart(what, iteration, rate))

    def _come_apart(self, what: str, iteration: int, rate: float) -> str:
        path = self.out / "checkpoint.safetensors"
        kept = "No checkpoint had been written yet"
        if path.is_file():
            kept = f"{path} of iteration {Checkpoint.load(path).iteration} is kept"
        return (
            f"learning has come apart at iteration {iteration}: {what}. {kept}; begin anew with a "
            f"smaller learning rate than {rate:g}."
        )

    def _finish(self, learner: Learner, log: TrainingLog) -> None:
        """Write the weights and the curve."""
        log.close()
        name = self.out.resolve().name
        what = f"{len(self.train_videos)} videos of {self.store.path.name}"
        source = f"kinema train, recipe {self.settings['recipe']}, {self.iterations} iterations"
        seen = tuple(video.name for video in self.train_videos)
        source += "".join(f", {each}" for each in self.raised)
        if self.start is not None:
            source += f" from weights {self.start.name}"
            seen = tuple(dict.fromkeys([*(self.start.trained_on or ()), *seen]))
        Weights(
            learner.parameters(),
            self.network,
            name=name,
            source=f"{source} on {what}",
            mean=self.mean,
            labels=self.store.classes,
            trained_on=seen,
        ).save(self.out / "weights.safetensors")
        plots.training_curve(
            self.out / "curve.png",
            log.rows,
            title=f"{name}: {what}",
            chance=1 / len(self.store.classes),
            raised=[r.iteration * self.plan.batch / len(self.sampler) for r in self.raised],
        )


def _videos(number: int) -> str:
    return "1 video" if number == 1 else f"{number} videos"


def _seed(*numbers: int) -> int:
    """One seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """As they come back from a checkpoint."""
    read: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return read


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
