"""`train`: learn a network from prepared videos, on one processor or many.

    ClipStore -> Sampler -> clips -> Learner -> checkpoint.safetensors -> weights.safetensors

The same command goes on with a run that was stopped, and gives the same weights as one that was
not; with more epochs or iterations it makes the run longer. Under torchrun each process takes its
part of every batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kinema.datasets.loaders import load
from kinema.files import locked_folder, remove_partial_files
from kinema.model import UserModel
from kinema.network import Network
from kinema.own import is_place, load_class
from kinema.skipped import Skipped
from kinema.training.budget import keep, kept_iterations
from kinema.training.checkpoint import Checkpoint, length_text
from kinema.training.clip_store import is_clip_store
from kinema.training.heads import CLIPS, Head
from kinema.training.material import (
    Material,
    check_dataset,
    check_store,
    notes_of_preparation,
    open_store,
    prepare_once,
)
from kinema.training.plan import LENGTH_SETTINGS, Options, Plan, without_length
from kinema.training.processes import Processes
from kinema.training.recipe import Recipe
from kinema.training.recipes import RECIPES, adapted, recipe_of
from kinema.training.recording import STREAMS
from kinema.training.run import Run, TrainingError, TrainingReport, refuse_shorter
from kinema.training.targets import Targets
from kinema.weights import file as weights_room
from kinema.weights.file import Weights
from kinema.weights.means import load_mean

__all__ = ["TrainingError", "TrainingReport", "train"]


def train(
    dataset: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    recipe: str | Recipe | None = None,
    weights: str | os.PathLike[str] | Weights | None = None,
    split: str | None = None,
    model: str | Network | Callable[..., Any] | None = None,
    models: Mapping[str, Callable[..., Any]] | None = None,
    network: str | None = None,
    crop: int | None = None,
    epochs: float | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    carry: str | None = None,
    flip: bool | None = None,
    width: float | None = None,
    seconds: float | None = None,
    dropout: float | None = None,
    mean: Any = None,
    targets: Mapping[str, str | os.PathLike[str] | Targets] | None = None,
    seed: int = 0,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "fp32",
    compile: bool | None = None,
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
        recipe: a name of `RECIPES`, or a `Recipe`; by default that of the `model`, if it is a
            published one, or else "mini".
        weights: what fine-tuning starts from, a name, a file, or `Weights`: their network is
            learned, with as many classes as the dataset has; or the `model`, which takes from them
            what has the same name and shape, as the encoder of lstm-composite.
        split: name of an official split, as "1"; None for the first, or, where there is none, a
            quarter of the videos for testing, whole groups.
        model: another network than the recipe's: a name, see `recipes.NETWORK_NAMES` and
            `kinema.models`; a `Network`; a class of one's own, its name in `models`, or
            FILE.py:ClassName, see Note [A model of one's own] in `model`. The number of classes is
            the dataset's.
        models: classes of one's own by the names that weight files shall have for them; also those
            that `weights` are of.
        network: another word for `model`.
        crop: height and width of the network's input in pixels, instead of the recipe's.
        epochs, iterations: another length than the recipe's. A run that is there goes on with more
            of them than it was begun with: from its checkpoint the learning rate and the
            evaluations are those of the longer run.
        batch, learning_rate, carry, flip: other than the recipe's, see `Recipe`. A third of the
            batch wants a third of the rate and three times the iterations.
        width: what the channels and units of a model of `kinema.models` are multiplied by.
        seconds: instead of a length, about how long the steps may take: the speed of some is
            measured before the first one, and a run that is gone on with keeps the number.
        dropout: probability, instead of the network's own; 0 switches it off.
        mean: what to subtract (see `extract`); by default that of the weights, or else the mean
            volume of the training clips.
        targets: what the recipe's heads on vectors learn, by the name that these have for it: a
            file, see `Targets`, or `Targets`.
        seed: of the initial weights, the order of the clips, crops, flips and dropout.
        kind, lists: see `datasets.load`; for a dataset that is not prepared yet.
        device, engine, precision, threads: see `Processes`.
        compile: whether PyTorch compiles the network; None where it pays, see `Learner`.
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
        TrainingError: training diverged, so that the loss is not finite; the last good checkpoint
            is kept.
        OSError: `out` cannot be written, or the disk is full; the last checkpoint is kept.
        KeyboardInterrupt: it was stopped (also by SIGTERM), after a last checkpoint.
    """
    if network is not None and model is not None:
        raise ValueError("`model` and `network` are two words for one thing: name one.")
    model = network if model is None else model
    recipe = recipe_of(model) if recipe is None else recipe
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {', '.join(RECIPES)}; got {recipe!r}.")
    models = dict(models or {})
    if isinstance(model, str) and is_place(model):
        made = load_class(model)
        models[made.__name__] = made
        # With weights their model is learned, and the class is needed to read them.
        model = made.__name__ if weights is None else None
    if callable(model):
        name = getattr(model, "__name__", "model")
        models[name], model = model, name
    changed = adapted(
        RECIPES[recipe] if isinstance(recipe, str) else recipe,
        model=model,
        models=models,
        crop=crop,
        epochs=epochs,
        iterations=iterations,
        batch=batch,
        learning_rate=learning_rate,
        carry=carry,
        flip=flip,
        width=width,
    )
    if seconds is not None:
        if epochs is not None or iterations is not None:
            raise ValueError("`seconds` gives the length of the run: name no other.")
        if not 0 < seconds < math.inf:
            raise ValueError(f"`seconds` must be more than 0, got {seconds}.")
    options = Options(
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        compile=compile,
        accumulate=accumulate,
        evaluations=evaluations,
        checkpoint_seconds=checkpoint_seconds,
        resume=resume,
        kind=kind,
        lists=lists,
        video_seconds=video_seconds,
        max_skipped=max_skipped,
        progress=progress,
    )
    start = None if weights is None else weights_room.resolve(weights, models)
    if start is not None and model is None and (crop is not None or width is not None):
        raise ValueError(
            "`crop` and `width` cannot be chosen with `weights`: their network is learned, unless "
            "`model` names another that starts from them."
        )
    if start is None and carry is not None:
        raise ValueError("`carry` says what is taken from weights: name them with `weights`.")
    changed = _without_labels(changed, models, start if model is None else None)
    plan = Plan(
        changed,
        recipe if isinstance(recipe, str) else "custom",
        models,
        start=start,
        split=split,
        dropout=dropout,
        mean=load_mean(mean) if isinstance(mean, str | os.PathLike) else mean,
        seed=seed,
        targets={
            name: each if isinstance(each, Targets) else Targets.load(each)
            for name, each in (targets or {}).items()
        },
        renews=start is not None and model is not None,
    )
    # A length that nobody names is the recipe's, and no wish for a longer run.
    lengths = (epochs, iterations, seconds)
    named = any(each is not None for each in lengths) or not isinstance(recipe, str)
    return _carry_out(Path(dataset), Path(out), plan, options, length_named=named, seconds=seconds)


