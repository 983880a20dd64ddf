"""Fisher vectors against sums worked by hand, a loop from the formulas, and VLFeat's library."""

from __future__ import annotations

import ctypes
import ctypes.util
import math

import numpy as np
import pytest

from kinema.methods.fisher import (
    FisherVectors,
    fisher_vector,
    fit_mixture,
    improved,
    kmeans,
)


def mixture(num_gaussians=16, num_dimensions=12, seed=0):
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(num_gaussians, 2.0))
    return {
        "weights": weights,
        "means": generator.normal(0, 0.3, (num_gaussians, num_dimensions)),
        "variances": generator.uniform(0.01, 0.2, (num_gaussians, num_dimensions)),
    }


def rows(num=500, num_dimensions=12, seed=1):
    return np.random.default_rng(seed).normal(0.1, 0.4, (num, num_dimensions)).astype(np.float32)


def test_one_dimension_by_hand():
    """Two Gaussians so far apart that each row is of one of them.

    p = (1/4, 3/4), m = (0, 100), s = (1, 2); rows 1, -2 of the first, 104 of the second:
    u_1 = (1 - 2) / (3 sqrt(1/4)) = -2/3             v_1 = (0 + 3) / (3 sqrt(1/2)) = sqrt(2)
    u_2 = (4/2) / (3 sqrt(3/4)) = 4 / (3 sqrt(3))    v_2 = (2^2 - 1) / (3 sqrt(3/2)) = sqrt(2/3)
    """
    two = {
        "weights": np.array([0.25, 0.75]),
        "means": np.array([[0.0], [100.0]]),
        "variances": np.array([[1.0], [4.0]]),
    }
    vector = fisher_vector(two, [np.array([[1.0], [-2.0]]), np.array([[104.0]])])
    expected = [-2 / 3, 4 / (3 * math.sqrt(3)), math.sqrt(2), math.sqrt(2 / 3)]
    np.testing.assert_allclose(vector, expected, rtol=1e-5)
    # Signed square roots, and the sum of the absolute values is the square of their length.
    length = math.sqrt(sum(map(abs, expected)))
    roots = [math.copysign(math.sqrt(abs(value)), value) / length for value in expected]
    np.testing.assert_allclose(improved(vector), roots, rtol=1e-6)


def by_loops(mixture, rows):
    """The formulas, a number at a time."""
    weights, means, variances = (
        mixture[name].tolist() for name in ("weights", "means", "variances")
    )
    num_gaussians, num_dimensions = mixture["means"].shape
    u = np.zeros((num_gaussians, num_dimensions))
    v = np.zeros((num_gaussians, num_dimensions))
    alive = [k for k in range(num_gaussians) if weights[k] >= 1e-6]
    for x in rows.astype(float).tolist():
        logs = {}
        for k in alive:
            logs[k] = math.log(weights[k])
            for d in range(num_dimensions):
                logs[k] -= 0.5 * math.log(2 * math.pi * variances[k][d])
                logs[k] -= 0.5 * (x[d] - means[k][d]) ** 2 / variances[k][d]
        total = sum(math.exp(value - max(logs.values())) for value in logs.values())
        for k in alive:
            q = math.exp(logs[k] - max(logs.values())) / total
            if q < 1e-6:
                continue
            for d in range(num_dimensions):
                away = (x[d] - means[k][d]) / math.sqrt(variances[k][d])
                u[k, d] += q * away / (len(rows) * math.sqrt(weights[k]))
                v[k, d] += q * (away**2 - 1) / (len(rows) * math.sqrt(2 * weights[k]))
    return np.concatenate([u.ravel(), v.ravel()])


def test_it_is_what_the_formulas_say():
    given, few = mixture(), rows(60)
    np.testing.assert_allclose(
        fisher_vector(given, [few]), by_loops(given, few), rtol=1e-4, atol=1e-6
    )
    # A Gaussian that hardly is: its numbers are zeros, and the others are as if it were not.
    given["weights"][3] = 1e-7
    found = fisher_vector(given, [few])
    np.testing.assert_allclose(found, by_loops(given, few), rtol=1e-4, atol=1e-6)
    assert not found.reshape(2, 16, 12)[:, 3].any()


def test_blocks_change_nothing_but_the_last_bits():
    given, many = mixture(), rows(10_000)
    whole = fisher_vector(given, [many])
    parts = fisher_vector(given, iter(np.array_split(many, 7)))
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)
    assert not fisher_vector(given, []).any()
    assert not improved(np.zeros(4)).any()


def test_rows_far_from_zero_lose_no_digits():
    given, few = mixture(), rows(60)
    moved = {**given, "means": given["means"] + 1000}
    far = few.astype(np.float64) + 1000
    np.testing.assert_allclose(
        fisher_vector(moved, [far]), fisher_vector(given, [few.astype(np.float64)]), rtol=1e-6
    )


