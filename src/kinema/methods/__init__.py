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

from kinema.methods import c3d, chance, imagenet, svm
from kinema.weights.file import Weights


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
        title: what the table calls it, given the options: the weights that it really has.
        make: an estimator from `Options`.
        stands_in: what of the paper's method it approximates, and how; "" if it is the method.
        seen: names of the videos that its weights learned from, given the options.
        check: refuses options that would fail once videos are decoded; as `make`, but at no cost.
        has_features: whether its estimator is a `FeatureSVM`, which pictures can be made of.
    """

    title: Callable[[Options], str]
    make: Callable[[Options], Any]
    stands_in: str = ""
    seen: Callable[[Options], set[str]] = field(default=lambda options: set())
    check: Callable[[Options], None] = field(default=lambda options: None)
    has_features: bool = True

    def features_title(self, options: Options) -> str:
        """What pictures call its features."""
        return self.title(options).removesuffix(svm.SUFFIX)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "c3d": Method(c3d.title_of_one, c3d.one_net, seen=c3d.seen_by_one, check=c3d.check_one),
        "c3d-nets": Method(
            c3d.title_of_all, c3d.all_nets, seen=c3d.seen_by_all, check=c3d.check_all
        ),
        "imagenet": Method(
            imagenet.title_alone,
            imagenet.alone,
            "EfficientNet-Lite0 for CaffeNet's fc6",
            check=imagenet.check,
        ),
        "c3d+imagenet": Method(
            imagenet.title_with_c3d,
            imagenet.with_c3d,
            "EfficientNet-Lite0 for CaffeNet's fc6",
            seen=c3d.seen_by_one,
            check=imagenet.check_with_c3d,
        ),
        "c3d-random": Method(c3d.title_of_random, c3d.random_net, check=c3d.check_random),
        "depth-1": Method(c3d.title_of_2d, c3d.random_2d_net, check=c3d.check_random),
        "one-frame": Method(
            c3d.title_of_one_frame, c3d.one_frame, seen=c3d.seen_by_one, check=c3d.check_one
        ),
        "chance": Method(lambda options: "largest training class", chance.make, has_features=False),
    }
)
"""The rows by the name that the command line has for them."""