def _without_labels(
    recipe: Recipe, models: Mapping[str, Callable[..., Any]], start: Weights | None
) -> Recipe:
    """The recipe as a model wants it whose own loss needs no labels."""
    model = recipe.make_network(2, models) if start is None else start.network
    if model.learns_labels or recipe.heads != (Head(),):
        return recipe
    return dataclasses.replace(recipe, heads=(Head(CLIPS, loss="own"),))


def _carry_out(
    dataset: Path,
    out: Path,
    plan: Plan,
    options: Options,
    *,
    length_named: bool,
    seconds: float | None,
) -> TrainingReport:
    """Check all that can be told before the first dear step, prepare, learn."""
    if not dataset.exists():
        raise FileNotFoundError(f"{dataset}: no such file or folder.")
    if dataset.is_file() and dataset.suffix.lower() != ".csv" and not is_clip_store(dataset):
        raise ValueError(
            f"{dataset} is neither prepared clips, as `kinema prepare` writes them, nor a dataset: "
            "a folder, or a CSV file."
        )
    model = plan.any_network
    if options.engine == "native" and isinstance(model, UserModel):
        raise ValueError(
            f'`engine` "native" knows our layers alone; the model {model.name!r} learns with '
            '"torch".'
        )
    if options.resume and not (out / "checkpoint.safetensors").is_file():
        raise ValueError(f"`resume`: {out} holds no checkpoint to go on from.")
    with (
        Processes(options.device, options.engine, options.precision, options.threads) as processes,
        contextlib.ExitStack() as stack,
    ):
        _check_processes(plan, options, processes, seconds)
        found = store = None
        if is_clip_store(dataset):
            store = open_store(dataset, model)
            check_store(store, plan)
        elif processes.is_first:
            if model.stream not in STREAMS:
                raise ValueError(
                    f"the network needs {model.stream}, which videos are not prepared to: give "
                    "prepared clips that hold it."
                )
            found = load(dataset, kind=options.kind, lists=options.lists)
            check_dataset(found, plan)
        if processes.is_first:
            _lock(out, stack)
        if seconds is not None:
            plan = _with_iterations(plan, kept_iterations(out, seconds))
        checkpoint = _begun(out, plan, length_named=length_named)
        skipped: list[Skipped] = []
        notes: list[str] = []
        if store is not None:
            notes = notes_of_preparation(store)
        else:
            prepared = out / "prepared.clips"
            if found is not None:
                begun = checkpoint is not None
                skipped, notes = prepare_once(found, prepared, plan, options, begun=begun)
            processes.wait()
            store = open_store(prepared, model)
        material = Material.of(store, plan, skipped=skipped, notes=notes)
        if seconds is not None:
            plan = _measured(out, material, plan, options, processes, seconds)
        run = Run(out, material, plan, options, processes, checkpoint)
        del checkpoint  # it is as large as the network, twice
        return run.carry_out()


