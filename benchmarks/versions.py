"""Two installed versions of Kinema beside each other: is anything slower than before?

    python benchmarks/versions.py OLD/bin/python NEW/bin/python [--rounds 7]

Whole processes take turns, so that what else the machine does falls on both. Real videos are taken
from KINEMA_DATA. Writes versions.json: median seconds of each, and of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from machine import write

ENGINE = """
import numpy as np, time
from kinema import network
from kinema.engine import Engine
net = network.c3d()
rng = np.random.default_rng(0)
weights = {n: rng.standard_normal(s, np.float32) / np.sqrt(np.prod(s[1:])) if len(s) > 1
           else np.zeros(s, np.float32) for n, s in net.parameter_shapes().items()}
engine = Engine(net, weights)
clips = rng.standard_normal((8, 3, 16, 112, 112), np.float32)
engine.run(clips)
begun = time.perf_counter()
for _ in range(3):
    engine.run(clips)
print(time.perf_counter() - begun)
"""


def tasks(videos: list[Path], folder: Path) -> dict[str, list[str]]:
    """What is run, by name; OUT stands for a folder that is new each time."""
    labelled = folder / "labelled"
    for label, chosen in (("a", videos[:6]), ("b", videos[-6:])):
        (labelled / label).mkdir(parents=True)
        for video in chosen:
            (labelled / label / video.name).symlink_to(video)
    some = [str(video) for video in videos[:20]]
    return {
        "kinema --help": ["-m", "kinema", "--help"],
        "engine: C3D, 24 clips": ["-c", ENGINE],
        "extract: c3d-mini, 20 videos": ["-m", "kinema", "extract", *some, "--out", "OUT"],
        "extract: C3D's fc6, 1 video": [
            "-m", "kinema", "extract", some[0], "--weights", "c3d-random", "--out", "OUT",
        ],
        "compare: 12 videos, 4 methods": [
            "-m", "kinema", "compare", str(labelled), "--C", "1", "--folds", "2", "--out", "OUT",
        ],
        "prepare: 12 videos": ["-m", "kinema", "prepare", str(labelled), "--out", "OUT/x.clips"],
        "train: mini, 20 steps": [
            "-m", "kinema", "train", str(labelled), "--iterations", "20", "--evaluations", "1",
            "--out", "OUT",
        ],
    }  # fmt: skip


def seconds(python: str, arguments: list[str], folder: Path) -> float:
    """Of a process from start to end; of the engine, what it says itself."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    given = [
        each.replace("OUT", str(out)) if each.startswith("OUT") else each for each in arguments
    ]
    begun = time.perf_counter()
    done = subprocess.run([python, *given], capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{python} {given[:4]}: {done.stderr[-2000:]}")
    return float(done.stdout) if given[0] == "-c" else taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="tasks that begin so; the others' figures stay")
    parser.add_argument("--note", default="", help="what else the machine did")
    arguments = parser.parse_args()
    data = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    videos = sorted(data.glob("*/*.avi"))[::15]
    before = Path(__file__).with_suffix(".json")
    found = json.loads(before.read_text())["tasks"] if arguments.only and before.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, given in tasks(videos, folder).items():
            if arguments.only and not task.startswith(tuple(arguments.only)):
                continue
            taken: dict[str, list[float]] = {"old": [], "new": []}
            for number in range(arguments.rounds + 1):
                order = ("old", "new") if number % 2 else ("new", "old")
                for which in order:
                    value = seconds(getattr(arguments, which), given, folder)
                    if number:  # the first one of each warms the disk
                        taken[which].append(value)
            ratios = [new / old for old, new in zip(taken["old"], taken["new"], strict=True)]
            found[task] = {
                "old_s": round(statistics.median(taken["old"]), 3),
                "new_s": round(statistics.median(taken["new"]), 3),
                "ratio": round(statistics.median(ratios), 3),
                "rounds": arguments.rounds,
                "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
            }
            print(task, found[task], flush=True)
    write("versions", {"note": arguments.note, "tasks": found})


if __name__ == "__main__":
    main()
