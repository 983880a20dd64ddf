"""Transfer and comparison: the protocol, its guards, its table, its classifier."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from kinema import FeatureTable
from kinema import network as networks
from kinema.cli import main
from kinema.compare import compare, fit_classifier
from kinema.datasets import load
from kinema.features import extract
from kinema.methods.c3d import flattened
from kinema.methods.svm import FeatureSVM
from kinema.network import Conv3d
from kinema.report import as_mapping, as_markdown
from kinema.synthetic import write_video
from kinema.weights import Weights, random_weights

from small_videos import draw, write_folder

NETWORK = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))
NET = random_weights(NETWORK, name="small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three colours, four groups of two videos each."""
    root = tmp_path_factory.mktemp("compare") / "colours"
    for label in ("blue", "green", "red"):
        for group in range(1, 5):
            for number in (1, 2):
                name = f"v_{label}_g{group:02d}_c{number:02d}.mp4"
                write_video(root / label / name, draw(label, 10 * group + number, 24))
    return root


def test_it_is_the_papers_protocol(folder, tmp_path):
    """Mean of fc6 over clips, L2, LIBLINEAR with C, against the same by hand."""
    result = compare(folder, methods=["c3d"], weights=[NET], folds=4, cost=10.0, timed=False)
    extract([folder], out=tmp_path / "f", weights=NET)
    dataset = load(folder)
    vectors = []
    for sample in dataset.samples:
        rows = FeatureTable.load(tmp_path / "f" / f"{sample.name}.safetensors").features
        mean = rows.mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    vectors, labels = np.stack(vectors), np.array([s.labels[0] for s in dataset.samples])
    (row,) = result.rows
    tested = []
    for outcome in row.outcomes:
        test = list(outcome.test)
        train = [index for index in range(24) if index not in test]
        groups = {dataset.samples[index].group for index in test}
        assert not groups & {dataset.samples[index].group for index in train}
        svm = LinearSVC(C=10.0, dual="auto", random_state=0, max_iter=10_000)
        expected = svm.fit(vectors[train], labels[train]).decision_function(vectors[test])
        np.testing.assert_allclose(outcome.scores, expected, rtol=1e-3, atol=1e-4)
        assert outcome.accuracy == (expected.argmax(axis=1) == labels[test]).mean()
        tested += test
    assert sorted(tested) == list(range(24))
    assert row.accuracy == pytest.approx(np.mean([o.accuracy for o in row.outcomes]))
    assert row.accuracy > 0.9
    assert row.num_dimensions == 512
    assert result.confusion(row).sum() == 24


def test_rows_beside_each_other(folder, tmp_path):
    other = random_weights(NETWORK, seed=5, name="other")
    result = compare(
        folder,
        methods=["c3d", "c3d-nets", "depth-1", "one-frame", "chance"],
        weights=[NET, other],
        folds=4,
        cache=tmp_path / "cache",
    )
    rows = {row.name: row for row in result.rows}
    assert rows["c3d-nets"].num_dimensions == 1024
    assert rows["chance"].accuracy <= 0.5
    assert rows["c3d"].difference is None
    assert rows["chance"].difference.mean == pytest.approx(
        rows["chance"].accuracy - rows["c3d"].accuracy
    )
    assert rows["chance"].difference.high < 0
    assert rows["c3d"].frames_per_second > 0
    assert rows["one-frame"].accuracy > 0.9  # a colour is seen in one frame
    assert all(outcome.sweep for outcome in rows["c3d"].outcomes)
    again = compare(folder, methods=["c3d"], weights=[NET], folds=4, cache=tmp_path / "cache",
                    timed=False)  # fmt: skip
    assert again.rows[0].accuracy == rows["c3d"].accuracy
    text = as_markdown(result)
    assert "| largest training class |" in text
    assert "this proves little" in text
    json.dumps(as_mapping(result))


def test_a_network_with_kernels_of_one_frame_sees_each_frame_alone():
    network = flattened(NETWORK)
    assert {layer.kernel for layer in network.layers if isinstance(layer, Conv3d)} == {(1, 3, 3)}
    assert [layer.name for layer in network.layers] == [layer.name for layer in NETWORK.layers]


def test_weights_that_saw_test_videos_are_refused(folder):
    dataset = load(folder)
    net = Weights(NET.arrays, NETWORK, name="leaky", mean=NET.mean,
                  trained_on=[dataset.samples[3].name, "elsewhere.mp4"])  # fmt: skip
    with pytest.raises(ValueError, match="the weights of c3d learned from 1 of the test videos"):
        compare(folder, methods=["chance", "c3d"], weights=[net], folds=4, timed=False)
    result = compare(folder, methods=["c3d"], weights=[net], folds=4, timed=False, force=True)
    assert result.rows[0].leaked == 1
    assert "(!) C3D (1 net)" in as_markdown(result)


