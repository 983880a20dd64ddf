"""C3D and its variants as data: a network is an input shape and a tuple of layers.

Everything else (shapes, parameters, multiply-adds, what an engine must run) is computed from that.
To add a network, write one function that returns a `Network` and name it in `NETWORKS`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kinema.layers import ClipShape, Conv3d, Layer, Linear, MaxPool3d, Shape, Softmax
from kinema.model import Model, UserModel
from kinema.models import MODELS
from kinema.models import load as load_model


@dataclass(frozen=True)
class Network(Model):
    """A chain of layers and the shape of the clip that goes in: the model that engines run.

    Attributes:
        input_shape: (channels, frames, height, width) of a clip.
        layers: what is computed, in order.
        architecture: what makes this network again, plain JSON values, which a weight file keeps.
            Without one it is the list of the layers, so any network can be kept.
    """

    input_shape: ClipShape
    layers: tuple[Layer, ...]
    architecture: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if len(self.input_shape) != 4 or any(size < 1 for size in self.input_shape):
            raise ValueError(
                "`input_shape` must be four sizes >= 1 (channels, frames, height, width), "
                f"got {self.input_shape}."
            )
        names = self.layer_names
        if not names:
            raise ValueError("`layers` must hold at least one layer.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"`layers` must have different names, got {twice} more than once.")
        self.shapes()  # a convolution after a fully connected layer is refused here
        if not self.architecture:
            object.__setattr__(self, "architecture", _chain_of(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Networks in pipelines that were dumped when `architecture` was called `recipe`."""
        if "recipe" in state:
            state = {**state, "architecture": state["recipe"]}
            del state["recipe"]
        self.__dict__.update(state)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    def shapes(self) -> dict[str, Shape]:
        """Output shape of every layer for one clip, without the batch axis."""
        return {layer.name: layer.output_shape(shape) for layer, shape in self._with_input_shapes()}

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every parameter, as "conv1a.weight": (64, 3, 3, 3, 3)."""
        return {
            f"{layer.name}.{kind}": parameter_shape
            for layer, shape in self._with_input_shapes()
            for kind, parameter_shape in layer.parameter_shapes(shape).items()
        }

    @property
    def num_multiply_adds(self) -> int:
        """Multiplications (each with one addition) for one clip by direct computation."""
        return sum(layer.multiply_adds(shape) for layer, shape in self._with_input_shapes())

    def feature_shape(self, layer: str) -> Shape:
        """Output shape of one layer; an unknown name is a ValueError that lists the layers."""
        self.check_layer(layer)
        return self.shapes()[layer]

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        """Outputs of the last layer, fc8, where that has no ReLU; None where there is none."""
        last = self._class_layer
        return None if last is None else last.out_features

    @property
    def class_parameters(self) -> tuple[str, ...]:
        """Parameters of the layer that tells the classes, which other classes have no use for."""
        last = self._class_layer
        return () if last is None else (f"{last.name}.weight", f"{last.name}.bias")

    @property
    def logits(self) -> str:
        """The layer whose output are the class scores, before the softmax."""
        names = [layer.name for layer in self.layers if not isinstance(layer, Softmax)]
        return names[-1]

    @property
    def _class_layer(self) -> Linear | None:
        layer = self.layers[self.layer_names.index(self.logits)]
        return layer if isinstance(layer, Linear) and not layer.relu else None

    def up_to(self, layer: str) -> Network:
        """The same network cut after `layer`."""
        self.check_layer(layer)
        if layer == self.layer_names[-1]:
            return self
        stop = self.layer_names.index(layer) + 1
        return Network(self.input_shape, self.layers[:stop], self._changed(up_to=layer))

    def flattened(self) -> Network:
        """The same network with kernels of one frame: motion is seen by the poolings alone."""
        layers = tuple(
            dataclasses.replace(layer, kernel=(1, *layer.kernel[1:]))
            if isinstance(layer, Conv3d)
            else layer
            for layer in self.layers
        )
        return Network(self.input_shape, layers, self._changed(flattened=True))

    def with_classes(self, num_classes: int) -> Network:
        """The same network, whole, for another number of classes."""
        architecture = {k: value for k, value in self.architecture.items() if k != "up_to"}
        if architecture.get("name") != "chain":
            return from_architecture({**architecture, "num_classes": num_classes})
        layers, last = list(self.layers), self._class_layer
        ends = [layers.pop()] if isinstance(layers[-1], Softmax) else [Softmax("prob")]
        if last is not None:
            layers[-1] = dataclasses.replace(last, out_features=num_classes)
        else:
            layers.append(Linear("fc8", num_classes, relu=False, dropout=0.0))
        return Network(self.input_shape, (*layers, *ends))

    def _changed(self, **changes: Any) -> dict[str, Any]:
        """The architecture of a variant; a list of layers is made from what they have become."""
        return {} if self.architecture.get("name") == "chain" else {**self.architecture, **changes}

    def _with_input_shapes(self) -> list[tuple[Layer, Shape]]:
        pairs: list[tuple[Layer, Shape]] = []
        shape: Shape = self.input_shape
        for layer in self.layers:
            pairs.append((layer, shape))
            shape = layer.output_shape(shape)
        return pairs

    def __str__(self) -> str:
        shapes = self.shapes()
        lines = [f"input {'x'.join(map(str, self.input_shape))}"]
        for layer in self.layers:
            kernel = "x".join(map(str, getattr(layer, "kernel", ()))) or "-"
            shape = "x".join(map(str, shapes[layer.name]))
            lines.append(f"{layer.name:<8} {type(layer).__name__:<10} {kernel:<6} -> {shape}")
        lines.append(
            f"{self.num_parameters:,} parameters, {self.num_multiply_adds / 1e9:.2f} GMAC a clip"
        )
        return "\n".join(lines)


def as_network(model: Model) -> Network:
    """A model that must be a chain of layers; any other is a ValueError."""
    if not isinstance(model, Network):
        raise ValueError(
            f"this takes a network that is a chain of layers; the model "
            f"{model.architecture['name']!r} is none."
        )
    return model


def architecture_key(model: Model) -> dict[str, Any]:
    """What tells features apart besides the parameters, JSON values: nothing for our networks.

    Lists of layers with the same parameters may pool otherwise, and classes compute what they will.
    """
    name = model.architecture.get("name")
    known = name in NETWORKS and name != "chain"
    return {} if known else {"architecture": dict(model.architecture)}


def flattened(network: Model) -> Network:
    """See `Network.flattened`; a model that is no chain of layers is a ValueError."""
    return as_network(network).flattened()


def c3d(
    num_classes: int | None = 487,
    *,
    pool5: str = "caffe",
    input_shape: ClipShape = (3, 16, 112, 112),
) -> Network:
    """C3D (Tran et al., ICCV 2015; C3D v1.0 prototxts): eight convolutions, five poolings, fc6-fc8.

    Args:
        num_classes: outputs of fc8: 487 for Sports-1M, 101 for UCF101. None leaves fc8 out, for
            weight files that stop at fc7.
        pool5: "caffe" for the original's windows {0 1}{2 3}{4 5}{6}; "symmetric" for weights that
            were trained with one row of padding on both sides, {0}{1 2}{3 4}{5 6}.
        input_shape: channels, frames, height and width of a clip.

    Example:
        >>> c3d(101).num_parameters
        78409573
        >>> c3d().shapes()["pool5"]
        (512, 1, 4, 4)
    """
    layers = _eight_convolutions((64, 128, 256, 512, 512), 4096, pool5, num_classes)
    architecture = {
        "name": "c3d",
        "num_classes": num_classes,
        "pool5": pool5,
        "input_shape": list(input_shape),
    }
    return Network(input_shape, layers, architecture)


def _eight_convolutions(
    channels: Sequence[int], features: int, pool5: str, num_classes: int | None
) -> tuple[Layer, ...]:
    """C3D's chain, of five numbers of channels and one of features of fc6 and fc7."""
    one, two, three, four, five = channels
    return (
        Conv3d("conv1a", one),
        MaxPool3d("pool1", (1, 2, 2)),
        Conv3d("conv2a", two),
        MaxPool3d("pool2"),
        Conv3d("conv3a", three),
        Conv3d("conv3b", three),
        MaxPool3d("pool3"),
        Conv3d("conv4a", four),
        Conv3d("conv4b", four),
        MaxPool3d("pool4"),
        Conv3d("conv5a", five),
        Conv3d("conv5b", five),
        _pool5(pool5),
        Linear("fc6", features),
        Linear("fc7", features),
        *_classifier(num_classes),
    )


