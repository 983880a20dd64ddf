"""The scikit-learn face: a transformer from video paths to video vectors."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from kinema.features.extractor import Extractor, Rearrange
from kinema.features.kept import TableCache, kept_step
from kinema.features.table import FeatureTable
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.sources import Source, as_source
from kinema.video.steps import Step, walk
from kinema.weights.file import file_of
from kinema.weights.several import AnyWeights, parts, resolve_all

ON_ERROR = ("raise", "nan")
"""What a video that cannot be read comes to: an error, or a row of NaN and a warning."""


class C3DFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns paths of videos into L2-normalised mean features, one row a video.

    Works in pipelines, `cross_val_score` and `GridSearchCV`. With a `cache` folder each video goes
    through the network once, whatever the folds; without one, each time that it is asked for.

    Args:
        weights: a name (`kinema weights list`), a file, or `Weights`; they must carry a mean. "A+B"
            puts the features of two nets side by side in each row of a table, each of length 1.
        layer: whose output is the feature.
        stride: frames from the start of one clip to the start of the next.
        l2: whether rows are brought to length 1.
        threads: CPU threads of the network; None for all.
        cache: a folder for feature tables, made if it is missing. A table is found again by the
            content of the video and the settings, so videos can be moved and settings varied.
        on_error: "raise" names the first video that cannot be read; "nan" gives it a row of NaN,
            with a warning, and goes on.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever.
        precision: of the network's numbers, see `Engine`; a cache keeps each one's tables apart.

    Attributes:
        n_features_in_: 1, the path.

    Example:
        >>> from kinema import C3DFeatures
        >>> from kinema.video.synthetic import draw_video, write_video
        >>> write_video("a.mp4", draw_video("clockwise", seed=0, num_frames=16))
        >>> C3DFeatures().fit_transform(["a.mp4"]).shape
        (1, 512)
    """

    _key: Mapping[str, Any] = MappingProxyType({})
    """What else decides over the tables of a subclass."""
    _rearrange: Rearrange | None = None

    def __init__(
        self,
        weights: AnyWeights | Sequence[AnyWeights] = "c3d-mini",
        layer: str = "fc6",
        stride: int = 8,
        cache: str | os.PathLike[str] | None = None,
        *,
        l2: bool = True,
        threads: int | None = None,
        on_error: str = "raise",
        colours: str = "file",
        video_seconds: float | None = None,
        precision: str = "fp32",
    ) -> None:
        self.weights = weights
        self.layer = layer
        self.stride = stride
        self.cache = cache
        self.l2 = l2
        self.threads = threads
        self.on_error = on_error
        self.colours = colours
        self.video_seconds = video_seconds
        self.precision = precision

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled before there were other precisions is of fp32."""
        super().__setstate__({"precision": "fp32", **state})

    def fit(self, X: Any, y: Any = None) -> C3DFeatures:
        """Check the parameters and paths; nothing is learned.

        Args:
            X: (n,) or (n, 1) paths.
            y: ignored.
        """
        extractor = self._extractor()
        self._check(_sources(X))
        self.n_features_in_ = 1
        self._n_features_out = int(np.prod(extractor.layer_shape))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of videos.

        Args:
            X: (n,) or (n, 1) paths.

        Returns:
            (n, D) float32, rows of length 1 with `l2`; of NaN where `on_error` says so.

        Raises:
            ValueError: a video is missing or cannot be read; it is named.
        """
        sources = _sources(X)
        self._check(sources)
        rows = []
        for _, row in self.rows(sources):
            if isinstance(row, Skipped):
                if self.on_error == "raise":
                    raise VideoError(str(row))
                warnings.warn(f"skipped {row}", stacklevel=2)
                row = np.full(int(np.prod(self._extractor().layer_shape)), np.nan, np.float32)
            rows.append(row)
        return np.stack(rows)

    def rows(self, videos: Iterable[Source]) -> Iterator[tuple[Source, np.ndarray | Skipped]]:
        """Each video and its (D,) features, in order."""
        for source, table in self.tables(videos):
            yield source, table if isinstance(table, Skipped) else self._row(table)

    def _row(self, table: FeatureTable) -> np.ndarray:
        if self.l2:
            return table.video_vector()
        mean: np.ndarray = table.features.mean(axis=0)
        return mean

    def tables(self, videos: Iterable[Source]) -> Iterator[tuple[Source, FeatureTable | Skipped]]:
        """Each video and the features of its clips, in order; rows are as the network gives them.

        What is made anew is kept in the cache.
        """
        for source, (made,) in walk(videos, [self.step()], **self._extractor().walking):
            yield source, made if isinstance(made, Skipped) else made.value

    def step(self) -> Step:
        """The features of a video's clips, as a step of a walk over videos, see `together.fill`.

        With a cache, they are found and kept there.
        """
        extractor = self._extractor()
        cache = None if self.cache is None else TableCache(self.cache, extractor, self._key)
        return kept_step(extractor, cache, rearrange=self._rearrange)

    def table(self, video: str | os.PathLike[str]) -> FeatureTable:
        """The features of one video's clips; rows are as the network gives them.

        Raises:
            ValueError: the video is missing or cannot be read; it is named.
        """
        ((_, table),) = self.tables([as_source(video)])
        if isinstance(table, Skipped):
            raise VideoError(str(table))
        return table

    def settings(self) -> dict[str, Any]:
        """What decides over the features, see `Extractor.settings`."""
        return self._extractor().settings()

    @property
    def engine_name(self) -> str:
        """What computes them."""
        return self._extractor().engine_name

    def _extractor(self) -> Extractor:
        nets = parts(self.weights)
        files = [file_of(net) for net in nets if isinstance(net, str | os.PathLike)]
        changed = tuple(file.stat().st_mtime_ns for file in files if file.is_file())
        reading = Reading(self.colours, self.video_seconds)
        how = self.layer, self.stride, self.threads, reading, self.precision
        return _make_extractor(nets, changed, *how)

    def _check(self, sources: Iterable[Source]) -> None:
        """Refuse what is wrong before the first video is read."""
        if self.on_error not in ON_ERROR:
            raise ValueError(f"`on_error` must be {' or '.join(ON_ERROR)}, got {self.on_error!r}.")
        for source in sources:
            if self.on_error == "raise" and not source.path.exists():
                raise ValueError(f"{source.path}: no such file.")

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


def _sources(X: Any) -> list[Source]:
    """Videos from a list, an array (n,) or (n, 1) of paths, or a column of a data frame."""
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
    return [as_source(item) for item in items]


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
    weights: tuple[AnyWeights, ...],
    changed: tuple[int, ...],
    layer: str,
    stride: int,
    threads: int | None,
    reading: Reading,
    precision: str,
) -> Extractor:
    """Kept between calls, three nets and one more: packing weights takes longer than a short video.

    `changed` are the times of the weight files' last changes, so that a new file is seen.
    """
    nets = resolve_all(weights)
    plan = ClipPlan(length=nets[0].network.input_shape[1], stride=stride)
    how: Any = {"threads": threads, "reading": reading, "precision": precision}
    return Extractor(nets, layer=layer, plan=plan, **how)