def test_l2_can_be_switched_off(folder):
    options = {"methods": ["c3d"], "weights": [NET], "folds": 4, "cost": 1.0, "timed": False}
    on, off = compare(folder, **options), compare(folder, **options, l2=False)
    assert not np.allclose(on.rows[0].outcomes[0].scores, off.rows[0].outcomes[0].scores)


def test_the_cost_is_chosen_on_training_videos_alone():
    """The features say nothing; whatever the test labels, C is the same."""
    generator = np.random.default_rng(0)
    vectors, groups = generator.normal(size=(60, 20)), np.arange(60) // 3
    labels = np.arange(60) // 3 % 2
    machine = FeatureSVM([]).fit_vectors(vectors, labels, groups)
    assert set(machine.sweep_) == {0.01, 0.1, 1.0, 10.0, 100.0}
    assert machine.sweep_[machine.cost_] == max(machine.sweep_.values())
    assert machine.decide(vectors).shape == (60, 2)
    assert FeatureSVM([], cost=3.0).fit_vectors(vectors, labels).cost_ == 3.0
    coefficients, intercepts = machine.coefficients()
    np.testing.assert_allclose(machine.decide(vectors), vectors @ coefficients.T + intercepts)


def test_the_command_writes_a_classifier_that_predict_takes(folder, tmp_path, capsys):
    NET.save(tmp_path / "net.safetensors")
    out = tmp_path / "out"
    net = str(tmp_path / "net.safetensors")
    code = main(["transfer", str(folder), "--out", str(out), "--weights", net, "--folds", "4",
                 "--C", "1"])  # fmt: skip
    assert code == 0
    assert "| C3D (1 net) + linear SVM |" in capsys.readouterr().out
    assert json.loads((out / "result.json").read_text())["rows"][0]["accuracy"] > 0.9
    video = str(folder / "red" / "v_red_g01_c01.mp4")
    code = main(["predict", video, "--classifier", str(out / "classifier.safetensors"), "--json"])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["class"] == "red"


def test_the_classifier_is_that_of_all_videos(folder):
    classifier = fit_classifier(folder, weights=[NET], cost=1.0)
    assert classifier.classes == ("blue", "green", "red")
    assert classifier.coefficients.shape == (3, 512)
    assert classifier.nets[0].settings["weights_sha256"] == NET.sha256


def test_two_classes_of_five_videos_say_how_little_that_proves(tmp_path, capsys):
    write_folder(tmp_path / "v", num_videos=5, num_frames=16)
    for video in (tmp_path / "v" / "green").iterdir():
        video.unlink()
    code = main(["transfer", str(tmp_path / "v"), "--out", str(tmp_path / "o")])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "so one video is 50 points: this proves little" in captured.out


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"red": 3}, "of one class: a comparison takes two"),
        ({"red": 3, "blue": 1}, "class blue has one video that can be read"),
    ],
)
def test_too_few(tmp_path, keep, message):
    for label, count in keep.items():
        for number in range(count):
            write_video(tmp_path / "v" / label / f"{number}.mp4", draw(label, number, 16))
    with pytest.raises(ValueError, match=message):
        compare(tmp_path / "v", methods=["c3d"], weights=[NET])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["c3d", "best"]}, "`methods` must be some of c3d, c3d-nets, .* got best"),
        ({"methods": []}, "`methods` must be some of"),
        ({"methods": ["c3d", "c3d"]}, "`methods` names c3d twice"),
        ({"cost": 0.0}, "`cost` must be more than 0"),
        ({"cost": np.inf}, "`cost` must be more than 0 and finite"),
        ({"weights": [NET, NET]}, "`weights` names one net twice .small, small; sha256 "),
        ({"folds": 99}, r"`folds` \(=99\) must be at most 12, the groups of .* fewer folds"),
        ({"folds": 1}, "`folds` must be at least 2"),
        ({"weights": []}, "`weights` must name at least one net"),
        ({"splits": ["1"]}, "has no official split"),
        ({"layer": "conv9"}, "`layer` must be one of"),
    ],
)
def test_wrong_settings(folder, change, message):
    with pytest.raises(ValueError, match=message):
        compare(folder, **{"methods": ["c3d"], "weights": [NET], "timed": False, **change})