@pytest.fixture(scope="module")
def vlfeat():
    name = ctypes.util.find_library("vl")
    if name is None:
        pytest.skip("libvl (Debian: libvlfeat1) is not installed")
    encode = ctypes.CDLL(name).vl_fisher_encode
    size, pointer = ctypes.c_uint64, ctypes.c_void_p
    kind, flags = ctypes.c_uint32, ctypes.c_int
    encode.argtypes = [pointer, kind, pointer, size, size, *[pointer] * 3, size, flags]
    encode.restype = size

    def run(mixture, rows, *, improved):
        arrays = [
            np.ascontiguousarray(one, np.float32)
            for one in (mixture["means"], mixture["variances"], mixture["weights"], rows)
        ]
        means, variances, weights, data = (one.ctypes.data for one in arrays)
        num_gaussians, num_dimensions = mixture["means"].shape
        out = np.zeros(2 * num_gaussians * num_dimensions, np.float32)
        is_float, flags = 1, 3 if improved else 0
        encode(out.ctypes.data, is_float, means, num_dimensions, num_gaussians, variances, weights,
               data, len(rows), flags)  # fmt: skip
        return out

    return run


@pytest.mark.parametrize(("num_gaussians", "num_dimensions"), [(16, 12), (256, 48)])
def test_it_is_vlfeats(vlfeat, num_gaussians, num_dimensions):
    given, some = mixture(num_gaussians, num_dimensions), rows(3000, num_dimensions)
    raw = fisher_vector(given, [some])
    theirs = vlfeat(given, some, improved=False)
    assert np.linalg.norm(raw - theirs) / np.linalg.norm(theirs) < 1e-4
    best = vlfeat(given, some, improved=True)
    assert np.linalg.norm(improved(raw) - best) < 1e-4  # its length is 1


def test_the_mixture_is_found_again():
    generator = np.random.default_rng(0)
    means, deviations = np.array([[-2, 0], [3, 1]]), np.array([[0.5, 1.0], [1.0, 0.25]])
    which = generator.choice(2, 20_000, p=[0.3, 0.7])
    sample = means[which] + deviations[which] * generator.normal(size=(20_000, 2))
    found = fit_mixture(sample.astype(np.float32), 2)
    order = found["means"][:, 0].argsort()
    np.testing.assert_allclose(found["weights"][order], [0.3, 0.7], atol=0.01)
    np.testing.assert_allclose(found["means"][order], means, atol=0.03)
    np.testing.assert_allclose(np.sqrt(found["variances"][order]), deviations, atol=0.02)


def test_the_codebook_is_pca_then_a_mixture():
    """Rows of two large and two small directions, turned; PCA to half finds the large ones."""
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    sample = (generator.normal(size=(5000, 4)) * [3, 2, 0.1, 0.1] @ turn).astype(np.float32) + 5
    kind = FisherVectors(num_gaussians=4, each=100)
    learned = kind.fit(sample, 4)
    np.testing.assert_allclose(np.abs(learned["axes"] @ turn.T), np.eye(4)[:2], atol=0.04)
    np.testing.assert_allclose(learned["mean"], sample.mean(axis=0), rtol=1e-5)
    kept = (sample[:50] - learned["mean"]) @ learned["axes"].T
    expected = improved(by_loops(learned, kept))
    np.testing.assert_allclose(kind.encode(learned, [sample[:50]]), expected, atol=1e-5)
    assert kind.num_dimensions(4, 4) == 16
    assert not kind.encode(learned, []).any()


def test_positions_stand_behind_what_pca_leaves():
    generator = np.random.default_rng(0)
    sample = generator.normal(size=(2000, 7)).astype(np.float32)
    kind = FisherVectors(num_gaussians=3, positions=True)
    learned = kind.fit(sample, 3)
    assert learned["axes"].shape == (2, 4)
    kept = np.hstack([(sample[:40, :4] - learned["mean"]) @ learned["axes"].T, sample[:40, 4:]])
    expected = improved(by_loops(learned, kept))
    np.testing.assert_allclose(kind.encode(learned, [sample[:40]]), expected, atol=1e-5)
    assert kind.num_dimensions(7, 3) == len(expected) == 2 * 3 * 5


def test_dimensions_are_the_papers():
    """2 K times half of 30, 96, 108, 96 and 96; with three more in each of the five channels."""
    columns = (30, 96, 108, 96, 96)
    plain, placed = FisherVectors(), FisherVectors(positions=True)
    assert sum(plain.num_dimensions(num, 256) for num in columns) == 109_056
    assert sum(placed.num_dimensions(num + 3, 256) for num in columns) == 116_736
    assert [plain.size(num) for num in (99, 100, 2_599, 25_600, 10**9)] == [0, 1, 25, 256, 256]


def test_equal_rows_make_a_codebook():
    kind = FisherVectors(num_gaussians=2)
    sample = np.ones((200, 4), np.float32)
    assert np.isfinite(kind.encode(kind.fit(sample, 2), [sample])).all()


def test_two_fits_give_equal_bits():
    sample = rows(3000, 8)
    one, two = fit_mixture(sample, 8), fit_mixture(sample.copy(), 8)
    assert all((one[name] == two[name]).all() for name in one)
    words = [kmeans(sample, 30).cluster_centers_ for _ in range(2)]
    np.testing.assert_array_equal(*words)


def test_descriptors_that_are_equal():
    """Drawn videos have many: six points, 500 times each, are six Gaussians without a width."""
    points = (10 + np.random.default_rng(0).random((6, 5))).astype(np.float32)
    found = fit_mixture(np.repeat(points, 500, axis=0), 6)
    np.testing.assert_allclose(found["weights"], 1 / 6, rtol=1e-6)
    order = np.lexsort(found["means"].T)
    np.testing.assert_allclose(found["means"][order], points[np.lexsort(points.T)], rtol=1e-6)
    np.testing.assert_allclose(found["variances"], 1e-6, rtol=1e-3)  # what scikit-learn adds
