"""t-SNE with its purity, and accuracy against PCA dimensions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC

from kinema import C3DFeatures, plots
from kinema import network as networks
from kinema.cli.app import main
from kinema.datasets.folds import make_folds
from kinema.datasets.loaders import load
from kinema.evaluation import embedding
from kinema.evaluation.compactness import compactness
from kinema.evaluation.embedding import embed, tsne
from kinema.metrics import knn_purity
from kinema.plots import COLOURS
from kinema.weights.file import random_weights

from small_videos import write_folder

NET = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="small")


def is_of(picture, colour):
    """(H, W): which pixels are of a colour, as well as it can be drawn."""
    return (abs(picture - 255 * np.array(colour)) < 2).all(axis=2)


def pixels_of(picture, colours):
    """How many pixels of a picture are of each of some colours."""
    return [int(is_of(picture, colour).sum()) for colour in colours]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("embed") / "v", num_videos=8, num_frames=16)


def test_purity_by_hand():
    points = np.array([[0.0], [1.0], [1.1], [5.0], [5.2], [6.0]])
    labels = np.array([0, 0, 1, 1, 1, 0])
    alone = [str(index) for index in range(6)]
    # Nearest: 1 of 0, 2 of 1, 1 of 2, 4 of 3, 3 of 4, 4 of 5.
    assert knn_purity(points, labels, alone, num_neighbours=1) == pytest.approx(3 / 6)
    # In groups (0 1) (2 3) (4 5): 2 of 0, 2 of 1, 1 of 2, 4 of 3, 3 of 4, 3 of 5.
    groups = ["a", "a", "b", "b", "c", "c"]
    assert knn_purity(points, labels, groups, num_neighbours=1) == pytest.approx(2 / 6)
    # A class has two others: two neighbours, 1 2 of 0, 2 0 of 1, 1 0 of 2, 4 5 of 3, 3 5 of 4,
    # 4 3 of 5.
    assert knn_purity(points, labels, alone, num_neighbours=99) == pytest.approx(4 / 12)
    assert knn_purity(points, labels, ["a"] * 6) is None


def test_embed_draws_and_counts(folder, tmp_path):
    made = embed(folder, out=tmp_path, methods=["c3d", "depth-1"], weights=[NET], seed=3)
    again = embed(folder, out=tmp_path, methods=["c3d"], weights=[NET], seed=3)
    assert made[0].title == "c3d-mini, small (random)"
    assert made[0].points.shape == (24, 2)
    np.testing.assert_array_equal(made[0].points, again[0].points)
    assert made[0].perplexity == pytest.approx(23 / 3)
    assert made[0].purity > 0.6  # colours are easy; by chance 0.3
    picture = cv2.imread(str(tmp_path / "embedding.png"))[..., ::-1]
    # Each class has eight dots, of about 21 pixels that are not mixed with what is behind, and a
    # ninth in the legend; some may hide others.
    assert all(100 < count < 9 * 26 for count in pixels_of(picture, COLOURS[:3]))
    assert pixels_of(picture, COLOURS[3:6]) == [0, 0, 0]  # there are three classes
    assert "<svg" in (tmp_path / "embedding.svg").read_text()
    with pytest.raises(ValueError, match="the method chance has no features"):
        embed(folder, out=tmp_path, methods=["chance"], weights=[NET])


def test_tsne_gives_the_same_points_by_one_thread_and_by_several(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    one, _ = tsne(vectors)
    monkeypatch.setattr(embedding, "MANY_POINTS", 0)
    several, _ = tsne(vectors)
    np.testing.assert_array_equal(one, several)


def test_features_that_are_all_the_same_lie_in_one_place():
    points, _ = tsne(np.ones((6, 5), np.float32))
    np.testing.assert_array_equal(points, np.zeros((6, 2)))


def test_compactness_learns_pca_from_training_videos_alone(folder, tmp_path):
    (found,) = compactness(folder, out=tmp_path, weights=[NET], dimensions=(2, 10, 400))
    assert list(found.accuracy) == [2, 10, 512]  # a split has fewer than 400 training videos
    dataset = load(folder)
    vectors = C3DFeatures(NET).transform([sample.path for sample in dataset.samples])
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    expected = []
    for split in make_folds(dataset, 5):
        train, test = list(split.train), list(split.test)
        pca = PCA(2, random_state=0).fit(vectors[train])
        learned, tested = (pca.transform(vectors[side]) for side in (train, test))
        learned, tested = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (learned, tested))
        svm = LinearSVC(C=1.0, dual="auto", random_state=0, max_iter=10_000)
        expected.append((svm.fit(learned, labels[train]).predict(tested) == labels[test]).mean())
    assert found.accuracy[2] == pytest.approx(np.mean(expected))
    picture = cv2.imread(str(tmp_path / "compactness.png"))[..., ::-1]
    here = is_of(picture, COLOURS[0]).astype(np.uint8)
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(here, connectivity=8)
    curve = 1 + boxes[1:, cv2.CC_STAT_WIDTH].argmax()  # the legend's line is shorter
    rows, columns = np.nonzero(parts == curve)
    assert np.ptp(columns) > 0.7 * picture.shape[1]  # from 2 to 512
    left, right = (rows[abs(columns - end) < 5].mean() for end in (columns.min(), columns.max()))
    assert np.sign(round((left - right) / 3)) == np.sign(found.accuracy[512] - found.accuracy[2])


class Far(BaseEstimator):
    """Three numbers a video: a class is how far; PCA's are as far as one another."""

    title = "three numbers"

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def describe(self, X):
        far = np.array([{"blue": 1.0, "green": 5.0, "red": 25.0}[x.path.parent.name] for x in X])
        return far[:, None] * np.random.default_rng(0).uniform(0.8, 1.2, (len(X), 3))