def learn(
    material: Material,
    out: Path,
    plan: Plan,
    options: Options,
    *,
    seconds: float | None = None,
) -> TrainingReport:
    """As `train`, from clips that are chosen already: what a method of the comparison does.

    Args:
        material: the clips.
        out: the folder of the run, which is gone on with.
        plan: what is learned.
        options: how it runs.
        seconds: see `train`.
    """
    with (
        Processes(options.device, options.engine, options.precision, options.threads) as processes,
        contextlib.ExitStack() as stack,
    ):
        _check_processes(plan, options, processes, seconds)
        _lock(out, stack)
        if seconds is not None:
            plan = _with_iterations(plan, kept_iterations(out, seconds))
            plan = _measured(out, material, plan, options, processes, seconds)
        checkpoint = _begun(out, plan, length_named=True)
        return Run(out, material, plan, options, processes, checkpoint).carry_out()


def _check_processes(
    plan: Plan, options: Options, processes: Processes, seconds: float | None
) -> None:
    if plan.recipe.batch % (processes.size * options.accumulate):
        raise ValueError(
            f"`batch` {plan.recipe.batch} must be divisible by {processes.size} processes "
            f"times `accumulate` {options.accumulate}."
        )
    if seconds is not None and processes.size > 1:
        raise ValueError("`seconds` cannot be shared among processes: name `iterations`.")


def _with_iterations(plan: Plan, iterations: int | None) -> Plan:
    """The plan of so many steps; as it is where the number is not known yet."""
    if iterations is None:
        return plan
    recipe = dataclasses.replace(plan.recipe, epochs=None, iterations=iterations)
    return dataclasses.replace(plan, recipe=recipe)


def _measured(
    out: Path,
    material: Material,
    plan: Plan,
    options: Options,
    processes: Processes,
    seconds: float,
) -> Plan:
    """The plan of as many steps as fit into `seconds`, which are measured if they are not kept."""
    if kept_iterations(out, seconds) is not None:
        return plan
    trial = Run(out, material, _with_iterations(plan, 1), options, processes, None)
    return _with_iterations(plan, keep(out, seconds, trial.seconds_a_step()))


def _begun(out: Path, plan: Plan, *, length_named: bool) -> Checkpoint | None:
    """Where the run of a folder stands; None if there is none. Another plan's is refused."""
    path = out / "checkpoint.safetensors"
    if not path.is_file():
        return None
    checkpoint = Checkpoint.load(path)
    checkpoint.check_settings(without_length(plan.settings()), out)
    _check_length(checkpoint, plan.recipe, out, named=length_named)
    return checkpoint


def _lock(out: Path, stack: contextlib.ExitStack) -> None:
    """Make the folder and keep others out of it; refuse one that cannot be written."""
    for name in (
        *("weights.safetensors", "checkpoint.safetensors", "log.csv", "curve.png"),
        "budget.json",
    ):
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


def _check_length(checkpoint: Checkpoint, recipe: Recipe, out: Path, *, named: bool) -> None:
    """Refuse another length that nobody asked for, and a shorter one where no clips tell steps."""
    epochs, iterations = (checkpoint.settings.get(key) for key in LENGTH_SETTINGS)
    if (epochs, iterations) == (recipe.epochs, recipe.iterations):
        return
    before, now = length_text(iterations, epochs), length_text(recipe.iterations, recipe.epochs)
    if not named:
        raise ValueError(
            f"{out} was begun with a length of {before}, the recipe's is {now}: name `epochs` or "
            "`iterations`, the same to go on or more for a longer run."
        )
    for had, wanted in ((epochs, recipe.epochs), (iterations, recipe.iterations)):
        if had is not None and wanted is not None and wanted < had:
            refuse_shorter(out, before, now)
