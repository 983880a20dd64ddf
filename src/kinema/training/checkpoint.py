"""Where a training run stands, as one file: parameters, optimiser, iteration, settings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import read_tensors, write_tensors

FORMAT = "kinema-checkpoint-1"


@dataclass(frozen=True)
class Raised:
    """A run was made longer than it was begun.

    Attributes:
        iteration: steps that had been made; from there the schedule is the longer run's.
        before, after: steps of the whole run.
        before_epochs, after_epochs: its length as it was given; None where that was in steps.
    """

    iteration: int
    before: int
    after: int
    before_epochs: float | None = None
    after_epochs: float | None = None

    def __str__(self) -> str:
        before = length_text(self.before, self.before_epochs)
        after = length_text(self.after, self.after_epochs)
        return f"raised from {before} to {after} at iteration {self.iteration}"


def length_text(iterations: int | None, epochs: float | None) -> str:
    """The length of a run in words: its epochs where it was given in these, and its steps."""
    steps = f"{iterations} iteration{'' if iterations == 1 else 's'}"
    if epochs is None:
        return steps
    text = f"{epochs:g} epoch{'' if epochs == 1 else 's'}"
    return text if iterations is None else f"{text} ({steps})"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that a run needs to go on as if it had never stopped.

    The order of the clips and the dropped outputs are functions of the seed and the iteration (see
    Note [Order] in `sampling`), so no state of a random generator is kept.

    Attributes:
        settings: what decides over the run, JSON values.
        iteration: steps that were made.
        parameters: by name, float32.
        state: what the learner needs besides to go on, see `Learner.state`: "momentum.NAME", and
            names with a colon, as "average:NAME"; without momentum before the first step.
        learning_rate: of the last step; None before the first.
        mean: what is subtracted from the clips.
        log: what the log needs to go on: JSON values.
        raised: how it was made longer so far; nothing in files of older versions.
    """

    settings: Mapping[str, Any]
    iteration: int
    parameters: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    learning_rate: float | None
    mean: np.ndarray
    log: Mapping[str, Any] = field(default_factory=dict)
    raised: tuple[Raised, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it atomically: the one before it is there until this one is whole.

        Raises:
            OSError: the disk is full; the one before it is kept.
        """
        tensors = dict(self.parameters)
        tensors |= self.state
        metadata = {
            "format": FORMAT,
            "settings": dict(self.settings),
            "iteration": self.iteration,
            "learning_rate": self.learning_rate,
            "log": dict(self.log),
            "raised": [dataclasses.asdict(each) for each in self.raised],
        }
        write_tensors(path, {**tensors, "mean": self.mean}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a checkpoint, or damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            tensors, metadata = read_tensors(path, format=FORMAT)
        except ValueError as error:
            raise ValueError(f"{path} holds no checkpoint ({error}).") from None
        mean = tensors.pop("mean")
        state = {
            name: tensors.pop(name)
            for name in list(tensors)
            if name.startswith("momentum.") or ":" in name
        }
        return cls(
            metadata["settings"],
            metadata["iteration"],
            tensors,
            state,
            metadata["learning_rate"],
            mean,
            metadata["log"],
            tuple(Raised(**each) for each in metadata.get("raised", ())),
        )

    def check_settings(self, wanted: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with other settings than those the run was begun with."""
        for key, value in wanted.items():
            before = self.settings.get(key, _DEFAULTS_SINCE.get(key))
            if before != value:
                was, now = _shown(before), _shown(value)
                raise ValueError(
                    f"{folder} was begun with {key} {was}, now it is {now}: go on with the same "
                    "settings, or choose another `out`."
                )


_DEFAULTS_SINCE = {"recipe's flip": True}
"""Settings that runs of earlier versions did not write down, as they were."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else "other"
