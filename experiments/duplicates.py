"""What duplicates are found, and what is taken for one: docs/results/duplicates.json.

    python experiments/duplicates.py

- Every 56th clip of UCF101-3 is changed (encoded anew, scaled, cropped, cut, ...): is the copy
  found? Copies lack the first seven frames, so that they do not begin where bins do.
- Pairs of other recordings are wrong. Pairs of one recording that no copy made are counted apart:
  some of UCF101's clips overlap, and some show push-ups that are nearly the same.
- UCF101's groups against the same scene, as `--scenes` lists it.
- How long it takes, and how long comparing takes for 20,000 videos of 10 s, of drawn footage.

Takes real videos from KINEMA_DATA. About a quarter of an hour on two cores that have other work.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from copies import captioned, cropped, even
from real_videos import real_videos

from kinema.datasets.loaders import load
from kinema.datasets.near_duplicates import find_near_duplicates
from kinema.files import write_json
from kinema.finding import candidates
from kinema.finding.alignment import Changes, segments
from kinema.finding.duplicates import duplicates
from kinema.finding.footage import Footage
from kinema.finding.matching import SIMILARITY
from kinema.video.reader import VideoReader

RESULTS = Path(__file__).parent.parent / "docs" / "results"
EVERY = 56
LOST_FRAMES = 7
NUM_DRAWN, DRAWN_SECONDS = 20_000, 10

Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, tuple[Change, int]] = {
    "encoded anew, CRF 23": (lambda image: image, 23),
    "encoded anew, CRF 36": (lambda image: image, 36),
    "encoded anew, CRF 42": (lambda image: image, 42),
    "half the size": (
        lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        28,
    ),
    "stretched by a third": (lambda image: cv2.resize(image, None, fx=4 / 3, fy=1.0), 28),
    "brighter, 1.2 v + 30": (lambda image: np.clip(image * 1.2 + 30, 0, 255).astype(np.uint8), 28),
    "darker, gamma 1.6": (lambda image: (255 * (image / 255) ** 1.6).astype(np.uint8), 28),
    "mirrored": (lambda image: image[:, ::-1], 28),
    "black bars left and right": (
        lambda image: cv2.copyMakeBorder(image, 0, 0, 40, 40, cv2.BORDER_CONSTANT),
        28,
    ),
    "a caption over a sixth": (captioned, 28),
    "cropped by 3 % a side": (cropped(0.03), 28),
    "cropped by 5 % a side": (cropped(0.05), 28),
    "cropped by 10 % a side": (cropped(0.10), 28),
}
CUTS = ("its middle half", "its middle third cut out", "between two others")


def write(path: Path, images: list[np.ndarray], crf: int) -> None:
    """As people encode: with what x264 does of itself."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def cuts(images: list[np.ndarray], other: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    count = len(images)
    height, width = images[0].shape[:2]
    around = [cv2.resize(image, (width, height)) for image in other[:50]]
    return {
        CUTS[0]: images[count // 4 : -count // 4],
        CUTS[1]: images[: count // 3] + images[-count // 3 :],
        CUTS[2]: around[:25] + images + around[25:],
    }


def recording(path: str) -> str:
    """UCF101's group of a clip, or of a copy of it."""
    return Path(path).stem.split("__")[0].rsplit("_", 1)[0]


def clip(path: str) -> str:
    return Path(path).stem.split("__")[0]


def found_copies(folder: Path, copies: Path, cache: Path) -> dict[str, Any]:
    clips = sorted(folder.rglob("*.avi"))
    for number, path in enumerate(clips[::EVERY]):
        images = [frame.image for frame in VideoReader(path)][LOST_FRAMES:]
        other = [frame.image for frame in VideoReader(clips[(EVERY * number + 200) % len(clips)])]
        for name, (change, crf) in CHANGES.items():
            write(copies / f"{path.stem}__{name}.mp4", [even(change(i)) for i in images], crf)
        for name, cut in cuts(images, other).items():
            write(copies / f"{path.stem}__{name}.mp4", [even(image) for image in cut], 28)
    begun = time.perf_counter()
    found = duplicates([folder, copies], cache=cache)
    made, hit, wrong, own = Counter(), set(), set(), set()
    for path in copies.iterdir():
        made[path.stem.split("__")[1]] += 1
    for row in found.rows:
        if recording(row.first) != recording(row.second):
            # What stands around a copy is footage of another clip, and right.
            if CUTS[2] not in row.first + row.second:
                wrong.add((row.first, row.second))
        elif clip(row.first) != clip(row.second):
            own.add((clip(row.first), clip(row.second)))
        elif ("__" in row.first) != ("__" in row.second):
            hit.add(Path(row.second if "__" in row.second else row.first).stem)
    hits = Counter(name.split("__")[1] for name in hit)
    pairs = {frozenset((row.first, row.second)) for row in found.rows}
    return {
        "num_copies": sum(made.values()),
        "recall": {name: hits[name] / count for name, count in made.items()},
        "num_pairs": len(pairs),
        "num_pairs_of_other_recordings": len(wrong),
        "pairs_of_clips_of_one_recording": len({frozenset(pair) for pair in own}),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def alone(folder: Path, cache: Path) -> dict[str, Any]:
    """UCF101-3 as it is: time, pairs, and its groups against scenes."""
    begun = time.perf_counter()
    found = duplicates([folder], scenes=True, cache=cache)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    duplicates([folder], scenes=True, cache=cache)
    again = time.perf_counter() - begun
    links = [(scene.first, scene.second) for scene in found.scenes]
    links += [(row.first, row.second) for row in found.rows]
    right = sum(recording(first) == recording(second) for first, second in set(links))
    groups = Counter(map(recording, found.sources))
    within = sum(count * (count - 1) // 2 for count in groups.values())
    joined = find_near_duplicates(load(folder, kind="folder"), cache=cache / "sketches")
    same = [
        (recording(one) == recording(two), first == second)
        for (one, first), (two, second) in itertools.combinations(
            zip(joined.names, joined.groups, strict=True), 2
        )
    ]
    both = sum(true and made for true, made in same)
    return {
        "num_videos": len(found.sources),
        "seconds": round(seconds, 1),
        "seconds_with_cache": round(again, 1),
        "duplicates": [
            [clip(row.first), clip(row.second), row.score, row.kind] for row in found.rows
        ],
        "scenes": {
            "num_links": len(set(links)),
            "precision_of_links": right / len(set(links)),
            "recall_of_links": right / within,
            "precision_of_groups": both / sum(made for _, made in same),
            "recall_of_groups": both / sum(true for true, _ in same),
        },
    }


def comparing() -> dict[str, Any]:
    """Key pictures of drawn videos, each with each; then one pair."""
    generator = np.random.default_rng(0)
    scenes = generator.integers(0, 256, (NUM_DRAWN, 1, 6, 8), np.uint8)
    keys = []
    for scene in scenes:
        large = cv2.resize(scene[0], (24, 18), interpolation=cv2.INTER_CUBIC)
        noise = generator.integers(-20, 21, (DRAWN_SECONDS, 18, 24))
        keys.append(np.clip(large + noise, 0, 255).astype(np.uint8))
    begun = time.perf_counter()
    pairs = candidates.candidates(keys)
    seconds = time.perf_counter() - begun
    nothing = np.zeros(0)
    drawn = generator.integers(0, 256, (2, 10 * DRAWN_SECONDS, 12, 16), np.uint8)
    one, two = (Changes(Footage(bins, nothing, nothing, nothing, nothing)) for bins in drawn)
    begun = time.perf_counter()
    for _ in range(100):
        segments(one, two)
    return {
        "num_videos": NUM_DRAWN,
        "seconds_for_candidates": round(seconds, 1),
        "num_candidates": len(pairs),
        "milliseconds_for_a_candidate_that_is_none": round(10 * (time.perf_counter() - begun), 2),
    }


def main() -> None:
    folder = real_videos() / "ucf101-3" / "UCF-101"
    with tempfile.TemporaryDirectory() as made:
        cache, copies = Path(made, "cache"), Path(made, "copies")
        copies.mkdir()
        content: dict[str, Any] = {"similarity": SIMILARITY}
        for name, part in (
            ("ucf101-3", lambda: alone(folder, cache)),
            ("copies", lambda: found_copies(folder, copies, cache)),
            ("comparing", comparing),
        ):
            content[name] = part()
            print(name, json.dumps(content[name], indent=1), flush=True)
    write_json(RESULTS / "duplicates.json", content)


if __name__ == "__main__":
    main()
