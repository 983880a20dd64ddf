"""ImageNet's rows: frames of a network that learned from single pictures, alone and beside C3D."""

from __future__ import annotations

from typing import Any

from kinema.features.imagenet import ImageNetFeatures, check_installed
from kinema.methods import c3d, svm
from kinema.methods.svm import FeatureSVM

NAME = "ImageNet (EfficientNet-Lite0)"


def title_alone(options: Any) -> str:
    """Of ImageNet's row."""
    return NAME + svm.SUFFIX


def title_with_c3d(options: Any) -> str:
    """Of the row with both."""
    return f"{c3d.net_title(options.weights[0])} + {NAME}{svm.SUFFIX}"


def check(options: Any) -> None:
    """Refuse where the packages with the network are not installed."""
    check_installed()


def check_with_c3d(options: Any) -> None:
    """The same, and what the first net's features need."""
    c3d.check_one(options)
    check(options)


def _frames(options: Any) -> ImageNetFeatures:
    return ImageNetFeatures(
        l2=options.l2,
        cache=options.cache,
        threads=options.threads,
        colours=options.colours,
        video_seconds=options.video_seconds,
    )


def alone(options: Any) -> FeatureSVM:
    """ImageNet's row."""
    return svm.make(options, [_frames(options)])


def with_c3d(options: Any) -> FeatureSVM:
    """Beside the first net's features."""
    net = c3d.features(options, options.weights[0])
    return svm.make(options, [net, _frames(options)])
