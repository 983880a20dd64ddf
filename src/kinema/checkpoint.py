"""Where a training run stands, as one file: parameters, momentum, iteration, settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import read_tensors, write_tensors

FORMAT = "kinema-checkpoint-1"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that a run needs to go on as if it had never stopped.

    The order of the clips and the dropped outputs are functions of the seed and the iteration (see
    Note [Order] in `sampling`), so no state of a random generator is kept.

    Attributes:
        settings: what decides over the run, JSON values.
        iteration: steps that were made.
        parameters: by name, float32.
        momentum: SGD's velocity by the parameter's name; empty before the first step.
        learning_rate: of the last step; None before the first.
        mean: what is subtracted from the clips.
        log: what the log needs to go on: JSON values.
    """

    settings: Mapping[str, Any]
    iteration: int
    parameters: Mapping[str, np.ndarray]
    momentum: Mapping[str, np.ndarray]
    learning_rate: float | None
    mean: np.ndarray
    log: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it atomically: the one before it is there until this one is whole.

        Raises:
            OSError: the disk is full; the one before it is kept.
        """
        tensors = dict(self.parameters)
        tensors |= {f"momentum.{name}": array for name, array in self.momentum.items()}
        story = {
            "format": FORMAT,
            "settings": dict(self.settings),
            "iteration": self.iteration,
            "learning_rate": self.learning_rate,
            "log": dict(self.log),
        }
        write_tensors(path, {**tensors, "mean": self.mean}, story)

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
            tensors, story = read_tensors(path, format=FORMAT)
        except ValueError as error:
            raise ValueError(f"{path} holds no checkpoint ({error}).") from None
        mean = tensors.pop("mean")
        momentum = {
            name.removeprefix("momentum."): tensors.pop(name)
            for name in list(tensors)
            if name.startswith("momentum.")
        }
        return cls(
            story["settings"],
            story["iteration"],
            tensors,
            momentum,
            story["learning_rate"],
            mean,
            story["log"],
        )

    def check_settings(self, wanted: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with other settings than those the run was begun with."""
        for key, value in wanted.items():
            before = self.settings.get(key)
            if before != value:
                was, now = _shown(before), _shown(value)
                raise ValueError(
                    f"{folder} was begun with {key} {was}, now it is {now}: go on with the same "
                    "settings, or choose another `out`."
                )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else "other"
