"""`Weights`: named float32 arrays, and where they came from.

Our file is safetensors: the parameters under their names, the mean volume as `mean`, and one
metadata entry `kinema`, a JSON object with everything else. To make a file known to `kinema
weights pull`, add it to `KNOWN_FILES`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from kinema import network as networks
from kinema.files import OtherFormat, read_tensors, write_tensors
from kinema.model import Model, UserModel
from kinema.network import Network, model_from
from kinema.weights import imagenet

FORMAT = "kinema-weights-1"

FOLDER_FILE = "model.safetensors"  # in a folder of `folder.write_folder`, as hubs call it
_KEPT = ("name", "source", "source_sha256", "labels", "trained", "trained_on")
"""Entries of a file's metadata that are `Weights`' own attributes."""


@dataclass(frozen=True, eq=False)
class Weights(Mapping[str, np.ndarray]):
    """Parameters of a model, a mapping from their names, and their metadata.

    Attributes:
        arrays: parameters by name, float32, as "conv1a.weight"; exactly those of `network`. A
            module's `state_dict()` does, too. Whole numbers of a class of one's own stay what
            they are.
        network: the model that they belong to.
        name: what to call them in reports.
        source: where they came from, in words.
        source_sha256: checksum of the file they were converted from, if there was one.
        mean: what to subtract from frames: (3, T, H, W) or (3,) float32, B, G, R; None if unknown.
        labels: class names in the order of fc8's outputs, if known.
        trained: False for random weights.
        trained_on: the videos that training saw, if known.
        learned_from: datasets that teachers of these weights had learned from, in words.
    """

    arrays: Mapping[str, np.ndarray]
    network: Model
    name: str = "unnamed"
    source: str = ""
    source_sha256: str | None = None
    mean: np.ndarray | None = None
    labels: tuple[str, ...] | None = None
    trained: bool = True
    trained_on: tuple[str, ...] | None = None
    learned_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = {name: _as_array(value) for name, value in self.arrays.items()}
        check_arrays(given, self.network)
        arrays = {
            name: np.asarray(
                given[name], np.float32 if given[name].dtype.kind == "f" else None, order="C"
            )
            for name in self.network.parameter_shapes()
        }
        object.__setattr__(self, "arrays", arrays)
        if self.mean is not None:
            object.__setattr__(self, "mean", check_mean(self.mean, self.network))
        if self.labels is not None:
            labels = tuple(self.labels)
            num_classes = self.num_classes
            if num_classes is not None and len(labels) != num_classes:
                raise ValueError(
                    f"`labels` must be one a class, got {len(labels)} for {num_classes} classes."
                )
            object.__setattr__(self, "labels", labels)
        if self.trained_on is not None:
            object.__setattr__(self, "trained_on", tuple(self.trained_on))
        object.__setattr__(self, "learned_from", tuple(self.learned_from))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    # Two of them are the same only if they are one object; `sha256` compares what they hold.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __deepcopy__(self, memo: Any) -> Weights:
        """Itself: it does not change, and scikit-learn's `clone` copies what estimators hold."""
        return self

    def __repr__(self) -> str:
        mean = "none" if self.mean is None else "x".join(map(str, self.mean.shape))
        return (
            f"Weights({self.name!r}, {self.network.architecture.get('name')}, "
            f"{self.network.num_parameters:,} parameters, mean {mean})"
        )

    @property
    def num_classes(self) -> int | None:
        """Outputs of fc8; None if the weights stop before it."""
        return self.network.num_classes

    @functools.cached_property
    def sha256(self) -> str:
        """Checksum of the parameters (names, shapes and bytes), whatever file they stand in."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.shape}\n".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def with_mean(self, mean: np.ndarray | Sequence[float]) -> Weights:
        """The same weights with another mean."""
        return dataclasses.replace(self, mean=np.asarray(mean, np.float32))

    def metadata(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON values."""
        return {
            "format": FORMAT,
            "name": self.name,
            "network": dict(self.network.architecture),
            "layers": list(self.network.layer_names),
            "source": self.source,
            "source_sha256": self.source_sha256,
            "sha256": self.sha256,
            "labels": None if self.labels is None else list(self.labels),
            "trained": self.trained,
            "trained_on": None if self.trained_on is None else list(self.trained_on),
            **({"learned_from": list(self.learned_from)} if self.learned_from else {}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as safetensors, atomically."""
        tensors = dict(self.arrays)
        if self.mean is not None:
            tensors["mean"] = self.mean
        write_tensors(path, tensors, self.metadata())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        models: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Weights:
        """Read weights that `save` wrote.

        Args:
            path: the file, or a folder that holds one as `FOLDER_FILE`.
            models: classes of one's own, by the names that files have for them; see
                Note [A model of one's own] in `model`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not ours, a class of its author's own is not given, or a
                parameter is missing, extra, misshapen or not finite; the message names the file
                and the parameter.
        """
        path = file_of(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            tensors, metadata = read_tensors(path, format=FORMAT)
        except OtherFormat as error:
            raise ValueError(f"{path} holds no weights ({error}).") from None
        except ValueError as error:
            raise ValueError(
                f"{path} holds no Kinema weights ({error}); make those of others ready by "
                "`kinema weights convert`."
            ) from None
        try:
            return cls(
                mean=tensors.pop("mean", None),
                arrays=tensors,
                network=model_from(metadata["network"], models),
                learned_from=metadata.get("learned_from", ()),
                **{key: metadata[key] for key in _KEPT},
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from None


def file_of(path: str | os.PathLike[str]) -> Path:
    """A file of weights itself, or the one in a folder."""
    return Path(path, FOLDER_FILE) if Path(path).is_dir() else Path(path)


def check_arrays(arrays: Mapping[str, np.ndarray], network: Model) -> None:
    """Refuse a missing, extra, misshapen or non-finite parameter, by name."""
    shapes = network.parameter_shapes()
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise ValueError(f"parameter {missing[0]} is missing{_and_more(missing)}.")
    extra = [name for name in arrays if name not in shapes]
    if extra:
        raise ValueError(f"parameter {extra[0]} is not one of the network's{_and_more(extra)}.")
    for name, shape in shapes.items():
        array = np.asarray(arrays[name])
        if array.shape != shape:
            raise ValueError(f"parameter {name} must have shape {shape}, got {array.shape}.")
        kinds = "f" if isinstance(network, Network) else "fiub"
        if array.dtype.kind not in kinds:
            raise ValueError(
                f"parameter {name} must hold floating-point numbers, got {array.dtype}."
            )
        if not np.isfinite(array.astype(np.float32, copy=False)).all():
            raise ValueError(f"parameter {name} holds values that are not finite in float32.")


def check_mean(mean: np.ndarray | Sequence[float], network: Model | None = None) -> np.ndarray:
    """A mean as float32, (3,) or (3, T, H, W); anything else is a ValueError.

    With a network it has as many channels as that; and a volume must be of its clips' length, and
    of its frames' size or its crop's.
    """
    array = np.asarray(mean)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"`mean` must hold real numbers, got {array.dtype}.")
    array = np.ascontiguousarray(array, np.float32)
    channels = 3 if network is None else network.input_shape[0]
    if array.shape != (channels,) and (array.ndim != 4 or array.shape[0] != channels):
        what = "three constants (B, G, R)" if channels == 3 else f"{channels} constants"
        raise ValueError(
            f"`mean` must be {what} or a volume ({channels}, frames, height, width), got shape "
            f"{array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError("`mean` holds values that are not finite.")
    if network is not None and array.ndim == 4:
        length, *crop = network.input_shape[1:]
        fitting = ((channels, length, *network.frame_size), (channels, length, *crop))
        if array.shape not in fitting:
            what = "three" if channels == 3 else str(channels)
            raise ValueError(
                f"`mean` must be {what} constants, or a volume {fitting[0]} or {fitting[1]} for "
                f"this network, got shape {array.shape}."
            )
    return array


def _as_array(value: Any) -> np.ndarray:
    """An array of NumPy's, or a copy of a tensor of PyTorch's, which may go on learning."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        copy: np.ndarray = value.numpy().copy()
        return copy
    return np.asarray(value)


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def random_weights(network: Model, *, seed: int = 0, name: str = "random") -> Weights:
    """Seeded random weights: He's normal distribution over the fan-in, biases zero.

    Untrained, but not useless: filters of random weights answer to motion and place. The mean is
    128, the constant of C3D v1.1. A class of one's own draws its state itself.
    """
    mean = np.full(network.input_shape[0], 128, np.float32)
    if isinstance(network, UserModel):
        source = f"the class's own random state (seed {seed}), not trained"
        arrays = network.initial_arrays(seed)
        return Weights(arrays, network, name=name, source=source, mean=mean, trained=False)
    generator = np.random.Generator(np.random.PCG64(seed))
    arrays = {}
    for parameter, shape in network.parameter_shapes().items():
        if parameter.endswith(".bias"):
            arrays[parameter] = np.zeros(shape, np.float32)
        else:
            deviation = np.float32(np.sqrt(2 / np.prod(shape[1:])))
            arrays[parameter] = generator.standard_normal(shape, np.float32) * deviation
    return Weights(
        arrays,
        network,
        name=name,
        source=f"seeded random numbers (He normal, seed {seed}), not trained",
        mean=mean,
        trained=False,
    )


SHIPPED: Mapping[str, str] = MappingProxyType(
    {"c3d-mini": "the small C3D, taught by mc3_18 and EfficientNet-Lite2; see docs/weights.md"}
)
"""Weights that stand beside this file, by name, and one line on what they are."""


class BuiltIn(NamedTuple):
    """Weights that need no file: one line on what they are, and their network."""

    what: str
    network: Callable[[], Network]


BUILT_IN: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "c3d-mini-random": BuiltIn(
            "the small C3D, seeded random weights, not trained; c3d-mini-random:1 is of seed 1",
            networks.c3d_mini,
        ),
        "c3d-untrained": BuiltIn(
            "C3D, seeded random weights, for tests and timing",
            networks.c3d,
        ),
    }
)
"""Weights that need no file; `NAME:SEED` is another draw of them."""


class Packaged(NamedTuple):
    """Weights that a package of others brings: one line on what they are, and how they are read."""

    what: str
    read: Callable[[], Mapping[str, Any]]
    is_here: Callable[[], bool]


PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        "imagenet": Packaged(
            "EfficientNet-Lite0, ImageNet, of a clip's middle frame; c3d-mini+imagenet: both",
            imagenet.read,
            imagenet.is_here,
        ),
    }
)
"""Weights that describe clips and are not C3D's."""