KERNEL_DEPTHS: Mapping[str, tuple[int, int, int, int, int]] = MappingProxyType(
    {
        "depth-1": (1, 1, 1, 1, 1),
        "depth-3": (3, 3, 3, 3, 3),
        "depth-5": (5, 5, 5, 5, 5),
        "depth-7": (7, 7, 7, 7, 7),
        "increasing": (3, 3, 5, 5, 7),
        "decreasing": (7, 5, 5, 3, 3),
    }
)
"""The six networks of the paper's kernel-depth study (section 3.2)."""


def kernel_depth(
    depths: Sequence[int] = (3, 3, 3, 3, 3),
    num_classes: int = 101,
    *,
    input_shape: ClipShape = (3, 16, 112, 112),
    width: float = 1.0,
) -> Network:
    """A network of the kernel-depth study: five convolutions, each followed by a pooling.

    Channels 64-128-256-256-256 and fully connected layers of 2048 are those of the released
    training network for UCF101 (C3D v1.0, `c3d_train_ucf101`).

    Args:
        depths: temporal size of each of the five kernels; see `KERNEL_DEPTHS` for the paper's.
        num_classes: outputs of fc8.
        input_shape: channels, frames, height and width of a clip.
        width: what channels and units, but for the classes, are multiplied by.

    Example:
        >>> kernel_depth((1, 1, 1, 1, 1)).shapes()["pool5"]
        (256, 1, 4, 4)
    """
    if len(depths) != 5:
        raise ValueError(f"`depths` must be five temporal kernel sizes, got {tuple(depths)}.")
    if not 0 < width < math.inf:
        raise ValueError(f"`width` must be more than 0, got {width}.")
    *channels, features = (max(round(width * n), 1) for n in (64, 128, 256, 256, 256, 2048))
    layers: list[Layer] = []
    for index, (number, depth) in enumerate(zip(channels, depths, strict=True)):
        layers.append(Conv3d(f"conv{index + 1}a", number, (depth, 3, 3)))
        layers.append(MaxPool3d(f"pool{index + 1}", (1, 2, 2) if index == 0 else (2, 2, 2)))
    layers += [Linear("fc6", features), Linear("fc7", features), *_classifier(num_classes)]
    architecture = {
        "name": "kernel_depth",
        "depths": list(depths),
        "num_classes": num_classes,
        "input_shape": list(input_shape),
    }
    if width != 1:  # so that files of earlier versions are of the same network
        architecture["width"] = width
    return Network(input_shape, tuple(layers), architecture)


