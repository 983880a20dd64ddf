"""What can be learned: a model is an input and an architecture. `Network` is one; yours another.

Note [A model of one's own]
    Any class of a PyTorch module can be trained, saved, loaded, extracted from and compared:

        class Net(torch.nn.Module):
            input_shape = (3, 16, 112, 112)   # channels, frames, height, width of a clip
            layers = ("pool",)                # optional: names that `features` knows

            def __init__(self, num_classes):
                super().__init__()
                self.conv = torch.nn.Conv3d(3, 8, 3, stride=2)
                self.fc = torch.nn.Linear(8, num_classes)

            def features(self, clips, layer):  # optional: (N, ...) float32
                return (self.conv(clips) / 100).relu().mean((2, 3, 4))

            def forward(self, clips):          # (N, 3, T, H, W) float32, B, G, R, mean subtracted
                return self.fc(self.features(clips, "pool"))          # (N, num_classes) logits

        train("videos", out="run", model="mine", models={"mine": Net})
        weights = Weights.load("run/weights.safetensors", models={"mine": Net})
        extract("videos", out="features", weights=weights, layer="pool")

    On the command line: `kinema train videos --out run --model net.py:Net`, and the same `--model`
    where its weights are named. Besides its own `layers` it has "logits", what `forward` gives, and
    "prob", their softmax. What the constructor takes besides the number of classes must be JSON
    values, `Recipe.arguments`; a weight file keeps them, and the name of the class, never its code.

    What else a class may have, as those of `kinema.models` do:

        stream            what of prepared clips goes in: "rgb", "flow" or "imagenet"
        input_shape       as a keyword of its constructor: the shape that is really used, where
                          another crop or length is asked for
        loss(clips, labels)   what is learned instead of the cross-entropy of `forward`: a scalar
        learns_labels     False where `loss` needs no labels, which are None then
        frame_step        frames from one frame of a clip to the next; 1
        short             what becomes of a video that is too short: "repeat" its last frame, or
                          "wrap", begin it again
        test_clips        how many clips of a video are scored, evenly spaced; 10
        test_stride       instead: one every so many frames, the last one at the video's end
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from kinema.layers import ClipShape, Shape
from kinema.models import MODELS

RESERVED = ("mean", "momentum")
"""What files call their other arrays: no attribute of a model that holds parameters is named so."""


SHORT = ("repeat", "wrap")
"""What stands for frames that a video does not have: its last one, or it is begun again."""

NUM_TEST_CLIPS = 10
"""Clips whose scores are averaged for a video's (Tran et al., section 3.3)."""


