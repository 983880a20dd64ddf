"""Kinema's engine and others on the same networks and real clips: benchmarks/engines.json.

Needs KINEMA_DATA with real videos, and the engines of benchmarks/requirements.txt; those that are
missing are left out. All in fp32 with seeded random weights.

    search   each engine's settings, on C3D and the small C3D
    speed    each at its best settings; all of them in every round, in rotating order
    error    against the float64 reference: Kinema in every layer of C3D, the others in fc8
    memory   start to first result and peak memory, in fresh processes
    threads  Kinema by number of threads

A killed run goes on where it was; `--fresh` measures anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import write
from peers import CORES, ENGINES, NATIVE, SCORES, Job, Setting, Worker, missing
from resume import Kept, cache_folder, libraries

from kinema import network as networks
from kinema.engine import reference
from kinema.engine.export import write_onnx
from kinema.files import atomic_path
from kinema.network import Network
from kinema.video.clips import ClipPlan, preprocess, stream_clips
from kinema.video.reader import VideoReader
from kinema.weights.file import Weights, random_weights

NETWORKS: Mapping[str, Network] = {
    "c3d": networks.c3d(487),
    **{name: networks.kernel_depth(depths) for name, depths in networks.KERNEL_DEPTHS.items()},
    "c3d_mini": networks.c3d_mini(),
}


class Workload(NamedTuple):
    network: str
    batch: int
    searched_on: str  # the workload whose best settings it takes


WORKLOADS: Mapping[str, Workload] = {
    "c3d x1": Workload("c3d", 1, "c3d x1"),
    "c3d x4": Workload("c3d", 4, "c3d x4"),
    "c3d x8": Workload("c3d", 8, "c3d x4"),
    **{f"{name} x4": Workload(name, 4, "c3d x4") for name in networks.KERNEL_DEPTHS},
    "c3d_mini x8": Workload("c3d_mini", 8, "c3d_mini x8"),
}
"""By name, with "x4" for batches of 4 clips."""

NUM_CLIPS = max(workload.batch for workload in WORKLOADS.values())
NUM_REFERENCE_CLIPS = 2
COLD_STARTS = 3
FINAL_ROUNDS = 2
LEAST_FINALISTS = 3
FINALIST = 1.3
"""Settings no slower than this times the best are measured again, `FINAL_ROUNDS` times; at least
`LEAST_FINALISTS` are, for a first measurement can be disturbed."""

TOLERANCE = 1e-3
"""Relative L2 between two fp32 engines; what is above it is an error, not rounding."""


# --- what is run ----------------------------------------------------------------------------------


def real_clips() -> np.ndarray:
    """The first clip of videos from all over the data: (N, 3, 16, 112, 112) float32."""
    data = os.environ.get("KINEMA_DATA")
    if not data:
        sys.exit("KINEMA_DATA is not set: engines are compared on real videos.")
    videos = sorted(Path(data, "ucf101-3", "UCF-101").rglob("*.avi"))
    if len(videos) < NUM_CLIPS:
        sys.exit(f"KINEMA_DATA {data} holds {len(videos)} videos, {NUM_CLIPS} are needed.")
    clips = []
    for video in videos[:: len(videos) // NUM_CLIPS][:NUM_CLIPS]:
        first = next(stream_clips(VideoReader(video), ClipPlan()))
        clips.append(preprocess(first.images, mean=(128, 128, 128)))  # the random weights' mean
    return np.stack(clips)


class Files:
    """A network's weights on disk, as each engine wants them; made when first asked for."""

    def __init__(self, name: str) -> None:
        self.network = NETWORKS[name].up_to(SCORES)
        digest = hashlib.sha256(repr(NETWORKS[name].layers).encode()).hexdigest()[:12]
        self.weights_path = cache_folder() / f"{name}-{digest}.safetensors"
        self.onnx_path = self.weights_path.with_suffix(".onnx")
        if not self.weights_path.is_file():
            random_weights(NETWORKS[name]).save(self.weights_path)

    def weights(self) -> Weights:
        return Weights.load(self.weights_path)

    def job(self, engine: str, batch: int, setting: Setting) -> Job:
        if "onnx" in ENGINES[engine].modules and not self.onnx_path.is_file():
            with atomic_path(self.onnx_path) as partial:
                write_onnx(self.network, self.weights(), partial, (SCORES,))
        return Job(self.network, self.weights_path, self.onnx_path, batch, setting)


