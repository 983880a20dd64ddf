"""ImageNet's rows: frames of a network that learned from single pictures, alone and beside C3D."""

from __future__ import annotations

from kinema.features.imagenet import ImageNetFeatures
from kinema.methods import c3d
from kinema.methods.options import Options
from kinema.methods.svm import SUFFIX, FeatureSVM, feature_svm
from kinema.weights.imagenet import check_installed

NAME = "ImageNet (EfficientNet-Lite0)"
STANDS_IN = "EfficientNet-Lite0 for CaffeNet's fc6"


def alone(options: Options) -> FeatureSVM:
    """ImageNet's row."""
    return feature_svm(options, [_frames(options)], NAME + SUFFIX, stands_in=STANDS_IN)


def with_c3d(options: Options) -> FeatureSVM:
    """Beside the first net's features."""
    net = options.weights[0]
    describers = [c3d.features(options, net), _frames(options)]
    title = f"{c3d.net_title(net)} + {NAME}{SUFFIX}"
    return feature_svm(options, describers, title, stands_in=STANDS_IN)


def _frames(options: Options) -> ImageNetFeatures:
    check_installed()
    return ImageNetFeatures(
        l2=options.l2,
        cache=options.cache,
        threads=options.threads,
        colours=options.reading.colours,
        video_seconds=options.reading.video_seconds,
    )
