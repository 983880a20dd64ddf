"""What describes a clip: a layer of a network, or ImageNet's network on the clip's middle frame.

`clip_features` makes them from weights; `Extractor` puts those of one clip side by side. To add
another, write its class and name it in `KINDS`, by what its model sees.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import cv2
import numpy as np

from kinema.engine.engine import Engine
from kinema.engine.opencv import PictureEngine
from kinema.network import architecture_key
from kinema.picture_network import LAYER, SIDE
from kinema.video.clips import preprocess, resize, resize_frame, resizing
from kinema.video.crops import check_crops, crops_of
from kinema.video.reader import Frame
from kinema.weights.file import Weights
from kinema.weights.imagenet import MEAN, SCALE
from kinema.weights.means import load_mean

OF_NETWORKS: Mapping[str, Any] = MappingProxyType(
    {"layer": "fc6", "mean": None, "device": "auto", "engine": "auto", "precision": "fp32"}
)
"""Settings that only networks of clips have a choice of, with their defaults."""


MOST_OF_FRAME = 5
"""How many times the network's own pixels a frame may have to be sent to a GPU whole, and resized
there: 352x288 of C3D's. To copy one of 320x240 takes a tenth of the time to resize it, of 640x480
half, and it waits in memory meanwhile."""


@functools.cache
def sparing(size: tuple[int, int]) -> Callable[[Frame], Frame]:
    """`clips.resizing` of frames that are too large to be resized on a GPU; others stay."""
    most = MOST_OF_FRAME * size[0] * size[1]

    def shrink(frame: Frame) -> Frame:
        height, width = frame.image.shape[:2]
        return frame if height * width <= most else resize_frame(frame, size)

    return shrink


class ClipFeature:
    """Turns clips into rows.

    Attributes:
        weights: of its network.
        layer: whose output is the row, and its shape.
        shrink: what it takes of a frame, see `Step.shrink`.
        engine: what computes it.
        crops: of a clip, see Note [Crops] of `video.crops`.
        has_choices: whether it takes other values of `OF_NETWORKS` than the defaults.
    """

    has_choices: ClassVar[bool] = True
    weights: Weights
    layer: str
    layer_shape: tuple[int, ...]
    shrink: Callable[[Frame], Frame]
    engine: Any
    crops: int

    def __init__(
        self, weights: Weights, *, threads: int | None, crops: int, **of_networks: Any
    ) -> None:
        raise NotImplementedError

    def prepare(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(`crops`, 3, T, H, W) float32, what `run` takes of a clip, of its shrunk frames."""
        raise NotImplementedError

    def rows(self, inputs: np.ndarray) -> np.ndarray:
        """(N, D) float32 features of N clips, the mean over their crops, of (N * `crops`, ...)."""
        rows = self.run(inputs)
        if self.crops == 1:
            return rows
        of_crops = rows.reshape(-1, self.crops, rows.shape[1])
        return of_crops.mean(axis=1, dtype=np.float64).astype(np.float32)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """(N, D) float32 features of crops (N, 3, T, H, W)."""
        raise NotImplementedError

    def start(self, clips: Sequence[Sequence[np.ndarray]]) -> Callable[[], np.ndarray]:
        """Begin to compute the rows of clips, on a device that does so by itself; the call waits.

        Args:
            clips: the shrunk frames of each. Safe in any thread.
        """
        inputs = np.concatenate([self.prepare(images) for images in clips])
        return functools.partial(self.rows, inputs)

    def settings(self) -> dict[str, Any]:
        """What decides over the features besides which frames make a clip, as JSON values."""
        raise NotImplementedError


