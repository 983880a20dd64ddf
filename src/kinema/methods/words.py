"""Bags of words: how often each word of a codebook is a video's nearest, by k-means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kinema.methods.fisher import kmeans

BLOCK_ROWS = 1024
"""Compared with all words at once, 20 MB."""


@dataclass(frozen=True)
class Words:
    """A codebook of words, and histograms of them with sum 1; see Note [Codebooks] in `fisher`.

    Attributes:
        num_words: a channel; Tran et al. 2015 take 5,000.
        num_sampled: training descriptors that k-means is fitted to.
        each: training descriptors that a word takes; of fewer there are fewer words.
    """

    num_words: int = 5000
    num_sampled: int = 100_000
    each: int = 20

    unit = ("word", "words")
    positions = False

    def size(self, num_descriptors: int) -> int:
        """How many words so many descriptors allow."""
        return min(self.num_words, num_descriptors // self.each)

    def num_dimensions(self, num_columns: int, size: int) -> int:
        """D, whatever the columns."""
        return size

    def fit(self, sample: np.ndarray, size: int) -> dict[str, np.ndarray]:
        """Words (K, d) float32, from descriptors (n, d) float32."""
        # With so many words a careful choice of the first ones takes most of the time, for nothing.
        clusters = kmeans(sample, size, init="random")
        return {"words": clusters.cluster_centers_.astype(np.float32)}

    def encode(
        self, codebook: Mapping[str, np.ndarray], blocks: Iterable[np.ndarray]
    ) -> np.ndarray:
        """(K,) float32 shares of the words; zeros where there is no descriptor."""
        # The nearest has the largest x w - |w|^2 / 2: the product of (x, 1) and (w, -|w|^2 / 2).
        halves = (codebook["words"] ** 2).sum(axis=1, keepdims=True) / 2
        words = np.hstack([codebook["words"], -halves])
        counts = np.zeros(len(words), np.int64)
        for block in blocks:
            ones = np.ones((len(block), 1), np.float32)
            rows = np.hstack([block.astype(np.float32), ones])
            for start in range(0, len(rows), BLOCK_ROWS):
                nearest = (rows[start : start + BLOCK_ROWS] @ words.T).argmax(axis=1)
                counts += np.bincount(nearest, minlength=len(words))
        return (counts / max(counts.sum(), 1)).astype(np.float32)