def c3d_mini(
    num_classes: int | None = 101, *, input_shape: ClipShape = (3, 16, 112, 112)
) -> Network:
    """A small C3D of our own: the same clips in, a 25th of the multiply-adds, 512-D fc6.

    Args:
        num_classes: outputs of fc8; None leaves fc8 out.
        input_shape: channels, frames, height and width of a clip.
    """
    layers: list[Layer] = []
    for index, channels in enumerate((16, 32, 64, 128, 128)):
        layers.append(Conv3d(f"conv{index + 1}a", channels))
        layers.append(MaxPool3d(f"pool{index + 1}", (1, 2, 2) if index == 0 else (2, 2, 2)))
    layers += [Linear("fc6", 512), Linear("fc7", 512), *_classifier(num_classes)]
    architecture = {
        "name": "c3d_mini",
        "num_classes": num_classes,
        "input_shape": list(input_shape),
    }
    return Network(input_shape, tuple(layers), architecture)


def c3d_half(
    num_classes: int | None = 101, *, input_shape: ClipShape = (3, 16, 112, 112)
) -> Network:
    """C3D with half of its channels, of our own: a quarter of the multiply-adds, 512-D fc6 and fc7.

    Args:
        num_classes: outputs of fc8; None leaves fc8 out.
        input_shape: channels, frames, height and width of a clip.
    """
    layers = _eight_convolutions((32, 64, 128, 256, 256), 512, "caffe", num_classes)
    architecture = {
        "name": "c3d_half",
        "num_classes": num_classes,
        "input_shape": list(input_shape),
    }
    return Network(input_shape, layers, architecture)


