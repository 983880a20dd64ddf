"""C3D on one GPU: parity, forward, layers, training, extraction; benchmarks/gpu.json.

    python benchmarks/gpu.py --out benchmarks/gpu.json
    python benchmarks/gpu.py --out FILE --device cpu --quick      a toy, to see that it runs

Fits into five minutes of a lent machine. Needs numpy and torch, and src/ beside it; extraction
needs all that Kinema needs, and what is missing is told in `failed`. The file is written after each
step, so what was measured is there if the machine is taken away. Weights are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import torch
from brox_gpu import machine
from torch import Tensor

from kinema.engine.engine import Engine
from kinema.engine.precision import PRECISIONS
from kinema.engine.torch_forward import FastForward, forward_of, switches
from kinema.network import Conv3d, Linear, MaxPool3d, Network, c3d
from kinema.weights.initial import initial_arrays

BOUNDS = {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2, "fp16": 2e-3}
BATCHES = (8, 32, 128, 256)
TRAINED = (30, 120)


class Bench:
    """What is measured, and on what."""

    def __init__(self, device: str, *, quick: bool, seconds: float, out: Path) -> None:
        self.device, self.quick, self.out = torch.device(device), quick, out
        self.on_gpu = self.device.type == "cuda"
        self.network = toy() if quick else c3d(487)
        self.arrays = initial_arrays(self.network, kind="he")
        self.gigaflop = 2e-9 * self.network.num_multiply_adds
        self.rounds = 2 if quick else 5
        self._began, self._seconds = time.perf_counter(), seconds
        self.result: dict[str, Any] = {
            "what": "C3D, random weights" if not quick else "a toy network",
            "gigaflop_a_clip": self.gigaflop,
            "machine": machine(self.device.type),
            "cudnn": torch.backends.cudnn.version(),
            "failed": [],
        }

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Measure one thing, if there is time; a failure is told and the others go on."""
        value = None
        if time.perf_counter() - self._began > self._seconds:
            self.result["failed"].append({"what": name, "why": f"{self._seconds:g} s were over"})
        else:
            begun = time.perf_counter()
            try:
                value = work()
            except Exception as error:
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                self.result["failed"].append({"what": name, "why": why})
            print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
            if self.on_gpu:
                torch.cuda.empty_cache()
        self.save()
        return value

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    def seconds(self, work: Callable[[], object]) -> float:
        """The median time of some calls, after two that are not counted."""
        found = []
        for call in range(2 + self.rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            if call >= 2:
                found.append(time.perf_counter() - begun)
        return statistics.median(found)

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def tensors(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(a).to(self.device) for name, a in self.arrays.items()}

    def clips(self, number: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.normal(0, 60, (number, *self.network.input_shape)).astype(np.float32)

    def rate(self, clips: int, seconds: float) -> dict[str, Any]:
        row = {
            "clips_per_second": clips / seconds,
            "frames_per_second": self.network.input_shape[1] * clips / seconds,
            "tflops": clips * self.gigaflop / seconds / 1e3,
        }
        peak = self.result.get("peak", {}).get("bf16_tflops")
        return row if not peak else {**row, "share_of_bf16_peak": row["tflops"] / peak}


def toy() -> Network:
    return Network(
        (3, 16, 16, 16),
        (
            Conv3d("conv1a", 4),
            MaxPool3d("pool1", (1, 2, 2)),
            Conv3d("conv2a", 8),
            MaxPool3d("pool2"),
            Linear("fc6", 16),
            Linear("fc8", 5, relu=False),
        ),
        {"name": "toy", "num_classes": 5},
    )


# --- what is measured -----------------------------------------------------------------------------


def peak(bench: Bench) -> dict[str, float]:
    """TFLOP/s of a large product: what the chip itself gives."""
    size = 256 if bench.quick else 8192
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        side = size if name == "bf16" else size // 2
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        with switches("fp32"):
            seconds = bench.seconds(lambda a=a, b=b: a @ b)
        found[f"{name}_tflops"] = 2e-12 * side**3 / seconds
    return found


def parity(bench: Bench) -> dict[str, Any]:
    """Relative L2 error of each precision against strict fp32 on the CPU, by layer, worst clip."""
    clips = bench.clips(2)
    layers = [name for name in ("conv5b", "fc6", "fc8") if name in bench.network.layer_names]
    try:
        engine = Engine(bench.network, bench.arrays, engine="native", device="cpu")
        against = "native"
    except ImportError:
        engine = Engine(bench.network, bench.arrays, engine="torch", device="cpu")
        against = "torch on the CPU"
    right = engine.run(clips, layers)
    found: dict[str, Any] = {"against": against}
    for precision in PRECISIONS:
        forward = forward_of(bench.network, bench.tensors(), bench.device, precision)
        with torch.inference_mode(), switches(precision):
            got = forward(torch.from_numpy(clips).to(bench.device), layers)
        found[precision] = {
            name: max(
                float(np.linalg.norm(g - r) / np.linalg.norm(r))
                for g, r in zip(got[name].cpu().numpy(), right[name], strict=True)
            )
            for name in layers
        }
        found[precision]["within_bound"] = found[precision]["fc6"] <= BOUNDS[precision]
    return found


def fused_parity(bench: Bench) -> dict[str, float]:
    """Relative L2 distance of fc6 with Triton's first convolution from fc6 without it."""
    x = torch.from_numpy(bench.clips(8)).to(bench.device)
    found = {}
    for precision in ("bf16", "fp16"):
        rows = []
        for fused in (False, True):
            how: Any = {"precision": precision, "compiled": False, "fused": fused}
            run = FastForward(bench.network, bench.tensors(), **how)
            with torch.inference_mode(), switches(precision):
                rows.append(run(x, ("fc6",))["fc6"])
            assert (run._stem is not None) == fused
        found[precision] = float((rows[1] - rows[0]).norm() / rows[0].norm())
    return found


def forward(
    bench: Bench, precision: str, batch: int, *, compiled: bool, fused: bool = False
) -> dict[str, Any]:
    """The network alone, clips on the device; `fused`: the first convolution by Triton."""
    x = torch.from_numpy(bench.clips(min(batch, 8))).to(bench.device)
    x = x.repeat(-(-batch // len(x)), 1, 1, 1, 1)[:batch]
    run: Any = forward_of(bench.network, bench.tensors(), bench.device, "fp32")
    if precision != "fp32":
        how: Any = {"precision": precision, "compiled": compiled, "fused": fused}
        run = FastForward(bench.network, bench.tensors(), **how)
    with torch.inference_mode(), switches(precision):
        begun = time.perf_counter()
        run(x, ("fc6",))
        bench.wait()
        first = time.perf_counter() - begun
        seconds = bench.seconds(lambda: run(x, ("fc6",)))
    row: dict[str, Any] = {"precision": precision, "batch": batch}
    if precision != "fp32":
        row |= {"compiled": run._compiled is not None, "fused_stem": run._stem is not None}
    return {**row, "first_call_seconds": first, **bench.rate(batch, seconds)}


def whole_engine(bench: Bench, precision: str, batch: int) -> dict[str, Any]:
    """`Engine.start` on pixels in the computer's memory, two batches ahead, rows brought back."""
    kind = {"engine": "torch", "device": bench.device.type, "precision": precision}
    engine = Engine(bench.network, bench.arrays, **kind)
    channels, *sizes = bench.network.input_shape
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (batch, *sizes, channels), np.uint8)
    mean = np.full((channels, *sizes), 100, np.float32)
    rounds = 4 if bench.quick else 12

    def run() -> None:
        waits: list[Callable[[], object]] = []
        for _ in range(rounds):
            waits.append(engine.start(frames, mean))
            if len(waits) > 2:
                waits.pop(0)()
        for wait in waits:
            wait()

    row = {"precision": precision, "batch": batch}
    return {**row, **bench.rate(rounds * batch, bench.seconds(run))}


def layers(bench: Bench, batch: int) -> list[dict[str, Any]]:
    """Each layer by itself in bf16, channels last, uncompiled; convolutions also bare."""
    from kinema.engine.torch_network import apply_layer

    tensors = {
        name: t.to(torch.bfloat16, memory_format=torch.channels_last_3d)
        if t.ndim == 5
        else t.to(torch.bfloat16)
        for name, t in bench.tensors().items()
    }
    x = torch.randn(batch, *bench.network.input_shape, device=bench.device)
    x = x.to(torch.bfloat16, memory_format=torch.channels_last_3d)
    rows = []
    with torch.inference_mode(), switches("bf16"):
        for layer in bench.network.layers:
            own = [tensors.get(f"{layer.name}.{kind}") for kind in ("weight", "bias")]
            seconds = bench.seconds(lambda x=x, layer=layer, own=own: apply_layer(layer, x, *own))
            row: dict[str, Any] = {"layer": layer.name, "milliseconds": 1e3 * seconds}
            if isinstance(layer, Conv3d):
                # Channels of zeros change nothing; kernels for tensor cores like eights.
                for channels in (x.shape[1], *([4, 8, 16] if x.shape[1] == 3 else [])):
                    more = channels - x.shape[1]
                    clip, weight = (
                        torch.cat([t, t.new_zeros(len(t), more, *t.shape[2:])], 1).contiguous(
                            memory_format=torch.channels_last_3d
                        )
                        for t in (x, own[0])
                    )
                    bare = bench.seconds(
                        lambda clip=clip, weight=weight, layer=layer: torch.nn.functional.conv3d(
                            clip, weight, padding=layer.padding
                        )
                    )
                    row[f"bare_milliseconds_of_{channels}_channels"] = 1e3 * bare
            rows.append(row)
            x = apply_layer(layer, x, *own)
    return rows


def training(bench: Bench, precision: str, batch: int, *, compiled: bool) -> dict[str, Any]:
    """Whole steps of `Learner`, clips in the computer's memory."""
    from kinema.training.learner import Learner
    from kinema.training.processes import Processes

    clips = torch.from_numpy(bench.clips(min(batch, 8))).repeat(-(-batch // 8), 1, 1, 1, 1)[:batch]
    if bench.on_gpu:
        clips = clips.pin_memory()
    labels = torch.arange(batch) % (bench.network.num_classes or 1)
    with Processes(bench.device.type, "torch", precision) as processes:
        learner = Learner(bench.network, processes, compile=compiled)
        learner.load(bench.arrays)
        begun = time.perf_counter()
        learner.step(clips, labels, rate=1e-5)
        bench.wait()
        first = time.perf_counter() - begun
        seconds = bench.seconds(lambda: learner.step(clips, labels, rate=1e-5))
    row = {"precision": precision, "batch": batch, "compiled": compiled}
    return {**row, "first_call_seconds": first, "clips_per_second": batch / seconds}


# --- videos ---------------------------------------------------------------------------------------


def extraction(bench: Bench, folder: Path, precision: str) -> dict[str, Any]:
    """Tables of videos of 320x240, against decoding and resizing the same videos alone."""
    from kinema.features.extraction import extract
    from kinema.threads import num_usable_cores
    from kinema.video.synthetic import draw_video, write_video
    from kinema.weights.file import Weights

    cores = num_usable_cores()
    number, length = (3, 24) if bench.quick else (8 * cores, 180)
    drawn = draw_video("clockwise", seed=0, num_frames=length, width=320, height=240)
    first = folder / "videos" / "0.mp4"
    write_video(first, drawn)
    for index in range(1, number):
        (first.parent / f"{index}.mp4").write_bytes(first.read_bytes())
    videos, frames = sorted(first.parent.iterdir()), number * length
    alone = {}
    for how in ("threads", "processes"):
        for many in (1,) if bench.quick else sorted({1, cores // 2, cores} - {0}):
            alone[f"{many} {how}"] = decoding(videos, how, many)
    mean = np.array([90, 98, 102], np.float32)
    weights = Weights(bench.arrays, bench.network, name="random", mean=mean, trained=False)
    row: dict[str, Any] = {"precision": precision, "videos": number, "frames": frames}
    row["decoding_alone_frames_per_second"] = alone
    for batch in (4,) if bench.quick else (8, 32):
        seconds = []
        for turn in range(2):  # the first compiles
            report = extract(
                first.parent,
                out=folder / f"{precision}-{batch}-{turn}",
                weights=weights,
                device=bench.device.type,
                engine="torch",
                precision=precision,
                batch=batch,
            )
            assert not report.skipped, report.skipped[0]
            seconds.append(report.seconds)
        rate = frames / seconds[-1]
        row[f"extract_batch_{batch}"] = {
            "frames_per_second": rate,
            "first_seconds": seconds[0],
            "share_of_decoding": rate / max(alone.values()),
        }
    return row


def decoding(videos: list[Path], how: str, many: int) -> float:
    """Frames a second, decoded and resized and nothing else."""
    from kinema.video.loop import each_video
    from kinema.video.sources import as_source

    if how == "processes":
        with ProcessPoolExecutor(many, mp_context=get_context("spawn")) as pool:
            list(pool.map(decoded, videos[: 2 * many]))  # until all of them have begun
            begun = time.perf_counter()
            number = sum(pool.map(decoded, videos))
    else:
        begun, number = time.perf_counter(), 0
        walked = each_video(
            map(as_source, videos), lambda one: [decoded(one.source.path)], threads=many
        )
        for _, count in walked:
            assert isinstance(count, int), count
            number += count
    return number / (time.perf_counter() - begun)


def decoded(path: Path) -> int:
    """The number of frames of a video, each brought to C3D's size."""
    from kinema.video.clips import C3D_RESIZE, resize
    from kinema.video.reader import VideoReader

    return sum(resize(frame.image, C3D_RESIZE) is not None for frame in VideoReader(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a toy size")
    parser.add_argument(
        "--seconds", type=float, default=260.0, help="no new measurement is begun after so many"
    )
    given = parser.parse_args()
    bench = Bench(given.device, quick=given.quick, seconds=given.seconds, out=given.out)
    result, attempt, quick = bench.result, bench.attempt, bench.quick
    few, many = (2, 2) if quick else (BATCHES[0], BATCHES[-2])
    result["peak"] = attempt("peak", lambda: peak(bench)) or {}
    result["parity"] = attempt("parity", lambda: parity(bench))
    # The figure that counts first.
    cases = [("bf16", batch, not quick) for batch in ((2,) if quick else BATCHES)]
    cases += [("fp16", many, not quick), ("tf32", many, not quick)]
    cases += [("bf16", many, False), ("fp32", few, False)]
    result["forward"] = [
        attempt(f"forward {p} {n}", lambda p=p, n=n, c=c: forward(bench, p, n, compiled=c))
        for p, n, c in cases
    ]
    if bench.on_gpu:
        result["parity of the fused stem"] = attempt("fused parity", lambda: fused_parity(bench))
        how = {"compiled": True, "fused": True}
        result["forward"].append(
            attempt("forward fused", lambda: forward(bench, "bf16", many, **how))
        )
    result["engine"] = [
        attempt(f"engine {p} {n}", lambda p=p, n=n: whole_engine(bench, p, n))
        for p, n in (("bf16", many), ("fp32", few))
    ]
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder)
        result["extraction"] = attempt("extraction", lambda: extraction(bench, videos, "bf16"))
    result["layers"] = attempt("layers", lambda: layers(bench, many))
    few, many = (2, 4) if quick else TRAINED
    cases = [("bf16", many, False), ("fp32", few, False)]
    if bench.on_gpu:
        cases += [("bf16", many, True), ("tf32", few, False)]
    result["training"] = [
        attempt(f"training {p} {n}", lambda p=p, n=n, c=c: training(bench, p, n, compiled=c))
        for p, n, c in cases
    ]
    bench.save()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