def test_all_dimensions_are_without_pca(folder, tmp_path):
    """Three dimensions, asked for and all there are: one number, not the mean of two."""
    options = {"out": tmp_path, "methods": {"mine": Far()}, "weights": [NET]}
    (asked,) = compactness(folder, **options, dimensions=(2, 3))
    (plain,) = compactness(folder, **options, dimensions=(2,))
    assert asked.title == "three numbers"
    assert list(asked.accuracy) == [2, 3]
    assert asked.accuracy == plain.accuracy


def test_one_number_of_dimensions_can_be_read():
    axes = Figure().add_subplot()
    plots._accuracies(axes, [("a net", {512: 1.0})])
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert low < 400 < 512 < 600 < high
    assert bottom <= 90 < 100 < top
    assert max(tick for tick in axes.get_yticks() if bottom <= tick <= top) == 100
    assert [label.get_text() for label in axes.get_xticklabels()] == ["512"]
    assert [text.get_text() for text in axes.texts] == ["100.0 %"]


def test_numbers_of_dimensions_do_not_lie_on_each_other():
    axes = Figure().add_subplot()
    curves = [("a", {10: 0.5, 500: 0.6, 512: 0.7}), ("a", {10: 0.6, 1280: 0.8})]
    plots._accuracies(axes, curves)
    texts = [label.get_text() for label in axes.get_xticklabels()]
    assert texts == ["10", "", "512", "1280"]
    assert len(axes.lines) == 2  # two rows of one title are two lines
    assert not axes.texts


def test_dimensions_that_are_missing_are_told(folder, tmp_path):
    (found,) = compactness(folder, out=tmp_path, weights=[NET], dimensions=(2, 50, 600))
    # The largest of five folds of 24 videos holds five.
    assert list(found.accuracy) == [2, 512]
    assert found.why_left_out() == (
        "not 50, 600 dimensions: a split trains on 19 videos, and the features have 512."
    )


def test_long_titles_are_cut_in_their_middle():
    assert plots.shortened("abcdefghij", 10) == "abcdefghij"
    assert plots.shortened("abcdefghijk", 10) == "abcde…hijk"


def test_classes_of_one_group_have_no_purity(folder, tmp_path, capsys):
    lines = ["path,label,group"]
    for label in ("blue", "red"):
        lines += [f"{video},{label},{label}" for video in (folder / label).iterdir()]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    NET.save(tmp_path / "net.safetensors")
    command = ["embed", str(tmp_path / "list.csv"), "--out", str(tmp_path / "o")]
    assert main([*command, "--weights", str(tmp_path / "net.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "10-NN purity says nothing here" in out
    assert "16 of 16 videos play no part in k-NN purity: no other video of their class" in out


def test_commands(folder, tmp_path, capsys):
    NET.save(tmp_path / "net.safetensors")
    options = ["--out", str(tmp_path / "o"), "--weights", str(tmp_path / "net.safetensors")]
    assert main(["embed", str(folder), *options]) == 0
    assert "c3d-mini, small (random): 10-NN purity 1.000 of the features" in capsys.readouterr().out
    assert main(["compactness", str(folder), *options]) == 0
    assert "c3d-mini, small (random), C 1: 10: " in capsys.readouterr().out
    assert main(["embed", str(folder), *options, "--perplexity", "0"]) == 2
    assert "--perplexity must be more than 0" in capsys.readouterr().err
    assert main(["embed", str(folder), *options, "--seed=-1"]) == 2
    assert "--seed must be from 0" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "o"):
        assert main(["compactness", str(folder), "--out", str(out)]) == 2
        assert "file is there, where a folder is needed" in capsys.readouterr().err
    assert main(["embed", str(folder), *options, "--methods", ","]) == 2
    assert "--methods must be some of" in capsys.readouterr().err
    assert main(["compactness", str(folder), *options, "--C", "0"]) == 2
    assert "--C must be more than 0" in capsys.readouterr().err


def test_a_video_that_is_left_out_is_told(folder, tmp_path, capsys):
    for label in ("blue", "red"):
        (tmp_path / "v" / label).mkdir(parents=True)
        for video in sorted((folder / label).iterdir())[:4]:
            (tmp_path / "v" / label / video.name).symlink_to(video)
    (tmp_path / "v" / "red" / "torn.mp4").write_bytes(b"no video")
    NET.save(tmp_path / "net.safetensors")
    options = ["--out", str(tmp_path / "o"), "--weights", str(tmp_path / "net.safetensors")]
    for command in (["embed"], ["compactness", "--folds", "2"]):
        assert main([*command, str(tmp_path / "v"), *options]) == 1
        assert "torn.mp4: it cannot be read as a video" in capsys.readouterr().err
    (tmp_path / "v" / "blue").rename(tmp_path / "blue")
    (tmp_path / "v" / "blue").mkdir()
    (tmp_path / "v" / "red" / "torn.mp4").rename(tmp_path / "v" / "blue" / "torn.mp4")
    (tmp_path / "v" / "blue" / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"a comparison takes two\. Left out: .*torn\.mp4"):
        compactness(tmp_path / "v", out=tmp_path / "o", weights=[NET])
