"""The clips that a run learns from: found or prepared, and refused where they teach nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.datasets.loaders import Dataset, Sample
from kinema.model import Model
from kinema.skipped import Skipped
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.plan import Options, Plan
from kinema.training.prepare import prepare, split_videos
from kinema.weights.initial import carried_over


@dataclass(frozen=True, eq=False)
class Material:
    """Prepared clips, split into those that are learned from and those that are tested on.

    Attributes:
        store: the prepared clips.
        train, test: its videos.
        classes: names of the classes that their labels are of.
        skipped: videos that could not be read when this call prepared them.
        notes: what the user should know of them, a line each.
    """

    store: ClipStore
    train: Sequence[StoredVideo]
    test: Sequence[StoredVideo]
    classes: tuple[str, ...]
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        store: ClipStore,
        plan: Plan,
        *,
        skipped: Sequence[Skipped] = (),
        notes: Sequence[str] = (),
    ) -> Material:
        """The clips of a store by the plan's split, and what is to be told of them.

        Raises:
            ValueError: there is no such split, no training video, or one class only.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train, test = split_videos(store, plan.split, labelled=plan.recipe.learns_labels)
        _check_videos(plan, store.path, store.classes, train, store.skipped)
        told = [*notes, *_notes(store, plan, train, test), *(str(w.message) for w in caught)]
        return cls(store, train, test, store.classes, list(skipped), told)


def _notes(
    store: ClipStore, plan: Plan, train: Sequence[StoredVideo], test: Sequence[StoredVideo]
) -> list[str]:
    """What the user should know of the clips."""
    notes = []
    learned = {label for video in train for label in video.labels}
    lost = [name for index, name in enumerate(store.classes) if index not in learned]
    if lost and plan.recipe.learns_labels:
        shown = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else ".")
        notes.append(
            f"{len(lost)} of {len(store.classes)} classes have no training video that can be "
            f"read, and are not learned: {shown}"
        )
    if test and not store.splits:
        notes.append(
            f"no official split: {len(test)} of {len(store.videos)} videos are kept for "
            "testing, whole groups, the same in every run."
        )
    if not test:
        notes.append("there is no test video: nothing is evaluated.")
    elif not plan.recipe.learns_labels:
        notes.append("no head tells classes: nothing is evaluated.")
    return notes


# --- what is checked before the first dear step ---------------------------------------------------


def check_dataset(dataset: Dataset, plan: Plan) -> None:
    """Refuse a dataset that cannot be learned from, before its videos are prepared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the split of what could be read will warn again
        chosen = dataset.split(plan.split)
    if not chosen.train:
        raise ValueError(
            f"the split of {dataset.root} has no training video: choose another `split`."
        )
    train = [dataset.samples[index] for index in chosen.train]
    _check_videos(plan, dataset.root, dataset.classes, train)
    _check_carried(plan, dataset.classes)


def check_store(store: ClipStore, plan: Plan) -> None:
    """Refuse prepared clips that cannot be learned from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run splits them again, and keeps the warnings
        train, _ = split_videos(store, plan.split, labelled=plan.recipe.learns_labels)
    _check_videos(plan, store.path, store.classes, train, store.skipped)
    _check_carried(plan, store.classes)


def _check_videos(
    plan: Plan,
    where: Path,
    classes: Sequence[str],
    train: Sequence[Sample | StoredVideo],
    skipped: Sequence[Any] = (),
) -> None:
    """Refuse training videos that have nothing of what the heads learn."""
    if plan.recipe.learns_labels:
        _check_classes(where, classes, train, skipped)
    for targets in plan.targets.values():
        targets.check(video.name for video in train)


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
                f" ({num_videos(len(skipped))} could not be read, the first of them "
                f"{first['path']}: {first['reason'].rstrip('.')})"
            )
        raise ValueError(
            f"the training videos of {where} are all of one class, {classes[label]}{unread}: "
            "nothing to tell apart; choose another `split`, or add videos of another class."
        )


def _check_carried(plan: Plan, classes: Sequence[str]) -> None:
    """Refuse weights of which nothing would be taken."""
    if plan.start is not None:
        network = plan.network(len(classes))
        if not carried_over(plan.start, network, layers=plan.recipe.carry, labels=classes):
            raise ValueError(f"no layer of weights {plan.start.name} fits the network.")


# --- the clips ------------------------------------------------------------------------------------


def open_store(path: Path, model: Model) -> ClipStore:
    """Prepared clips, which must have the model's stream, in frames as large as it needs them.

    Maps are as large as its input, for they are not cropped.
    """
    store = ClipStore(path)
    channels = store.streams.get(model.stream)
    if channels != model.input_shape[0]:
        has = ", ".join(f"{name} of {number} channels" for name, number in store.streams.items())
        raise ValueError(
            f"{path} holds {has}, but the network needs {model.stream} of {model.input_shape[0]}."
        )
    if model.stream in store.maps:
        size = store.size_of(model.stream)
        if size != tuple(model.input_shape[2:]):
            raise ValueError(
                f"{path} holds maps of {size[0]}x{size[1]}, but the network takes "
                f"{model.input_shape[2]}x{model.input_shape[3]}: maps are not cropped."
            )
    elif store.size != model.frame_size:
        (h, w), (height, width) = store.size, model.frame_size
        raise ValueError(
            f"{path} holds frames of {h}x{w} pixels, but the network needs {height}x{width}: "
            f"`kinema prepare ... --size {height}x{width}`."
        )
    return store


def prepare_once(
    dataset: Dataset, out: Path, plan: Plan, options: Options, *, begun: bool
) -> tuple[list[Skipped], list[str]]:
    """Prepare a dataset for a run, if that has not been done; what was skipped, and notes.

    The clips of a run that has `begun` are not touched again: with others it would be another run.
    """
    if begun and out.is_file():
        store = ClipStore(out)
        _check_same_videos(store, dataset, out.parent)
        source_of = {sample.name: sample.source for sample in dataset.samples}
        return [Skipped(str(source_of[e["path"]]), e["reason"]) for e in store.skipped], []
    report = prepare(
        dataset,
        out=out,
        clips=plan.recipe.clips,
        size=plan.any_network.frame_size,
        streams=(plan.any_network.stream,),
        threads=options.threads,
        video_seconds=options.video_seconds,
        progress=options.progress,
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


def notes_of_preparation(store: ClipStore) -> list[str]:
    """What an earlier preparation had to leave out."""
    if not store.skipped:
        return []
    first = store.skipped[0]
    return [
        f"{num_videos(len(store.skipped))} could not be read in the preparation, the first of them "
        f"{first['path']}: {first['reason']}"
    ]


def num_videos(number: int) -> str:
    """A number of videos in words."""
    return "1 video" if number == 1 else f"{number} videos"
