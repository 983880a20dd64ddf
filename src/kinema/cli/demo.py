"""The demo: from drawn videos to a classifier, beside two rivals that cannot see motion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kinema.features.extraction import extract
from kinema.features.extractor import Extractor, still
from kinema.features.table import FeatureTable
from kinema.files import write_json
from kinema.finding.answer import write_table
from kinema.finding.classify import classify
from kinema.finding.search import search
from kinema.methods.classifier import Classifier
from kinema.plots import Strip, filmstrips
from kinema.video.reader import VideoReader
from kinema.video.synthetic import CLASSES, FPS, DrawnVideo, write_dataset, write_video
from kinema.views.finding import classify_page, search_page

NUM_TRAIN, NUM_TEST = 20, 10
"""Videos a class."""

NUM_FRAMES = 32
"""Of each video: three clips."""

STRIP_FRAMES = 8

NUM_JOINED, HIDDEN_BEHIND = 8, 5
"""Training videos in the long video that is searched, and how many of them come first."""

NUM_LABELLED = 5
"""Videos a class that the test videos are sorted by."""


def demo(out: Path) -> dict[str, Any]:
    """Draw videos, extract features, train a linear SVM, compare it with two rivals; find and sort.

    Everything goes to `out`: `videos/`, `features/`, `classifier.safetensors`, `predictions.png`,
    `search.html`, `sorted.html` and `result.json`, which is returned.
    """
    console = Console(highlight=False)
    console.print(
        f"Drawing {len(CLASSES) * (NUM_TRAIN + NUM_TEST)} videos of {len(CLASSES)} classes "
        "that only motion tells apart ..."
    )
    videos = write_dataset(
        out / "videos", num_train=NUM_TRAIN, num_test=NUM_TEST, num_frames=NUM_FRAMES
    )

    console.print("Extracting features with c3d-mini ...")
    extractor = Extractor("c3d-mini")
    report = extract([out / "videos"], out=out / "features", weights="c3d-mini", progress=True)
    console.print(report.summary())
    tables = {
        video: FeatureTable.load(out / "features" / f"{_name(video, out)}.safetensors")
        for video in videos
    }
    console.print("The same network on clips without motion, for comparison ...")
    rivals = {
        name: {video: extractor(video.path, rearrange=rearrange) for video in videos}
        for name, rearrange in (
            ("one frame, repeated 16 times", still),
            ("frames in shuffled order", _Shuffled()),
        )
    }
    classifier, accuracy = _train_and_test(videos, tables)
    result = {
        "num_train": len(_of(videos, "train")),
        "num_test": len(_of(videos, "test")),
        "classes": list(CLASSES),
        "weights": "c3d-mini",
        "accuracy": {
            "16 frames in order": accuracy,
            **{name: _train_and_test(videos, found)[1] for name, found in rivals.items()},
            "chance": 1 / len(CLASSES),
        },
    }
    classifier.save(out / "classifier.safetensors")
    write_json(out / "result.json", result)
    _draw(out / "predictions.png", _of(videos, "test"), tables, classifier)
    _show(console, result)
    console.print(
        "The four videos of a scene show the same frames in another order, so one frame cannot tell"
        " them apart,\nand neither can a set of frames.",
        soft_wrap=True,
    )
    console.print(f"Picture: {out / 'predictions.png'}")
    result["search"], result["classify"] = _search(console, out, videos), _classify(console, out)
    write_json(out / "result.json", result)
    example = _of(videos, "test")[0].path
    command = f"kinema predict {example} --classifier {out / 'classifier.safetensors'}"
    console.print(f"Try it on one of them:\n  {command}", soft_wrap=True)
    console.print("Features of your own videos:\n  kinema extract YOUR_VIDEOS --out features")
    return result


def _search(console: Console, out: Path, videos: Sequence[DrawnVideo]) -> dict[str, Any]:
    """Hide a test video in a longer one, darker and encoded anew, and search for it."""
    hidden = _of(videos, "test")[0]
    others = _of(videos, "train")[:: len(videos) // NUM_JOINED][:NUM_JOINED]
    parts = [[frame.image for frame in VideoReader(video.path)] for video in others]
    darker = [(0.8 * frame.image).astype(np.uint8) for frame in VideoReader(hidden.path)]
    parts.insert(HIDDEN_BEHIND, darker)
    write_video(out / "long.mp4", np.stack([image for part in parts for image in part]))
    start = sum(map(len, parts[:HIDDEN_BEHIND])) / FPS
    truth = (start, start + len(darker) / FPS)
    found = search(hidden.path, out / "long.mp4", top=1, cache=out / "finding", progress=True)
    (hit,) = found.rows
    search_page(found, out / "search.html", cache=out / "finding")
    console.print(
        f"\nSearching {out / 'long.mp4'} for {hidden.path.name}, which it shows darker from "
        f"{truth[0]:.1f} to {truth[1]:.1f} s: found from {hit.start_seconds:.1f} to "
        f"{hit.stop_seconds:.1f} s{', a copy' * hit.copy}. Page: {out / 'search.html'}",
        soft_wrap=True,
    )
    return {
        "true_seconds": truth,
        "found_seconds": (hit.start_seconds, hit.stop_seconds),
        "right": truth[0] < hit.peak_seconds < truth[1],
        "copy": hit.copy,
    }


def _classify(console: Console, out: Path) -> dict[str, Any]:
    """Sort the test videos from five labelled videos a class."""
    labels = out / "five-a-class.csv"
    rows = [
        {"path": f"videos/train/{name}/v_{name}_{number:04d}.mp4", "label": name}
        for name in CLASSES
        for number in range(1, NUM_LABELLED + 1)
    ]
    write_table(labels, rows)
    sorted_videos = classify(
        labels, out / "videos" / "test", cache=out / "finding", out=out / "sorted", progress=True
    )
    classify_page(sorted_videos, out / "sorted.html", cache=out / "finding")
    truth = [Path(row.path).parent.name for row in sorted_videos.rows]
    right = [row.best_class == name for row, name in zip(sorted_videos.rows, truth, strict=True)]
    num_none = sum(not row.label for row in sorted_videos.rows)
    console.print(
        f"Sorting the test videos from {NUM_LABELLED} labelled ones a class ({labels}): of "
        f"{len(right)} the closest class is right for {sum(right)}; {num_none} are called none of "
        f"these, wrongly. Page: {out / 'sorted.html'}",
        soft_wrap=True,
    )
    return {
        "num_labelled": NUM_LABELLED,
        "accuracy": float(np.mean(right)),
        "none_of_these": num_none,
    }


def _name(video: DrawnVideo, out: Path) -> str:
    return video.path.relative_to(out / "videos").as_posix()


def _of(videos: Sequence[DrawnVideo], split: str) -> list[DrawnVideo]:
    return [video for video in videos if video.split == split]


class _Shuffled:
    """Clips (N, 3, T, H, W) with all their frames, each in another order."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng(0)

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        return np.stack([clip[:, self._generator.permutation(clip.shape[1])] for clip in clips])


