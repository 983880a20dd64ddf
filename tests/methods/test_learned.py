"""Rows that learn a network for each split: their runs, their fusion, what they tell."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone

pytest.importorskip("torch")

from kinema.evaluation.compare import compare
from kinema.methods import METHODS
from kinema.methods.learned import Fused, LearnedNet
from kinema.methods.options import Learning, Options
from kinema.methods.paper import ACCURACY, PAPER, rows
from kinema.training.checkpoint import Checkpoint
from kinema.training.kept_clips import KeptClips
from kinema.training.published import PUBLISHED, short
from kinema.training.recipes import adapted
from kinema.video.synthetic import write_video
from kinema.views.report import as_markdown
from kinema.weights.file import resolve

from small_videos import draw

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three colours, four groups of one video each."""
    root = tmp_path_factory.mktemp("learned") / "colours"
    for label in NAMES:
        for group in range(1, 5):
            name = f"v_{label}_g{group:02d}_c01.mp4"
            write_video(root / label / name, draw(label, group, 20))
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def net(cache, name="two-stream-spatial", iterations=80, **settings):
    recipe = adapted(short(PUBLISHED[name]), width=1 / 8, crop=48, iterations=iterations)
    recipe = dataclasses.replace(recipe, batch=6, learning_rate=0.002)
    model = recipe.make_network(2)
    clips = KeptClips((model.stream,), model.frame_size, cache, threads=1)
    return LearnedNet(recipe, clips, cache / "runs", threads=1, **settings)


def videos(folder, groups):
    found = [folder / label / f"v_{label}_g{g:02d}_c01.mp4" for label in NAMES for g in groups]
    return found, [label for label in NAMES for _ in groups]


def test_it_learns_its_videos_and_goes_by_what_decides(folder, cache):
    train, y = videos(folder, (1, 2, 3))
    test, expected = videos(folder, (4,))
    fitted = clone(net(cache)).fit(train, y)
    assert fitted.classes_.tolist() == list(NAMES)
    assert fitted.iterations_ == 80
    scores = fitted.predict_proba(test)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert fitted.predict(test).tolist() == expected  # by chance 1/3 each
    (note,) = fitted.notes(test)
    minutes = re.search(r"80 steps of 6 clips in (\S+) minutes", note)[1]
    assert note == (
        f"width 0.125, clips of 3x1x48x48, 80 steps of 6 clips in {minutes} minutes (adamw, "
        "cosine, dropout 0.5), scored by 25 clips a video"
    )
    log = cache / "runs" / fitted._out.name / "log.csv"
    rates = [float(line.split(",")[4]) for line in log.read_text().splitlines()[1:]]
    assert fitted.seconds_ == pytest.approx(sum(6 / rate for rate in rates))
    # The same again is found: nothing is learned, and scores are not computed anew.
    runs = sorted((cache / "runs").iterdir())
    marks = [(path, path.stat().st_mtime_ns) for path in runs[0].iterdir()]
    again = clone(net(cache)).fit(train, y)
    np.testing.assert_array_equal(again.predict_proba(test), scores)
    assert [(path, path.stat().st_mtime_ns) for path in runs[0].iterdir()] == marks
    # Other videos, labels, seeds and settings are other runs.
    clone(net(cache, seed=1, iterations=2)).fit(train, y)
    clone(net(cache, iterations=2)).fit(train, y)
    clone(net(cache, iterations=2)).fit(train[1:], y[1:])
    clone(net(cache, iterations=2)).fit(train, [*y[1:], y[0]])
    assert len(list((cache / "runs").iterdir())) == len(runs) + 4


def test_a_mean_of_views_is_the_mean_of_the_views(folder, cache):
    train, y = videos(folder, (1, 2, 3))
    test, _ = videos(folder, (4,))
    one, ten = (clone(net(cache, views=views)).fit(train, y) for views in (1, 10))
    assert one._out == ten._out  # how it is scored decides over no run
    assert np.abs(one.predict_proba(test) - ten.predict_proba(test)).max() < 0.5
    assert "scored by 10 views of 25 clips a video" in ten.notes(test)[0]


def test_fusion_by_hand(folder, cache):
    train, y = videos(folder, (1, 2, 3))
    test, expected = videos(folder, (4,))
    parts = [net(cache), net(cache, seed=1)]
    mean = clone(Fused(parts, shares=(0.33, 0.67))).fit(train, y)
    probabilities = [clone(part).fit(train, y).predict_proba(test) for part in parts]
    np.testing.assert_allclose(
        mean.decision_function(test), 0.33 * probabilities[0] + 0.67 * probabilities[1], rtol=1e-5
    )
    before = len(list((cache / "runs").iterdir()))
    svm = clone(Fused(parts, svm=True, cost=1.0)).fit(train, y)
    assert len(list((cache / "runs").iterdir())) == before  # its parts' runs are reused
    assert svm.predict(test).tolist() == expected
    assert svm.chosen_ == {"C": 1.0}
    vectors = svm._vectors(test)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :3], axis=1), 1, rtol=1e-5)
    assert vectors.shape == (3, 6)
    assert [note.split(":")[0] for note in svm.notes(test)] == ["two-stream-spatial"] * 2


def test_one_class_is_refused(folder, cache):
    train, _ = videos(folder, (1, 2))
    with pytest.raises(ValueError, match=r"`y` must hold at least two classes, got \['red'\]"):
        net(cache).fit(train, ["red"] * len(train))


def test_short_videos_are_told(folder, cache):
    train, y = videos(folder, (1, 2, 3))
    fitted = clone(net(cache, "slowfast", iterations=1)).fit(train[::3], y[::3])
    assert fitted.notes(train[:2])[1] == (
        "2 test videos shorter than a clip of 63 frames: filled up with the last frame"
    )
    assert np.isfinite(fitted.predict_proba(train[:2])).all()


