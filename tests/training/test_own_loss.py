"""A loss of a model's own, clipped gradients, rates of the classes' parameters, rates by shares."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.model import UserModel  # noqa: E402
from kinema.network import kernel_depth  # noqa: E402
from kinema.training.budget import keep, kept_iterations  # noqa: E402
from kinema.training.clip_store import ClipStore  # noqa: E402
from kinema.training.descent import Optimiser  # noqa: E402
from kinema.training.heads import CLIPS, Head  # noqa: E402
from kinema.training.learner import Learner  # noqa: E402
from kinema.training.prepare import prepare, split_videos  # noqa: E402
from kinema.training.processes import Processes  # noqa: E402
from kinema.training.published import PUBLISHED, short  # noqa: E402
from kinema.training.recipes import RECIPES, adapted  # noqa: E402
from kinema.training.train import train  # noqa: E402
from kinema.weights.file import Weights  # noqa: E402

from odd_videos import write_video  # noqa: E402
from small_videos import write_folder  # noqa: E402

SHAPE = (3, 4, 16, 16)


class Steps(torch.nn.Module):
    """Tells the class at each of four frames; the later ones weigh more."""

    input_shape = SHAPE
    layers = ("colours",)
    frame_step = 2

    def __init__(self, num_classes, *, input_shape=None):
        super().__init__()
        self.length = (input_shape or SHAPE)[1]
        self.fc = torch.nn.Linear(3, num_classes)

    def features(self, clips, layer):
        return clips.mean((3, 4)) / 64  # (N, 3, T)

    def steps(self, clips):
        return self.fc(self.features(clips, "colours").transpose(1, 2)).softmax(-1)

    def forward(self, clips):
        return self.steps(clips).mean(1).log()

    def loss(self, clips, labels):
        gains = torch.arange(1, self.length + 1) / self.length
        right = self.steps(clips)[torch.arange(len(clips)), :, labels]
        return -(gains * right.log()).sum(1).mean()


class Colours(torch.nn.Module):
    """Learns to give the colours of a clip again; it needs no labels."""

    input_shape = SHAPE
    layers = ("code",)
    learns_labels = False

    def __init__(self, num_classes):
        super().__init__()
        self.code = torch.nn.Linear(3, 2)
        self.back = torch.nn.Linear(2, 3)

    def features(self, clips, layer):
        return self.code(clips.mean((2, 3, 4)) / 64)

    def forward(self, clips):
        return self.features(clips, "code")

    def loss(self, clips, labels):
        assert labels is None
        return (
            (self.back(self.features(clips, "code")) - clips.mean((2, 3, 4)) / 64).square().mean()
        )


class Coded(torch.nn.Module):
    """Tells classes from the same code."""

    input_shape = SHAPE

    def __init__(self, num_classes):
        super().__init__()
        self.code = torch.nn.Linear(3, 2)
        self.fc = torch.nn.Linear(2, num_classes)

    def forward(self, clips):
        return self.fc(self.code(clips.mean((2, 3, 4)) / 64))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own-loss")
    prepare(write_folder(folder / "videos"), out=folder / "x.clips", size=(18, 24))
    return folder / "x.clips"


def learner_of(make, **options):
    model = UserModel.from_class("mine", make, 3)
    learner = Learner(model, Processes("cpu", "torch", threads=1), **options)
    learner.load(model.initial_arrays(0))
    return learner


def batch(seed=0):
    generator = np.random.default_rng(seed)
    clips = generator.normal(0, 60, (6, *SHAPE)).astype(np.float32)
    return torch.from_numpy(clips), torch.from_numpy(generator.integers(0, 3, 6))


def test_a_models_own_loss_is_what_is_learned():
    learner = learner_of(Steps, heads=(Head(weight=0.5),))
    x, y = batch()
    weight, bias = (learner.parameters()[name] for name in ("fc.weight", "fc.bias"))
    scores = np.einsum("nct,kc->ntk", x.numpy().mean((3, 4)) / 64, weight) + bias
    log = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    right = log[np.arange(6), :, y.numpy()]
    expected = 0.5 * -(right * [0.25, 0.5, 0.75, 1.0]).sum(1).mean()
    assert float(learner.loss(x, y).detach()) == pytest.approx(expected, rel=1e-4)


def test_clipped_gradients_have_the_length():
    x, y = batch()
    plain = Optimiser(momentum=0.0, weight_decay=0.0)
    moves = {}
    for most in (None, 0.01):
        learner = learner_of(Steps, optimiser=plain, clip_gradients=most)
        before = learner.parameters()
        learner.step(x, y, rate=1.0)
        after = learner.parameters()
        # Biases learn at twice the rate.
        moves[most] = np.concatenate(
            [((after[n] - before[n]) / (2 if n.endswith("bias") else 1)).ravel() for n in before]
        )
    assert np.linalg.norm(moves[None]) > 0.02
    assert np.linalg.norm(moves[0.01]) == pytest.approx(0.01, rel=1e-3)
    direction = moves[None] / np.linalg.norm(moves[None])
    np.testing.assert_allclose(moves[0.01] / 0.01, direction, atol=1e-3)


def test_the_classes_parameters_have_their_own_rate():
    x, y = batch()
    moves = []
    for rate in (1.0, 10.0):
        optimiser = Optimiser(momentum=0.9, weight_decay=0.0)
        learner = learner_of(Coded, optimiser=optimiser, class_rate=rate)
        before = learner.parameters()
        learner.step(x, y, rate=0.001)
        after = learner.parameters()
        moves.append({name: after[name] - before[name] for name in before})
    for name in moves[0]:
        factor = 10 if name.startswith("fc") else 1
        np.testing.assert_allclose(moves[1][name], factor * moves[0][name], rtol=2e-2, atol=1e-7)


def test_rates_by_shares():
    """Simonyan and Zisserman: divided by 10 at 50,000 and 70,000 of 80,000 steps."""
    recipe = PUBLISHED["two-stream-temporal"]
    rates = [recipe.learning_rate_at(i, 80_000) for i in (0, 49_999, 50_000, 69_999, 70_000)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    rates = [recipe.learning_rate_at(i, 8) for i in range(8)]
    assert rates == pytest.approx([1e-2] * 5 + [1e-3] * 2 + [1e-4])
    with pytest.raises(ValueError, match="`rate_shares` must rise, between 0 and 1"):
        dataclasses.replace(recipe, rate_shares=(0.5, 0.5))
    with pytest.raises(ValueError, match="`clip_gradients` must be more than 0, got 0"):
        dataclasses.replace(recipe, clip_gradients=0)


def test_the_published_solvers():
    """facts of their sources, see `published`."""
    lrcn, flow = PUBLISHED["lrcn"], PUBLISHED["lrcn-flow"]
    assert (lrcn.batch, lrcn.learning_rate, lrcn.weight_decay) == (24, 0.001, 0.005)
    assert [lrcn.learning_rate_at(i, 30_000) for i in (9_999, 10_000, 20_000)] == pytest.approx(
        [1e-3, 1e-4, 1e-5]
    )
    assert (lrcn.clip_gradients, flow.clip_gradients, lrcn.class_rate) == (5, 15, 10)
    composite = PUBLISHED["lstm-composite"]
    assert not composite.learns_labels
    assert composite.learning_rate_at(10_000, 100_000) == pytest.approx(0.9e-4)
    slowfast = PUBLISHED["slowfast"]
    assert (slowfast.batch, slowfast.learning_rate, slowfast.schedule) == (64, 0.1, "cosine")
    assert all(recipe.network == name for name, recipe in PUBLISHED.items())
    quick = short(lrcn)
    assert (quick.optimiser, quick.batch, quick.clip_gradients) == ("adamw", 16, 5)


def test_widths_crops_and_lengths():
    recipe = adapted(RECIPES["two-stream-temporal"], width=0.25, crop=64)
    assert recipe.arguments == {"width": 0.25, "input_shape": (2, 10, 64, 64)}
    depth = adapted(RECIPES["kernel-depth-mini"], model="depth-7", width=0.5, crop=32)
    assert depth.make_network(3) == kernel_depth(
        (7,) * 5, 3, input_shape=(3, 16, 32, 32), width=0.5
    )
    same = adapted(RECIPES["kernel-depth-mini"], model="depth-7")
    assert same.make_network(3) == kernel_depth(
        (7,) * 5, 3, input_shape=(3, 16, 64, 64), width=0.25
    )
    with pytest.raises(ValueError, match="`width` scales slow-fusion"):
        adapted(RECIPES["mini"], width=0.5)
    with pytest.raises(ValueError, match="`crop`: lrcn-imagenet sees maps of 7x7 places"):
        adapted(RECIPES["lrcn-imagenet"], crop=64)


def test_unlabelled_videos_are_all_learned_from(tmp_path):
    folder = tmp_path / "found" / "deep"
    folder.mkdir(parents=True)
    for index in range(4):
        write_video(folder / f"{index}.mp4", 18, first_index=500 * index)
    run = {"batch": 2, "iterations": 1, "threads": 1, "learning_rate": 0.02}
    report = train(
        tmp_path / "found", out=tmp_path / "run", model=Colours, kind="unlabelled", **run
    )
    assert report.evaluation is None
    assert [note for note in report.notes if "split" in note] == []
    store = ClipStore(tmp_path / "run" / "prepared.clips")
    train_videos, test = split_videos(store, labelled=False)
    assert ([video.name for video in train_videos], test) == (
        [f"deep/{index}.mp4" for index in range(4)],
        [],
    )
    with pytest.raises(ValueError, match="has one class, unlabelled: nothing to tell apart"):
        train(tmp_path / "found", out=tmp_path / "no", model=Coded, kind="unlabelled", **run)


def test_without_labels_and_then_with_them(clips, tmp_path):
    quick = {"batch": 6, "iterations": 20, "threads": 1, "learning_rate": 0.02}
    report = train(clips, out=tmp_path / "one", model=Colours, **quick)
    assert report.evaluation is None
    assert any("nothing is evaluated" in note for note in report.notes)
    first = Weights.load(tmp_path / "one" / "weights.safetensors", models={"Colours": Colours})
    report = train(clips, out=tmp_path / "two", model=Coded, weights=first, **quick)
    assert any("fc start anew" in note for note in report.notes)
    assert report.evaluation.video_hit1 > 0.3
    none = train(
        clips, out=tmp_path / "three", model=Coded, weights=first, **{**quick, "iterations": 1,
        "learning_rate": 1e-12}
    )  # fmt: skip
    assert none.iterations == 1
    second = Weights.load(tmp_path / "three" / "weights.safetensors", models={"Coded": Coded})
    np.testing.assert_allclose(second["code.weight"], first["code.weight"], atol=1e-6)
    recipe = dataclasses.replace(RECIPES["mini"], heads=(Head(CLIPS, loss="own"),))
    with pytest.raises(ValueError, match="a head on clips needs a model whose own `loss`"):
        train(clips, out=tmp_path / "four", recipe=recipe)


def test_steps_of_a_models_own_are_evaluated_as_it_says(clips, tmp_path):
    report = train(
        clips, out=tmp_path / "run", model=Steps, batch=6, iterations=60, learning_rate=0.05,
        threads=1,
    )  # fmt: skip
    assert report.evaluation.video_hit1 == 1.0  # by chance 0.33


def test_seconds_become_steps_once(clips, tmp_path):
    options = {"model": Coded, "batch": 6, "threads": 1, "learning_rate": 0.01}
    report = train(clips, out=tmp_path / "run", seconds=0.2, **options)
    budget = json.loads((tmp_path / "run" / "budget.json").read_text())
    assert report.iterations == budget["iterations"] >= 1
    assert budget["iterations"] == max(int(0.2 / budget["seconds_a_step"]), 1) or (
        abs(budget["iterations"] * budget["seconds_a_step"] - 0.2) < 0.2 * 0.01
    )
    # Gone on with on what would be another machine, it is the same run.
    budget["seconds_a_step"] *= 100
    (tmp_path / "run" / "budget.json").write_text(json.dumps(budget))
    assert (
        train(clips, out=tmp_path / "run", seconds=0.2, **options).iterations
        == (budget["iterations"])
    )
    with pytest.raises(ValueError, match="was begun with 0.2 `seconds`, which are"):
        train(clips, out=tmp_path / "run", seconds=5, **options)
    with pytest.raises(ValueError, match="`seconds` gives the length of the run: name no other"):
        train(clips, out=tmp_path / "x", seconds=5, epochs=1, **options)
    with pytest.raises(ValueError, match="`seconds` must be more than 0, got -1"):
        train(clips, out=tmp_path / "x", seconds=-1, **options)
    train(clips, out=tmp_path / "steps", iterations=2, **options)
    with pytest.raises(ValueError, match="was begun with a length in steps or epochs"):
        train(clips, out=tmp_path / "steps", seconds=5, **options)


def test_a_damaged_budget_is_refused(tmp_path):
    assert kept_iterations(tmp_path, 10) is None
    assert keep(tmp_path, 10, 0.3) == 33
    assert kept_iterations(tmp_path, 10) == 33
    assert keep(tmp_path, 10, 50) == 1
    (tmp_path / "budget.json").write_text("{")
    with pytest.raises(ValueError, match="budget.json is damaged"):
        kept_iterations(tmp_path, 10)
