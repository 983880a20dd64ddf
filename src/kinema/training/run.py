"""One run of `train` in one folder: where it stands, and the loop."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema import plots
from kinema.engine.engine import Engine
from kinema.network import Network
from kinema.progress import TrainingProgress
from kinema.skipped import Skipped
from kinema.training.batches import Batch
from kinema.training.checkpoint import Checkpoint, Raised, length_text
from kinema.training.descent import Optimiser
from kinema.training.learner import Learner
from kinema.training.log import TrainingLog
from kinema.training.material import Material, num_videos
from kinema.training.plan import LENGTH_SETTINGS, Options, Plan, as_json, steps, without_length
from kinema.training.processes import Processes, stop_signal
from kinema.training.resident import batches_on
from kinema.training.sampling import Sampler, mean_volume
from kinema.training.scoring import Evaluation, evaluate
from kinema.weights.file import Weights
from kinema.weights.initial import carried_over, initial_arrays

NUM_TIMED = 5
"""Steps whose time is taken, see `Run.seconds_a_step`."""

_WEIGHTS, _DROPOUT, _HEADS = 1, 2, 3
"""What tells the random numbers of one seed apart."""


class TrainingError(RuntimeError):
    """Training diverged; the message says at which iteration, and what to do."""


@dataclass(frozen=True)
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
            line += f"; {num_videos(len(self.skipped))} could not be read"
        return line


class Run:
    """One run in one folder: what is learned, from which clips, where it stands.

    Args:
        out: the folder.
        material: the clips.
        plan: what is learned.
        options: how it runs.
        processes: where it runs.
        checkpoint: where the folder's run stands, or None for the very beginning. It is as large
            as the network, twice, and is not held.

    Raises:
        ValueError: the folder was begun with other settings, or as a longer run.
    """

    def __init__(
        self,
        out: Path,
        material: Material,
        plan: Plan,
        options: Options,
        processes: Processes,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._begun = time.monotonic()
        self._out, self._material, self._plan = out, material, plan
        self._options, self._processes = options, processes
        store, recipe = material.store, plan.recipe
        self._network = plan.network(len(material.classes))
        _, self._length, height, width = self._network.input_shape
        self._sampler = Sampler(
            material.train,
            length=self._length,
            size=store.size_of(self._network.stream),
            crop=(height, width),
            seed=plan.seed,
            flip=recipe.flip,
            once=store.about["clips"] == "five",
            step=self._network.frame_step,
            short=self._network.short,
            reversed=recipe.reversed,
            fast=recipe.fast,
            paired=recipe.paired,
            brightness=recipe.brightness,
        )
        if self._network.stream != "rgb" and (recipe.reversed or recipe.fast or recipe.paired):
            raise ValueError(
                f"clips of {self._network.stream} cannot be played backwards or at double speed: "
                "set the recipe's `reversed` and `fast` to 0, and `paired` to False."
            )
        self._iterations = steps(plan, len(self._sampler), (recipe.epochs, recipe.iterations))
        self._settings = self._all_settings()
        self._length_before, self._raised = self._lengths(checkpoint)
        self._notes = list(material.notes)
        self._notes += [
            f"the run was {each}: from there its learning rate and evaluations are the longer "
            "run's."
            for each in self._raised
        ]
        if checkpoint is None:
            checkpoint = self._beginning()
        else:
            checkpoint.check_settings(without_length(self._settings), out)
        processes.wait()  # all have read the checkpoint before the first one writes another
        self._first_step, self._mean = checkpoint.iteration, checkpoint.mean
        self._losses: Sequence[float] = checkpoint.log.get("losses", ())
        self._learner = Learner(
            self._network,
            processes,
            optimiser=Optimiser(
                recipe.optimiser, recipe.momentum, recipe.weight_decay, recipe.betas
            ),
            average=recipe.average,
            heads=recipe.heads,
            sizes={name: targets.size for name, targets in plan.targets.items()},
            pixel_scale=recipe.pixel_scale,
            dropout=plan.dropout,
            accumulate=options.accumulate,
            compile=options.compile,
            norm=recipe.norm == "batch",
            class_rate=recipe.class_rate,
            clip_gradients=recipe.clip_gradients,
        )
        self._learner.load(checkpoint.parameters, checkpoint.state, checkpoint.learning_rate)

    def _all_settings(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that no run goes on as another one."""
        plan, store = self._plan, self._material.store
        names = json.dumps([video.name for video in self._material.train])
        given = plan.given_mean
        own = {
            "network": dict(self._network.architecture),
            "classes": self._material.classes,
            "split": plan.split,
            "training videos": hashlib.sha256(names.encode()).hexdigest(),
            "clips": [store.about[key] for key in ("clips", "size", "quality", "seed")],
            "weights": plan.start and plan.start.sha256,
            "mean": None if given is None else _sha256(given),
            "dropout": plan.dropout,
            "seed": plan.seed,
            "precision": self._processes.precision,
        }
        if self._network.stream != "rgb":
            own["stream"] = self._network.stream
        return {**plan.settings(), **as_json(own)}

    def _lengths(self, checkpoint: Checkpoint | None) -> tuple[int, tuple[Raised, ...]]:
        """How long the run was to be so far, and how it was raised; a longer run is gone on as.

        The n-th clip and what is dropped are functions of the seed, and the rate and the
        evaluations are of the iteration and the length: so from here on all is as it would be if
        the run had been begun with the new length.
        """
        if checkpoint is None:
            return self._iterations, ()
        epochs, iterations = (checkpoint.settings.get(key) for key in LENGTH_SETTINGS)
        before = steps(self._plan, len(self._sampler), (epochs, iterations))
        wanted = self._plan.recipe.epochs
        if self._iterations < before:
            refuse_shorter(
                self._out, length_text(before, epochs), length_text(self._iterations, wanted)
            )
        now = Raised(checkpoint.iteration, before, self._iterations, epochs, wanted)
        return before, checkpoint.raised + ((now,) if self._iterations > before else ())

    def _beginning(self) -> Checkpoint:
        """The state before the first step."""
        plan, store = self._plan, self._material.store
        mean = plan.given_mean
        if mean is None:
            threads = self._processes.threads
            mean = mean_volume(
                store,
                self._material.train,
                length=self._length,
                threads=threads,
                stream=self._network.stream,
                step=self._network.frame_step,
                short=None if isinstance(self._network, Network) else self._network.short,
            )
        arrays = initial_arrays(
            self._network,
            kind=plan.recipe.initial,
            pixel_scale=plan.recipe.pixel_scale,
            seed=_seed(plan.seed, _WEIGHTS),
        )
        if plan.start is not None:
            names = carried_over(
                plan.start,
                self._network,
                layers=plan.recipe.carry,
                labels=self._material.classes,
            )
            arrays |= {name: plan.start[name] for name in names}
            anew = {name.partition(".")[0] for name in arrays if name not in names}
            self._notes.append(
                f"from weights {plan.start.name}: {', '.join(sorted(anew)) or 'no layer'} "
                "start anew, all others are carried over."
            )
        return Checkpoint(self._settings, 0, arrays, self._initial_heads(), None, mean)

    def _initial_heads(self) -> dict[str, np.ndarray]:
        """The heads' own layers before the first step: N(0, 1 / their inputs), biases 0."""
        state = {}
        for number, head in enumerate(self._plan.recipe.heads):
            if head.layer is not None and head.is_linear:
                width = math.prod(self._network.feature_shape(head.layer))
                size = head.size({name: each.size for name, each in self._plan.targets.items()})
                generator = np.random.default_rng([self._plan.seed, _HEADS, number])
                weight = generator.standard_normal((size, width), np.float32)
                state[f"head:{number}.weight"] = weight / np.float32(math.sqrt(width))
                state[f"head:{number}.bias"] = np.zeros(size, np.float32)
        return state

    def seconds_a_step(self) -> float:
        """How long a step takes, reading included: the median of some, which change this run.

        The first one, in which memory is found, does not count.
        """
        ends = [time.monotonic()]
        with contextlib.closing(self._batches(0, NUM_TIMED + 1)) as batches:
            for part in batches:
                self._learner.step(part.clips, part.labels, rate=1e-9, vectors=part.vectors)
                ends.append(time.monotonic())
        return float(np.median(np.diff(ends[1:])))

    def _batches(self, first: int, stop: int) -> Generator[Batch, None, None]:
        return batches_on(self._processes, self._material, self._network.stream)(
            self._material.store,
            self._sampler,
            self._network,
            mean=self._mean,
            batch=self._plan.recipe.batch,
            processes=self._processes,
            targets=self._plan.targets,
        ).steps(first, stop)

    # --- the loop ---------------------------------------------------------------------------------

    def carry_out(self) -> TrainingReport:
        """Learn to the end, or until it is stopped, and write what came of it."""
        processes, plan, total = self._processes, self._plan, self._iterations
        batch = plan.recipe.batch
        log = self._open_log() if processes.is_first else None
        points = self._evaluation_points()
        saved = self._begun
        evaluation = None
        batches = self._batches(self._first_step, total)
        shows = self._options.progress and processes.is_first
        with (
            TrainingProgress(total, batch, enabled=shows) as bar,
            stop_signal() as stop_came,
            contextlib.closing(batches),
        ):
            for done, part in enumerate(batches, start=self._first_step + 1):
                rate = plan.recipe.learning_rate_at(done - 1, total)
                seed = _seed(plan.seed, _DROPOUT, done, processes.rank)
                loss = self._learner.step(
                    part.clips, part.labels, rate=rate, seed=seed, vectors=part.vectors
                )
                # All processes stop at the same step, or none.
                mean_loss, stopped = processes.mean(loss, stop_came())
                if not math.isfinite(mean_loss):
                    raise TrainingError(self._diverged(f"the loss is {mean_loss}", done, rate))
                bar.advance(done, mean_loss)
                if log is not None:
                    late = time.monotonic() - saved > self._options.checkpoint_seconds
                    saves = stopped or late or done in points or done == total
                    if saves:
                        self._check_finite(done, rate)
                    if done in points:
                        evaluation = self._evaluate()
                    log.add(done, mean_loss, rate, evaluation if done in points else None)
                    if saves:
                        self._save(log, done)
                        saved = time.monotonic()
                if done in points or stopped:  # torchrun ends all when one of them has ended
                    processes.wait()
                if stopped:
                    raise KeyboardInterrupt
        if log is not None:
            if evaluation is None and self._evaluation_points():  # it had been finished before
                evaluation = self._evaluate()
                log.evaluated_again(evaluation)
            self._finish(log)
        processes.wait()
        return TrainingReport(
            self._out,
            iterations=total,
            num_clips=total * batch,
            evaluation=evaluation,
            skipped=self._material.skipped,
            notes=self._notes + ([log.note] if log is not None and log.note else []),
            seconds=time.monotonic() - self._begun,
        )

    def _open_log(self) -> TrainingLog:
        return TrainingLog(
            self._out,
            iterations=self._iterations,
            batch=self._plan.recipe.batch,
            epoch=len(self._sampler),
            num_classes=len(self._material.store.classes),
            start=self._first_step,
            before=self._length_before,
            losses=self._losses,
        )

    def _evaluation_points(self) -> set[int]:
        """Steps behind which the test videos are scored."""
        if not self._material.test or not self._plan.recipe.learns_labels:
            return set()
        number = self._options.evaluations
        return {math.ceil(self._iterations * (n + 1) / number) for n in range(number)}

    def _evaluate(self) -> Evaluation:
        processes = self._processes
        engine = Engine(
            self._network,
            self._learner.averaged(),
            engine="native" if processes.native and isinstance(self._network, Network) else "torch",
            device=processes.kind,
            threads=processes.threads,
        )
        return evaluate(
            engine,
            self._material.store,
            self._material.test,
            mean=self._mean,
            threads=max(processes.threads, 2),
        )

    # --- what is written --------------------------------------------------------------------------

    def _save(self, log: TrainingLog, iteration: int) -> None:
        Checkpoint(
            self._settings,
            iteration,
            self._learner.parameters(),
            self._learner.state(),
            self._learner.rate,
            self._mean,
            log.state(),
            self._raised,
        ).save(self._out / "checkpoint.safetensors")

    def _check_finite(self, iteration: int, rate: float) -> None:
        for name, array in self._learner.parameters().items():
            if not np.isfinite(array).all():
                what = f"{name} is not finite any more"
                raise TrainingError(self._diverged(what, iteration, rate))

    def _diverged(self, what: str, iteration: int, rate: float) -> str:
        path = self._out / "checkpoint.safetensors"
        kept = "No checkpoint had been written yet"
        if path.is_file():
            kept = f"{path} of iteration {Checkpoint.load(path).iteration} is kept"
        return (
            f"training diverged at iteration {iteration}: {what}. {kept}; begin anew with a "
            f"smaller learning rate than {rate:g}."
        )

    def _finish(self, log: TrainingLog) -> None:
        """Write the weights and the curve."""
        log.close()
        plan, store = self._plan, self._material.store
        name = self._out.resolve().name
        what = f"{len(self._material.train)} videos of {store.path.name}"
        source = f"kinema train, recipe {self._settings['recipe']}, {self._iterations} iterations"
        seen = tuple(video.name for video in self._material.train)
        source += "".join(f", {each}" for each in self._raised)
        if plan.start is not None:
            source += f" from weights {plan.start.name}"
            seen = tuple(dict.fromkeys([*(plan.start.trained_on or ()), *seen]))
        Weights(
            self._learner.averaged(),
            self._network,
            name=name,
            source=f"{source} on {what}",
            mean=self._mean,
            labels=None if self._network.num_classes is None else self._material.classes,
            trained_on=seen,
        ).save(self._out / "weights.safetensors")
        plots.training_curve(
            self._out / "curve.png",
            log.rows,
            title=f"{name}: {what}",
            chance=1 / len(self._material.classes),
            raised=[r.iteration * plan.recipe.batch / len(self._sampler) for r in self._raised],
        )


def refuse_shorter(out: Path, before: str, now: str) -> None:
    """A run that has learned at the rates of a longer one cannot become a shorter one."""
    raise ValueError(
        f"{out} is a run of {before}, and cannot be shortened to {now}: it has learned at the "
        f"rates of the longer run. Go on with {before} or more, or choose another `out`."
    )


def _seed(*numbers: int) -> int:
    """One seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