def test_flow_of_a_still_video_is_defined(cache, tmp_path):
    still = np.full((12, 48, 64, 3), 90, np.uint8)
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", still + (name == "b"))
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    fitted = clone(net(cache, "two-stream-temporal", iterations=2)).fit(paths, ["a", "b"])
    scores = fitted.predict_proba(paths)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_learned as t
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
import kinema.methods.learned as learned
learned.CHECKPOINT_SECONDS = 0.0
train, y = t.videos(folder, (1, 2, 3))
fitted = t.net(cache, iterations=80).fit(train, y)
print(fitted.predict_proba(train).tolist())
"""


def test_killed_twice_it_is_the_same(folder, tmp_path):
    """kill -9 in the middle of a run: the same command goes on, and gives the same numbers."""
    code = KILLED.format(here=str(Path(__file__).parent))
    paths = [sys.executable, "-c", code, str(folder)]
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}

    def begin(cache):
        return subprocess.Popen(
            [*paths, str(cache)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    whole = begin(tmp_path / "whole").communicate()[0]
    for least in (8, 40):
        process = begin(tmp_path / "killed")
        while process.poll() is None and _iteration(tmp_path / "killed") < least:
            pass
        assert process.poll() is None, "it was over before it could be killed"
        process.kill()
        process.wait()
    assert begin(tmp_path / "killed").communicate()[0] == whole
    assert json.loads(whole)[0]


def _iteration(cache):
    time.sleep(0.02)
    found = [*(cache / "runs").glob("*/checkpoint.safetensors")]
    try:
        return Checkpoint.load(found[0]).iteration if found else 0
    except (OSError, ValueError):
        return 0


# --- the rows of the comparison -------------------------------------------------------------------


def options(cache, **learning):
    return Options((resolve("c3d-mini"),), cache=cache, learning=Learning(**learning))


def test_the_rows_are_the_papers(cache):
    built = {name: METHODS[name](options(cache)) for name, *_ in PAPER if name in METHODS}
    assert built.keys() == ACCURACY.keys()
    both = built["lrcn-both"]
    assert both.shares == (0.33, 0.67)
    assert [part.recipe.network for part in both.parts] == ["lrcn-imagenet", "lrcn-flow"]
    composite = built["lstm-composite"]
    assert composite.start.recipe.network == "lstm-composite"
    assert not composite.start.recipe.learns_labels
    assert built["two-stream-svm"].svm
    pooled = built["conv-pooling-both"].parts[0]
    assert pooled.recipe.make_network(2).input_shape == (1280, 30, 7, 7)
    assert pooled.recipe.make_network(2).frame_step == 4
    for name, row in built.items():
        if isinstance(row, LearnedNet | Fused):
            assert row.stands_in, name  # what differs from the paper is told
    assert rows(3)[0] == "c3d"
    assert "c3d-nets" in rows(3)
    assert "c3d-nets" not in rows(1)
    assert "c3d+idt-fisher" in rows(1)


def test_learning_is_what_was_asked_for(cache):
    asked = options(cache, width=0.5, crop=96, iterations=7, views=10, seed=3)
    row = METHODS["temporal"](asked)
    assert row.recipe.arguments == {
        "dropout": 0.5, "width": 0.5, "input_shape": (2, 10, 96, 96)
    }  # fmt: skip
    assert (row.recipe.iterations, row.seconds, row.views, row.seed) == (7, None, 10, 3)
    assert METHODS["temporal"](options(cache)).seconds == 600.0
    assert [
        METHODS["temporal"](options(cache, flip=flip)).recipe.flip for flip in (True, False)
    ] == [
        True,
        False,
    ]
    published = METHODS["temporal"](options(cache, published=True)).recipe
    assert (published.optimiser, published.batch) == ("sgd", 256)
    assert published.rate_shares == (0.625, 0.875)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 0}, "`width` must be more than 0, got 0"),
        ({"seconds": -1}, "`seconds` must be more than 0, got -1"),
        ({"crop": 16}, "`crop` must be at least 32 pixels, got 16"),
        ({"views": 5}, "`views` must be 1 or 10, got 5"),
        ({"views": 10, "flip": False}, "`views` 10 mirrors clips"),
        ({"encoder": "c3d-mini"}, "`encoder` must be weights of lstm-composite, got c3d_mini"),
    ],
)
def test_wrong_learning(asked, message, folder, cache):
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(folder, methods=["lstm-composite"], folds=2, cache=cache, **asked)


class Last(ClassifierMixin, BaseEstimator):
    """Always the last class, whose videos are as many as any other's."""

    title = "always the last class"

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[-1:], len(X))


def test_a_row_that_says_nothing_is_named(folder, cache):
    """A row that is right as often as chance says so; the paper's figure stands beside its own."""
    result = compare(
        folder,
        methods={"c3d": "c3d", "temporal": "temporal", "last": Last()},
        folds=4, cache=cache, iterations=1, width=1 / 16,
        timed=False,
    )  # fmt: skip
    by_name = {row.name: row for row in result.rows}
    assert by_name["c3d"].above_chance
    assert (by_name["c3d"].paper, by_name["temporal"].paper) == (82.3, 83.7)
    assert not by_name["last"].above_chance
    assert by_name["last"].paper is None
    text = as_markdown(result)
    assert "always the last class: not above the largest training class by more than its " in text
    assert re.search(r"\| temporal stream \\?\[\d+\\?\] .*\| 83.7 \|", text)
    assert "1 steps of 16 clips" in text