class LayerFeature(ClipFeature):
    """The output of a layer; fc6 after its ReLU, as the original saves it."""

    def __init__(
        self,
        weights: Weights,
        *,
        threads: int | None,
        crops: int = 1,
        layer: str = "fc6",
        mean: Any = None,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "fp32",
    ) -> None:
        self.weights = with_mean(weights, mean)
        network = self.weights.network
        channels, _, *crop = network.input_shape
        if channels != 3:
            raise ValueError(
                f"weights {self.weights.name!r} take clips of {channels} channels; videos give "
                "three, R, G and B."
            )
        self.layer = layer
        self.layer_shape = network.feature_shape(layer)
        self._crop = (crop[0], crop[1])
        self.crops = crops
        self._crops = crops_of(crops, network.frame_size, self._crop)
        assert self.weights.mean is not None  # with_mean has seen to it
        shape = self.weights.mean.shape
        if crops > 1 and len(shape) > 1 and shape[2:] != network.frame_size:
            raise ValueError(
                f"`crops` {crops}: the mean is one of the centre alone, {shape}; corners need one "
                f"of whole frames, {(*network.input_shape[:2], *network.frame_size)}, or B,G,R."
            )
        self.engine = Engine(
            network.up_to(layer),
            self.weights,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
        )
        shrinking = sparing if self._sends_pixels else resizing
        self.shrink = shrinking(network.frame_size)

    def prepare(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """See `clips.preprocess`."""
        mean, found = self.weights.mean, []
        assert mean is not None
        size = self.weights.network.frame_size
        images = [one if one.shape[:2] == size else resize(one, size) for one in images]
        for crop in self._crops:
            clip = preprocess(
                images, mean=mean, resize_to=None, crop=self._crop, offset=crop.offset
            )
            found.append(clip[..., ::-1] if crop.mirrored else clip)
        return np.stack(found)

    def start(self, clips: Sequence[Sequence[np.ndarray]]) -> Callable[[], np.ndarray]:
        """By the engine, from pixels: a frame that is in several clips is sent once."""
        if not self._sends_pixels:
            return super().start(clips)
        frames = {id(image): image for images in clips for image in images}
        places = {key: place for place, key in enumerate(frames)}
        order = np.array([[places[id(image)] for image in images] for images in clips])
        wait = self.engine.start([*frames.values()], order, self._mean_of_crop, (self.layer,))
        return lambda: wait()[self.layer].reshape(len(clips), -1)

    @property
    def _sends_pixels(self) -> bool:
        return self.engine.device == "cuda" and self.crops == 1

    @functools.cached_property
    def _mean_of_crop(self) -> np.ndarray:
        """(3, T, H, W) float32: what a black clip lacks."""
        length = self.weights.network.input_shape[1]
        black = np.zeros((*self.weights.network.frame_size, 3), np.uint8)
        return -self.prepare([black] * length)[0]

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """By the engine."""
        outputs = self.engine.run(inputs, (self.layer,))[self.layer]
        return outputs.reshape(len(outputs), -1)

    def settings(self) -> dict[str, Any]:
        """Weights, mean and preprocessing; the precision where it is not fp32."""
        mean, network = self.weights.mean, self.weights.network
        assert mean is not None
        return {
            "layer": self.layer,
            "weights_sha256": self.weights.sha256,
            "pool5": network.architecture.get("pool5", "caffe"),
            "mean": mean.tolist() if mean.ndim == 1 else f"sha256 {_sha256(mean.tobytes())}",
            "resize": list(network.frame_size),
            "crop": list(self._crop),
            **architecture_key(network),
            **({} if self.engine.precision == "fp32" else {"precision": self.engine.precision}),
        }


class MiddleFrame(ClipFeature):
    """ImageNet's features of a clip's middle frame: of 16 frames, 0 to 15, number 8.

    Raises:
        ValueError: a setting is not the default that it has no choice of; it is named.
    """

    has_choices = False

    def __init__(
        self, weights: Weights, *, threads: int | None, crops: int = 1, **of_networks: Any
    ) -> None:
        weights.network.check_layer(of_networks.pop("layer", LAYER))
        for name, value in of_networks.items():
            if str(value) != str(OF_NETWORKS[name]) and (name, value) != ("device", "cpu"):
                raise ValueError(
                    f"`{name}` {value!r}: {weights.name} {_NO_CHOICE[name]}; leave it out."
                )
        self.weights = weights
        self.layer = LAYER
        self.layer_shape = weights.network.feature_shape(LAYER)
        self.crops = crops
        self.shrink = centred if crops == 1 else scaled_frame
        self.engine = PictureEngine(weights, threads=threads)

    def prepare(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(`crops`, 3, 1, 224, 224)."""
        image = images[len(images) // 2]
        found = []
        for crop in crops_of(self.crops, image.shape[:2], (SIDE, SIDE)):
            part = cut(image, crop.offset)
            found.append(picture(part[:, ::-1] if crop.mirrored else part)[:, None])
        return np.stack(found)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """By OpenCV."""
        return self.engine.run(inputs[:, :, 0])

    def settings(self) -> dict[str, Any]:
        """Weights and preprocessing."""
        return {
            "layer": self.layer,
            "weights_sha256": self.weights.sha256,
            "frame": self.weights.network.sees,
            "shorter_side": SHORTER_SIDE,
            "crop": [SIDE, SIDE],
            **architecture_key(self.weights.network),
        }


_NO_CHOICE = {
    "mean": "subtracts its own",
    "device": "is computed on the CPU",
    "engine": "is computed by OpenCV alone",
    "precision": "is computed by OpenCV in fp32",
}

KINDS: Mapping[str, type[ClipFeature]] = MappingProxyType(
    {"frames": LayerFeature, "middle frame": MiddleFrame}
)
"""What describes a clip, by what its model sees of it."""


def clip_features(
    nets: Sequence[Weights], *, threads: int | None = None, crops: int = 1, **of_networks: Any
) -> tuple[ClipFeature, ...]:
    """What each net tells of a clip.

    Args:
        nets: one, or several that see clips of one length.
        threads: CPU threads; None for all.
        crops: 1, 5 or 10 of each clip, whose mean is its features.
        of_networks: those of `OF_NETWORKS`, see `Extractor`.
    """
    check_crops(crops)
    check_same_clips(nets)
    asked = meant_for_each(nets, {**OF_NETWORKS, **of_networks})
    return tuple(
        KINDS[net.network.sees](net, threads=threads, crops=crops, **mine)
        for net, mine in zip(nets, asked, strict=True)
    )


def meant_for_each(nets: Sequence[Weights], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings for each of some nets: the choices of networks are theirs, where there are any.

    A net that has no choice and stands alone is given them all the same, to refuse them.
    """
    have_choices = [KINDS[net.network.sees].has_choices for net in nets]
    return [
        {**asked, **({} if mine or not any(have_choices) else _defaults_of(asked))}
        for mine in have_choices
    ]


def _defaults_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: OF_NETWORKS[name] for name in asked if name in OF_NETWORKS}


def check_same_clips(nets: Sequence[Weights]) -> None:
    """Refuse nets that cannot describe the same clips.

    Raises:
        ValueError: they see clips of different lengths.
    """
    lengths = {net.network.input_shape[1]: net.name for net in nets}
    if len(lengths) > 1:
        (one, first), (other, second), *_ = lengths.items()
        raise ValueError(
            f"`weights`: {first} sees clips of {one} frames, {second} of {other}; what is put side "
            "by side must see the same clips."
        )


def with_mean(weights: Weights, mean: Any) -> Weights:
    """The weights with the given mean, or with their own; having none is an error."""
    if mean is not None:
        if isinstance(mean, str | os.PathLike):
            mean = load_mean(mean)
        return weights.with_mean(mean)
    if weights.mean is None:
        raise ValueError(
            f"weights {weights.name!r} carry no mean, and subtracting none would give other "
            "features: give `mean`, a file (.binaryproto, .npy, .npz) or three numbers B,G,R; or "
            "keep it with the weights, by `kinema weights convert --mean`."
        )
    return weights


# --- pictures as ImageNet's network takes them ----------------------------------------------------

SHORTER_SIDE = 256
"""Of a frame, before its centre is cut out."""


def centred(frame: Frame) -> Frame:
    """A frame with the centre of its image, 224x224, in place of that."""
    return dataclasses.replace(frame, image=centre(frame.image))


def scaled_frame(frame: Frame) -> Frame:
    """A frame whose image has a shorter side of 256."""
    return dataclasses.replace(frame, image=scaled(frame.image))


def centre(image: np.ndarray) -> np.ndarray:
    """The centre of an image, 224x224, after its shorter side has been brought to 256."""
    image = scaled(image)
    top, left = ((side - SIDE) // 2 for side in image.shape[:2])
    return cut(image, (top, left))


def scaled(image: np.ndarray) -> np.ndarray:
    """An image whose shorter side has been brought to 256."""
    height, width = image.shape[:2]
    factor = SHORTER_SIDE / min(height, width)
    size = (round(width * factor), round(height * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method)


def cut(image: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """224x224 pixels of an image from (top, left) on."""
    top, left = offset
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def picture(image: np.ndarray) -> np.ndarray:
    """(3, 224, 224) float32, R, G, B, of a centre (224, 224, 3) uint8."""
    pixels: np.ndarray = (image.transpose(2, 0, 1).astype(np.float32) - MEAN) / SCALE
    return np.ascontiguousarray(pixels)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.cache
def shrinking(shrinks: tuple[Callable[[Frame], Frame], ...]) -> Callable[[Frame], Frame]:
    """What several features take of a frame: a tuple in place of its image."""
    if len(shrinks) == 1:
        return shrinks[0]

    def shrink(frame: Frame) -> Frame:
        images: Any = tuple(one(frame).image for one in shrinks)
        return dataclasses.replace(frame, image=images)

    return shrink
