"""How `report.html` behaves with as many videos as UCF101 has: benchmarks/report.json.

Features, predictions and timelines are drawn at random; the filmstrips are real ones. A headless
Chromium opens the page, points at videos and chooses a class.

    python benchmarks/report.py     needs real videos in KINEMA_DATA, playwright, and Chromium
                                    (`apt install chromium`)
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import write
from playwright.sync_api import sync_playwright

from kinema.evaluation.result import Outcome, Result, Row, Timeline
from kinema.metrics import Interval
from kinema.views import page
from kinema.views.strips import SMALLEST_STRIP, filmstrip

NUM_VIDEOS, NUM_CLASSES, NUM_SPLITS = 13_320, 101, 3
CLIPS = 22
"""Of a video: UCF101's have 186 frames on average, and a clip starts every 8."""
METHODS = ("c3d", "c3d-nets", "imagenet", "one-frame", "depth-1")
WITHOUT_CLIPS = ("imagenet",)
ROUNDS = 5
NUM_HOVERS = 100


def result(rng: np.random.Generator) -> Result:
    """Five methods with maps, four of them with timelines, on three splits."""
    labels = rng.integers(0, NUM_CLASSES, NUM_VIDEOS)
    part = rng.integers(0, NUM_SPLITS + 1, NUM_VIDEOS)  # a quarter is never tested
    return Result(
        dataset="synthetic",
        classes=tuple(f"Class_{k:03d}" for k in range(NUM_CLASSES)),
        videos=tuple(f"Class_{k:03d}/v_Class_{k:03d}_{i:05d}.avi" for i, k in enumerate(labels)),
        labels=labels,
        sources=(),
        splits=tuple(str(s) for s in range(NUM_SPLITS)),
        rows=tuple(row(name, labels, part, rng) for name in METHODS),
        settings={"kind": "ucf101", "weights": [], "layer": "fc6", "stride": 8, "l2": True,
                  "cost": 1.0},
    )  # fmt: skip


def row(name: str, labels: np.ndarray, part: np.ndarray, rng: np.random.Generator) -> Row:
    outcomes = []
    for split in range(NUM_SPLITS):
        test = np.flatnonzero(part == split)
        scores = rng.normal(size=(len(test), NUM_CLASSES))
        scores[np.arange(len(test)), labels[test]] += 3.0
        lines = () if name in WITHOUT_CLIPS else [line(score, rng) for score in scores]
        outcomes.append(
            Outcome(str(split), tuple(test.tolist()), labels[test], scores, timelines=tuple(lines))
        )
    points = rng.normal(size=(NUM_CLASSES, 2))[labels] * 3 + rng.normal(size=(NUM_VIDEOS, 2)) / 3
    return Row(name, name, "", tuple(outcomes), Interval(0.8, 0.7, 0.9), None, 4096, 1000.0, 0,
               points, 0.5)  # fmt: skip


def line(scores: np.ndarray, rng: np.random.Generator) -> Timeline:
    start = np.arange(CLIPS) * 0.32
    said = (scores + rng.normal(size=(CLIPS, NUM_CLASSES)) / 2).argmax(axis=1)
    return Timeline(start, start + 0.64, said)


def filmstrips() -> list[bytes]:
    """Those of some real videos, over and over."""
    videos = sorted(Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101").glob("*/*.avi"))
    made = [filmstrip(video, SMALLEST_STRIP) for video in videos[::4]]
    return [made[i % len(made)] for i in range(NUM_VIDEOS)]


def measure(path: Path, browser: Any) -> dict[str, float]:
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    begun = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached")
    opened = time.perf_counter() - begun
    # From the movement of the pointer until the filmstrip is decoded and the frame is drawn.
    delays = tab.evaluate(
        """async (count) => {
          const delays = [], canvas = maps[0].marks;
          canvas.scrollIntoView({block: "center"});
          for (let n = 0; n < count; n++) {
            const [x, y] = project(maps[0], (n * 7919) % N), box = canvas.getBoundingClientRect();
            await new Promise((done) => setTimeout(done, 20));
            const begun = performance.now();
            canvas.dispatchEvent(new PointerEvent("pointermove",
              {clientX: box.left + x, clientY: box.top + y, bubbles: true}));
            await document.querySelector("#tip img").decode();
            await new Promise((done) => requestAnimationFrame(done));
            delays.push(performance.now() - begun);
          }
          return delays;
        }""",
        NUM_HOVERS,
    )
    chosen = tab.evaluate(
        """async () => {
          const begun = performance.now();
          document.querySelector("#classes button").click();
          await new Promise((done) => requestAnimationFrame(done));
          return performance.now() - begun;
        }"""
    )
    tab.close()
    return {
        "open_seconds": opened,
        "hover_ms": statistics.median(delays),
        "slowest_of_20_hovers_ms": float(np.quantile(delays, 0.95)),
        "choose_class_ms": chosen,
    }


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is needed: apt install chromium.")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "report.html")
        strips = filmstrips()
        page.fill(result(rng), path, strips, SMALLEST_STRIP)
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        rounds = [measure(path, browser) for _ in range(ROUNDS)]
        write(
            "report",
            {
                "what": f"report.html with {NUM_VIDEOS} synthetic videos, {NUM_CLASSES} classes, "
                f"{len(METHODS)} methods; medians of {ROUNDS} rounds in headless Chromium",
                "size_mb": path.stat().st_size / 1e6,
                "filmstrip_bytes": statistics.mean(map(len, strips)),
                **{name: statistics.median(r[name] for r in rounds) for name in rounds[0]},
                "chromium": browser.version,
            },
        )
        browser.close()


if __name__ == "__main__":
    main()
