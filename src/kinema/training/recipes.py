"""The recipes of C3D and its study, by name; those of the networks beside it are in `published`.

To add one, add it to `RECIPES`; any field can be changed when training is called.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from kinema.models import MODELS
from kinema.network import KERNEL_DEPTHS, NETWORKS, Network
from kinema.training.published import PUBLISHED
from kinema.training.recipe import Recipe

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
        # The study's six networks at a size that two cores can do. The paper's settings were made
        # for 16 epochs of 9,537 videos; AdamW with batch normalisation needs fewer steps, and is
        # the same for all six.
        "kernel-depth-mini": Recipe(
            "our study of the kernels' depth: 64 pixels, a quarter of the width, two cores",
            network="kernel_depth",
            arguments={
                "depths": (3, 3, 3, 3, 3),
                "width": 0.25,
                "input_shape": (3, 16, 64, 64),
            },
            clips="whole",
            batch=30,
            learning_rate=0.001,
            epochs=16,
            pixel_scale=64,
            initial="he",
            optimiser="adamw",
            schedule="cosine",
            warm_up=0.05,
            norm="batch",
        ),
        **PUBLISHED,
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
    width: float | None = None,
    num_frames: int | None = None,
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
    taken = sorted(models.keys() & {*NETWORK_NAMES, *NETWORKS, *MODELS})
    if taken:
        raise ValueError(f"`models`: {taken[0]!r} is a network of ours: choose another name.")
    if isinstance(model, Network) and crop is not None:
        raise ValueError("`crop` cannot be chosen with a network that is given as it is.")
    if model is not None:
        changes["network"], changes["arguments"] = _network_of(recipe, model, models)
    if width is not None:
        name = changes.get("network", recipe.network)
        if name not in MODELS and name != "kernel_depth":
            scaled = ", ".join([*MODELS, *KERNEL_DEPTHS])
            raise ValueError(f"`width` scales {scaled}; got it for {name}.")
        if not 0 < width < math.inf:
            raise ValueError(f"`width` must be more than 0, got {width}.")
        changes["arguments"] = {**changes.get("arguments", recipe.arguments), "width": width}
    if crop is not None or num_frames is not None:
        shape = _input_shape(dataclasses.replace(recipe, **changes), models, crop, num_frames)
        arguments = changes.get("arguments", recipe.arguments)
        changes["arguments"] = {**arguments, "input_shape": shape}
    return dataclasses.replace(recipe, **changes)


def _input_shape(
    recipe: Recipe,
    models: Mapping[str, Callable[..., Any]],
    crop: int | None,
    num_frames: int | None,
) -> tuple[int, ...]:
    """The shape of a clip of another crop or length."""
    model = recipe.make_network(2, models)
    channels, frames, *size = model.input_shape
    if crop is not None:
        if crop < 8:
            raise ValueError(f"`crop` must be at least 8 pixels, got {crop}.")
        if model.stream == "imagenet":
            raise ValueError(
                f"`crop`: {recipe.network} sees maps of {size[0]}x{size[1]} places, no pixels."
            )
        size = [crop, crop]
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1, got {num_frames}.")
    return (channels, num_frames or frames, *size)


def recipe_of(model: Any) -> str:
    """The recipe of a model where none is named: its own, if it is a published one's."""
    return model if isinstance(model, str) and model in PUBLISHED else "mini"


def _network_of(
    recipe: Recipe, model: str | Network, models: Mapping[str, Callable[..., Any]]
) -> tuple[str, dict[str, Any]]:
    """What a recipe says of another model than its own: `network` and `arguments`."""
    if isinstance(model, Network):
        drop = ("name", "num_classes", "up_to")
        values = {key: v for key, v in model.architecture.items() if key not in drop}
        return model.architecture["name"], values
    if model in models or model in MODELS:
        return model, dict(recipe.arguments) if model == recipe.network else {}
    if model not in NETWORK_NAMES:
        raise ValueError(
            f"`model` must be one of {', '.join([*NETWORK_NAMES, *MODELS, *models])}; got "
            f"{model!r}."
        )
    name, given = NETWORK_NAMES[model]
    arguments = dict(given)
    if "input_shape" in recipe.arguments and recipe.network in NETWORKS:
        arguments["input_shape"] = recipe.arguments["input_shape"]
    if "width" in recipe.arguments and recipe.network == name:
        arguments["width"] = recipe.arguments["width"]
    return name, arguments