_FORMERLY = {"c3d-random": "c3d-untrained"}
"""Weights by a former name: a row of the comparison is called so, which is something else."""


@dataclass(frozen=True)
class KnownFile:
    """A published weight file.

    Attributes:
        url: where it was published.
        what: one line on what it is.
        sha256: its checksum, or the first digits of it where the file's name carries them.
        md5: an older checksum, where that is all that was published.
        convert: arguments that `convert.convert` needs for it.
    """

    url: str
    what: str
    sha256: str | None = None
    md5: str | None = None
    convert: Mapping[str, Any] = dataclasses.field(default_factory=dict)


KNOWN_FILES: Mapping[str, KnownFile] = MappingProxyType(
    {
        "c3d-sports1m": KnownFile(
            "http://vlg.cs.dartmouth.edu/c3d/conv3d_deepnetA_sport1m_iter_1900000",
            "the original C3D, I380K then Sports-1M, Caffe",
        ),
        "c3d-sports1m-keras": KnownFile(
            "https://github.com/adamcasson/c3d/releases/download/v0.1/sports1M_weights_tf.h5",
            "the original C3D ported to Keras",
            md5="b7a93b2f9156ccbebe3ca24b41fc5402",
        ),
        "c3d-sports1m-davidea": KnownFile(
            "http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
            "the original C3D ported to PyTorch by way of Keras",
        ),
        "c3d-sports1m-mmaction2": KnownFile(
            "https://download.openmmlab.com/mmaction/recognition/c3d/"
            "c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
            "the original C3D ported to PyTorch, without fc8",
            sha256="dcc47ddc",
        ),
    }
)
"""Files that `kinema weights pull` knows (see docs/fidelity.md for what each of them is)."""


