"""The method contract: built-in rows, pipelines of scikit-learn, and a user's own."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import fake_trajectories
from kinema import C3DFeatures
from kinema import network as networks
from kinema.cli.app import main
from kinema.datasets.folds import make_folds
from kinema.datasets.loaders import load
from kinema.evaluation.compare import compare
from kinema.evaluation.rows import scores_of
from kinema.features import trajectory_store
from kinema.methods import METHODS
from kinema.methods.given import build, describers_of
from kinema.methods.options import Learning, Options
from kinema.own import load_class
from kinema.weights.file import random_weights
from kinema.weights.imagenet import check_installed

from small_videos import write_folder

NET = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="small")
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "own_method.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own") / "v", num_videos=4, num_frames=16)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.mark.parametrize("row", METHODS)
def test_every_row_keeps_the_contract(row, folder, features, monkeypatch):
    monkeypatch.setattr(trajectory_store, "_tracks", fake_trajectories.tracks)
    learning = Learning(width=1 / 32, iterations=1)
    options = Options(weights=(NET,), cost=1.0, cache=features, threads=1, learning=learning)
    try:
        (method,) = build([row], options).values()
        streams = [getattr(each, "streams", ()) for each in describers_of(method)]
        if "imagenet" in row or ("imagenet",) in streams:
            check_installed()
    except ImportError as error:
        pytest.skip(str(error))
    assert method.title
    parameters = inspect.signature(type(method).__init__).parameters
    for name, value in clone(method).get_params(deep=False).items():
        assert name in parameters
        assert type(value) is type(method.get_params(deep=False)[name])
    dataset = load(folder)
    videos = [sample.source for sample in dataset.samples]
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    copy = clone(method)
    before = copy.get_params(deep=False)
    assert not hasattr(copy, "classes_")
    assert copy.fit(videos[::2], labels[::2]) is copy
    after = copy.get_params(deep=False)
    assert all(after[name] is value for name, value in before.items())  # a fit changes none
    scores = scores_of(row, copy, videos)
    assert scores.shape == (12, 3)
    if hasattr(copy, "predict"):
        np.testing.assert_array_equal(copy.predict(videos), copy.classes_[scores.argmax(axis=1)])
    # The order of videos and what else is asked change nothing.
    np.testing.assert_allclose(scores_of(row, copy, videos[::-1]), scores[::-1], atol=1e-6)
    if hasattr(copy, "describe"):
        np.testing.assert_array_equal(copy.describe(videos), method.describe(videos))
    if (found := getattr(copy, "timeline", lambda video: None)(videos[0])) is not None:
        start, stop, of_clips = found
        assert (start < stop).all()
        assert of_clips.shape == (len(start), 3)
        # One clip of 16 frames: it is the video.
        np.testing.assert_allclose(of_clips[0], scores[0], atol=1e-4)
    two = labels < 2
    copy.fit([v for v, is_in in zip(videos, two, strict=True) if is_in], labels[two])
    assert scores_of(row, copy, videos[:3]).shape == (3, 2)


def pipelines(**options):
    features = C3DFeatures(NET, **options)
    return {
        "svm": make_pipeline(features, LinearSVC(C=1.0, random_state=0)),
        "forest": make_pipeline(features, RandomForestClassifier(20, random_state=0)),
        "search": GridSearchCV(
            make_pipeline(features, LinearSVC(random_state=0)),
            {"linearsvc__C": [0.01, 1.0]},
            cv=2,
        ),
    }


def test_pipelines_are_methods_and_say_what_they_say_alone(folder, tmp_path):
    result = compare(
        folder,
        methods={"c3d": "c3d", **pipelines()},
        weights=[NET],
        folds=4,
        cost=1.0,
        cache=tmp_path,
        pictures=True,
    )
    rows = {row.name: row for row in result.rows}
    assert list(rows) == ["c3d", "svm", "forest", "search"]
    dataset = load(folder)
    videos = [sample.path for sample in dataset.samples]
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    for name, alone in pipelines(cache=tmp_path).items():
        for split, outcome in zip(make_folds(dataset, 4), rows[name].outcomes, strict=True):
            assert outcome.test == split.test
            alone.fit([videos[i] for i in split.train], labels[list(split.train)])
            tested = [videos[i] for i in split.test]
            np.testing.assert_array_equal(
                outcome.scores.argmax(axis=1), alone.predict(tested), err_msg=name
            )
            if name != "forest":
                np.testing.assert_allclose(
                    outcome.scores, alone.decision_function(tested), atol=1e-6
                )
            else:
                np.testing.assert_allclose(outcome.scores.sum(axis=1), 1)
    assert rows["search"].outcomes[0].chosen["linearsvc__C"] in (0.01, 1.0)
    # What cannot be told of them is left empty, and so not measured by asking for their class.
    assert rows["svm"].points is None
    assert rows["svm"].frames_per_second is None
    assert rows["c3d"].points.shape == (12, 2)
    assert rows["c3d"].frames_per_second > 0
    assert rows["svm"].title == "svm"
    # A row that is the same classifier on the same features decides the same.
    for ours, theirs in zip(rows["c3d"].outcomes, rows["svm"].outcomes, strict=True):
        np.testing.assert_array_equal(ours.scores.argmax(axis=1), theirs.scores.argmax(axis=1))


def test_a_pipeline_decodes_no_video_once_for_each_split(folder, monkeypatch):
    """Describers in it get the cache of the comparison."""
    opened = []
    from kinema.video import loop

    reader = loop.VideoReader

    def counted(path, **how):
        opened.append(path)
        return reader(path, **how)

    monkeypatch.setattr(loop, "VideoReader", counted)
    methods = {"svm": pipelines()["svm"]}
    compare(folder, methods=methods, weights=[NET], folds=4, timed=False)
    many = len(opened)
    opened.clear()
    compare(folder, methods=methods, weights=[NET], folds=2, timed=False)
    assert many == len(opened)
    assert describers_of(methods["svm"])[0].cache is None  # the user's own is not touched


def test_the_example_is_a_row(folder, tmp_path, capsys):
    NET.save(tmp_path / "net.safetensors")
    out = tmp_path / "out"
    command = ["compare", str(folder), "--out", str(out), "--methods", "chance", "--folds", "4"]
    weights = ["--weights", str(tmp_path / "net.safetensors")]
    assert main([*command, "--method", f"{EXAMPLE}:MeanColour", *weights]) == 0
    captured = capsys.readouterr()
    assert "| mean colour, nearest class | " in captured.out
    rows = json.loads((out / "result.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["chance", "MeanColour"]
    assert rows[1]["accuracy"] == 1.0  # the classes are colours
    assert rows[1]["frames_per_second"] is None
    assert rows[1]["knn_purity"] == 1.0
    assert len(EXAMPLE.read_text().splitlines()) <= 30
    assert main([*command, "--method", f"{EXAMPLE}:Nothing", *weights]) == 2
    assert capsys.readouterr().err == f"kinema: {EXAMPLE} has no class Nothing.\n"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("x.py", "must name a class as FILE.py:ClassName"),
        ("x:Class", "must name a class as FILE.py:ClassName"),
        ("nowhere.py:Class", "nowhere.py: no such file"),
        (f"{EXAMPLE}:np", "has no class np"),
    ],
)
def test_a_class_that_is_not_there(place, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_class(place)


class Takes(BaseEstimator):
    def __init__(self, values):
        self.values = list(values)  # does more than store

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (object(), "must have `fit.videos, y.` and one of decision_function"),
        (RandomForestClassifier, "is the class RandomForestClassifier: give an instance"),
        (Takes((1,)), "cannot be cloned"),
    ],
)
def test_what_is_no_method_is_refused_before_a_video_is_read(tmp_path, method, message):
    with pytest.raises(ValueError, match=message):
        compare(tmp_path / "not there", methods={"mine": method}, weights=[NET])


class Broken(Takes):
    def __init__(self, error=None):
        self.error = error

    def fit(self, X, y):
        if self.error:
            raise self.error
        return self


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, r"^the method mine, fold 1: its `fit` must set `classes_`, the sorted labels\.$"),
        (ValueError("no"), "^the method mine, fold 1: no$"),
        (KeyError("x"), "^the method mine failed in fold 1, KeyError: 'x'$"),
    ],
)
def test_a_method_that_fails_is_named(folder, error, message):
    methods = {"mine": Broken(error)}
    with pytest.raises((ValueError, RuntimeError), match=message):
        compare(folder, methods=methods, weights=[NET], folds=2, timed=False)


def test_a_file_that_cannot_be_run_is_named(tmp_path):
    (tmp_path / "own.py").write_text("import nothing_there\n")
    with pytest.raises(ValueError, match=r"own.py cannot be run: ModuleNotFoundError: No module"):
        load_class(f"{tmp_path / 'own.py'}:A")


class Shaped(BaseEstimator):
    classes_ = np.array([0, 1])

    def decision_function(self, X):
        return np.zeros((len(X), 3))


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the method mine: .* must give \(2, 2\), got \(2, 3\)"):
        scores_of("mine", Shaped(), ["a", "b"])


def test_groups_are_given_where_they_are_named(folder):
    seen = []

    class Grouped(Takes):
        def __init__(self):
            pass

        def fit(self, X, y, groups=None):
            seen.append(groups)
            self.classes_ = np.unique(y)
            return self

    compare(folder, methods={"mine": Grouped()}, weights=[NET], folds=2, timed=False)
    assert [len(groups) for groups in seen] == [6, 6]
    assert len({*seen[0], *seen[1]}) == 12
