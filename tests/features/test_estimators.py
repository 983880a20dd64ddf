"""`C3DFeatures` in scikit-learn's own company."""

from __future__ import annotations

import pickle
from inspect import signature

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from kinema import C3DFeatures
from kinema import network as networks
from kinema.features.extractor import Extractor
from kinema.weights.file import random_weights

from odd_videos import write_video


class TakesTables(C3DFeatures):
    """Says that it takes tables; without that scikit-learn runs next to none of its checks."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


NUMBERS = "it fits a table of random numbers; this transformer takes paths of videos"
COLUMNS = "it makes a table of several columns; this transformer takes one, the path"
MESSAGE = "it wants another message than that `X` must hold paths"
LEFT_OUT = {
    "check_dict_unchanged": COLUMNS,
    "check_dont_overwrite_parameters": COLUMNS,
    "check_dtype_object": NUMBERS,
    "check_estimator_sparse_array": NUMBERS,
    "check_estimators_dtypes": NUMBERS,
    "check_estimators_empty_data_messages": MESSAGE,
    "check_estimators_fit_returns_self": NUMBERS,
    "check_estimators_nan_inf": MESSAGE,
    "check_estimators_overwrite_params": NUMBERS,
    "check_estimators_pickle": NUMBERS,
    "check_f_contiguous_array_estimator": COLUMNS,
    "check_fit2d_1feature": NUMBERS,
    "check_fit2d_1sample": COLUMNS,
    "check_fit2d_predict1d": COLUMNS,
    "check_fit_check_is_fitted": NUMBERS,
    "check_fit_idempotent": NUMBERS,
    "check_fit_score_takes_y": NUMBERS,
    "check_methods_sample_order_invariance": COLUMNS,
    "check_methods_subset_invariance": COLUMNS,
    "check_n_features_in": NUMBERS,
    "check_n_features_in_after_fitting": NUMBERS,
    "check_pipeline_consistency": NUMBERS,
    "check_positive_only_tag_during_fit": NUMBERS,
    "check_readonly_memmap_input": NUMBERS,
    "check_transformer_data_not_an_array": COLUMNS,
    "check_transformer_general": COLUMNS,
    "check_transformer_preserve_dtypes": NUMBERS,
    "check_transformers_unfitted_stateless": NUMBERS,
}


# scikit-learn 1.6 and 1.7 cannot be told that a check that passes after all is an error.
STRICT = (
    {"xfail_strict": True}
    if "xfail_strict" in signature(parametrize_with_checks).parameters
    else {}
)


@parametrize_with_checks(
    [C3DFeatures(), TakesTables()],
    expected_failed_checks=lambda e: LEFT_OUT if isinstance(e, TakesTables) else {},
    **STRICT,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights in a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    random_weights(networks.c3d_mini(2), name="tiny").save(path)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Twelve videos of two kinds that differ in brightness and can be told apart by anything."""
    folder = tmp_path_factory.mktemp("videos")
    paths, labels = [], []
    for index in range(12):
        path = folder / f"v{index}.mp4"
        write_video(path, 16, first_index=4000 * (index % 2) + index, width=96, height=72)
        paths.append(path)
        labels.append(index % 2)
    return paths, labels


def test_rows_are_video_vectors(videos, weights):
    paths, _ = videos
    got = C3DFeatures(weights).fit_transform(paths[:3])
    assert got.dtype == np.float32
    expected = np.stack([Extractor(weights)(path).video_vector() for path in paths[:3]])
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda p: [str(path) for path in p],
        lambda p: np.array([str(path) for path in p]),
        lambda p: np.array([str(path) for path in p])[:, None],
        lambda p: np.array(p, dtype=object),
    ],
)
def test_all_forms_of_paths(videos, weights, tmp_path, form):
    paths, _ = videos
    features = C3DFeatures(weights, cache=tmp_path)
    np.testing.assert_array_equal(
        features.fit_transform(form(paths[:2])), features.transform(paths[:2])
    )


def test_pipeline_cross_validation_and_grid_search(videos, weights, tmp_path):
    paths, labels = videos
    pipeline = make_pipeline(C3DFeatures(weights, cache=tmp_path), LinearSVC())
    scores = cross_val_score(pipeline, paths, labels, cv=3)
    assert scores.tolist() == [1, 1, 1]
    grid = {"linearsvc__C": [0.1, 1], "c3dfeatures__layer": ["fc6", "fc7"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(paths, labels)
    assert search.best_score_ == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 * len(paths)  # one a video and layer


def test_the_cache_is_used_and_tells_settings_and_content_apart(
    videos, weights, tmp_path, monkeypatch
):
    paths, _ = videos
    features = C3DFeatures(weights, cache=tmp_path / "cache")
    first = features.fit_transform(paths[:2])
    calls = []
    batches = Extractor.batches
    monkeypatch.setattr(
        Extractor,
        "batches",
        lambda self, video: calls.append(video.source.path) or batches(self, video),
    )
    np.testing.assert_array_equal(features.transform(paths[:2]), first)
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(paths[0].read_bytes())
    np.testing.assert_array_equal(features.transform([moved]), first[:1])
    assert calls == []
    C3DFeatures(weights, layer="fc7", cache=tmp_path / "cache").transform(paths[:1])
    moved.write_bytes(paths[5].read_bytes())
    features.transform([moved])
    assert calls == [paths[0], moved]


def test_feature_names_and_pickling(videos, weights):
    paths, _ = videos
    features = C3DFeatures(weights).fit(paths)
    names = features.get_feature_names_out()
    assert names[0] == "c3dfeatures0"
    assert len(names) == 512
    again = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(again.transform(paths[:1]), features.transform(paths[:1]))
    assert clone(features).get_params() == features.get_params()


def test_weights_in_memory_survive_cloning(videos):
    features = C3DFeatures(random_weights(networks.c3d_mini(2)))
    paths, _ = videos
    np.testing.assert_array_equal(
        clone(features).transform(paths[:1]), features.transform(paths[:1])
    )


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([], "at least one path"),
        ("v.mp4", "single path"),
        ([1.5], "paths of videos, got 1.5"),
        (np.zeros((2, 2)), r"shape \(n,\) or \(n, 1\)"),
        (["missing.mp4"], "missing.mp4: no such file"),
    ],
)
def test_bad_input_is_named(weights, X, message):
    with pytest.raises(ValueError, match=message):
        C3DFeatures(weights).fit_transform(X)


def test_a_bad_video_is_named(weights, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="bad.mp4: it cannot be read as a video"):
        C3DFeatures(weights).transform([tmp_path / "bad.mp4"])
