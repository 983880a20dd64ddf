"""C3D on one GPU: parity, forward, extraction, training, layers; benchmarks/gpu.json.

    python benchmarks/gpu.py --out benchmarks/gpu.json
    python benchmarks/gpu.py --out FILE --device cpu --quick      a toy, to see that it runs

Fits into five minutes of a lent machine, what counts most first. Needs numpy, safetensors and
torch, and src/ beside it; frames and videos need all that Kinema needs, and what is missing is told
in `failed`. The file is written after each step, so what was measured is there if the machine is
taken away; what was warned of stands in `told`. Weights are random.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
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

from kinema.engine import first_layers as first_ways
from kinema.engine.engine import Engine
from kinema.engine.torch_forward import FastForward, forward_of, switches
from kinema.network import Conv3d, Linear, MaxPool3d, Network, c3d
from kinema.weights.initial import initial_arrays

BOUNDS = {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2, "fp16": 2e-3}
BATCHES = (128, 256, 32)
TRAINED = (120, 30)
CODEC = {"codec": "mpeg4", "bit_rate": 500_000, "rate": 25}
"""As UCF101's videos are."""


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
            "told": [],
        }

    def attempt(self, name: str, place: Any, key: Any, work: Callable[[], Any]) -> Any:
        """Measure one thing, if there is time, and write it; the others go on after a failure.

        Args:
            name: what it is called in `failed` and `told`.
            place, key: a dict and where in it the value belongs, or a list and None.
            work: measures it.
        """
        value = None
        if time.perf_counter() - self._began > self._seconds:
            self.result["failed"].append({"what": name, "why": f"{self._seconds:g} s were over"})
        else:
            begun = time.perf_counter()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("default")
                try:
                    value = work()
                except Exception as error:
                    why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                    self.result["failed"].append({"what": name, "why": why})
            self.result["told"] += [
                {"what": name, "warning": str(one.message)[:600]}
                for one in told
                if issubclass(one.category, UserWarning)
            ]
            print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
            if self.on_gpu:
                torch.cuda.empty_cache()
        if key is None:
            place.append(value)
        else:
            place[key] = value
        self.save()
        return value

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        beside = self.out.with_name(f"{self.out.name}.part")
        beside.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, self.out)

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
        peak = (self.result.get("peak") or {}).get("bf16_tflops")
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


def right_outputs(bench: Bench) -> tuple[str, dict[str, np.ndarray]]:
    """What computes strict fp32 on the CPU, and its outputs of two clips by layer."""
    clips = bench.clips(2)
    layers = [name for name in ("conv5b", "fc6", "fc8") if name in bench.network.layer_names]
    try:
        engine = Engine(bench.network, bench.arrays, engine="native", device="cpu")
        return "native", engine.run(clips, layers)
    except ImportError:  # it was not built
        tensors = {name: torch.from_numpy(array) for name, array in bench.arrays.items()}
        with torch.inference_mode():
            run = forward_of(bench.network, tensors, torch.device("cpu"))
            found = run(torch.from_numpy(clips), layers)
        return "torch on the CPU", {name: y.numpy() for name, y in found.items()}


def parity(bench: Bench, precision: str, right: dict[str, np.ndarray]) -> dict[str, Any]:
    """Relative L2 error of a precision against strict fp32 on the CPU, by layer, worst clip."""
    forward = forward_of(bench.network, bench.tensors(), bench.device, precision)
    with torch.inference_mode(), switches(precision):
        got = forward(torch.from_numpy(bench.clips(2)).to(bench.device), list(right))
    found: dict[str, Any] = {
        name: max(
            float(np.linalg.norm(g - r) / np.linalg.norm(r))
            for g, r in zip(got[name].cpu().numpy(), right[name], strict=True)
        )
        for name in right
    }
    return {**found, "within_bound": found["fc6"] <= BOUNDS[precision]}