def chain(layers: Sequence[Mapping[str, Any]], *, input_shape: ClipShape) -> Network:
    """The network of a list of layers, each as `{"type": "Conv3d", "name": "conv1a", ...}`."""
    types: dict[str, Callable[..., Layer]] = {
        kind.__name__: kind for kind in (Conv3d, MaxPool3d, Linear, Softmax)
    }
    made: list[Layer] = []
    for layer in layers:
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in layer.items()}
        kind = str(values.pop("type", None))
        if kind not in types:
            raise ValueError(f"unknown layer {kind!r}; known: {', '.join(types)}.")
        made.append(types[kind](**values))
    return Network(input_shape, tuple(made))


def _chain_of(network: Network) -> dict[str, Any]:
    """The architecture of a network that no function of ours makes: the list of its layers."""
    layers = []
    for layer in network.layers:
        values = dataclasses.asdict(layer).items()
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values}
        layers.append({"type": type(layer).__name__, **plain})
    return {"name": "chain", "input_shape": list(network.input_shape), "layers": layers}


NETWORKS: Mapping[str, Callable[..., Network]] = MappingProxyType(
    {
        "c3d": c3d,
        "c3d_half": c3d_half,
        "c3d_mini": c3d_mini,
        "kernel_depth": kernel_depth,
        "chain": chain,
    }
)


def from_architecture(architecture: Mapping[str, Any]) -> Network:
    """The network that `Network.architecture` describes, as it is kept in a weight file.

    Raises:
        ValueError: it is of no network of ours, or of other arguments than its function takes.
    """
    arguments = dict(architecture)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}.")
    if "input_shape" in arguments:
        arguments["input_shape"] = tuple(arguments["input_shape"])
    flattened, last = arguments.pop("flattened", False), arguments.pop("up_to", None)
    try:
        network = NETWORKS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"network {name!r} cannot be made from {arguments}: {error}.") from None
    network = network.flattened() if flattened else network
    return network if last is None else network.up_to(last)


from_recipe = from_architecture
"""Its former name."""


def model_from(
    architecture: Mapping[str, Any], models: Mapping[str, Callable[..., Any]] | None = None
) -> Model:
    """The model that an architecture describes: a network of ours, or one of the given classes.

    Args:
        architecture: as a weight file keeps it.
        models: classes of one's own by the names that files have for them, or that the classes
            have themselves. Nothing else is imported because a file says so; those of
            `kinema.models` need not be given.

    Raises:
        ValueError: it is of a class that is not given, or of no network of ours.
    """
    if "class" not in architecture:
        return from_architecture(architecture)
    name, models = str(architecture["name"]), models or {}
    made = models.get(name) or models.get(architecture["class"])
    if made is None and name in MODELS:
        made = load_model(name)
    if made is None:
        raise ValueError(
            f"it is of the model {name!r}, a class of its author's own, which no file imports: "
            f"give the class as `models={{{name!r}: {architecture['class']}}}`, or "
            f"`--model FILE.py:{architecture['class']}`."
        )
    return UserModel.from_architecture(architecture, made)


def _pool5(kind: str) -> MaxPool3d:
    paddings = {"caffe": (0, 0, 0), "symmetric": (0, 1, 1)}
    if kind not in paddings:
        raise ValueError(f"`pool5` must be one of {', '.join(paddings)}; got {kind!r}.")
    return MaxPool3d("pool5", padding=paddings[kind])


def _classifier(num_classes: int | None) -> list[Layer]:
    if num_classes is None:
        return []
    return [Linear("fc8", num_classes, relu=False, dropout=0.0), Softmax("prob")]
