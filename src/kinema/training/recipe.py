"""`Recipe`: how a network is learned, the settings of a source as one value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from kinema.model import Model, UserModel
from kinema.models import MODELS
from kinema.models import load as load_model
from kinema.network import from_architecture
from kinema.training.heads import Head

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("steps", "cosine", "constant")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run.

    Attributes:
        what: one line on where it comes from.
        network: name of the network, see `network.NETWORKS`, or of a class of one's own.
        arguments: what that function or class takes besides the number of classes.
        clips: how the videos are prepared, see `prepare`.
        batch: clips of one step.
        learning_rate: of weights; with SGD biases learn at twice this rate and without decay (C3D
            v1.0 prototxts).
        iterations, epochs: length of the run; one of the two. An epoch draws as many clips from
            each video as fit into it without overlap, one from each two-second segment.
        learning_rate_factor: what the rate is multiplied by, ...
        rate_periods: ... after each of so many equal parts of the run; a run of another length
            keeps their number.
        rate_shares: shares of the run, rising, behind which it is multiplied instead, as (0.625,
            0.875); none for equal parts.
        class_rate: what the rate of the parameters that tell the classes is multiplied by.
        clip_gradients: the most that the length of all gradients together may be; they are scaled
            down to it. None for any.
        momentum, weight_decay: of the optimiser, see `descent.Optimiser`.
        pixel_scale: what pixels are divided by while a network is learned; its weights take pixels
            as they are. A power of two, so that nothing is lost in between.
        flip: whether clips are mirrored at random; not where left and right tell classes apart.
        initial: "c3d" for the original's fillers, "he" for He's normal distribution.
        carry: which layers take the weights that fine-tuning starts from: "all" that have the same
            shape, but for fc8; "conv", the convolutions alone.
        needs_weights: whether the recipe makes sense only from weights.
        optimiser: "sgd", Caffe's, or "adamw".
        betas: of AdamW.
        schedule: of the rate after the warm-up: "steps", as above; "cosine", half a wave from the
            rate to 0; "constant".
        warm_up: share of the run, 0 to less than 1, in which the rate rises from step to step, by
            equal parts, to what it is.
        average: what a running mean of the weights keeps of itself at each step, as 0.999; it is
            what is evaluated and written. None for the weights of the last step.
        heads: what is learned, see `Head`.
        norm: "batch" to learn with batch normalisation, which is folded into the weights that are
            written; see Note [Batch normalisation] in `torch_network`. None for none.
        reversed, fast: shares of the clips that are played backwards, and at double speed (every
            other frame).
        paired: whether each clip is drawn twice in a row, forwards and backwards, so that nothing
            else tells the two apart; `reversed` is 0 then.
        brightness: pixels, less the mean, are multiplied by 1 +- this, and 128 times +- this is
            added; drawn anew for each clip.

    Raises:
        ValueError: a value that is unknown or out of its range.
    """

    what: str
    network: str
    arguments: Mapping[str, Any]
    clips: str
    batch: int
    learning_rate: float
    iterations: int | None = None
    epochs: float | None = None
    learning_rate_factor: float = 0.1
    rate_periods: Fraction = Fraction(4)
    rate_shares: tuple[float, ...] = ()
    class_rate: float = 1.0
    clip_gradients: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0005
    pixel_scale: int = 1
    flip: bool = True
    initial: str = "c3d"
    carry: str = "all"
    needs_weights: bool = False
    optimiser: str = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "steps"
    warm_up: float = 0.0
    average: float | None = None
    heads: tuple[Head, ...] = (Head(),)
    norm: str | None = None
    reversed: float = 0.0
    fast: float = 0.0
    paired: bool = False
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for what, value, known in (
            ("optimiser", self.optimiser, OPTIMISERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"`{what}` must be one of {', '.join(known)}; got {value!r}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"`betas` must be two numbers, 0 to less than 1, got {self.betas}.")
        if not 0 <= self.warm_up < 1:
            raise ValueError(
                f"`warm_up` must be a share of the run, 0 to less than 1, got {self.warm_up}."
            )
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"`average` must be more than 0 and less than 1, got {self.average}.")
        shares = (0.0, *self.rate_shares, 1.0)
        if any(not before < after for before, after in itertools.pairwise(shares)):
            raise ValueError(f"`rate_shares` must rise, between 0 and 1, got {self.rate_shares}.")
        for what in ("class_rate", "clip_gradients"):
            if (given := getattr(self, what)) is not None and not 0 < given < math.inf:
                raise ValueError(f"`{what}` must be more than 0, got {given}.")
        if not self.heads:
            raise ValueError("`heads` must hold at least one head.")
        if self.norm not in (None, "batch"):
            raise ValueError(f'`norm` must be "batch" or None; got {self.norm!r}.')
        for name in ("reversed", "fast", "brightness"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be 0 to less than 1, got {getattr(self, name)}.")
        if self.paired and self.reversed:
            raise ValueError(
                f"`reversed` must be 0 where clips are `paired`, forwards and backwards, got "
                f"{self.reversed}."
            )

    @property
    def learns_labels(self) -> bool:
        """Whether a head tells the classes."""
        return any(head.target == "labels" for head in self.heads)

    @property
    def vectors(self) -> tuple[str, ...]:
        """The targets of the heads that learn vectors."""
        names = (head.target for head in self.heads if head.is_vector)
        return tuple(dict.fromkeys(names))

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames that `prepare` keeps for it."""
        return self.make_network(2).frame_size

    def learning_rate_at(self, iteration: int, iterations: int) -> float:
        """Of the step that follows `iteration` of `iterations` steps."""
        warm = math.ceil(self.warm_up * iterations)
        if iteration < warm:
            return self.learning_rate * (iteration + 1) / warm
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "cosine":
            share = (iteration - warm) / (iterations - warm)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        period = math.floor(iteration * self.rate_periods / iterations)
        if self.rate_shares:
            period = sum(iteration >= share * iterations for share in self.rate_shares)
        return self.learning_rate * self.learning_rate_factor**period

    def make_network(
        self, num_classes: int, models: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    ) -> Model:
        """The network for a number of classes; `models` are classes of one's own by name."""
        if self.network in models:
            made = models[self.network]
            return UserModel.from_class(self.network, made, num_classes, **self.arguments)
        if self.network in MODELS:
            made = load_model(self.network)
            return UserModel.from_class(self.network, made, num_classes, **self.arguments)
        architecture = {"name": self.network, **self.arguments}
        if self.network == "chain":
            return from_architecture(architecture).with_classes(num_classes)
        return from_architecture({**architecture, "num_classes": num_classes})