def job_of(engine: str, workload: str, setting: Setting) -> Job:
    name, batch, _ = WORKLOADS[workload]
    return Files(name).job(engine, batch, setting)


def relative_l2(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


# --- the parts ------------------------------------------------------------------------------------


def best_setting(kept: Kept, engine: str, workload: str, clips: np.ndarray) -> Setting:
    """The fastest of an engine's settings; searched for if that was not done before."""
    found = kept["search"].setdefault(engine, {})
    workload = WORKLOADS[workload].searched_on
    if workload not in found:
        settings = ENGINES[engine].settings(WORKLOADS[workload].batch)
        if len(settings) == 1:  # Kinema has nothing to choose, and takes the system as it is
            best, tried = {**settings[0], "malloc": "default"}, []
        else:
            print(f"search   {engine}, {workload}: {len(settings)} settings", flush=True)
            tried = _tried(engine, workload, settings, clips)
            best = min(tried, key=lambda one: one["seconds"])["setting"]
        found[workload] = {"best": best, "tried": tried}
        kept.save()
    return found[workload]["best"]


def _tried(
    engine: str, workload: str, settings: Sequence[Setting], clips: np.ndarray
) -> list[dict[str, Any]]:
    """Settings with their least time: all of them once, the good ones again with each malloc.

    Only here the least and not the median: what else the machine does only adds, and it must not
    decide what is chosen.
    """
    seconds: dict[tuple[int, str], list[float]] = {}
    with Worker(engine, malloc="keep") as keep, Worker(engine) as default:
        workers = {"keep": keep, "default": default}

        def build(index: int, malloc: str) -> None:
            scores = workers[malloc].build(
                str(index), job_of(engine, workload, settings[index]), clips
            )
            expected.append(scores)
            _check(scores, expected[0], f"{engine} with {settings[index]}")
            seconds[index, malloc] = []

        def measure(index: int, malloc: str) -> None:
            one = workers[malloc].time(str(index))
            seconds[index, malloc].append(one)
            print(f"         {one:.3f} s  malloc {malloc}, {settings[index]}", flush=True)

        expected: list[np.ndarray] = []
        for index in range(len(settings)):
            build(index, "keep")
            measure(index, "keep")
        ranked = sorted(range(len(settings)), key=lambda index: seconds[index, "keep"])
        limit = FINALIST * seconds[ranked[0], "keep"][0]
        finalists = [
            index
            for place, index in enumerate(ranked)
            if place < LEAST_FINALISTS or seconds[index, "keep"][0] <= limit
        ]
        for index in finalists:
            build(index, "default")
        for _ in range(FINAL_ROUNDS):
            for index in finalists:
                measure(index, "keep")
                measure(index, "default")
    return [
        {"setting": {**settings[index], "malloc": malloc}, "seconds": min(times)}
        for (index, malloc), times in seconds.items()
    ]


def _check(scores: np.ndarray, expected: np.ndarray, what: str) -> None:
    """A wrong result is no result, however fast."""
    error = relative_l2(scores, expected)
    if not error < TOLERANCE:
        raise RuntimeError(f"{what} gives another result: relative L2 {error:.2g}.")


def speed(
    kept: Kept, engines: Sequence[str], workloads: Sequence[str], clips: np.ndarray, rounds: int
) -> None:
    """Every engine on every workload, round by round."""
    settings = {
        engine: {name: best_setting(kept, engine, name, clips) for name in workloads}
        for engine in engines
    }
    part = kept["speed"]
    if part.get("settings", settings) != settings:
        print("speed    other engines, workloads or settings than before: all rounds anew")
        part.clear()
    part["settings"] = settings
    done = part.setdefault("rounds", [])
    if len(done) >= rounds:
        return
    with contextlib.ExitStack() as stack:
        processes: dict[tuple[str, str], Worker] = {}
        workers: dict[tuple[str, str], Worker] = {}
        for name in workloads:
            expected = None
            for engine in engines:
                print(f"speed    {engine} gets ready for {name}", flush=True)
                setting = settings[engine][name]
                key = engine, setting["malloc"]
                if key not in processes:
                    processes[key] = stack.enter_context(Worker(engine, malloc=setting["malloc"]))
                workers[engine, name] = processes[key]
                scores = processes[key].build(name, job_of(engine, name, setting), clips)
                expected = scores if expected is None else expected
                _check(scores, expected, f"{engine} on {name}")
        while len(done) < rounds:
            begun = time.monotonic()
            turn = len(done)
            done.append(
                {
                    name: {
                        engine: workers[engine, name].time(name)
                        for engine in _rotated(engines, turn)
                    }
                    for name in _rotated(workloads, turn)
                }
            )
            kept.save()
            seconds = time.monotonic() - begun
            print(f"speed    round {len(done)} of {rounds}: {seconds:.0f} s", flush=True)


def _rotated(names: Sequence[str], turn: int) -> list[str]:
    start = turn % len(names)
    return [*names[start:], *names[:start]]


def error(kept: Kept, engines: Sequence[str], workloads: Sequence[str], clips: np.ndarray) -> None:
    """Relative L2 error against the float64 reference, by network, engine and layer."""
    few = clips[:NUM_REFERENCE_CLIPS]
    for workload in {WORKLOADS[name].network: name for name in workloads}.values():
        name = WORKLOADS[workload].network
        part = kept["error"].setdefault(name, {})
        for engine in engines:
            if engine in part:
                continue
            setting = best_setting(kept, engine, workload, clips)
            job = Files(name).job(engine, len(few), setting)
            with Worker(engine) as worker:
                if engine == NATIVE and name == "c3d":
                    got = worker.layers(job, few)
                else:
                    got = {SCORES: worker.build("error", job, few)}
            expected = _reference(name, few)
            part[engine] = {layer: relative_l2(got[layer], expected[layer]) for layer in got}
            print(f"error    {engine}, {name}: {part[engine][SCORES]:.2g} in {SCORES}", flush=True)
            kept.save()


def _reference(name: str, clips: np.ndarray) -> dict[str, np.ndarray]:
    """The float64 truth, from disk if it was computed before: of C3D every layer, else fc8."""
    files = Files(name)
    layers = files.network.layer_names if name == "c3d" else (SCORES,)
    digest = hashlib.sha256(clips.tobytes()).hexdigest()[:12]
    path = cache_folder() / f"reference-{files.weights_path.stem}-{digest}.npz"
    if not path.is_file():
        print(f"error    reference of {name} in float64", flush=True)
        outputs = reference.run(files.network, files.weights(), clips, layers)
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]
    with np.load(path) as stored:
        return dict(stored)


