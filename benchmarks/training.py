"""Learning with Kinema and with a plain PyTorch loop, on the CPU: benchmarks/training.json.

Clips a second of whole steps (forward, backward, SGD with momentum) from clips in memory, in
interleaved rounds, each loop at its best memory layout; where the time of a step goes; and what
reading real prepared clips, cropping and mirroring adds to it.

    python benchmarks/training.py [--rounds 7] [--networks c3d mini ...]

A run that was stopped goes on; --fresh forgets what was measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import write
from resume import Kept, libraries
from torch import nn

from kinema import network as networks
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.threads import mapped
from kinema.training.clip_store import ClipStore
from kinema.training.learner import Learner
from kinema.training.prepare import prepare
from kinema.training.processes import Processes
from kinema.training.sampling import Sampler, read_clip
from kinema.weights.initial import initial_arrays

# Network, batch, steps of one measurement.
CASES: dict[str, tuple[Network, int, int]] = {
    "c3d": (networks.c3d(101), 8, 1),
    "depth-3": (networks.kernel_depth(num_classes=101), 8, 1),
    "mini": (networks.c3d_mini(101, input_shape=(3, 16, 64, 64)), 30, 3),
}
RATE = 1e-5
Step = Callable[[np.ndarray, np.ndarray], float]


def plain(network: Network, layout: str) -> Step:
    """A loop as one writes it with PyTorch alone; `layout` is that of the clips and kernels."""
    layers: list[nn.Module] = []
    shape: tuple[int, ...] = network.input_shape
    for layer in network.layers:
        match layer:
            case Conv3d():
                padding = layer.padding
                layers += [
                    nn.Conv3d(shape[0], layer.out_channels, layer.kernel, padding=padding),
                    nn.ReLU(inplace=True),
                ]
            case MaxPool3d():
                layers.append(nn.MaxPool3d(layer.kernel, ceil_mode=True))
            case Linear():
                layers += [nn.Flatten()] if len(shape) > 1 else []
                layers.append(nn.Linear(int(np.prod(shape)), layer.out_features))
                layers += [nn.ReLU(inplace=True), nn.Dropout(0.5)] if layer.relu else []
        shape = layer.output_shape(shape)
    model = nn.Sequential(*layers)
    memory_format = getattr(torch, layout)
    for part in model:
        if isinstance(part, nn.Conv3d):
            part.to(memory_format=memory_format)
    arrays = iter(initial_arrays(network).values())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(next(arrays)))
    sgd = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=0.0005)

    def step(clips: np.ndarray, labels: np.ndarray) -> float:
        x = torch.from_numpy(clips).contiguous(memory_format=memory_format)
        sgd.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels))
        loss.backward()
        sgd.step()
        return loss.item()

    return step


def ours(network: Network, engine: str) -> Step:
    """Kinema's `Learner`."""
    learner = Learner(network, Processes("cpu", engine))
    learner.load(initial_arrays(network))
    return lambda clips, labels: float(learner.step(clips, labels, rate=RATE))


def ways(network: Network) -> dict[str, Callable[[], Step]]:
    return {
        "kinema": lambda: ours(network, "native"),
        "torch": lambda: plain(network, "contiguous_format"),
        "torch, channels last": lambda: plain(network, "channels_last_3d"),
    }