class Model:
    """What can be learned: the shape of a clip that goes in, layers, named parameters.

    Attributes:
        input_shape: (channels, frames, height, width) of a clip.
        architecture: what makes this model again, plain JSON values, which a weight file keeps.
        layer_names: layers whose outputs can be asked for.
        logits: the layer whose output are the class scores, before the softmax.
        num_classes: how many; None of what tells no classes.
        class_parameters: names of the parameters that other classes have no use for.
        sees: what of a clip goes in: all its "frames", or its "middle frame".
        only_layer: the layer that is asked for, whatever is named; None where there is a choice.
        frame_step, short, test_clips, test_stride, learns_labels: see Note [A model of one's own].
    """

    input_shape: ClipShape
    architecture: Mapping[str, Any]
    num_classes: int | None
    sees: ClassVar[str] = "frames"
    only_layer: ClassVar[str | None] = None
    frame_step: int = 1
    short: str = "repeat"
    test_clips: int | None = NUM_TEST_CLIPS
    test_stride: int | None = None
    learns_labels: bool = True

    @property
    def layer_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def logits(self) -> str:
        raise NotImplementedError

    @property
    def class_parameters(self) -> tuple[str, ...]:
        raise NotImplementedError

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every parameter by name."""
        raise NotImplementedError

    def feature_shape(self, layer: str) -> Shape:
        """Output shape of one layer for one clip; an unknown name is a ValueError."""
        raise NotImplementedError

    def up_to(self, layer: str) -> Model:
        """What is enough of it to compute a layer."""
        raise NotImplementedError

    def with_classes(self, num_classes: int) -> Model:
        """The same model for another number of classes."""
        raise NotImplementedError

    # --- what follows from these ------------------------------------------------------------------

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width that frames are resized to before the crop goes in.

        128x171 for C3D's crop of 112 (the paper, section 3.1); other crops see the same part of the
        frame at their own resolution.
        """
        crop = self.input_shape[2]
        return round(128 * crop / 112), round(171 * crop / 112)

    @property
    def stream(self) -> str:
        """What of prepared clips goes in: "rgb" of three channels, "flow" of two.

        Raises:
            ValueError: of another number, which no stream of ours has.
        """
        names = {3: "rgb", 2: "flow"}
        if self.input_shape[0] not in names:
            raise ValueError(
                f"`input_shape` must have 3 channels (rgb) or 2 (flow), got {self.input_shape}; a "
                "class of one's own names other streams by an attribute `stream`."
            )
        return names[self.input_shape[0]]

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The former name of `architecture`."""
        return self.architecture

    def check_layer(self, layer: str) -> None:
        """Refuse a layer that it does not have."""
        if layer not in self.layer_names:
            default = ", the default: name another one" if layer == "fc6" else ""
            raise ValueError(
                f"`layer` must be one of {', '.join(self.layer_names)}; got {layer!r}{default}."
            )


_TOLD = ("frame_step", "short", "test_clips", "test_stride", "learns_labels")
"""What a class may say of how it is learned and tested, see Note [A model of one's own]."""


class _Told(NamedTuple):
    """What a module of a class told: the shapes of its state dict, and values of `_TOLD`."""

    shapes: Mapping[str, Shape]
    values: Mapping[str, Any]


_TOLD_BY: dict[Any, _Told] = {}
"""By class and arguments: a large module takes seconds to be made, and many ask for its shapes."""

_MOST_TOLD = 32


@dataclass(frozen=True, eq=False)
class UserModel(Model):
    """A class of one's own, ready to be learned and run. See Note [A model of one's own].

    Attributes:
        name: what files call it.
        make: the class; called with the number of classes and the arguments.
        num_classes: how many logits it gives.
        input_shape: (channels, frames, height, width) of a clip.
        arguments: what its constructor takes besides the number of classes, JSON values.

    Raises:
        ValueError: it cannot be made, has no such input, or names of parameters that files use.
    """

    name: str
    make: Callable[..., Any]
    num_classes: int
    input_shape: ClipShape
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.input_shape)
        if len(shape) != 4 or any(not isinstance(size, int) or size < 1 for size in shape):
            raise ValueError(
                f"`input_shape` of the model {self.name!r} must be four sizes >= 1 (channels, "
                f"frames, height, width), got {shape}."
            )
        object.__setattr__(self, "input_shape", shape)
        for name, value in self._told.values.items():
            object.__setattr__(self, name, value)
        if self.test_stride is not None:
            object.__setattr__(self, "test_clips", None)
        if self.short not in SHORT:
            raise ValueError(
                f'`short` of the model {self.name!r} must be "repeat" or "wrap", got '
                f"{self.short!r}."
            )
        for parameter in self.parameter_shapes():
            if parameter.partition(".")[0] in RESERVED or ":" in parameter:
                raise ValueError(
                    f"the model {self.name!r} has a parameter {parameter!r}: files keep other "
                    "arrays by that name; rename the attribute."
                )

    @classmethod
    def from_class(
        cls,
        name: str,
        make: Callable[..., Any],
        num_classes: int,
        *,
        input_shape: ClipShape | None = None,
        **arguments: Any,
    ) -> Self:
        """A class's model; without an `input_shape` the class has one.

        Raises:
            TypeError: it is no class.
            ValueError: it has no input shape, or see the class.
        """
        if not callable(make):
            raise TypeError(
                f"the model {name!r} must be a class of a torch.nn.Module, got {make!r}."
            )
        shape = input_shape or getattr(make, "input_shape", None)
        if shape is None:
            raise ValueError(
                f"the model {name!r} needs a class attribute `input_shape`, (channels, frames, "
                "height, width), as (3, 16, 112, 112)."
            )
        return cls(name, make, num_classes, tuple(shape), arguments)

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any], make: Callable[..., Any]) -> Self:
        """The model that a weight file describes, of the class that the caller gives."""
        return cls.from_class(
            architecture["name"],
            make,
            architecture["num_classes"],
            input_shape=architecture["input_shape"],
            **architecture["arguments"],
        )

    @property
    def architecture(self) -> Mapping[str, Any]:  # type: ignore[override]
        """What a weight file keeps: names and values, no code."""
        return {
            "name": self.name,
            "class": getattr(self.make, "__name__", self.name),
            "num_classes": self.num_classes,
            "input_shape": list(self.input_shape),
            "arguments": dict(self.arguments),
        }

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Its own layers, then "logits" and "prob"."""
        return (*getattr(self.make, "layers", ()), "logits", "prob")

    @property
    def stream(self) -> str:
        """What of prepared clips goes in: the class's `stream`, or see `Model.stream`."""
        return getattr(self.make, "stream", None) or super().stream

    @property
    def logits(self) -> str:
        """What `forward` gives."""
        return "logits"

    @functools.cached_property
    def class_parameters(self) -> tuple[str, ...]:
        """Those whose shapes depend on the number of classes."""
        other = self.with_classes(self.num_classes + 1).parameter_shapes()
        return tuple(n for n, shape in self.parameter_shapes().items() if other.get(n) != shape)

    def build(self) -> Any:
        """A new module of the class.

        Raises:
            ValueError: its constructor does not take these arguments, or makes no module.
        """
        arguments = dict(self.arguments)
        if "input_shape" in inspect.signature(self.make).parameters:
            arguments["input_shape"] = self.input_shape
        try:
            module = self.make(self.num_classes, **arguments)
        except TypeError as error:
            raise ValueError(f"the model {self.name!r} cannot be made: {error}.") from None
        if not callable(module) or not hasattr(module, "state_dict"):
            raise ValueError(
                f"the model {self.name!r} must be a class of a torch.nn.Module, got "
                f"{type(module).__name__}."
            )
        return module

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every entry of its state dict, buffers too."""
        return dict(self._told.shapes)

    @functools.cached_property
    def _told(self) -> _Told:
        arguments = json.dumps(dict(self.arguments), sort_keys=True, default=str)
        key = (self.make, self.num_classes, self.input_shape, arguments)
        if key not in _TOLD_BY:
            module = self.build()
            while len(_TOLD_BY) >= _MOST_TOLD:
                del _TOLD_BY[next(iter(_TOLD_BY))]
            _TOLD_BY[key] = _Told(
                {name: tuple(value.shape) for name, value in module.state_dict().items()},
                {name: getattr(module, name, getattr(Model, name)) for name in _TOLD},
            )
        return _TOLD_BY[key]

    def feature_shape(self, layer: str) -> Shape:
        """Found by running a clip of zeros, once a layer."""
        self.check_layer(layer)
        if layer in ("logits", "prob"):
            return (self.num_classes,)
        if layer not in self._feature_shapes:
            import torch

            with torch.no_grad():
                clips = torch.zeros(1, *self.input_shape)
                features = self.build().eval().features(clips, layer)
            self._feature_shapes[layer] = tuple(features.shape[1:])
        return self._feature_shapes[layer]

    @functools.cached_property
    def _feature_shapes(self) -> dict[str, Shape]:
        return {}

    def up_to(self, layer: str) -> UserModel:
        """All of it: which parts a layer needs, the class alone knows."""
        self.check_layer(layer)
        return self

    def with_classes(self, num_classes: int) -> UserModel:
        """The same class for another number of classes."""
        return type(self)(self.name, self.make, num_classes, self.input_shape, self.arguments)

    def initial_arrays(self, seed: int) -> dict[str, np.ndarray]:
        """The state that its own constructor draws after `torch.manual_seed(seed)`."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = self.build().state_dict()
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}

    def __str__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        own = "a model of its author's own"
        whose = f"published, of {self.stream}" if self.name in MODELS else own
        return (
            f"input {shape}\n{self.name}: {whose}, layers "
            f"{', '.join(self.layer_names)}\n{self.num_parameters:,} parameters"
        )
