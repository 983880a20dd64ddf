"""What `train` is told, as two values: a `Plan` of what is learned, `Options` of how it runs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kinema.model import Model
from kinema.training.heads import CLIPS
from kinema.training.recipe import Recipe
from kinema.training.targets import Targets
from kinema.weights.file import Weights, check_mean

LENGTH_SETTINGS = ("recipe's epochs", "recipe's iterations")
"""Settings that a run may be gone on with at a larger value."""

_LATER = (
    *("optimiser", "betas", "schedule", "warm_up", "average", "heads"),
    *("norm", "reversed", "fast", "paired", "brightness"),
    *("rate_shares", "class_rate", "clip_gradients"),
)
"""Fields of a recipe that the first checkpoints did not know."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is learned: all that decides over the weights, besides the clips.

    Attributes:
        recipe: the recipe, with what was changed of it.
        recipe_name: what it is called; "custom" for one of the user's own.
        models: classes of one's own by name, see Note [A model of one's own] in `model`.
        start: the weights that fine-tuning starts from, or None.
        split: name of an official split; None for the first, or one of our own.
        dropout: probability, instead of the network's own; None for that.
        mean: what is subtracted from the clips, (3,) or (3, T, H, W) float32, B, G, R; None for
            that of `start`, or else the mean volume of the training clips.
        seed: of the initial weights, the order of the clips, crops, flips and dropout.
        targets: vectors that the recipe's heads learn, by the name that these have for them.
        renews: whether the recipe's model is learned, which takes from `start` what has the same
            name and shape; else it is that of `start`.

    Raises:
        ValueError: values that do not go together, or are out of their range.
    """

    recipe: Recipe
    recipe_name: str = "custom"
    models: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    start: Weights | None = None
    split: str | None = None
    dropout: float | None = None
    mean: np.ndarray | None = None
    seed: int = 0
    targets: Mapping[str, Targets] = field(default_factory=dict)
    renews: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, got {self.seed}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and less than 1, got {self.dropout}.")
        if self.start is None and self.recipe.needs_weights:
            raise ValueError(
                f"the recipe {self.recipe_name} starts from weights: name them with `weights`."
            )
        if set(self.targets) != set(self.recipe.vectors):
            wanted = ", ".join(self.recipe.vectors) or "none"
            given = ", ".join(self.targets) or "none"
            raise ValueError(
                f"`targets` must be the vectors that the recipe's heads learn, {wanted}; got "
                f"{given}."
            )
        for head in self.recipe.heads:
            if head.target == CLIPS and self.any_network.learns_labels:
                raise ValueError(
                    f"a head on {CLIPS} needs a model whose own `loss` needs no labels, as "
                    "lstm-composite."
                )
            if head.layer is not None:
                self.any_network.check_layer(head.layer)
        if self.mean is not None:
            object.__setattr__(self, "mean", check_mean(self.mean, self.any_network))

    def network(self, num_classes: int) -> Model:
        """The recipe's network, or that of the weights it starts from, for a number of classes.

        Where no head tells classes, it ends with the last layer that a head takes.
        """
        if self.start is None or self.renews:
            model = self.recipe.make_network(num_classes, self.models)
        else:
            model = self.start.network.with_classes(num_classes)
        if self.recipe.learns_labels:
            return model
        layers = [head.layer for head in self.recipe.heads if head.layer in model.layer_names]
        return model.up_to(max(layers, key=model.layer_names.index)) if layers else model

    @property
    def any_network(self) -> Model:
        """For what does not depend on the number of classes, as frames and the mean's fit."""
        return self.network(2)

    @property
    def given_mean(self) -> np.ndarray | None:
        """What is subtracted, where that is known before the clips are."""
        return self.start.mean if self.mean is None and self.start is not None else self.mean

    def settings(self) -> dict[str, Any]:
        """The recipe as a checkpoint keeps it, JSON values.

        Fields that came later are there where they are not what they are without being named, so
        that older runs go on.
        """
        values = {f"recipe's {key}": v for key, v in dataclasses.asdict(self.recipe).items()}
        del values["recipe's what"]
        for each in dataclasses.fields(Recipe):
            if each.name in _LATER and getattr(self.recipe, each.name) == each.default:
                del values[f"recipe's {each.name}"]
        if self.targets:
            values["targets"] = {name: each.sha256 for name, each in self.targets.items()}
        return as_json({"recipe": self.recipe_name, **values})


@dataclass(frozen=True)
class Options:
    """How a run is carried out.

    Attributes:
        device, engine, precision, threads: see `Processes`.
        compile: whether PyTorch compiles the network; None where it pays, see `Learner`.
        accumulate: parts that a batch is computed in.
        evaluations: how many times to evaluate on the test videos, evenly over the run.
        checkpoint_seconds: longest time between two checkpoints.
        resume: insist on a checkpoint.
        kind, lists: see `datasets.load`; of a dataset that is not prepared yet.
        video_seconds: the longest time that preparing a video may take; None is for ever.
        max_skipped: videos that may be unreadable before the command line exits with 1.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: a value is out of its range.
    """

    device: str = "auto"
    engine: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    compile: bool | None = None
    accumulate: int = 1
    evaluations: int = 10
    checkpoint_seconds: float = 300.0
    resume: bool = False
    kind: str = "auto"
    lists: str | os.PathLike[str] | None = None
    video_seconds: float | None = None
    max_skipped: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        for what, value in (("accumulate", self.accumulate), ("evaluations", self.evaluations)):
            if value < 1:
                raise ValueError(f"`{what}` must be at least 1, got {value}.")
        if self.max_skipped < 0:
            raise ValueError(f"`max_skipped` must not be negative, got {self.max_skipped}.")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(
                f"`checkpoint_seconds` must be at least 0, got {self.checkpoint_seconds}."
            )


def steps(plan: Plan, clips_an_epoch: int, length: tuple[float | None, int | None]) -> int:
    """Length of a run in steps, from its (epochs, iterations), one of which is None."""
    epochs, iterations = length
    num_clips = (epochs or 0) * clips_an_epoch
    return iterations or max(math.ceil(num_clips / plan.recipe.batch), 1)


def without_length(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run is never gone on with otherwise."""
    return {key: value for key, value in settings.items() if key not in LENGTH_SETTINGS}


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they come back from a checkpoint."""
    read: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return read