def cache_folder() -> Path:
    """Where pulled weights are kept: $KINEMA_CACHE, or ~/.cache/kinema."""
    return Path(os.environ.get("KINEMA_CACHE") or Path.home() / ".cache" / "kinema")


def resolve(
    weights: str | os.PathLike[str] | Weights,
    models: Mapping[str, Callable[..., Any]] | None = None,
) -> Weights:
    """Weights from a built-in or pulled name, a file, or `Weights` themselves.

    `models` are those of `Weights.load`.
    """
    if isinstance(weights, Weights):
        return weights
    name = os.fspath(weights)
    if name in SHIPPED:
        return Weights.load(Path(__file__).with_name(f"{name}.safetensors"))
    plain, seed = _name_and_seed(name)
    if plain in SHIPPED:
        raise ValueError(
            f"`weights` {name!r}: draws of random numbers are called {draw_once_called(name)}."
        )
    if plain in BUILT_IN:
        return random_weights(BUILT_IN[plain].network(), seed=seed, name=name)
    if name in PACKAGED:
        return Weights(**PACKAGED[name].read(), name=name)
    if name in KNOWN_FILES:
        path = cache_folder() / f"{name}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"weights {name!r} are not here yet: `kinema weights pull {name}` fetches them."
            )
        return Weights.load(path)
    if not name or not Path(name).exists():
        known = ", ".join([*SHIPPED, *BUILT_IN, *PACKAGED, *KNOWN_FILES])
        raise FileNotFoundError(f"`weights` {name!r} is neither a file nor one of: {known}.")
    return Weights.load(name, models=models)


def draw_once_called(name: str) -> str | None:
    """The name of the random draw that shipped weights' name, as c3d-mini:1, once stood for."""
    plain, colon, seed = name.partition(":")
    return f"{plain}-random{colon}{seed}" if plain in SHIPPED else None


def is_name(weights: str) -> bool:
    """Whether this names weights wherever one is, and is no file."""
    return _name_and_seed(weights)[0] in BUILT_IN or weights in {*SHIPPED, *PACKAGED, *KNOWN_FILES}


def _name_and_seed(name: str) -> tuple[str, int]:
    plain, _, seed = name.partition(":")
    plain, number = (plain, int(seed)) if seed.isdecimal() else (name, 0)
    return _FORMERLY.get(plain, plain), number
