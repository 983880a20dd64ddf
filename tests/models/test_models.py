"""Every published network loads by its name and keeps the contract of models."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.cli.app import main  # noqa: E402
from kinema.model import UserModel  # noqa: E402
from kinema.models import MODELS, load  # noqa: E402
from kinema.weights.file import Weights  # noqa: E402


@pytest.mark.parametrize("name", MODELS)
def test_each_can_be_run_and_learned_as_a_model(name):
    made = load(name)
    model = UserModel.from_class(name, made, 5, width=1 / 64)
    assert model.input_shape == made.input_shape
    assert model.stream in ("rgb", "flow", "imagenet")
    assert made.input_shape[0] == {"rgb": 3, "flow": 2, "imagenet": 1280}[model.stream]
    assert set(made.layers) == set(model.layer_names) - {"logits", "prob"} != set()
    # A video is judged by a number of clips or by clips at a stride, never both.
    if getattr(made, "learns_labels", True):
        assert hasattr(made, "test_clips") != hasattr(made, "test_stride")


@pytest.mark.parametrize("name", MODELS)
def test_scores_and_features_are_of_clips_at_the_published_size(name):
    made = load(name)
    with torch.device("meta"):
        module = made(5, width=1 / 8).eval()
        clips = torch.zeros(2, *made.input_shape)
        labels = torch.zeros(2, dtype=torch.long)
    if getattr(made, "learns_labels", True):
        assert module(clips).shape == (2, 5)
    for layer in made.layers:
        assert len(module.features(clips, layer)) == 2
    if hasattr(module, "loss"):
        assert module.train().loss(clips, labels).shape == ()


@pytest.mark.parametrize("name", MODELS)
def test_twice_the_width_is_more_and_the_same_seed_is_the_same(name):
    made = load(name)

    def state(width):
        torch.manual_seed(7)
        return made(5, width=width).state_dict()

    small, again, larger = state(1 / 64), state(1 / 64), state(1 / 16)
    assert all(torch.equal(value, again[key]) for key, value in small.items())
    assert list(small) == list(larger)
    if name != "two-stream-spatial-imagenet":  # ImageNet's channels and the classes are all it has
        assert sum(map(torch.numel, larger.values())) > sum(map(torch.numel, small.values()))


def test_an_unknown_name_is_told_the_others():
    with pytest.raises(ValueError, match="`name` must be one of slow-fusion, .*; got 'vgg'"):
        load("vgg")


def test_weights_of_one_tell_what_they_are(tmp_path, capsys):
    """A file of a published network needs no class to be given, and its mean is told in a word."""
    model = UserModel.from_class("lrcn-imagenet", load("lrcn-imagenet"), 3, width=1 / 64)
    mean = np.zeros(1280, np.float32)
    path = tmp_path / "x.safetensors"
    Weights(model.initial_arrays(0), model, name="x", mean=mean, labels=("a", "b", "c")).save(path)
    again = Weights.load(path)
    assert again.network.make is load("lrcn-imagenet")
    assert again.sha256 == Weights.load(path).sha256
    assert main(["weights", "info", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "mean       0 of each of 1280 channels\n" in printed
    assert "lrcn-imagenet: published, of imagenet, layers fc6, lstm, logits, prob\n" in printed