def first_layers(bench: Bench, batch: int) -> dict[str, Any]:
    """conv1a and pool1 each way: milliseconds, and the error against PyTorch's own, in bf16."""
    run = FastForward(
        bench.network, bench.tensors(), precision="bf16", compiled=bench.on_gpu, fused=True
    )
    if run.first is None:
        return {}
    found = {}
    with torch.inference_mode(), switches("bf16"):
        x = run.ready(clips_on_device(bench, batch))
        for name, way in {first_ways.PLAIN: run.first.plain, **run.first.ways}.items():
            try:
                error = run.first.error_of(x, way(x))
                seconds = first_ways.seconds_of(way, x)
                found[name] = {"milliseconds": 1e3 * seconds, "error": error}
            except Exception as error:  # a tile that does not fit says so
                found[name] = {"failed": " ".join(str(error).split())[:200]}
    return found


def forward(
    bench: Bench, precision: str, batch: int, *, compiled: bool = True, fused: bool | None = None
) -> dict[str, Any]:
    """The network alone, clips on the device; `fused`: see `FastForward`."""
    x = clips_on_device(bench, batch)
    run: Any = forward_of(bench.network, bench.tensors(), bench.device, "fp32")
    if precision != "fp32":
        how: Any = {"precision": precision, "compiled": compiled, "fused": fused}
        run = FastForward(bench.network, bench.tensors(), **how)
    row: dict[str, Any] = {"precision": precision, "batch": batch}
    with torch.inference_mode(), switches(precision):
        begun = time.perf_counter()
        run(x, ("fc6",))
        bench.wait()
        row["first_call_seconds"] = time.perf_counter() - begun
        seconds = bench.seconds(lambda: run(x, ("fc6",)))
        if precision != "fp32":
            row["compiled"] = run.is_compiled
            row["first_layers"] = run.first and run.first.way_of(run.ready(x))
    return {**row, **bench.rate(batch, seconds)}


