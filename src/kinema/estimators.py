"""The scikit-learn face: a transformer from video paths to video vectors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from kinema import weights as weights_room
from kinema.clips import ClipPlan
from kinema.feature_table import FeatureTable
from kinema.features import Extractor
from kinema.sources import fingerprint
from kinema.weights import Weights


class C3DFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns paths of videos into L2-normalised mean features, one row a video.

    Works in pipelines, `cross_val_score` and `GridSearchCV`. With a `cache` folder each video goes
    through the network once, whatever the folds; without one, each time that it is asked for.

    Args:
        weights: a name (`kinema weights list`), a file, or `Weights`; they must carry a mean.
        layer: whose output is the feature.
        stride: frames from the start of one clip to the start of the next.
        l2: whether rows are brought to length 1.
        threads: CPU threads of the network; None for all.
        cache: a folder for feature tables, made if it is missing. A table is found again by the
            content of the video and the settings, so videos can be moved and settings varied.

    Attributes:
        n_features_in_: 1, the path.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Weights = "c3d-mini",
        layer: str = "fc6",
        stride: int = 8,
        cache: str | os.PathLike[str] | None = None,
        *,
        l2: bool = True,
        threads: int | None = None,
    ) -> None:
        self.weights = weights
        self.layer = layer
        self.stride = stride
        self.cache = cache
        self.l2 = l2
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> C3DFeatures:
        """Check the parameters and paths; nothing is learned.

        Args:
            X: (n,) or (n, 1) paths.
            y: ignored.
        """
        paths = _paths(X)
        extractor = self._extractor()
        self._check_paths(paths)
        self.n_features_in_ = 1
        self._n_features_out = int(np.prod(extractor.layer_shape))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of videos.

        Args:
            X: (n,) or (n, 1) paths.

        Returns:
            (n, D) float32, rows of length 1 with `l2`.

        Raises:
            ValueError: a video is missing or cannot be read; it is named.
        """
        paths = _paths(X)
        self._check_paths(paths)
        extractor = self._extractor()
        tables = (self._table(extractor, path) for path in paths)
        if self.l2:
            return np.stack([table.video_vector() for table in tables])
        return np.stack([table.features.mean(axis=0) for table in tables])

    def table(self, path: str | os.PathLike[str]) -> FeatureTable:
        """The features of one video's clips; rows are as the network gives them.

        Raises:
            ValueError: the video is missing or cannot be read; it is named.
        """
        self._check_paths([Path(path)])
        return self._table(self._extractor(), Path(path))

    def settings(self) -> dict[str, Any]:
        """What decides over the features, see `Extractor.settings`."""
        return self._extractor().settings()

    def _extractor(self) -> Extractor:
        weights = self.weights
        if isinstance(weights, str | os.PathLike) and Path(weights).is_file():
            changed = Path(weights).stat().st_mtime_ns
        else:
            changed = 0
        hashable: Any = weights
        return _make_extractor(hashable, changed, self.layer, self.stride, self.threads)

    def _table(self, extractor: Extractor, path: Path) -> FeatureTable:
        if self.cache is None:
            return self._compute(extractor, path)
        key = self._key(extractor, path)
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        kept = Path(self.cache, f"{name}.safetensors")
        if kept.is_file():
            with contextlib.suppress(ValueError):  # a damaged table is made anew
                return FeatureTable.load(kept)
        table = self._compute(extractor, path)
        table.save(kept)
        return table

    def _key(self, extractor: Extractor, path: Path) -> dict[str, Any]:
        """What a table in the cache goes by."""
        return {
            "settings": extractor.settings(),
            "engine": repr(extractor.engine),
            "video": fingerprint(path),
        }

    def _compute(self, extractor: Extractor, path: Path) -> FeatureTable:
        return extractor(path)

    @staticmethod
    def _check_paths(paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.exists():
                raise ValueError(f"{path}: no such file.")

    def __sklearn_is_fitted__(self) -> bool:
        return True  # there is nothing to learn

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = False
        return tags


def _paths(X: Any) -> list[Path]:
    """Paths from a list, an array (n,) or (n, 1), or a column of a data frame."""
    if isinstance(X, str | os.PathLike):
        raise ValueError(f"`X` must be a sequence of paths, got the single path {str(X)!r}.")
    items = _column(X)
    if not items:
        raise ValueError("`X` must hold at least one path: found array with 0 sample(s).")
    for item in items:
        if not isinstance(item, str | os.PathLike):
            raise ValueError(
                f"`X` must hold paths of videos, got {item!r} of type {type(item).__name__}."
            )
    return [Path(item) for item in items]


def _column(X: Any) -> list[Any]:
    if hasattr(X, "to_numpy"):  # pandas, polars, pyarrow
        X = X.to_numpy()
    if hasattr(X, "toarray"):
        raise TypeError("sparse input is not supported: `X` must be a sequence of paths.")
    if isinstance(X, np.ndarray):
        if np.iscomplexobj(X):
            raise ValueError("Complex data not supported: `X` must hold paths of videos.")
        if X.ndim not in (1, 2) or (X.ndim == 2 and X.shape[1] != 1):
            raise ValueError(f"`X` must have shape (n,) or (n, 1), got {X.shape}.")
        return list(X.ravel())
    if not isinstance(X, Iterable):
        raise ValueError(f"`X` must be a sequence of paths, got {type(X).__name__}.")
    return [
        item[0] if isinstance(item, list | tuple | np.ndarray) and len(item) == 1 else item
        for item in X
    ]


@functools.lru_cache(maxsize=4)
def _make_extractor(
    weights: Any, changed: int, layer: str, stride: int, threads: int | None
) -> Extractor:
    """Kept between calls, three nets and one more: packing weights takes longer than a short video.

    `changed` is the time of a weight file's last change, so that a new file is seen.
    """
    resolved = weights_room.resolve(weights)
    plan = ClipPlan(length=resolved.network.input_shape[1], stride=stride)
    return Extractor(resolved, layer=layer, plan=plan, threads=threads)
