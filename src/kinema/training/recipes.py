"""How networks are learned: each recipe is a value, and the settings of its source.

To add one, add it to `RECIPES`; any field can be changed when training is called.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from kinema.model import Model, UserModel
from kinema.network import KERNEL_DEPTHS, NETWORKS, Network, from_architecture
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
        names = (head.target for head in self.heads if not head.tells_classes)
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
        return self.learning_rate * self.learning_rate_factor**period

    def make_network(
        self, num_classes: int, models: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    ) -> Model:
        """The network for a number of classes; `models` are classes of one's own by name."""
        if self.network in models:
            made = models[self.network]
            return UserModel.from_class(self.network, made, num_classes, **self.arguments)
        architecture = {"name": self.network, **self.arguments}
        if self.network == "chain":
            return from_architecture(architecture).with_classes(num_classes)
        return from_architecture({**architecture, "num_classes": num_classes})


NETWORK_NAMES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "c3d": ("c3d", {}),
        "c3d_half": ("c3d_half", {}),
        "c3d_mini": ("c3d_mini", {}),
        **{name: ("kernel_depth", {"depths": depths}) for name, depths in KERNEL_DEPTHS.items()},
    }
)
"""Networks by the name that the command line has for them: function and arguments."""


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # Tran et al., section 3.3: batch 30, 0.003 halved every 150,000 iterations, stopped at
        # 1,900,000. Momentum and decay are those of the released solvers for UCF101; the paper
        # does not state them.
        "sports1m": Recipe(
            "C3D from scratch on Sports-1M (the paper, section 3.3)",
            network="c3d",
            arguments={},
            clips="five",
            batch=30,
            learning_rate=0.003,
            iterations=1_900_000,
            learning_rate_factor=0.5,
            rate_periods=Fraction(1_900_000, 150_000),
        ),
        # C3D v1.0, c3d_finetuning/*solver.prototxt. Its prototxt calls the fully connected layers
        # fc6 and fc7, the weights it starts from fc6-1 and fc7-1: by Caffe's matching of names only
        # convolutions carry over, which `carry="conv"` does.
        "ucf101-finetune": Recipe(
            "C3D from weights, on UCF101 or videos of one's own (C3D v1.0, c3d_finetuning)",
            network="c3d",
            arguments={},
            clips="whole",
            batch=30,
            learning_rate=0.0001,
            iterations=20_000,
            needs_weights=True,
        ),
        # C3D v1.0, c3d_train_ucf101: x 0.1 every 20,000 of 60,000 iterations.
        "ucf101-scratch": Recipe(
            "the small network from scratch on UCF101 (C3D v1.0, c3d_train_ucf101)",
            network="kernel_depth",
            arguments={"depths": (3, 3, 3, 3, 3)},
            clips="whole",
            batch=30,
            learning_rate=0.003,
            iterations=60_000,
            rate_periods=Fraction(3),
            weight_decay=0.005,
        ),
        # Tran et al., section 3.2: rate 0.003 divided by 10 every 4 epochs, stopped after 16.
        "kernel-depth": Recipe(
            "the study of the kernels' temporal depth (the paper, section 3.2)",
            network="kernel_depth",
            arguments={"depths": (3, 3, 3, 3, 3)},
            clips="whole",
            batch=30,
            learning_rate=0.003,
            epochs=16,
            weight_decay=0.005,
        ),
        "mini": Recipe(
            "our small C3D at 64 pixels, for two cores and a few hundred videos",
            network="c3d_mini",
            arguments={"input_shape": (3, 16, 64, 64)},
            clips="whole",
            batch=30,
            learning_rate=0.001,  # ten times as much kills most units of the network at first
            epochs=12,
            rate_periods=Fraction(3),
            pixel_scale=64,  # He's distribution is made for inputs of about 1
            initial="he",
        ),
    }
)


def adapted(
    recipe: Recipe,
    *,
    model: str | Network | None = None,
    models: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    crop: int | None = None,
    epochs: float | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    carry: str | None = None,
    flip: bool | None = None,
) -> Recipe:
    """The recipe with what is given of it changed; see `train` for what each of them is."""
    if epochs is not None and iterations is not None:
        raise ValueError("`epochs` and `iterations` both give the length of the run: name one.")
    given = {
        "epochs": epochs,
        "iterations": iterations,
        "batch": batch,
        "learning_rate": learning_rate,
    }
    for what, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"`{what}` must be more than 0, got {value}.")
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if epochs is not None or iterations is not None:
        changes |= {"epochs": epochs, "iterations": iterations}
    changes |= {key: v for key, v in {"carry": carry, "flip": flip}.items() if v is not None}
    taken = sorted(models.keys() & {*NETWORK_NAMES, *NETWORKS})
    if taken:
        raise ValueError(f"`models`: {taken[0]!r} is a network of ours: choose another name.")
    if isinstance(model, Network) and crop is not None:
        raise ValueError("`crop` cannot be chosen with a network that is given as it is.")
    if model is not None:
        changes["network"], changes["arguments"] = _network_of(recipe, model, models)
    if crop is not None:
        if crop < 8:
            raise ValueError(f"`crop` must be at least 8 pixels, got {crop}.")
        name, shape = changes.get("network", recipe.network), (3, 16)
        if name in models:
            shape = UserModel.from_class(name, models[name], 2).input_shape[:2]
        arguments = changes.get("arguments", recipe.arguments)
        changes["arguments"] = {**arguments, "input_shape": (*shape, crop, crop)}
    return dataclasses.replace(recipe, **changes)


def _network_of(
    recipe: Recipe, model: str | Network, models: Mapping[str, Callable[..., Any]]
) -> tuple[str, dict[str, Any]]:
    """What a recipe says of another model than its own: `network` and `arguments`."""
    if isinstance(model, Network):
        drop = ("name", "num_classes", "up_to")
        values = {key: v for key, v in model.architecture.items() if key not in drop}
        return model.architecture["name"], values
    if model in models:
        return model, dict(recipe.arguments) if model == recipe.network else {}
    if model not in NETWORK_NAMES:
        raise ValueError(
            f"`model` must be one of {', '.join([*NETWORK_NAMES, *models])}; got {model!r}."
        )
    name, given = NETWORK_NAMES[model]
    arguments = dict(given)
    if "input_shape" in recipe.arguments and recipe.network in NETWORKS:
        arguments["input_shape"] = recipe.arguments["input_shape"]
    return name, arguments