def _train_and_test(
    videos: Sequence[DrawnVideo], tables: dict[DrawnVideo, FeatureTable]
) -> tuple[Classifier, float]:
    train, test = _of(videos, "train"), _of(videos, "test")
    classifier = Classifier.train([tables[v] for v in train], [v.label for v in train])
    right = [classifier.predict(tables[v]) == v.label for v in test]
    return classifier, float(np.mean(right))


def _draw(
    path: Path,
    videos: Sequence[DrawnVideo],
    tables: dict[DrawnVideo, FeatureTable],
    classifier: Classifier,
) -> None:
    """Filmstrips of one test video a class."""
    first = {video.label: video for video in reversed(videos)}
    strips = []
    for label in CLASSES:
        video = first[label]
        table = tables[video]
        frames = [frame.image for frame in VideoReader(video.path)]
        strips.append(
            Strip(
                frames=frames[:STRIP_FRAMES],
                label=label,
                prediction=classifier.predict(table),
                clip_scores=classifier.scores(table.features),
                clip_seconds=np.stack([table.start_seconds, table.stop_seconds], axis=1),
            )
        )
    title = "The first frames of a test video, what the classifier says, and its scores by clip"
    filmstrips(path, strips, classifier.classes, title=title)


def _show(console: Console, result: dict[str, Any]) -> None:
    table = Table(title=f"Accuracy on {result['num_test']} test videos", title_justify="left")
    table.add_column("what the network sees")
    table.add_column("accuracy", justify="right")
    for name, accuracy in result["accuracy"].items():
        table.add_row(name, f"{100 * accuracy:.1f} %")
    console.print(table)