def clips_on_device(bench: Bench, batch: int) -> Tensor:
    x = torch.from_numpy(bench.clips(min(batch, 8))).to(bench.device)
    return x.repeat(-(-batch // len(x)), 1, 1, 1, 1)[:batch]


def whole_engine(bench: Bench, precision: str, batch: int) -> dict[str, Any]:
    """`Engine.start` on frames of 320x240 in the computer's memory, each of them in two clips.

    From one thread, two batches ahead; rows are brought back.
    """
    kind = {"engine": "torch", "device": bench.device.type, "precision": precision}
    engine = Engine(bench.network, bench.arrays, **kind)
    channels, length, *sizes = bench.network.input_shape
    rng = np.random.default_rng(0)
    stride = length // 2
    number = stride * (batch - 1) + length
    frames = [*rng.integers(0, 256, (number, 240, 320, channels), np.uint8)]
    clips = stride * np.arange(batch)[:, None] + np.arange(length)
    mean = np.full((channels, length, *sizes), 100, np.float32)
    rounds = 4 if bench.quick else 12

    def run() -> None:
        waits: list[Callable[[], object]] = []
        for _ in range(rounds):
            waits.append(engine.start(frames, clips, mean))
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


def training(
    bench: Bench, precision: str, batch: int, *, compiled: bool | None = None
) -> dict[str, Any]:
    """Whole steps of `Learner`, clips on the device as `ResidentBatches` cut them out there."""
    from kinema.training.learner import Learner
    from kinema.training.processes import Processes

    clips = clips_on_device(bench, batch).contiguous(memory_format=torch.channels_last_3d)
    labels = torch.arange(batch) % (bench.network.num_classes or 1)
    with Processes(bench.device.type, "torch", precision) as processes:
        learner = Learner(bench.network, processes, compile=compiled)
        learner.load(bench.arrays)
        begun = time.perf_counter()
        learner.step(clips, labels, rate=1e-5)
        bench.wait()
        first = time.perf_counter() - begun
        seconds = bench.seconds(lambda: learner.step(clips, labels, rate=1e-5))
    off = learner.compiled_difference
    row = {"precision": precision, "batch": batch, "compiled": learner.is_compiled}
    row["off_uncompiled_by"] = None if off is None else dataclasses.asdict(off)
    rate = bench.rate(3 * batch, seconds)  # the way back has two products for each one
    del rate["frames_per_second"]
    return {**row, "first_call_seconds": first, **rate, "clips_per_second": batch / seconds}


# --- videos ---------------------------------------------------------------------------------------


def write_videos(bench: Bench, folder: Path) -> tuple[list[Path], int]:
    """Copies of one video of 320x240, and how many frames all have together."""
    import av

    from kinema.threads import num_usable_cores
    from kinema.video.synthetic import draw_video

    number, length = (3, 24) if bench.quick else (16 * num_usable_cores(), 240)
    first = folder / "0.avi"
    with av.open(str(first), "w") as file:
        stream = file.add_stream(CODEC["codec"], rate=CODEC["rate"])
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.bit_rate = CODEC["bit_rate"]
        for image in draw_video("clockwise", seed=0, num_frames=length, width=320, height=240):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())
    for index in range(1, number):
        (folder / f"{index}.avi").write_bytes(first.read_bytes())
    return sorted(folder.glob("*.avi")), number * length


def decoding_alone(bench: Bench, videos: list[Path], frames: int) -> dict[str, Any]:
    """Frames a second, decoded and nothing else, by so many threads and processes."""
    from kinema.threads import num_usable_cores

    cores = 1 if bench.quick else num_usable_cores()
    cases = [("processes", cores), ("threads", cores)]
    if not bench.quick:
        cases += [("threads", cores // 2), ("processes", max(cores // 2, 1))]
    rates = {f"{many} {how}": frames / decoding(videos, how, many) for how, many in cases}
    best = max(rates, key=rates.__getitem__)
    how = best.split()[1]
    resized = frames / decoding(videos, how, int(best.split()[0]), resized=True)
    return {"frames_per_second": rates, "best": best, "best_and_resized": resized}


def decoding(videos: list[Path], how: str, many: int, *, resized: bool = False) -> float:
    """Seconds until all frames were decoded."""
    from kinema.video.loop import each_video
    from kinema.video.sources import as_source

    if how == "processes":
        with ProcessPoolExecutor(many, mp_context=get_context("spawn")) as pool:
            # Until all of them have begun.
            list(pool.map(decoded, videos[: 2 * many], [resized] * (2 * many)))
            begun = time.perf_counter()
            list(pool.map(decoded, videos, [resized] * len(videos)))
            return time.perf_counter() - begun
    begun = time.perf_counter()
    walked = each_video(
        map(as_source, videos), lambda one: [decoded(one.source.path, resized)], threads=many
    )
    for _, count in walked:
        assert isinstance(count, int), count
    return time.perf_counter() - begun


def decoded(path: Path, resized: bool) -> int:
    """The number of frames of a video, each brought to C3D's size if that is asked for."""
    from kinema.video.clips import C3D_RESIZE, resize
    from kinema.video.reader import VideoReader

    images = (frame.image for frame in VideoReader(path))
    return sum((resize(image, C3D_RESIZE) if resized else image) is not None for image in images)


def extraction(
    bench: Bench, videos: list[Path], frames: int, batch: int, processes: int
) -> dict[str, Any]:
    """Tables of videos, written to files, by so many processes that share the GPU.

    What they have compiled before is not counted; the best number of reading threads is.
    """
    from kinema.threads import num_usable_cores

    cores = 1 if bench.quick else num_usable_cores()
    each = sorted({max(cores // processes, 1), max(2 * cores // processes, 1)})
    context = get_context("spawn")
    barrier, told = context.Barrier(processes), context.Queue()
    how = (bench.device.type, bench.quick, batch, each, barrier, told)
    workers = [
        context.Process(target=extracting, args=(videos[n::processes], *how), daemon=True)
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        times = [told.get(timeout=150) for _ in workers]
    finally:
        for worker in workers:
            worker.join(20)
            worker.kill()
    if failed := [one for one in times if isinstance(one, str)]:
        raise RuntimeError(min(failed, key=lambda one: one.startswith("BrokenBarrier")))
    row: dict[str, Any] = {"batch": batch, "processes": processes}
    rates = {}
    for index, threads in enumerate(each):
        spans = [one[index] for one in times]
        seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
        rates[f"{threads} threads each"] = frames / seconds
    row["frames_per_second"] = rates
    alone = (bench.result.get("decoding_alone") or {}).get("frames_per_second")
    if alone:
        row["share_of_decoding"] = max(rates.values()) / max(alone.values())
    return row


def extracting(
    videos: list[Path],
    device: str,
    quick: bool,
    batch: int,
    each: list[int],
    barrier: Any,
    told: Any,
) -> None:
    """One process of `extraction`; tells when it began and ended with each number of threads."""
    from kinema.features.extractor import Extractor
    from kinema.skipped import Skipped
    from kinema.video.sources import as_source
    from kinema.video.steps import walk
    from kinema.weights.file import Weights

    try:
        network = toy() if quick else c3d(487)
        arrays, mean = initial_arrays(network, kind="he"), np.array([90, 98, 102], np.float32)
        weights = Weights(arrays, network, name="random", mean=mean, trained=False)
        extractor = Extractor(weights, device=device, engine="torch", precision="bf16", batch=batch)
        sources = [as_source(video) for video in videos]

        def run(sources: list[Any], threads: int) -> None:
            for source, (made,) in walk(sources, [extractor.step()], threads=threads):
                if isinstance(made, Skipped):
                    raise RuntimeError(str(made))
                made.value.save(source.path.with_suffix(".safetensors"))

        run(sources[:2], 1)  # checks, compiles, and chooses
        spans = []
        for threads in each:
            barrier.wait(100)
            begun = time.time()
            run(sources, threads)
            spans.append((begun, time.time()))
        told.put(spans)
    except Exception as error:
        barrier.abort()
        told.put(f"{type(error).__name__}: {error}")


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
    with tempfile.TemporaryDirectory() as folder:
        measure(bench, Path(folder))
    print(json.dumps(bench.result, indent=1))


def measure(bench: Bench, folder: Path) -> None:
    """What counts most first: a figure for each of forward, training, errors and extraction."""
    result, attempt, quick = bench.result, bench.attempt, bench.quick
    most, *batches = (2,) if quick else BATCHES
    many, few = (4, 2) if quick else TRAINED
    rows, steps = result.setdefault("forward", []), result.setdefault("training", [])
    errors, extracted = result.setdefault("parity", {}), result.setdefault("extraction", [])

    def run_forward(precision: str, batch: int, **how: Any) -> None:
        how.setdefault("compiled", not quick)
        name = f"forward {precision} {batch} {how}"
        attempt(name, rows, None, lambda: forward(bench, precision, batch, **how))

    def run_training(precision: str, batch: int, compiled: bool | None = None) -> None:
        name = f"training {precision} {batch} {compiled}"
        attempt(name, steps, None, lambda: training(bench, precision, batch, compiled=compiled))

    def run_extraction(processes: int, batch: int) -> None:
        name = f"extraction by {processes}, batch {batch}"
        attempt(name, extracted, None, lambda: extraction(bench, *made, batch, processes))

    attempt("peak", result, "peak", lambda: peak(bench))
    run_forward("bf16", most)
    run_training("bf16", many)
    right: dict[str, np.ndarray] = {}

    def computed() -> str:
        against, found = right_outputs(bench)
        right.update(found)
        return against

    attempt("right outputs", errors, "against", computed)
    for precision in ("bf16", "fp32", "fp16", "tf32"):
        if right:
            what = f"parity {precision}"
            attempt(what, errors, precision, lambda p=precision: parity(bench, p, right))
    videos: dict[str, Any] = {}
    made = attempt("videos", videos, "made", lambda: write_videos(bench, folder))
    crowd = 2 if quick else 4
    if made:
        attempt("decoding alone", result, "decoding_alone", lambda: decoding_alone(bench, *made))
        for processes in (1, crowd):
            run_extraction(processes, 4 if quick else 32)

    attempt("first layers", result, "first_layers", lambda: first_layers(bench, most))
    for batch in batches:
        run_forward("bf16", batch)
    if bench.on_gpu:
        run_training("bf16", 2 * many)
        run_training("bf16", many, compiled=False)
    run_forward("bf16", most, fused=False)
    run_forward("fp16", most)
    run_forward("tf32", most)
    run_forward("fp32", 2 if quick else 8)
    whole = result.setdefault("engine", [])
    for precision, number in (("bf16", most), ("fp32", 2 if quick else 8)):
        what = f"engine {precision} {number}"
        attempt(what, whole, None, lambda p=precision, n=number: whole_engine(bench, p, n))
    if bench.on_gpu:
        run_training("tf32", few)
    run_training("fp32", few)
    if made and not quick:
        run_extraction(2, 32)
    run_forward("bf16", most, compiled=False)
    attempt("layers", result, "layers", lambda: layers(bench, most))


if __name__ == "__main__":
    main()