def batch(network: Network, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    clips = generator.normal(0, 50, (count, *network.input_shape)).astype(np.float32)
    return clips, generator.integers(0, 101, count)


def measure(case: str, rounds: int, kept: Kept) -> None:
    """Seconds of a step by each way, round by round; one step of each before, not counted."""
    network, count, steps = CASES[case]
    done = kept[case].setdefault("rounds", [])
    if len(done) >= rounds:
        return
    clips, labels = batch(network, count)
    loops = {}
    for name, make in ways(network).items():
        loops[name] = make()
        loops[name](clips, labels)
    while len(done) < rounds:
        names = list(loops)
        shift = len(done) % len(names)
        seconds = {}
        for name in names[shift:] + names[:shift]:
            begun = time.perf_counter()
            for _ in range(steps):
                loops[name](clips, labels)
            seconds[name] = (time.perf_counter() - begun) / steps
        done.append(seconds)
        kept.save()
        rates = ", ".join(f"{name} {count / s:.2f}" for name, s in seconds.items())
        print(f"{case}, round {len(done)}: {rates} clips/s", flush=True)


def profile(case: str) -> dict[str, float]:
    """Milliseconds a clip of the parts of Kinema's step, medians of five."""
    network, count, _ = CASES[case]
    clips, labels = (torch.from_numpy(array) for array in batch(network, count))
    learner = Learner(network, Processes("cpu", "native"))
    learner.load(initial_arrays(network))
    parts: dict[str, list[float]] = {"forward": [], "backward": [], "step": []}
    for _ in range(6):
        begun = time.perf_counter()
        loss = learner.loss(clips, labels)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        learner.descend(RATE)
        stop = time.perf_counter()
        for name, seconds in zip(
            parts, (forward - begun, backward - forward, stop - backward), strict=True
        ):
            parts[name].append(1e3 * seconds / count)
    return {name: round(statistics.median(values[1:]), 2) for name, values in parts.items()}


def reading(case: str, rounds: int, kept: Kept) -> None:
    """Steps from real prepared clips, read beside them, against steps from clips in memory."""
    done = kept[f"{case} reading"].setdefault("rounds", [])
    if len(done) >= rounds or "KINEMA_DATA" not in os.environ:
        return
    network, count, steps = CASES[case]
    root = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    with tempfile.TemporaryDirectory() as folder:
        videos = sorted(root.rglob("*.avi"))[::8]
        for video in videos:
            link = Path(folder, "videos", video.parent.name, video.name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(video)
        prepare(Path(folder, "videos"), out=Path(folder, "x.clips"), size=network.frame_size)
        store = ClipStore(Path(folder, "x.clips"))
        _, length, *crop = network.input_shape
        size = (crop[0], crop[1])
        sampler = Sampler(store.videos, length=length, size=store.size, crop=size, seed=0)

        def read(first: int) -> np.ndarray:
            draws = [sampler[n] for n in range(first, first + count)]
            return np.stack(
                [
                    read_clip(
                        store, draw.segment, draw.start, length=length, mean=(90, 98, 101),
                        crop=size, offset=draw.offset, flip=draw.flip,
                    )
                    for draw in draws
                ]
            )  # fmt: skip

        step = ours(network, "native")
        clips, labels = batch(network, count)
        step(clips, labels)
        num_steps = 8 * steps
        while len(done) < rounds:
            begun = time.perf_counter()
            for _ in range(num_steps):
                step(clips, labels)
            memory = time.perf_counter()
            for clips_read in mapped(read, range(0, num_steps * count, count), threads=2):
                step(clips_read, labels)
            both = time.perf_counter()
            alone = time.perf_counter()
            for first in range(0, num_steps * count, count):
                read(first)
            end = time.perf_counter()
            done.append(
                {
                    "memory": (memory - begun) / num_steps / count,
                    "reading": (both - memory) / num_steps / count,
                    "reading_alone": (end - alone) / num_steps / count,
                }
            )
            kept.save()


def summary(case: str, kept: Kept) -> dict:
    rounds = kept[case]["rounds"]
    network, count, _ = CASES[case]
    median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    best = min((name for name in median if name != "kinema"), key=lambda name: median[name])
    result = {
        "input_shape": list(network.input_shape),
        "batch": count,
        "clips_per_second": {name: round(count / s, 3) for name, s in median.items()},
        "best_plain": best,
        "times_as_fast": round(statistics.median(r[best] / r["kinema"] for r in rounds), 3),
        "milliseconds_a_clip": kept[case]["profile"],
        "rounds": rounds,
    }
    read = kept[f"{case} reading"].get("rounds")
    if read:
        result["reading"] = {
            "percent_longer_than_from_memory": round(
                100 * (statistics.median(r["reading"] / r["memory"] for r in read) - 1), 2
            ),
            "milliseconds_a_clip_on_one_thread": round(
                1e3 * statistics.median(r["reading_alone"] for r in read), 3
            ),
            "rounds": read,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    kept = Kept("training")
    for case in arguments.networks:
        if arguments.fresh:
            kept.forget(case)
            kept.forget(f"{case} reading")
        measure(case, arguments.rounds, kept)
        kept[case]["profile"] = profile(case)
        kept.save()
        reading(case, min(arguments.rounds, 3), kept)
    cases = [case for case in CASES if kept[case].get("rounds")]
    write(
        "training",
        {
            "what": "clips a second of learning steps, fp32",
            "threads": torch.get_num_threads(),
            "libraries": libraries(),
            "networks": {case: summary(case, kept) for case in cases},
        },
    )


if __name__ == "__main__":
    main()
