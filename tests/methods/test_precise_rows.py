"""`--precision` of transfer, compare and C3DFeatures; a CUDA device's place is taken on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from kinema import C3DFeatures, predict, transfer
from kinema.cli.app import main
from kinema.engine import engine as engines
from kinema.video.synthetic import draw_video, write_video

torch = pytest.importorskip("torch")

from kinema.engine.torch_runner import TorchRunner  # noqa: E402


@pytest.fixture
def gpu(monkeypatch):
    """The precisions are imitated."""

    def runner(network, parameters, *, device, **how):
        return TorchRunner(network, parameters, device="cpu", **how)

    monkeypatch.setattr(engines, "_torch_sees_cuda", lambda: True)
    monkeypatch.setattr(engines, "_torch_runner", runner)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precise") / "videos"
    for kind in ("clockwise", "counterclockwise"):
        for seed in range(2):
            write_video(folder / kind / f"{seed}.mp4", draw_video(kind, seed=seed, num_frames=16))
    return folder


def test_features_are_the_precisions_and_a_cache_keeps_them_apart(gpu, labelled, tmp_path):
    video = str(labelled / "clockwise" / "0.mp4")
    found = {
        precision: C3DFeatures(cache=tmp_path / "cache", precision=precision).transform([video])
        for precision in ("fp32", "bf16", "fp16", "bf16")
    }
    for precision, least, most in (("bf16", 1e-4, 1e-2), ("fp16", 1e-5, 2e-3)):
        assert least < np.linalg.norm(found[precision] - found["fp32"]) < most  # of length 1
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3
    assert C3DFeatures(precision="bf16").get_params()["precision"] == "bf16"


def test_a_classifier_of_bf16_predicts_in_bf16_alone(gpu, labelled):
    made = transfer(labelled, cost=1.0, timed=False, precision="bf16", folds=2)
    assert made.classifier.nets[0].settings["precision"] == "bf16"
    if made.result is not None:
        assert made.result.settings["precision"] == "bf16"
    videos = [labelled / "clockwise" / "0.mp4"]
    assert predict(videos, classifier=made.classifier, precision="bf16").predictions
    with pytest.raises(ValueError, match="trained on features with precision bf16, these have fp"):
        predict(videos, classifier=made.classifier)


@pytest.mark.parametrize("command", ["transfer", "compare"])
def test_without_a_gpu_it_is_refused_before_a_video_is_read(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engines, "_torch_sees_cuda", lambda: False)
    (tmp_path / "videos").mkdir()
    asked = [command, str(tmp_path / "videos"), "--out", str(tmp_path / "out")]
    assert main([*asked, "--precision", "bf16"]) == 2
    err = capsys.readouterr().err
    assert 'kinema: --precision "bf16" is for a CUDA device, and there is none: leave it' in err
    assert err.count("\n") == 1
