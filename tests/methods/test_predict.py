"""Classifiers and predictions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from kinema import C3DFeatures
from kinema import network as networks
from kinema.cli.app import main
from kinema.evaluation.transfer import transfer
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable, normalized
from kinema.methods.classifier import Classifier
from kinema.methods.predict import Prediction, Predictor
from kinema.methods.svm import FeatureSVM
from kinema.weights.file import Weights, random_weights

from odd_videos import write_video
from small_videos import write_folder

SETTINGS = {"layer": "fc6", "length": 16, "stride": 8, "sampling_rate": 1, "short": "pad"}


def table(features):
    n = len(features)
    starts = np.arange(n) * 8
    about = {"video": "v.avi", "weights": "c3d-mini-random", "settings": SETTINGS, "layer": "fc6"}
    return FeatureTable(
        features, starts, starts + 16, starts / 25, (starts + 16) / 25, np.zeros(n), about
    )


def tables(num_classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = [f"class{i % num_classes}" for i in range(20)]
    centres = rng.standard_normal((num_classes, 12)) * 2
    return [
        table(centres[i % num_classes] + rng.standard_normal((3, 12))) for i in range(20)
    ], labels


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_are_liblinears(num_classes, tmp_path):
    found, labels = tables(num_classes)
    classifier = Classifier.train(found, labels, cost=0.7)
    vectors = np.stack([t.video_vector() for t in found])
    svm = LinearSVC(C=0.7, random_state=0, max_iter=10_000).fit(vectors, labels)
    expected = svm.decision_function(vectors)
    if num_classes == 2:
        expected = np.stack([-expected, expected], axis=1)
    np.testing.assert_allclose(classifier.scores(vectors), expected, atol=1e-6)
    assert [classifier.predict(t) for t in found] == svm.predict(vectors).tolist()
    classifier.save(tmp_path / "c.safetensors")
    again = Classifier.load(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(again.scores(vectors), classifier.scores(vectors))
    assert again.classes == classifier.classes
    assert [(net.weights, net.settings) for net in again.nets] == [("c3d-mini-random", SETTINGS)]


def test_features_are_normalised_first():
    found, labels = tables(3)
    classifier = Classifier.train(found, labels)
    x = np.random.default_rng(1).random((4, 12))
    np.testing.assert_allclose(
        classifier.scores(x), classifier.scores(normalized(x) * 9), atol=1e-6
    )


@pytest.mark.parametrize(
    ("labels", "message"), [(["a"] * 20, "at least two classes"), (["a"], "one a table")]
)
def test_bad_training_sets_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        Classifier.train(tables(2)[0], labels)


def test_a_file_that_is_no_classifier_is_named(tmp_path):
    (tmp_path / "c").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a classifier of Kinema"):
        Classifier.load(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="gone"):
        Classifier.load(tmp_path / "gone")


def prediction(best, **options):
    scores = np.eye(3)[best] * 0.9 + 0.03
    starts = np.arange(len(best)) * 8 / 25
    return Prediction(
        video="v.avi",
        classes=("run", "jump", "sit"),
        scores=scores.mean(0),
        clip_scores=scores,
        start_seconds=starts,
        stop_seconds=starts + 16 / 25,
        score_kind="probability",
        **options,
    )


def test_segments_join_clips_of_the_same_class():
    found = list(prediction([0, 0, 1, 1, 1, 0]).segments())
    assert [name for _, _, name in found] == ["run", "jump", "run"]
    assert [start for start, _, _ in found] == pytest.approx([0, 16 / 25, 40 / 25])
    assert [stop for _, stop, _ in found] == pytest.approx([16 / 25, 40 / 25, 56 / 25])


def test_the_timeline_shows_who_wins_when():
    text = prediction([0, 0, 1]).timeline(2)
    assert "v.avi: 3 clips" in text
    run, jump = text.splitlines()[1:3]
    assert run.split() == ["run", "0.630", "██▁"]
    assert jump.split() == ["jump", "0.330", "▁▁█"]
    assert "0:00.0 to 0:00.6  run" in text


def test_a_long_timeline_fits_the_line():
    line = prediction([0] * 1000).timeline(1).splitlines()[1]
    assert len(line) < 100


def test_json_has_null_for_unknown_times():
    nothing = prediction([0, 1]).as_mapping(1)
    assert nothing["top"] == [{"class": "run", "score": pytest.approx(0.48)}]
    nan = np.full(2, np.nan)
    unknown = Prediction("v", ("a",), np.ones(1), np.ones((2, 1)), nan, nan, "probability")
    assert "NaN" not in json.dumps(unknown.as_mapping())
    assert "?" in unknown.timeline()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, 40)
    return path


def test_probabilities_of_trained_weights(video):
    network = networks.c3d_mini(3)
    base = random_weights(network)
    weights = Weights(base.arrays, network, name="t", mean=base.mean, labels=("a", "b", "c"))
    found = Predictor(weights=weights)(video)
    assert found.classes == ("a", "b", "c")
    np.testing.assert_allclose(found.clip_scores.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.scores, found.clip_scores.mean(0))
    assert len(found.start_seconds) == 4


def test_a_classifier_brings_its_own_features(video, tmp_path):
    whole = Extractor("c3d-mini-random")(video)
    other = replace(whole, features=whole.features[:, ::-1])
    classifier = Classifier.train([whole, other], ["this", "that"])
    classifier.save(tmp_path / "c.safetensors")
    found = Predictor(classifier=tmp_path / "c.safetensors")(video)
    assert found.top(1)[0][0] == "this"
    assert found.score_kind == "distance"
    with pytest.raises(ValueError, match="none that the classifier was trained on: c3d-mini"):
        Predictor(classifier=classifier, weights=random_weights(networks.c3d_mini(), seed=5))


SMALL = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("predict") / "colours")


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Names of three weight files, relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        random_weights(SMALL, seed=seed, name=f"net{seed}").save(f"nets/{seed}.safetensors")
    return [f"nets/{seed}.safetensors" for seed in range(3)]


@pytest.mark.parametrize("l2", [True, False])
def test_several_nets_are_put_side_by_side(colours, nets, tmp_path, monkeypatch, l2):
    """As the SVM of the table decides; from another folder too."""
    paths = sorted(colours.rglob("*.mp4"))
    labels = [path.parent.name for path in paths]
    features = [C3DFeatures(net, l2=l2) for net in nets]
    machine = FeatureSVM(features, cost=1.0).fit(paths, labels)
    expected = machine.decision_function(paths)
    transfer(colours, weights=nets, l2=l2, cost=1.0, timed=False).classifier.save("c.safetensors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    predictor = Predictor(classifier="../c.safetensors")
    for path, scores in list(zip(paths, expected, strict=True))[::5]:
        found = predictor(path)
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)
        rows = [Extractor(f"../{net}")(path).features for net in nets]
        if l2:
            rows = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows]
        clips = machine.decide(np.hstack(rows))
        np.testing.assert_allclose(found.clip_scores, clips, atol=1e-5)


def test_nets_that_moved_or_changed_are_named(colours, nets, tmp_path):
    video = next(colours.rglob("red*.mp4"))
    classifier = transfer(colours, weights=nets, cost=1.0, timed=False).classifier
    scores = Predictor(classifier=classifier)(video).scores
    (tmp_path / nets[1]).rename(tmp_path / "moved.safetensors")
    with pytest.raises(
        ValueError, match=r"nets/1.safetensors \(sha256 \w{12}\), which is not there"
    ):
        Predictor(classifier=classifier)
    some = ["moved.safetensors", nets[0]]  # in any order, and not all
    np.testing.assert_array_equal(
        Predictor(classifier=classifier, weights=some)(video).scores, scores
    )
    with pytest.raises(ValueError, match="weights 'c3d-mini-random' .* are none that the"):
        Predictor(classifier=classifier, weights=[*some, "c3d-mini-random"])
    random_weights(SMALL, seed=7).save(nets[1])
    with pytest.raises(ValueError, match=r"1.safetensors: the classifier was .* weights_sha256"):
        Predictor(classifier=classifier)


def test_nets_of_different_clips_are_refused(colours, nets):
    shorter = random_weights(
        networks.c3d_mini(3, input_shape=(3, 8, 16, 16)), name="shorter", seed=9
    )
    with pytest.raises(
        ValueError, match=r"net0 sees clips of 16 frames, shorter of 8; what is put side"
    ):
        transfer(colours, weights=[nets[0], shorter], cost=1.0)


def test_the_command_takes_several_nets(colours, nets, capsys):
    options = [part for net in nets for part in ("--weights", net)]
    command = ["transfer", str(colours), "--out", "worth", "--folds", "2", "--C", "1", "--no-l2"]
    assert main([*command, *options]) == 0
    assert "| 3 nets (net0, net1, net2; random) + linear SVM |" in capsys.readouterr().out
    command = ["predict", str(colours / "red" / "red_0.mp4"), "--json"]
    command += ["--classifier", "worth/classifier.safetensors"]
    assert main([*command, *options]) == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["class"] == "red"
    assert main([*command[:-2], *options]) == 2
    assert "--weights must be one net, got 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give `weights` that were trained"),
        (
            {"weights": "c3d-mini-random"},
            "'c3d-mini-random' are random: their classes",
        ),
        ({"weights": random_weights(networks.c3d_mini(None))}, "have no fc8"),
    ],
)
def test_predictions_that_would_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Predictor(**options)


def test_a_classifier_of_the_former_default_finds_its_weights(video, tmp_path):
    """They were random numbers, and called c3d-mini."""
    extractor = Extractor("c3d-mini-random")
    found = extractor(video)
    about = {"video": "v", "weights": "c3d-mini:0", "settings": extractor.settings()}
    named = replace(found, about={**found.about, **about})
    other = replace(named, features=found.features[:, ::-1])
    classifier = Classifier.train([named, other], ["a", "b"])
    classifier.save(tmp_path / "c.safetensors")
    assert Predictor(classifier=tmp_path / "c.safetensors")(video).top(1)[0][0] == "a"
