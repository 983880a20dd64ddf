"""`embed`: features of videos as a picture, coloured by class, and a number for what it shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # scikit-learn's own, always beside it

from kinema import plots
from kinema.datasets.types import Dataset
from kinema.evaluation.experiment import describe, open_dataset
from kinema.evaluation.protocol import title_of
from kinema.methods.given import Methods, build, check_features, features_title_of
from kinema.methods.options import Options
from kinema.metrics import NUM_NEIGHBOURS, knn_purity, purity_note
from kinema.skipped import Skipped
from kinema.video.loop import Reading
from kinema.weights.several import AnyWeights, resolve_all

PERPLEXITY = 30.0
"""Of t-SNE. The paper does not state its own; its author points to the reference implementations,
whose usual value this is."""

FEWEST_POINTS = 4
"""Of which a picture is made."""

MANY_POINTS = 1000
"""From which on t-SNE takes several threads."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Features of a dataset in two dimensions.

    Attributes:
        title: of the features.
        points: (n, 2).
        labels: (n,) class indices.
        purity: see `metrics.knn_purity`, of the features; None where it says nothing.
        purity_2d: of the points.
        purity_note: which videos play no part in it; "" if all do.
        perplexity, seed: of t-SNE.
        skipped: videos that were left out, and why.
    """

    title: str
    points: np.ndarray
    labels: np.ndarray
    purity: float | None
    purity_2d: float | None
    perplexity: float
    seed: int
    skipped: tuple[Skipped, ...] = ()
    purity_note: str = ""


def tsne(
    vectors: np.ndarray, *, perplexity: float = PERPLEXITY, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Vectors in two dimensions, and the perplexity that was taken.

    Args:
        vectors: (n, D), n at least `FEWEST_POINTS`.
        perplexity: a third of n - 1 is the most that is taken.
        seed: of the optimisation, which starts from PCA.

    Returns:
        (n, 2) float32, and the perplexity.
    """
    perplexity = min(perplexity, (len(vectors) - 1) / 3)
    if not np.ptp(vectors, axis=0).any():  # scikit-learn's would divide by zero, and crash
        return np.zeros((len(vectors), 2), np.float32), perplexity
    # A few points keep no two threads busy, which wait for each other: on a busy machine that took
    # twenty times as long as one thread, for the same points.
    limits = threadpool_limits(1 if len(vectors) < MANY_POINTS else None, user_api="openmp")
    with limits:
        points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return points, perplexity


def embed(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    methods: Methods = ("c3d",),
    weights: AnyWeights | Sequence[AnyWeights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> list[Embedding]:
    """Draw t-SNE pictures of video features side by side, `out/embedding.png` and `.svg`.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        out: folder; features are kept in `out/features`.
        methods: names of `methods.METHODS`, or estimators by name, that have features.
        weights, layer, stride: of C3D.
        perplexity: of t-SNE; a third of the videos at most.
        seed: of t-SNE.
        kind, lists: see `datasets.load`.
        threads: CPU threads; None for all.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.
    """
    if not perplexity > 0:
        raise ValueError(f"`perplexity` must be more than 0, got {perplexity}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be from 0 to {2**32 - 1}, got {seed}.")
    out = Path(out)
    options = Options(
        weights=resolve_all(weights),
        layer=layer,
        stride=stride,
        cache=out / "features",
        threads=threads,
        progress=progress,
        reading=Reading(colours, video_seconds),
    )
    built = build(methods, options)
    check_features(built)
    opened = open_dataset(dataset, built, options, kind=kind, lists=lists, check=_check_enough)
    experiment = describe(opened, built, options)
    _check_enough(experiment.dataset)
    labels, groups = experiment.labels, experiment.groups
    made = []
    for name, method in built.items():
        vectors = method.describe(experiment.sources)
        points, taken = tsne(vectors, perplexity=perplexity, seed=seed)
        made.append(
            Embedding(
                title=features_title_of(name, method),
                points=points,
                labels=labels,
                purity=knn_purity(vectors, labels, groups.tolist()),
                purity_2d=knn_purity(points, labels, groups.tolist()),
                perplexity=taken,
                seed=seed,
                skipped=experiment.skipped,
                purity_note=purity_note(labels, groups.tolist()),
            )
        )
    plots.embeddings(
        out / "embedding",
        [(one.title, purity_text(one.purity), one.points, one.labels) for one in made],
        experiment.dataset.classes,
        title=f"{title_of(experiment.dataset)}: t-SNE, perplexity {taken:g}, seed {seed}",
    )
    return made


def _check_enough(dataset: Dataset, skipped: Sequence[Skipped] = ()) -> None:
    if len(dataset.samples) < FEWEST_POINTS:
        raise ValueError(
            f"{dataset.root} has {len(dataset.samples)} videos: a picture takes {FEWEST_POINTS}."
        )


def purity_text(purity: float | None, in_picture: float | None = None) -> str:
    """What is said of the purity of features, and of points in a picture if that is given."""
    if purity is None:
        return f"{NUM_NEIGHBOURS}-NN purity says nothing here"
    text = f"{NUM_NEIGHBOURS}-NN purity {purity:.3f} of the features"
    return text if in_picture is None else f"{text}, {in_picture:.3f} in the picture"