def memory(kept: Kept, engines: Sequence[str], clips: np.ndarray) -> None:
    """C3D in fresh processes: from start to the first result of one clip; peak at batch 4."""
    for engine in engines:
        part = kept["memory"].setdefault(engine, {"cold_start_seconds": []})
        setting = best_setting(kept, engine, "c3d x1", clips)
        one, malloc = job_of(engine, "c3d x1", setting), setting["malloc"]
        for path in filter(Path.is_file, (one.weights, one.onnx)):
            path.read_bytes()  # the first start shall find it in the system's cache too
        while len(part["cold_start_seconds"]) < COLD_STARTS:
            with tempfile.TemporaryDirectory() as empty:
                # What torch.compile kept from earlier starts would not be there at the first.
                begun = time.perf_counter()
                environment = {"TORCHINDUCTOR_CACHE_DIR": empty}
                with Worker(engine, malloc=malloc, environment=environment) as worker:
                    worker.first(one, clips)
                    part["cold_start_seconds"].append(time.perf_counter() - begun)
            kept.save()
        if "peak_mib" not in part:
            setting = best_setting(kept, engine, "c3d x4", clips)
            with Worker(engine, malloc=setting["malloc"]) as worker:
                worker.build("memory", job_of(engine, "c3d x4", setting), clips)
                part["peak_mib"] = worker.peak_mib()
            kept.save()
        print(f"memory   {engine}: {part}", flush=True)


