"""Fisher vectors: how the descriptors of a video would move a Gaussian mixture that it is held to.

Perronnin et al. 2010, in the form of VLFeat's `vl_fisher_encode`. With N descriptors x, posteriors
q of the K Gaussians, their weights p, means m and standard deviations s,

    u_k = sum of q (x - m) / s          / (N sqrt(p_k))
    v_k = sum of q (((x - m) / s)^2 - 1) / (N sqrt(2 p_k))

first all u, then all v; then signed square root, then L2.

Note [Codebooks]
    A kind of codebook, `FisherVectors` or `Words`, is a frozen dataclass of settings. It treats one
    channel of descriptors at a time and keeps what it learned as arrays by name, which a cache can
    hold.

        size(n)                      of the codebook that n descriptors allow; 0 for none
        fit(sample, size)            arrays by name, from descriptors (n, d)
        encode(codebook, blocks)     (D,) of one video's descriptors, which come in blocks (n, d)
        num_dimensions(d, size)      D

    The last three of d are a descriptor's place in the video where the kind has `positions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from kinema.features.table import normalized

NUM_POSITIONS = 3
"""x, y and t of a descriptor, each from 0 to 1."""

SMALLEST = 1e-6
"""Weights of Gaussians and posteriors below it count as none, as in VLFeat."""

BLOCK_ROWS = 2048


@dataclass(frozen=True)
class FisherVectors:
    """PCA to half the dimensions, a mixture of diagonal Gaussians, the Fisher vector.

    Attributes:
        num_gaussians: K; Wang and Schmid 2013 take 256.
        num_sampled: training descriptors that PCA and mixture are fitted to; 256,000 there.
        positions: whether the place in the video stands behind what PCA leaves, as in multi-skip
            feature stacking (Lan et al. 2015).
        each: training descriptors that a Gaussian takes; of fewer there are fewer Gaussians.
    """

    num_gaussians: int = 256
    num_sampled: int = 256_000
    positions: bool = False
    each: int = 100

    unit = ("Gaussian", "Gaussians")

    def size(self, num_descriptors: int) -> int:
        """How many Gaussians so many descriptors allow."""
        return min(self.num_gaussians, num_descriptors // self.each)

    def num_dimensions(self, num_columns: int, size: int) -> int:
        """D of descriptors with so many columns."""
        appended = self._appended
        return 2 * size * ((num_columns - appended) // 2 + appended)

    def fit(self, sample: np.ndarray, size: int) -> dict[str, np.ndarray]:
        """Axes of PCA and the mixture.

        Args:
            sample: (n, d) float32 descriptors.
            size: number of Gaussians.

        Returns:
            mean (d,) and axes (d', d) of PCA; weights (K,), means and variances (K, d'') of the
            mixture, d'' being d' and the positions.
        """
        num = sample.shape[1] - self._appended
        pca = PCA(num // 2, svd_solver="covariance_eigh").fit(sample[:, :num].astype(np.float64))
        learned = {"mean": pca.mean_, "axes": pca.components_}
        return {**learned, **fit_mixture(self._projected(learned, sample), size)}

    def encode(
        self, codebook: Mapping[str, np.ndarray], blocks: Iterable[np.ndarray]
    ) -> np.ndarray:
        """(2 K d'',) float32 of length 1; zeros where there is no descriptor."""
        projected = (self._projected(codebook, block) for block in blocks)
        return improved(fisher_vector(codebook, projected)).astype(np.float32)

    @property
    def _appended(self) -> int:
        return NUM_POSITIONS if self.positions else 0

    def _projected(self, learned: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        num = len(learned["mean"])
        centred = (rows[:, :num] - learned["mean"]).astype(np.float32)
        return np.hstack([centred @ learned["axes"].T.astype(np.float32), rows[:, num:]])


def fit_mixture(
    rows: np.ndarray, size: int, *, max_iterations: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    """A mixture of diagonal Gaussians by expectation and maximisation, which starts from k-means.

    Args:
        rows: (n, d) float32.
        size: number of Gaussians.
        max_iterations: of expectation and maximisation.
        seed: of what is drawn.

    Returns:
        weights (K,), means and variances (K, d), float64.
    """
    clusters = kmeans(rows, size, seed=seed)
    weights = np.bincount(clusters.labels_, minlength=size) + 1.0  # none of them is zero

    def fitted(data: np.ndarray) -> GaussianMixture:
        precisions = np.tile(1 / (rows.var(axis=0) + SMALLEST), (size, 1))
        return GaussianMixture(
            size,
            covariance_type="diag",
            max_iter=max_iterations,
            init_params="random_from_data",  # all three are given, so it decides over nothing
            weights_init=(weights / weights.sum()).astype(data.dtype),
            means_init=clusters.cluster_centers_.astype(data.dtype),
            precisions_init=precisions.astype(data.dtype),
            random_state=seed,
        ).fit(data)

    try:
        mixture = fitted(rows)
    except ValueError:
        # Descriptors that are equal (drawn pictures, still ones) have no variance: in float32 the
        # difference of the two squares that it is can lie below zero, by more than is added.
        mixture = fitted(rows.astype(np.float64))
    return {
        "weights": mixture.weights_.astype(np.float64),
        "means": mixture.means_.astype(np.float64),
        "variances": mixture.covariances_.astype(np.float64),
    }


def kmeans(
    rows: np.ndarray, size: int, *, init: str = "k-means++", seed: int = 0
) -> MiniBatchKMeans:
    """K-means by a fixed number of small steps, so that threads change nothing."""
    made = MiniBatchKMeans(
        size,
        init=init,
        batch_size=10_240,
        max_iter=10,
        max_no_improvement=None,
        tol=0.0,
        n_init=1,
        random_state=seed,
    )
    return made.fit(rows)


def fisher_vector(mixture: Mapping[str, np.ndarray], blocks: Iterable[np.ndarray]) -> np.ndarray:
    """(2 K d,) float64, all u and then all v; zeros where there is no row.

    Args:
        mixture: weights (K,), means and variances (K, d).
        blocks: rows (n, d) of one video.
    """
    alive = mixture["weights"] >= SMALLEST
    weights, means = mixture["weights"][alive], mixture["means"][alive]
    deviations = np.sqrt(mixture["variances"][alive])
    precisions = 1 / mixture["variances"][alive]
    constants = np.log(weights) - np.log(deviations).sum(axis=1)
    # Centred once: squares of what is far from zero would lose their last digits, the more so as
    # a block is added up in float32. Blocks are in float64.
    centre = np.average(means, axis=0, weights=weights)
    centred = means - centre
    constants -= 0.5 * (centred**2 * precisions).sum(axis=1)
    # The logarithms are the product of (x, x^2) and these, and the sums are those of (x, x^2).
    factors = np.hstack([centred * precisions, -0.5 * precisions]).T.astype(np.float32)
    constants = constants.astype(np.float32)
    num = 0
    zeroth, sums = np.zeros(len(weights)), np.zeros((len(weights), 2 * means.shape[1]))
    for block in blocks:
        for start in range(0, len(block), BLOCK_ROWS):
            x = (block[start : start + BLOCK_ROWS] - centre).astype(np.float32)
            both = np.hstack([x, x**2])
            logs = both @ factors
            logs += constants
            logs -= logs.max(axis=1, keepdims=True)
            posteriors = np.exp(logs, out=logs)
            posteriors /= posteriors.sum(axis=1, keepdims=True)
            posteriors[posteriors < SMALLEST] = 0
            zeroth += posteriors.sum(axis=0, dtype=np.float64)
            sums += posteriors.T @ both
            num += len(x)
    first, second = np.hsplit(sums, 2)
    u, v = np.zeros_like(mixture["means"]), np.zeros_like(mixture["means"])
    if num:
        shares = zeroth[:, None]
        root = num * np.sqrt(weights)[:, None]
        u[alive] = (first - centred * shares) / deviations / root
        squares = second - 2 * centred * first + centred**2 * shares
        v[alive] = (squares * precisions - shares) / (np.sqrt(2) * root)
    return np.concatenate([u.ravel(), v.ravel()])


def improved(vector: np.ndarray) -> np.ndarray:
    """Signed square root, then L2; zeros stay zeros."""
    return normalized(np.sign(vector) * np.sqrt(np.abs(vector)))
