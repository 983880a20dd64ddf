"""The SVM by its dual against scikit-learn's own linear kernel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import SVC

from kinema.methods import svm
from kinema.methods.kernel_svm import KernelSVM, num_right, products
from kinema.methods.svm import FeatureSVM


def problem(num_classes=3, num=90, num_dimensions=200):
    generator = np.random.default_rng(0)
    labels = np.arange(num) % num_classes + 4
    vectors = generator.normal(size=(num, num_dimensions)) + labels[:, None] / 8
    return vectors.astype(np.float32), labels


def one_against_the_rest(vectors, labels, cost):
    """Decisions of an SVC with a linear kernel for each class."""
    made = {}
    for label in np.unique(labels):
        made[label] = SVC(C=cost, kernel="linear").fit(vectors.astype(float), labels == label)
    return lambda asked: np.stack(
        [one.decision_function(asked.astype(float)) for one in made.values()], axis=1
    )


@pytest.mark.parametrize("num_classes", [2, 3])
def test_it_is_a_linear_svm(num_classes, monkeypatch):
    monkeypatch.setattr("kinema.methods.kernel_svm.BLOCK_COLUMNS", 64)  # and several blocks
    vectors, labels = problem(num_classes)
    expected = one_against_the_rest(vectors[:60], labels[:60], 0.1)(vectors[60:])
    found = KernelSVM(0.1).fit(vectors[:60], labels[:60]).decision_function(vectors[60:])
    if num_classes == 2:
        assert found.shape == (30,)
        found = np.stack([-found, found], axis=1)
    np.testing.assert_allclose(found, expected, atol=5e-3)  # LIBSVM stops at 1e-3
    gram = products(vectors)
    np.testing.assert_allclose(gram, vectors.astype(float) @ vectors.T.astype(float), rtol=1e-12)
    right = (expected.argmax(axis=1) + 4 == labels[60:]).sum()
    assert num_right(gram, labels, np.arange(60), np.arange(60, 90), 0.1) == right


def test_many_dimensions_take_it(monkeypatch):
    """Also where C is chosen, by the accuracy of SVMs that are fitted one by one."""
    vectors, labels = problem()
    groups = np.arange(90) // 3
    monkeypatch.setattr(svm, "MANY_DIMENSIONS", 199)
    made = FeatureSVM([]).fit_vectors(vectors, labels, groups)
    assert isinstance(made.svm_, KernelSVM)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(vectors, labels, groups)
    expected = dict.fromkeys(svm.SWEEP, 0.0)
    for train, test in folds:
        for cost in svm.SWEEP:
            scores = one_against_the_rest(vectors[train], labels[train], cost)(vectors[test])
            expected[cost] += (scores.argmax(axis=1) + 4 == labels[test]).sum() / 90
    assert made.sweep_ == pytest.approx(expected)
    coefficients, intercepts = made.coefficients()
    np.testing.assert_allclose(made.decide(vectors), vectors @ coefficients.T + intercepts)
    monkeypatch.setattr(svm, "MANY_DIMENSIONS", 200)
    assert not isinstance(FeatureSVM([]).fit_vectors(vectors, labels, groups).svm_, KernelSVM)


def test_vectors_of_zeros_are_no_error():
    made = KernelSVM(1.0).fit(np.zeros((6, 3), np.float32), np.array([0, 0, 0, 0, 1, 1]))
    assert (made.decision_function(np.zeros((2, 3), np.float32)) < 0).all()
