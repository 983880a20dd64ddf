"""The methods of the comparison, one file each, all with scikit-learn's face.

    fit(videos, labels, groups=None), decision_function(videos) -> (n, K), predict(videos)

To add one, write its file and name it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kinema.methods import c3d, chance, imagenet
from kinema.weights import Weights


@dataclass(frozen=True)
class Options:
    """What a comparison tells each method.

    Attributes:
        weights: of C3D, one net or several.
        layer: whose output is C3D's feature.
        stride: frames from clip to clip.
        l2: whether video vectors are L2-normalised.
        cost: C of the SVM; None for inner cross-validation.
        cache: a folder for what is dear.
        threads: CPU threads; None for all.
        progress: whether to show the progress of what takes long.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever.
    """

    weights: tuple[Weights, ...] = ()
    layer: str = "fc6"
    stride: int = 8
    l2: bool = True
    cost: float | None = None
    cache: Path | None = None
    threads: int | None = None
    progress: bool = False
    colours: str = "file"
    video_seconds: float | None = None


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        title: what the table calls it.
        make: an estimator from `Options`.
        stands_in: what of the paper's method it approximates, and how; "" if it is the method.
        seen: names of the videos that its weights learned from, given the options.
    """

    title: str
    make: Callable[[Options], Any]
    stands_in: str = ""
    seen: Callable[[Options], set[str]] = field(default=lambda options: set())


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "c3d": Method("C3D (1 net) + linear SVM", c3d.one_net, seen=c3d.seen_by_one),
        "c3d-nets": Method("C3D (all nets) + linear SVM", c3d.all_nets, seen=c3d.seen_by_all),
        "imagenet": Method(
            "ImageNet + linear SVM", imagenet.alone, "EfficientNet-Lite0 for CaffeNet's fc6"
        ),
        "c3d+imagenet": Method(
            "C3D (1 net) + ImageNet + linear SVM",
            imagenet.with_c3d,
            "EfficientNet-Lite0 for CaffeNet's fc6",
            seen=c3d.seen_by_one,
        ),
        "c3d-random": Method("C3D, random weights + linear SVM", c3d.random_net),
        "depth-1": Method("2-D network (kernels of one frame), random weights", c3d.random_2d_net),
        "one-frame": Method("C3D (1 net) on one frame, repeated", c3d.one_frame),
        "chance": Method("largest training class", chance.make),
    }
)
"""The rows by the name that the command line has for them."""
