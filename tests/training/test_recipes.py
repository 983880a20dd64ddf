"""Values of a recipe besides the sources': schedules by formula, averages, heads on vectors."""

from __future__ import annotations

import dataclasses
import math
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from kinema.features.extractor import Extractor
from kinema.training.checkpoint import Checkpoint
from kinema.training.clip_store import ClipStore
from kinema.training.heads import Head
from kinema.training.prepare import prepare, split_videos
from kinema.training.recipe import Recipe
from kinema.training.recipes import RECIPES
from kinema.training.targets import Targets
from kinema.training.train import train
from kinema.weights.file import Weights

from small_videos import write_folder

SHAPE = {"input_shape": (3, 16, 16, 16)}
MINI = dataclasses.replace(RECIPES["mini"], arguments=SHAPE, batch=6, epochs=None, iterations=6)
HEADS = (Head(), Head("teacher", "fc6", "cosine", 0.5))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    prepare(write_folder(folder / "videos"), out=folder / "x.clips", size=(18, 24))
    return folder / "x.clips"


def test_warm_up_and_cosine_by_formula():
    """Ten steps, the first two of them in equal parts; then half a wave over eight."""
    recipe = dataclasses.replace(MINI, learning_rate=0.8, warm_up=0.2, schedule="cosine")
    rates = [recipe.learning_rate_at(i, 10) for i in range(10)]
    wave = [0.4 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert rates == pytest.approx([0.4, 0.8, *wave])
    assert (rates[2], rates[6]) == (0.8, pytest.approx(0.4))
    assert 0 < rates[-1] < 0.04
    constant = dataclasses.replace(recipe, schedule="constant", warm_up=0.25)
    # A quarter of ten steps is rounded up.
    assert [constant.learning_rate_at(i, 10) for i in range(5)] == pytest.approx(
        [0.8 / 3, 1.6 / 3, 0.8, 0.8, 0.8]
    )
    steps = dataclasses.replace(MINI, learning_rate=0.8, warm_up=0.2)  # a tenth after each third
    rates = [steps.learning_rate_at(i, 10) for i in range(10)]
    assert rates == pytest.approx([0.4, *[0.8] * 3, *[0.08] * 3, *[0.008] * 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": "adam"}, "`optimiser` must be one of sgd, adamw; got 'adam'"),
        ({"schedule": "linear"}, "`schedule` must be one of steps, cosine, constant"),
        ({"warm_up": 1.0}, "`warm_up` must be a share of the run"),
        ({"average": 1.0}, "`average` must be more than 0 and less than 1"),
        ({"betas": (0.9,)}, "`betas` must be two numbers"),
        ({"heads": ()}, "`heads` must hold at least one head"),
        ({"paired": True, "reversed": 0.5}, "`reversed` must be 0 where clips are `paired`"),
    ],
)
def test_wrong_values(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MINI, **change)


def test_fields_that_came_later_are_in_no_checkpoint_of_a_source(clips, tmp_path):
    train(clips, out=tmp_path / "run", recipe=MINI, iterations=1)
    settings = Checkpoint.load(tmp_path / "run" / "checkpoint.safetensors").settings
    known = {field.name for field in dataclasses.fields(Recipe)}
    later = {"what", "optimiser", "betas", "schedule", "warm_up", "average", "heads"}
    later |= {"norm", "reversed", "fast", "paired", "brightness"}
    later |= {"rate_shares", "class_rate", "clip_gradients"}
    told = {key.removeprefix("recipe's ") for key in settings if key.startswith("recipe's ")}
    assert told == known - later
    with pytest.raises(ValueError, match="begun with recipe's optimiser None, now it is 'adamw'"):
        train(clips, out=tmp_path / "run", recipe=dataclasses.replace(MINI, optimiser="adamw"))


# --- vectors --------------------------------------------------------------------------------------


def by_hand():
    """Of video a clips at 0, 8, 20 and in segment 1 at 4; of video b one vector."""
    return Targets(
        ("a", "b"),
        np.arange(5, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32),
        np.array([0, 0, 1, 0, 0]),
        np.array([20, 0, -1, 8, 4]),
        np.array([0, 0, 0, 0, 1]),
    )


def test_the_nearest_clips_vector_is_taken(tmp_path):
    by_hand().save(tmp_path / "x.targets")
    for targets in (by_hand(), Targets.load(tmp_path / "x.targets")):
        found = [targets.of("a", 0, start)[0] for start in (0, 3, 4, 5, 14, 15, 99)]
        assert found == [1, 1, 1, 3, 3, 0, 0]  # of two at the same distance the earlier one
        assert targets.of("a", 1, 40)[0] == 4
        assert [targets.of("b", n, 7)[0] for n in (0, 3)] == [2, 2]
        with pytest.raises(ValueError, match="no vector for segment 2 of the video a"):
            targets.of("a", 2, 0)
        with pytest.raises(ValueError, match=r"no vector for the video c \(and 1 more\)"):
            targets.check(["a", "c", "b", "d"])
    assert Targets.load(tmp_path / "x.targets").sha256 == by_hand().sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros(5)}, "`vectors` must be"),
        ({"vectors": np.full((5, 2), np.nan)}, "values that are not finite"),
        ({"video": np.array([0, 0, 1, 0, 2])}, "`video` must be from 0 to 1"),
        ({"start_frame": np.zeros(5)}, "`start_frame` must be .5,. whole numbers, got float64"),
    ],
)
def test_targets_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(by_hand(), **change)


