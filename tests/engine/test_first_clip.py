"""The check at the start of a run on a GPU, with an engine that computes wrong in its place."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from kinema.cli.app import main
from kinema.engine import engine as engines
from kinema.engine.engine import Engine
from kinema.engine.first_clip import ERRORS, check_first_clip, known_faults
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor, still
from kinema.features.table import FeatureTable
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.skipped import EngineError
from kinema.video.synthetic import draw_video, write_video
from kinema.weights.file import random_weights

torch = pytest.importorskip("torch")

from kinema.engine.torch_runner import TorchRunner  # noqa: E402

NETWORK = Network(
    (3, 5, 13, 15),
    (
        Conv3d("conv1a", 4),
        MaxPool3d("pool1", (1, 2, 2)),
        Linear("fc6", 11),
        Linear("fc8", 3, relu=False),
        Softmax("prob"),
    ),
)
WEIGHTS = random_weights(NETWORK, seed=1)
SOUND = {"torch_version": "2.11.0+cu130", "cudnn_version": 91900}


def clips(number=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((number, *NETWORK.input_shape)).astype(np.float32)


class FakeGpu(TorchRunner):
    """In the place of PyTorch on a CUDA device: the native engine's numbers, some of them wrong.

    Frames are packed, resized, cut and centred as there, but on a CPU.
    """

    versions = SOUND
    wrong = 0.0
    place = 0  # which clip of a batch

    def __init__(self, network, parameters, *, device, precision, threads):
        how = {"device": "cpu", "precision": "fp32", "threads": threads}
        super().__init__(network, parameters, **how)
        self._native = engines._NativeRunner(network, parameters, threads=threads)
        self._forward = self._of_tensors
        self.asked = []

    def _of_tensors(self, x, wanted):
        outputs = self.run(x.numpy(force=True), wanted)
        return {name: torch.from_numpy(output) for name, output in outputs.items()}

    def run(self, clips, wanted):
        self.asked.append((len(clips), tuple(wanted)))
        outputs = self._native.run(np.ascontiguousarray(clips), wanted)
        for output in outputs.values():
            output[self.place] *= 1 + self.wrong
        return outputs


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(engines, "_torch_sees_cuda", lambda: True)
    monkeypatch.setattr(engines, "_torch_runner", FakeGpu)
    monkeypatch.setattr(FakeGpu, "wrong", 0.0)
    monkeypatch.setattr(FakeGpu, "place", 0)
    monkeypatch.setattr(FakeGpu, "versions", SOUND)
    return FakeGpu


@pytest.mark.parametrize("precision", ERRORS)
def test_twice_the_error_is_allowed_and_no_more(gpu, precision):
    gpu.wrong = 1.9 * ERRORS[precision]
    Engine(NETWORK, WEIGHTS, precision=precision).run(clips())
    gpu.wrong = 2.1 * ERRORS[precision]
    engine = Engine(NETWORK, WEIGHTS, precision=precision)
    for _ in range(2):  # it stays wrong
        with pytest.raises(EngineError, match=f"fc6 of the first clips wrong in {precision}"):
            engine.run(clips())


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_clip_of_the_first_batch_are_looked_at(gpu, place):
    gpu.wrong, gpu.place = 0.5, place
    with pytest.raises(EngineError, match=r"by 0\.5 of its length, and may by 0\.02 \(PyTorch"):
        Engine(NETWORK, WEIGHTS, precision="bf16").run(clips(4))


def test_it_is_looked_at_once_and_not_on_a_cpu(gpu):
    engine = Engine(NETWORK, WEIGHTS)
    assert engine.device == "cuda"
    right = engine.run(clips())["fc6"]
    gpu.wrong = 0.5
    assert not np.array_equal(engine.run(clips())["fc6"], right)
    assert Engine(NETWORK, WEIGHTS, device="cpu", engine="native")._unchecked is None


def test_probabilities_are_judged_by_what_they_are_made_of(gpu):
    engine = Engine(NETWORK, WEIGHTS)
    outputs = engine.run(clips(), ("prob", "fc6"))
    assert list(outputs) == ["prob", "fc6"]
    assert engine._runner.asked == [(3, ("prob", "fc6", "fc8"))]


def test_without_the_native_engine_pytorch_on_the_cpu_stands_in(gpu, monkeypatch):
    engine, asked = Engine(NETWORK, WEIGHTS, precision="bf16"), {}
    native = engine._runner._native

    def not_built(*_, **__):
        raise ImportError("No module named 'kinema.native._native'")

    def stand_in(*_, **how):
        asked.update(how)
        return native

    monkeypatch.setattr(engines, "_NativeRunner", not_built)
    monkeypatch.setattr(engines, "_torch_runner", stand_in)
    gpu.wrong = 0.5
    with pytest.raises(EngineError):
        engine.run(clips())
    assert asked == {"device": "cpu", "precision": "fp32", "threads": engine._threads}
    gpu.wrong = 0.0
    engine.run(clips())


def test_what_is_no_number_is_refused():
    with pytest.raises(EngineError, match="fc6"):
        check_first_clip(
            {"fc6": np.full((1, 4), np.nan, np.float32)},
            {"fc6": np.ones((1, 4), np.float32)},
            "fp32",
            **SOUND,
        )


def test_features_that_are_all_zero_may_be_zero_and_nothing_else():
    zeros = np.zeros((1, 4), np.float32)
    check_first_clip({"fc6": zeros}, {"fc6": zeros}, "bf16", **SOUND)
    with pytest.raises(EngineError):
        check_first_clip({"fc6": zeros + 1}, {"fc6": zeros}, "bf16", **SOUND)


@pytest.mark.parametrize(
    ("precision", "torch_version", "cudnn_version", "told"),
    [
        ("bf16", "2.8.0+cu128", 91002, ["cuDNN 9.10 is known to compute wrong"]),
        ("bf16", "2.8.0", 90800, ["cuDNN 9.8 "]),
        ("bf16", "2.8.0", 90701, []),
        ("bf16", "2.8.0", 91300, []),
        ("fp16", "2.8.0", 91002, []),
        (
            "bf16",
            "2.9.0+cu128",
            91002,
            ["cuDNN 9.10", "PyTorch 2.9.0+cu128 is known"],
        ),
        ("fp16", "2.9.0", 91500, ["PyTorch 2.9.0"]),  # it does not look at cuDNN's version
        ("fp16", "2.9.1", 91300, ["PyTorch 2.9.1"]),
        ("fp16", "2.9.1", 91500, []),
        ("bf16", "2.10.0a0+git", 91501, []),
        ("fp32", "2.9.0", 91002, []),
        ("bf16", "2.9.0", None, ["PyTorch 2.9.0"]),
    ],
)
def test_known_faults_of_releases(precision, torch_version, cudnn_version, told):
    found = known_faults(precision, torch_version, cudnn_version)
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))


def test_a_known_fault_is_told_before_it_strikes_and_where_it_does(gpu):
    gpu.versions = {"torch_version": "2.8.0", "cudnn_version": 91002}
    with pytest.warns(UserWarning, match=r"cuDNN 9\.10 .* in bf16 \(pytorch/pytorch#163539\)"):
        Engine(NETWORK, WEIGHTS, precision="bf16").run(clips())
    gpu.wrong = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(EngineError, match=r"#163539\): install 9\.15 or newer"):
            Engine(NETWORK, WEIGHTS, precision="bf16").run(clips())


def test_extraction_on_a_gpu_gives_the_rows_of_a_cpu(gpu, tmp_path):
    """Pixels are sent from the threads that read, several videos at once, and rows come in order.

    Of sizes that are resized there, and of one that is too large. On weights whose mean is a
    volume, so that what is subtracted depends on the place.
    """
    videos = tmp_path / "videos"
    for seed, size in enumerate([(64, 64), (320, 240), (400, 300), (170, 128)]):
        drawn = draw_video("clockwise", seed=seed, num_frames=40, width=size[0], height=size[1])
        write_video(videos / f"{seed}.mp4", drawn)
    mean = np.random.default_rng(0).normal(100, 20, (3, 16, 128, 171)).astype(np.float32)
    for device in ("cpu", "cuda"):
        extract(videos, out=tmp_path / device, device=device, mean=mean, batch=2)
    for seed in range(4):
        here, there = (
            FeatureTable.load(tmp_path / device / f"{seed}.mp4.safetensors")
            for device in ("cpu", "cuda")
        )
        assert there.about["engine"] == "Engine(kind='torch', device='cuda')"
        np.testing.assert_array_equal(here.features, there.features)
        np.testing.assert_array_equal(here.start_frame, there.start_frame)


@pytest.mark.parametrize("how", [{"weights": "c3d-mini+c3d-mini-random"}, {"crops": 5}])
def test_two_nets_and_several_crops_give_those_rows_there_too(gpu, tmp_path, how):
    drawn = draw_video("clockwise", seed=0, num_frames=40, width=320, height=240)
    write_video(tmp_path / "a.mp4", drawn)
    how = {"weights": "c3d-mini", **how, "batch": 2}
    here, there = (
        Extractor(**how, device=device)(tmp_path / "a.mp4").features for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(here, there)


def test_an_experiment_that_changes_clips_gets_them_resized(gpu, tmp_path):
    drawn = draw_video("clockwise", seed=0, num_frames=24, width=320, height=240)
    write_video(tmp_path / "a.mp4", drawn)
    here, there = (
        Extractor(device=device)(tmp_path / "a.mp4", rearrange=still).features
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(here, there)


def test_a_frame_that_is_in_several_clips_is_sent_once(gpu, tmp_path, monkeypatch):
    drawn = draw_video("clockwise", seed=0, num_frames=40, width=320, height=240)
    write_video(tmp_path / "a.mp4", drawn)
    sent = []

    def packed(self, frames):
        sent.append([frame.shape for frame in frames])
        return TorchRunner.packed(self, frames)

    monkeypatch.setattr(gpu, "packed", packed)
    Extractor(device="cuda", batch=2)(tmp_path / "a.mp4")
    # Clips from 0, 8 | 16, 24; the first batch is computed at once, as it is looked at.
    assert sent == [[(240, 320, 3)] * 24]


def test_extraction_stops_in_one_line_and_skips_no_video(gpu, tmp_path, capsys):
    write_video(tmp_path / "videos" / "a.mp4", draw_video("clockwise", seed=0, num_frames=16))
    gpu.wrong = 0.5
    asked = ["extract", str(tmp_path / "videos"), "--out", str(tmp_path / "out")]
    assert main([*asked, "--precision", "bf16"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("kinema: the GPU computes fc6 of the first clips wrong in bf16: ")
    assert not list((tmp_path / "out").glob("*.safetensors"))
    assert not (tmp_path / "out" / "skipped.jsonl").exists()
    gpu.wrong = 0.0
    assert main([*asked, "--precision", "bf16"]) == 0
