"""`kinema extract` and a plain script on the same real videos: benchmarks/extraction.json.

Needs KINEMA_DATA with real videos. C3D with seeded random weights up to fc6, stride 8. Whole
processes are timed, in turns: `extract`; plain_extraction.py; and the engine alone on as many clips
in the same batches, which says what decoding, preprocessing and writing add.

A killed run goes on where it was; `--fresh` measures anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import write
from peers import CORES, MALLOCS, NATIVE
from resume import Kept, cache_folder, libraries

from kinema import network as networks
from kinema.engine.engine import KINDS, Engine
from kinema.video.clips import ClipPlan, preprocess, stream_clips
from kinema.video.reader import VideoReader
from kinema.weights.file import Weights, random_weights

LAYER = "fc6"
STRIDE = 8
EVERY = 10
WAYS = ("extract", "plain", "engine")


class Work:
    """What all ways do: videos, weights and settings."""

    def __init__(self, videos: Sequence[Path], arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.list_path = cache_folder() / "extraction-videos.txt"
        self.list_path.write_text("".join(f"{video}\n" for video in videos), encoding="utf-8")
        self.weights_path = cache_folder() / "extraction-c3d.safetensors"
        if not self.weights_path.is_file():
            random_weights(networks.c3d()).save(self.weights_path)
        plan = ClipPlan(stride=STRIDE)
        self.clips_by_video = {
            video.stem: plan.num_clips(sum(1 for _ in VideoReader(video))) for video in videos
        }
        first = next(stream_clips(VideoReader(videos[0]), plan))
        self.clip_path = cache_folder() / "extraction-clip.npy"
        np.save(self.clip_path, preprocess(first.images, mean=(128, 128, 128)))

    def command(self, way: str, out: Path) -> list[str]:
        """The command line of one way."""
        common = {
            "--list": self.list_path,
            "--weights": self.weights_path,
            "--stride": STRIDE,
            "--threads": self.arguments.threads,
            "--out": out,
        }
        if way == "plain":
            start = [str(Path(__file__).with_name("plain_extraction.py"))]
            options = {
                **common,
                "--batch": self.arguments.plain_batch,
                "--layout": self.arguments.plain_layout,
            }
        elif way == "extract":
            start = ["-c", "import sys; from kinema.cli import main; sys.exit(main())", "extract"]
            options = {
                **common,
                "--layer": LAYER,
                "--format": "npy",
                "--engine": self.arguments.engine,
                "--batch": self.arguments.batch,
            }
        else:
            start = [__file__, "--engine-alone", str(out), "--clips"]
            start += map(str, self.clips_by_video.values())
            options = {
                "--engine": self.arguments.engine,
                "--batch": self.arguments.batch,
                "--threads": self.arguments.threads,
            }
        return [sys.executable, *start, *(str(x) for pair in options.items() for x in pair)]

    def seconds(self, way: str, out: Path) -> float:
        """How long one way takes, from the start of its process to its end."""
        malloc = self.arguments.plain_malloc if way == "plain" else "default"
        begun = time.perf_counter()
        subprocess.run(
            self.command(way, out),
            check=True,
            env={**os.environ, **MALLOCS[malloc]},
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begun


def engine_alone(arguments: argparse.Namespace) -> None:
    """Run the engine on the clips of every video in batches, and write how long that took.

    As in `extract`, batches do not mix videos. What is in the clips does not matter to the time.
    """
    weights = Weights.load(cache_folder() / "extraction-c3d.safetensors")
    network = weights.network.up_to(LAYER)
    engine = Engine(network, weights, engine=arguments.engine, threads=arguments.threads)
    clip = np.load(cache_folder() / "extraction-clip.npy")
    clips = np.repeat(clip[None], arguments.batch, axis=0)
    begun = time.perf_counter()
    for num_clips in arguments.clips:
        for start in range(0, num_clips, arguments.batch):
            engine.run(clips[: num_clips - start], (LAYER,))
    seconds = time.perf_counter() - begun
    arguments.engine_alone.mkdir()
    (arguments.engine_alone / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def one_round(work: Work, turn: int, folder: Path) -> dict[str, float]:
    """Seconds of each way, and how far the features of the two that make some lie apart."""
    result: dict[str, float] = {}
    for way in (*WAYS[turn % len(WAYS) :], *WAYS[: turn % len(WAYS)]):
        result[way] = work.seconds(way, folder / way)
        print(f"round {turn + 1}: {way} {result[way]:.1f} s", flush=True)
    result["engine_run"] = json.loads((folder / "engine" / "seconds.json").read_text("utf-8"))
    result["largest_relative_l2"] = largest_difference(
        tables(folder / "extract"), tables(folder / "plain"), work.clips_by_video
    )
    return result


def tables(folder: Path) -> dict[str, np.ndarray]:
    """Features by name of the video, without the endings."""
    return {path.name.partition(".")[0]: np.load(path) for path in folder.rglob("*.npy")}


def largest_difference(
    ours: Mapping[str, np.ndarray],
    plain: Mapping[str, np.ndarray],
    clips_by_video: Mapping[str, int],
) -> float:
    """Largest relative L2 over the videos; other videos or numbers of clips are an error."""
    for name, found in (("extract", ours), ("the plain script", plain)):
        if {video: len(table) for video, table in found.items()} != clips_by_video:
            sys.exit(f"{name} has made other tables than the videos' clips.")
    return max(
        float(np.linalg.norm(ours[video] - plain[video]) / np.linalg.norm(plain[video]))
        for video in plain
    )


def summary(settings: Mapping[str, Any], rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Medians, and medians of ratios within a round."""

    def median(what: str) -> float:
        return statistics.median(one[what] for one in rounds)

    def ratio(what: str, over: str) -> float:
        return statistics.median(one[what] / one[over] for one in rounds)

    return {
        "what": "C3D fc6 features of real videos, seconds of whole processes",
        **settings,
        "libraries": libraries(),
        "num_rounds": len(rounds),
        "median_seconds": {way: median(way) for way in (*WAYS, "engine_run")},
        "clips_per_second": {way: settings["num_clips"] / median(way) for way in WAYS},
        "plain_over_extract": ratio("plain", "extract"),
        "percent_over_engine_alone": 100 * (ratio("extract", "engine") - 1),
        "percent_over_engine_run": 100 * (ratio("extract", "engine_run") - 1),
        "largest_relative_l2": max(one["largest_relative_l2"] for one in rounds),
        "rounds": list(rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    best = NATIVE if NATIVE in KINDS else "auto"
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", choices=KINDS, default=best)
    parser.add_argument("--batch", type=int, default=8, help="clips at once in `extract`")
    parser.add_argument("--plain-batch", type=int, default=8, help="and in the plain script")
    parser.add_argument(
        "--plain-layout", choices=("contiguous", "channels_last_3d"), default="channels_last_3d"
    )
    parser.add_argument("--plain-malloc", choices=MALLOCS, default="keep")
    parser.add_argument("--threads", type=int, default=CORES, help="of each network; all")
    parser.add_argument("--videos", type=int, help="only so many of them, for a trial")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rounds")
    parser.add_argument("--engine-alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--clips", type=int, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine_alone:
        return engine_alone(arguments)
    data = os.environ.get("KINEMA_DATA")
    if not data:
        sys.exit("KINEMA_DATA is not set: extraction is measured on real videos.")
    videos = sorted(Path(data, "ucf101-3", "UCF-101").rglob("*.avi"))[::EVERY][: arguments.videos]
    work = Work(videos, arguments)
    settings = {
        "num_videos": len(videos),
        "num_clips": sum(work.clips_by_video.values()),
        "engine": arguments.engine,
        "threads": arguments.threads,
        "batch": arguments.batch,
        "plain_batch": arguments.plain_batch,
        "plain_layout": arguments.plain_layout,
        "plain_malloc": arguments.plain_malloc,
    }
    kept = Kept("extraction")
    part = kept["extraction"]
    if arguments.fresh or part.get("settings") != settings:
        part.clear()
    part["settings"] = settings
    rounds = part.setdefault("rounds", [])
    while len(rounds) < arguments.rounds:
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(work, len(rounds), Path(folder)))
        kept.save()
    return write("extraction", summary(settings, rounds))


if __name__ == "__main__":
    main()
