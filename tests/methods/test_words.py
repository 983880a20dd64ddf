"""Bags of words against counts made by hand."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from kinema.methods.words import Words


def test_counts_by_hand():
    """Words at 0, 10 and 20 of a line; 1, 2, 4 are the first's, 6 and 11 the second's."""
    codebook = {"words": np.array([[0], [10], [20]], np.float32)}
    blocks = [np.array([[1], [6], [11]], np.float32), np.array([[2], [4]], np.float32)]
    found = Words().encode(codebook, blocks)
    np.testing.assert_array_equal(found, np.array([0.6, 0.4, 0], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(Words().encode(codebook, []), np.zeros(3))


def test_nearest_words_are_those_of_all_distances():
    generator = np.random.default_rng(0)
    rows = generator.uniform(size=(5000, 20)).astype(np.float32)
    words = generator.uniform(size=(300, 20)).astype(np.float32)
    counts = np.bincount(cdist(rows, words).argmin(axis=1), minlength=300)
    np.testing.assert_allclose(Words().encode({"words": words}, [rows]), counts / 5000, rtol=1e-6)


def test_words_are_where_the_descriptors_are():
    generator = np.random.default_rng(0)
    places = np.array([[0, 0], [0, 5], [5, 0], [5, 5]])
    sample = places[generator.integers(4, size=4000)] + generator.normal(0, 0.1, (4000, 2))
    words = Words().fit(sample.astype(np.float32), 40)["words"]
    away = cdist(words, places)
    assert away.min(axis=1).max() < 0.4  # each is at a place
    assert len(np.unique(away.argmin(axis=1))) == 4  # and each place has one


def test_sizes():
    """A word takes 20 descriptors; 100,000 make the paper's 5,000."""
    assert [Words().size(num) for num in (19, 20, 399, 100_000, 10**9)] == [0, 1, 19, 5000, 5000]
    assert sum(Words().num_dimensions(num, 5000) for num in (30, 96, 108, 96, 96)) == 25_000