def teacher(clips, *, size=5):
    """A vector a video, of its colour alone."""
    videos = ClipStore(clips).videos
    names = [video.name for video in videos]
    colours = np.random.default_rng(3).normal(size=(3, size)).astype(np.float32)
    rows = np.stack([colours[video.labels[0]] for video in videos])
    return Targets(names, rows, np.arange(len(names)), np.full(len(names), -1)), colours


def test_a_student_learns_the_teachers_vectors_without_labels(clips, tmp_path):
    targets, _ = teacher(clips)
    targets.save(tmp_path / "teacher.safetensors")
    recipe = dataclasses.replace(
        MINI, heads=(Head("teacher", "fc6", "cosine"),), optimiser="adamw", schedule="cosine",
        warm_up=0.1, average=0.8, weight_decay=0.05, learning_rate=0.001, iterations=40,
    )  # fmt: skip
    given = {"teacher": tmp_path / "teacher.safetensors"}
    report = train(clips, out=tmp_path / "run", recipe=recipe, targets=given, evaluations=2)
    assert report.evaluation is None
    assert any("no head tells classes: nothing is evaluated" in note for note in report.notes)
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    losses = [float(line.split(",")[2]) for line in lines]
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    weights = Weights.load(tmp_path / "run" / "weights.safetensors")
    assert weights.network.layer_names[-1] == "fc6"
    assert (weights.labels, weights.num_classes) == (None, None)
    # What was written is the running mean, and the head stays in the checkpoint.
    checkpoint = Checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    np.testing.assert_array_equal(weights["fc6.bias"], checkpoint.state["average:fc6.bias"])
    assert (weights["fc6.bias"] != checkpoint.parameters["fc6.bias"]).any()
    # By features of test videos, which it never saw, and the head: the nearest is their colour's.
    _, tested = split_videos(ClipStore(clips))
    _, colours = teacher(clips)
    extractor = Extractor(weights)
    for video in tested:
        features = extractor(clips.parent / "videos" / video.name).features
        guess = features @ checkpoint.state["head:0.weight"].T + checkpoint.state["head:0.bias"]
        guess = guess.mean(axis=0)
        cosines = colours @ guess / np.linalg.norm(colours, axis=1) / np.linalg.norm(guess)
        assert cosines.argmax() == video.labels[0]


def test_a_run_with_heads_is_the_same_when_it_is_stopped(clips, tmp_path):
    targets, _ = teacher(clips)
    recipe = dataclasses.replace(
        MINI, heads=HEADS, optimiser="adamw", average=0.9, schedule="constant", iterations=None
    )
    options = {"recipe": recipe, "targets": {"teacher": targets}, "evaluations": 1}
    for name, lengths in (("whole", (4,)), ("parts", (1, 3, 4))):
        for iterations in lengths:
            report = train(clips, out=tmp_path / name, iterations=iterations, **options)
    assert report.evaluation is not None
    one, two = (
        Checkpoint.load(tmp_path / n / "checkpoint.safetensors") for n in ("whole", "parts")
    )
    for arrays, expected in ((two.parameters, one.parameters), (two.state, one.state)):
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert {name.partition(":")[0] for name in one.state if ":" in name} == {
        "adamw", "average", "head", "momentum.head", "second"
    }  # fmt: skip
    other = dataclasses.replace(targets, vectors=targets.vectors + 1)
    with pytest.raises(ValueError, match="begun with targets "):
        train(
            clips,
            out=tmp_path / "whole",
            iterations=4,
            **{**options, "targets": {"teacher": other}},
        )


def test_what_the_heads_lack_is_refused_before_anything_is_written(clips, tmp_path):
    targets, _ = teacher(clips)
    few = Targets(targets.videos[:1], targets.vectors[:1], np.array([0]), np.array([-1]))
    recipe = dataclasses.replace(MINI, heads=HEADS)
    wrong = dataclasses.replace(MINI, heads=(Head("teacher", "fc9", "mse"),))
    videos = shutil.copytree(clips.parent / "videos", tmp_path / "videos")
    for dataset, change, message in [
        (
            clips,
            {},
            "`targets` must be the vectors that the recipe's heads learn, teacher; got none",
        ),
        (clips, {"targets": {"t": targets}}, "heads learn, teacher; got t"),
        (clips, {"targets": {"teacher": few}}, "`targets` have no vector for the video"),
        (videos, {"targets": {"teacher": few}}, "`targets` have no vector for the video"),
        (
            clips,
            {"targets": {"teacher": targets}, "recipe": wrong},
            "`layer` must be one of conv1a",
        ),
        (clips, {"targets": {"teacher": clips}}, "holds no targets"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(dataset, out=tmp_path / "run", **{"recipe": recipe, **change})
    assert not (tmp_path / "run").exists()
