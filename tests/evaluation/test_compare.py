"""Transfer and comparison: the protocol, its guards, its table, its classifier."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.svm import LinearSVC

from kinema import FeatureTable
from kinema import network as networks
from kinema.cli.app import main
from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample, Split
from kinema.evaluation.compare import compare
from kinema.evaluation.protocol import NothingToTest, check_classes, check_splits, choose_splits
from kinema.evaluation.transfer import transfer
from kinema.features.extraction import extract
from kinema.files import check_out
from kinema.methods.c3d import flattened
from kinema.methods.svm import FeatureSVM
from kinema.network import Conv3d
from kinema.video.synthetic import write_video
from kinema.views.report import as_mapping, as_markdown
from kinema.weights.file import Weights, random_weights

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
    assert "(!) c3d-mini, leaky + linear SVM: its weights learned" in as_markdown(result)


def test_what_the_teachers_of_weights_learned_from_is_told(folder):
    net = Weights(NET.arrays, NETWORK, name="pupil", mean=NET.mean, learned_from=["Kinetics-400"])
    result = compare(folder, methods=["c3d"], weights=[net], folds=4, timed=False)
    assert "pupil was taught by nets that learned from Kinetics-400: of test" in as_markdown(result)


def test_l2_can_be_switched_off(folder):
    options = {"methods": ["c3d"], "weights": [NET], "folds": 4, "cost": 1.0, "timed": False}
    on, off = compare(folder, **options), compare(folder, **options, l2=False)
    assert not np.allclose(on.rows[0].outcomes[0].scores, off.rows[0].outcomes[0].scores)


def test_the_cost_is_chosen_on_training_videos_alone():
    """The features say nothing; whatever the test labels, C is the same."""
    generator = np.random.default_rng(0)
    vectors, groups = generator.normal(size=(60, 20)), np.arange(60) // 3
    labels = np.arange(60) // 3 % 2
    svm = FeatureSVM([]).fit_vectors(vectors, labels, groups)
    assert set(svm.sweep_) == {0.01, 0.1, 1.0, 10.0, 100.0}
    assert svm.sweep_[svm.chosen_["C"]] == max(svm.sweep_.values())
    assert svm.decide(vectors).shape == (60, 2)
    assert FeatureSVM([], cost=3.0).fit_vectors(vectors, labels).chosen_ == {"C": 3.0}
    coefficients, intercepts = svm.coefficients()
    np.testing.assert_allclose(svm.decide(vectors), vectors @ coefficients.T + intercepts)


def test_the_command_writes_a_classifier_that_predict_takes(folder, tmp_path, capsys):
    NET.save(tmp_path / "net.safetensors")
    out = tmp_path / "out"
    net = str(tmp_path / "net.safetensors")
    code = main(["transfer", str(folder), "--out", str(out), "--weights", net, "--folds", "4",
                 "--C", "1"])  # fmt: skip
    assert code == 0
    assert "| c3d-mini, small (random) + linear SVM |" in capsys.readouterr().out
    assert json.loads((out / "result.json").read_text())["rows"][0]["accuracy"] > 0.9
    video = str(folder / "red" / "v_red_g01_c01.mp4")
    code = main(["predict", video, "--classifier", str(out / "classifier.safetensors"), "--json"])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["class"] == "red"


def test_the_classifier_is_that_of_all_videos(folder):
    classifier = transfer(folder, weights=[NET], cost=1.0, folds=4, timed=False).classifier
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
        ({"red": 3, "blue": 1}, "class blue has one video"),
    ],
)
def test_too_few(tmp_path, keep, message):
    for label, count in keep.items():
        for number in range(count):
            write_video(tmp_path / "v" / label / f"{number}.mp4", draw(label, number, 16))
    with pytest.raises(ValueError, match=message):
        compare(tmp_path / "v", methods=["c3d"], weights=[NET])


def scenes(root, **num_videos: int):
    """A folder per class, its videos all of one scene: the same pictures, other exposures."""
    for label, count in num_videos.items():
        for number in range(count):
            frames = np.clip(draw(label, 0, 16).astype(int) + 3 * number, 0, 255)
            write_video(root / label / f"{number}.mp4", frames.astype(np.uint8))
    return root


as_pinned = pytest.mark.skipif(
    int(cv2.__version__.partition(".")[0]) < 5,
    reason="how alike drawn noise looks is near the threshold, and OpenCV 4 resizes otherwise",
)


@as_pinned
def test_two_classes_of_one_scene_each_say_that_this_measures_scenes(tmp_path, capsys):
    """The same note in the result, in its text, on the page, and as the last line."""
    scenes(tmp_path / "v", red=5, blue=5)
    NET.save(tmp_path / "net.safetensors")
    out = tmp_path / "o"
    command = ["transfer", str(tmp_path / "v"), "--out", str(out)]
    assert main([*command, "--weights", str(tmp_path / "net.safetensors")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "the videos of 2 classes (blue, red) are one scene (group) each: the same scene is on both "
        "sides, so this measures scenes."
    )
    content = json.loads((out / "result.json").read_text())
    assert last in content["notes"]
    assert content["warnings"] == [last]
    assert [split["num_test"] for split in content["rows"][0]["splits"]] == [2] * 5
    assert content["rows"][0]["accuracy"] == 1.0
    # Ten videos are right, but they are two scenes: Wilson's interval for two of two.
    assert content["rows"][0]["interval"] == pytest.approx([0.342380, 1.0], abs=1e-5)
    assert content["rows"][0]["knn_purity"] is None
    text = (out / "result.md").read_text()
    assert f"**{last}**" in text
    assert "Where all groups agree (all right, say) there is nothing to resample" in text
    assert "| 34.2 to 100.0 |" in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert json.dumps({"warnings": [last]})[1:-1].replace(": [", ":[") in page
    assert (out / "classifier.safetensors").is_file()


@as_pinned
def test_methods_that_agree_have_a_difference_of_some_width(tmp_path):
    scenes(tmp_path / "v", red=3, blue=3)
    result = compare(
        tmp_path / "v", methods=["c3d", "one-frame"], weights=[NET], cost=1.0, timed=False
    )
    assert len(result.splits) == 3
    difference = result.rows[1].difference
    assert difference.mean == 0
    assert (difference.low, difference.high) == pytest.approx((-0.657620, 0.657620), abs=1e-5)


def test_with_one_video_in_a_class_transfer_only_trains(tmp_path, capsys):
    for label, count in {"red": 3, "blue": 1}.items():
        for number in range(count):
            write_video(tmp_path / "v" / label / f"{number}.mp4", draw(label, number, 16))
    NET.save(tmp_path / "net.safetensors")
    out = tmp_path / "o"
    options = ["--out", str(out), "--weights", str(tmp_path / "net.safetensors"), "--C", "100"]
    assert main(["transfer", str(tmp_path / "v"), *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "class blue has one video: nothing to test on; the classifier of all videos was trained."
    )
    assert not (out / "result.md").exists()
    video = str(tmp_path / "v" / "blue" / "0.mp4")
    classifier = str(out / "classifier.safetensors")
    assert main(["predict", video, "--classifier", classifier, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["class"] == "blue"
    (tmp_path / "v" / "blue" / "torn.mp4").write_bytes(b"no video")
    assert main(["transfer", str(tmp_path / "v"), *options]) == 1
    told = capsys.readouterr()
    assert "torn.mp4: it cannot be read as a video" in told.err
    assert told.out.splitlines()[-1].startswith("class blue has one video: nothing to test on;")
    for command in ("compare", "compactness"):
        assert main([command, str(tmp_path / "v"), *options]) == 2
        assert "class blue has one video" in capsys.readouterr().err


@pytest.fixture
def no_video_is_read(monkeypatch):
    made = []
    monkeypatch.setattr("kinema.video.loop.VideoReader", lambda path, **how: made.append(path))
    yield
    assert not made


@pytest.mark.parametrize("command", ["transfer", "compare", "compactness"])
@pytest.mark.parametrize(
    ("videos", "flags", "message"),
    [
        ({"red": 4}, [], "has videos of one class: a comparison takes two"),
        ({"red": 4, "blue": 4}, ["--folds", "1"], "--folds must be at least 2"),
        ({"red": 4, "blue": 4}, ["--split", "1"], "has no official split"),
        ({"red": 4, "blue": 4}, ["--layer", "fc9"], "--layer must be one of"),
        ({"red": 4, "blue": 4}, ["--stride", "0"], "--stride must be"),
        ({"red": 4, "blue": 4}, ["--out", "FILE"], "a file is there, where a folder is needed"),
        ({"red": 4, "blue": 4}, ["--out", "FILE/below"], "a file is there, where a folder"),
        ({"red": 4, "blue": 4}, ["--C", "-1"], "--C must be more than 0"),
        ({"train/red": 4, "test/red": 1, "test/blue": 4}, [],
         "split given has training videos of one class only (red): name another split"),
        ({"red": 4, "blue": 1}, ["--split", "given"], "has no official split"),
    ],
)  # fmt: skip
def test_what_can_be_refused_is_refused_before_a_video_is_read(
    tmp_path, capsys, no_video_is_read, command, videos, flags, message
):
    for folder, count in videos.items():
        (tmp_path / "v" / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "v" / folder / f"{number}.mp4").touch()
    (tmp_path / "FILE").touch()
    NET.save(tmp_path / "net.safetensors")
    flags = [flag.replace("FILE", str(tmp_path / "FILE")) for flag in flags]
    out = [] if "--out" in flags else ["--out", str(tmp_path / "o")]
    options = [*out, "--weights", str(tmp_path / "net.safetensors"), *flags]
    assert main([command, str(tmp_path / "v"), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_other_methods_are_refused_before_a_video_is_read(tmp_path, capsys, no_video_is_read):
    for label in ("red", "blue"):
        (tmp_path / "v" / label).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "v" / label / f"{number}.mp4").touch()
    for command in ("compare", "embed", "compactness"):
        options = [str(tmp_path / "v"), "--out", str(tmp_path / "o"), "--methods"]
        assert main([command, *options, "c3d,best"]) == 2
        assert "got best" in capsys.readouterr().err
        if command != "compare":
            assert main([command, *options, "chance"]) == 2
            assert "the method chance has no features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EACCES, ValueError, "cannot be written to .Permission denied.: name another"),
        (errno.EROFS, ValueError, "cannot be written to .Read-only file system."),
        (errno.ENOSPC, OSError, "No space left"),
    ],
)
def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, number, kind, message):
    check_out(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []  # it may be refused for something else

    def write(path: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(kind, match=message):
        check_out(tmp_path / "a")


def test_nets_of_other_clips_are_refused_before_a_video_is_read(tmp_path, no_video_is_read):
    other = random_weights(networks.c3d_mini(3, input_shape=(3, 8, 16, 16)), name="short", seed=1)
    with pytest.raises(ValueError, match="small sees clips of 16 frames, short of 8; what is put"):
        transfer(tmp_path, weights=[NET, other])


def official(**splits: tuple[str, str]) -> Dataset:
    """Six videos, two of each class; sides are strings of their numbers."""
    samples = tuple(
        Sample(Path(f"{i}.avi"), f"{i}.avi", (i // 2,), f"g{i}", 0.0, None) for i in range(6)
    )
    parted = {
        name.strip("_"): Split(tuple(map(int, train)), tuple(map(int, test)))
        for name, (train, test) in splits.items()
    }
    notes = tuple(
        f"split {name} has no video to test here." for name, s in parted.items() if not s.test
    )
    return Dataset("ucf101", Path("/d"), ("a", "b", "c"), samples, parted, notes=("x.", *notes))


def test_notes_on_other_splits_are_not_shown():
    dataset = official(_1=("024", "135"), _3=("024", ""), _2=("02", "14"))
    splits, notes = choose_splits(dataset, ["1"])
    assert (list(splits), notes) == (["1"], ["x."])
    splits, notes = choose_splits(dataset, None)
    assert list(splits) == ["1", "2"]
    assert notes == [
        "x.",
        "split 3 has no video to test here: it is left out.",
        "split 2 has no training video of 1 class (c): those test videos cannot be right.",
    ]
    with pytest.raises(ValueError, match="/d: split 3 has no video to test here: name another"):
        choose_splits(dataset, ["1", "3"])
    with pytest.raises(ValueError, match="split 3 has no video to test here"):
        check_splits(official(_3=("024", "")), None)
    with pytest.raises(ValueError, match=r"split 1 has training videos of one class only \(a\)"):
        check_splits(official(_1=("01", "23")), ["1"])
    with pytest.raises(ValueError, match="`split` '7' is unknown; known are: 1, 3, 2"):
        check_splits(dataset, ["7"])


def test_a_video_counts_for_the_first_of_its_labels():
    samples = tuple(Sample(Path(f"{i}"), f"{i}", (i // 2, 2), f"{i}") for i in range(4))
    dataset = Dataset("folder", Path("/d"), ("a", "b", "c"), samples)
    check_classes(dataset)
    one = dataclasses.replace(dataset, samples=samples[:3])
    with pytest.raises(NothingToTest, match="class b has one video"):
        check_classes(one)
    check_classes(one, tested=False)
    with pytest.raises(ValueError, match="videos of one class"):
        check_classes(dataclasses.replace(dataset, samples=samples[:2]), tested=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["c3d", "best"]}, "`methods` must be some of c3d, c3d-nets, .* got best"),
        ({"methods": []}, "`methods` must be some of"),
        ({"methods": ["c3d", "c3d"]}, "`methods` names c3d twice"),
        ({"cost": 0.0}, "`cost` must be more than 0"),
        ({"cost": np.inf}, "`cost` must be more than 0 and finite"),
        ({"weights": [NET, NET]}, "`weights` names one net twice .small, small; sha256 "),
        ({"folds": 1}, "`folds` must be at least 2"),
        ({"weights": []}, "`weights` must name at least one net"),
        ({"splits": ["1"]}, "has no official split"),
        ({"layer": "conv9"}, "`layer` must be one of"),
    ],
)
def test_wrong_settings(folder, change, message):
    with pytest.raises(ValueError, match=message):
        compare(folder, **{"methods": ["c3d"], "weights": [NET], "timed": False, **change})


def test_what_left_a_class_single_is_named(tmp_path):
    for label, count in {"red": 3, "blue": 1}.items():
        for number in range(count):
            write_video(tmp_path / "v" / label / f"{number}.mp4", draw(label, number, 16))
    (tmp_path / "v" / "blue" / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(
        ValueError, match=r"class blue has one video, .*torn\.mp4: it cannot be read"
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
    assert "the test videos are of 4 groups only: an interval that resamples so few" in as_markdown(
        result
    )
    assert "split given has no training video of 1 class (green): those" in as_markdown(result)
    assert as_markdown(result).startswith("# videos\n")  # a CSV file goes by its name


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
