"""`embed`: features of videos as a picture, coloured by class, and a number for what it shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances

from kinema import plots
from kinema import weights as weights_room
from kinema.datasets import Dataset
from kinema.methods import METHODS, Options
from kinema.protocol import paths_labels_groups, readable, vectors_of
from kinema.weights import Weights

PERPLEXITY = 30.0
"""Of t-SNE. The paper does not state its own; its author points to the reference implementations,
whose usual value this is."""

NUM_NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class Embedding:
    """Features of a dataset in two dimensions.

    Attributes:
        title: of the features.
        points: (n, 2).
        labels: (n,) class indices.
        purity: see `knn_purity`, of the features.
        purity_2d: of the points.
        perplexity, seed: of t-SNE.
    """

    title: str
    points: np.ndarray
    labels: np.ndarray
    purity: float
    purity_2d: float
    perplexity: float
    seed: int


def knn_purity(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
) -> float:
    """The share of a video's nearest neighbours that are of its class, mean over all videos.

    Videos of its own group do not count as neighbours: they are near for other reasons.

    Args:
        vectors: (n, D).
        labels: (n,).
        groups: n names.
        num_neighbours: how many of each are looked at; fewer where there are no more.
    """
    distances = pairwise_distances(vectors)
    _, group = np.unique(list(groups), return_inverse=True)
    distances[group[:, None] == group[None, :]] = np.inf
    shares = []
    for row, label in zip(distances, labels, strict=True):
        nearest = np.argsort(row, kind="stable")[:num_neighbours]
        nearest = nearest[np.isfinite(row[nearest])]
        if len(nearest):
            shares.append(np.mean(labels[nearest] == label))
    if not shares:
        raise ValueError("`groups` must hold at least two different groups.")
    return float(np.mean(shares))


def embed(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    methods: Sequence[str] = ("c3d",),
    weights: Sequence[str | os.PathLike[str] | Weights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> list[Embedding]:
    """Draw t-SNE pictures of video features side by side, `out/embedding.png` and `.svg`.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        out: folder; features are kept in `out/features`.
        methods: names of `methods.METHODS` that have features.
        weights, layer, stride: of C3D.
        perplexity: of t-SNE; a third of the videos at most.
        seed: of t-SNE.
        kind, lists: see `datasets.load`.
        threads: CPU threads; None for all.
        progress: whether to show progress on standard error.
    """
    if not perplexity > 0:
        raise ValueError(f"`perplexity` must be more than 0, got {perplexity}.")
    out = Path(out)
    cache = out / "features"
    dataset, _ = readable(
        dataset, kind=kind, lists=lists, cache=cache, threads=threads, progress=progress
    )
    if len(dataset.samples) < 4:
        raise ValueError(f"{dataset.root} has {len(dataset.samples)} videos: a picture takes 4.")
    options = Options(
        weights=tuple(weights_room.resolve(source) for source in weights),
        layer=layer,
        stride=stride,
        cache=cache,
        threads=threads,
    )
    paths, labels, groups = paths_labels_groups(dataset)
    perplexity = min(perplexity, (len(paths) - 1) / 3)
    made = []
    for name in methods:
        vectors = vectors_of(name, paths, options, progress=progress)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        points = tsne.fit_transform(vectors)
        made.append(
            Embedding(
                title=METHODS[name].title.removesuffix(" + linear SVM"),
                points=points,
                labels=labels,
                purity=knn_purity(vectors, labels, groups.tolist()),
                purity_2d=knn_purity(points, labels, groups.tolist()),
                perplexity=perplexity,
                seed=seed,
            )
        )
    plots.embeddings(
        out / "embedding",
        [
            (
                f"{one.title}\n{NUM_NEIGHBOURS}-NN purity {one.purity:.2f}",
                one.points,
                one.labels,
            )
            for one in made
        ],
        dataset.classes,
        title=f"{dataset.root.name}: t-SNE, perplexity {perplexity:g}, seed {seed}",
    )
    return made