def threads(kept: Kept, clips: np.ndarray, rounds: int) -> None:
    """Kinema on C3D with 1, 2, 4, ... threads, interleaved."""
    counts = [1 << power for power in range(CORES.bit_length()) if 1 << power <= CORES]
    part = kept["threads"]
    seconds = part.setdefault("seconds", {str(count): [] for count in counts})
    if min(map(len, seconds.values())) >= rounds:
        return
    with Worker(NATIVE) as worker:
        for count in counts:
            worker.build(str(count), job_of(NATIVE, "c3d x4", {"threads": count}), clips)
        while min(map(len, seconds.values())) < rounds:
            for count in counts:
                seconds[str(count)].append(worker.time(str(count)))
            kept.save()
    print(f"threads  {seconds}", flush=True)


# --- the result -----------------------------------------------------------------------------------


def summary(kept: Kept) -> dict[str, Any]:
    """What was measured, with medians and ratios."""
    result: dict[str, Any] = {
        "what": "engines on the same networks, weights and real clips, fp32, "
        f"{CORES} threads; x4 = batches of 4 clips",
        "libraries": libraries(),
        "labels": {engine: peer.label for engine, peer in ENGINES.items()},
        "search": kept["search"],
    }
    if "rounds" in kept["speed"]:
        result["speed"] = _speed_summary(kept["speed"]["rounds"])
        result["settings"] = kept["speed"]["settings"]
    result["error"] = {
        "what": f"relative L2 against float64, {NUM_REFERENCE_CLIPS} clips",
        **kept["error"],
    }
    result["memory"] = {
        "what": "C3D from a file on disk (read before) in fresh processes: seconds from start to "
        "the first result of 1 clip; peak resident MiB, batches of 4 clips",
        **{
            engine: {
                "cold_start_median_seconds": statistics.median(part["cold_start_seconds"]),
                **part,
            }
            for engine, part in kept["memory"].items()
            if part["cold_start_seconds"]
        },
    }
    if "seconds" in kept["threads"]:
        seconds = kept["threads"]["seconds"]
        result["threads"] = {
            count: {
                "median_seconds": statistics.median(times),
                "speedup": statistics.median(
                    one / many for one, many in zip(seconds["1"], times, strict=False)
                ),
                "seconds": times,
            }
            for count, times in seconds.items()
            if times
        }
    return result


def _speed_summary(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """By workload and engine: seconds a batch, clips a second, and how many times Kinema's time."""
    result: dict[str, Any] = {"num_rounds": len(rounds)}
    for workload in (name for name in WORKLOADS if rounds and name in rounds[0]):
        result[workload] = {}
        for engine in (name for name in ENGINES if name in rounds[0][workload]):
            seconds = [one[workload][engine] for one in rounds]
            row: dict[str, Any] = {
                "median_seconds": statistics.median(seconds),
                "clips_per_second": WORKLOADS[workload].batch / statistics.median(seconds),
            }
            if NATIVE in rounds[0][workload]:
                row["seconds_over_native"] = statistics.median(
                    one[workload][engine] / one[workload][NATIVE] for one in rounds
                )
            result[workload][engine] = {**row, "seconds": seconds}
    return result


PARTS = ("search", "speed", "error", "memory", "threads")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--rounds", type=int, default=7, help="of speed and threads")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--fresh", action="store_true", help="forget these parts' earlier results")
    arguments = parser.parse_args()
    kept = Kept("engines")
    for part in arguments.only if arguments.fresh else ():
        kept.forget(part)
    absent = {engine: missing(engine) for engine in arguments.engines}
    engines = [engine for engine, why in absent.items() if why is None]
    for engine, why in absent.items():
        if why is not None:
            print(f"{engine} is left out: {why}")
    clips = real_clips()
    if "search" in arguments.only:
        for engine in engines:
            for workload in arguments.workloads:
                best_setting(kept, engine, workload, clips)
    if "speed" in arguments.only:
        speed(kept, engines, arguments.workloads, clips, arguments.rounds)
    if "error" in arguments.only:
        error(kept, engines, arguments.workloads, clips)
    if "memory" in arguments.only:
        memory(kept, engines, clips)
    if "threads" in arguments.only and NATIVE in engines:
        threads(kept, clips, arguments.rounds)
    write("engines", summary(kept))


if __name__ == "__main__":
    main()