def test_what_left_a_class_lonely_is_named(tmp_path):
    for label, count in {"red": 3, "blue": 1}.items():
        for number in range(count):
            write_video(tmp_path / "v" / label / f"{number}.mp4", draw(label, number, 16))
    (tmp_path / "v" / "blue" / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(
        ValueError, match=r"class blue has one video .*torn\.mp4: it cannot be read"
    ):
        compare(tmp_path / "v", methods=["c3d"], weights=[NET])


def test_a_class_that_no_video_is_there_to_learn(tmp_path):
    """It is always wrong, by no number: JSON has none for it."""
    lines = ["path,label,split"]
    for label, side in (("red", "train"), ("blue", "train"), ("green", "test"), ("red", "test")):
        for number in range(2):
            name = f"{side}_{label}{number}.mp4"
            write_video(tmp_path / name, draw(label, number + 5 * (side == "test"), 16))
            lines.append(f"{name},{label},{side}")
    (tmp_path / "videos.csv").write_text("\n".join(lines))
    result = compare(tmp_path / "videos.csv", methods=["c3d"], weights=[NET], cost=1.0, timed=False)
    misses = as_mapping(result)["rows"][0]["misses"]
    assert [miss["margin"] for miss in misses if miss["class"] == "green"] == [None, None]
    json.dumps(as_mapping(result), allow_nan=False)
    assert "| no training video |" in as_markdown(result)
    assert "the test videos are of 4 groups only: an interval from so few" in as_markdown(result)


def test_a_split_without_a_cross_validation_is_told(tmp_path):
    lines = ["path,label,split,group"]
    for label in ("red", "blue"):
        for number in range(6):
            write_video(tmp_path / f"{label}{number}.mp4", draw(label, number, 16))
            side = "test" if number > 3 else "train"
            group = label + (str(number) if label == "red" else "")
            lines.append(f"{label}{number}.mp4,{label},{side},{group}")
    (tmp_path / "videos.csv").write_text("\n".join(lines))
    result = compare(tmp_path / "videos.csv", methods=["c3d", "chance"], weights=[NET], timed=False)
    assert "C of the SVMs is 1, by no cross-validation, in given: a class" in as_markdown(result)
    row = result.rows[0]
    both = dataclasses.replace(
        result,
        rows=(
            dataclasses.replace(
                row,
                outcomes=(
                    *row.outcomes,
                    dataclasses.replace(row.outcomes[0], split="x", sweep={0.1: 0.5, 1.0: 0.75}),
                ),
            ),
        ),
        splits=("given", "x"),
    )
    assert "| split | 0.1 | 1 |\n| --- | --- | --- |\n| given |  |  |\n| x | 50.0 | 75.0 |" in (
        as_markdown(both)
    )


def test_names_that_are_hard_to_write(tmp_path, capsys):
    """Bytes that are no UTF-8, dollars, and what Markdown and HTML take for their own."""
    for label, name in (("red", os.fsdecode(b"n\xe9 $x$")), ("blue", "a|b <i>`c")):
        for number in range(4):
            video = tmp_path / "v" / name / f"{number} {name}.mp4"
            try:
                write_video(video, draw(label, number, 16))
            except (OSError, ValueError):
                pytest.skip("this file system, or FFmpeg, takes no such names")
    NET.save(tmp_path / "net.safetensors")
    options = ["--out", str(tmp_path / "o"), "--weights", str(tmp_path / "net.safetensors")]
    for command in ("transfer", "embed", "compactness"):
        folds = [] if command == "embed" else ["--folds", "2"]
        code = main([command, str(tmp_path / "v"), *folds, *options])
        assert code == 0, capsys.readouterr().err
    text = (tmp_path / "o" / "result.md").read_text(encoding="utf-8")
    assert "| a\\|b \\<i>\\`c |" in text
    assert "n\\udce9" in text
    assert (tmp_path / "o" / "report.html").read_bytes().decode()


def test_videos_that_cannot_be_read_are_left_out_for_all(folder, tmp_path):
    for label in ("blue", "red"):
        for video in (folder / label).iterdir():
            (tmp_path / "v" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "v" / label / video.name).symlink_to(video)
    (tmp_path / "v" / "red" / "v_red_g09_c01.mp4").write_bytes(b"no video")
    result = compare(tmp_path / "v", methods=["c3d", "chance"], weights=[NET], folds=2,
                     timed=False)  # fmt: skip
    assert len(result.videos) == 16
    assert [entry["path"].rsplit("/", 1)[1] for entry in result.skipped] == ["v_red_g09_c01.mp4"]
    assert "v_red_g09_c01.mp4" in as_markdown(result)
