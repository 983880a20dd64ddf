"""The paper's study of the kernels' temporal depth, as docs/results/kernel-depth-NAME.md and .json.

    python experiments/kernel_depth.py drawn        drawn actions, which only motion tells apart
    python experiments/kernel_depth.py ucf101-3     three classes of UCF101, split 1
    python experiments/kernel_depth.py drawn --seeds 5 --iterations 400

Six nets from scratch at 64 pixels and a quarter of the width, for as many steps each; the recipe is
kernel-depth-mini, see docs/kernel-depth.md. ucf101-3 takes real videos from KINEMA_DATA and the
official lists beside it. Runs are kept in experiments/.cache, so a stopped study goes on, run by
run; after each seed all files are written. Each takes about an hour on two cores: how long is told
before the first run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from needed import needs

needs("torch")

from real_videos import real_videos

from kinema.evaluation.ablation import ablation
from kinema.evaluation.ablation_result import Ablation
from kinema.files import write_json
from kinema.video.synthetic import write_dataset
from kinema.views import ablation as views

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
RESULTS = HERE.parent / "docs" / "results"


def drawn() -> dict[str, Any]:
    folder = CACHE / "kernel-depth" / "drawn actions"
    write_dataset(folder, num_train=60, num_test=20, num_frames=32)
    # A mirrored clip of a wheel that turns clockwise is one of a wheel that turns the other way.
    return {"dataset": folder, "flip": False, "iterations": 100, "evaluations": 10}


def ucf101_3() -> dict[str, Any]:
    data = real_videos()
    lists = data.parent / "lists" / "ucf101"
    dataset = data / "ucf101-3" / "UCF-101"
    return {
        "dataset": dataset, "lists": lists, "split": "1", "iterations": 150, "evaluations": 5,
    }  # fmt: skip


STUDIES: dict[str, Callable[[], dict[str, Any]]] = {"drawn": drawn, "ucf101-3": ucf101_3}
TITLES = {"drawn": "drawn actions", "ucf101-3": "three classes of UCF101"}


def main() -> None:
    parser = argparse.ArgumentParser(description="The study of the kernels' temporal depth.")
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, help="another length of each run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    given = parser.parse_args()
    options = STUDIES[given.name]()
    if given.iterations is not None:
        options["iterations"] = given.iterations
    begun = time.monotonic()

    def write(found: Ablation) -> None:
        name, found = f"kernel-depth-{given.name}", replace(found, dataset=TITLES[given.name])
        write_json(given.results / f"{name}.json", found.as_mapping())
        views.write(found, given.results, name)

    out = CACHE / "kernel-depth" / f"{given.name}-{options['iterations']}"
    found = ablation(**options, out=out, seeds=given.seeds, progress=True, each_seed=write)
    print("\n".join(views.summary(found)))
    print(f"this call took {(time.monotonic() - begun) / 3600:.2f} hours")


if __name__ == "__main__":
    main()
