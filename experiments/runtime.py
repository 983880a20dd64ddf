"""The paper's runtime table on this machine: docs/results/runtime.md, .json and .png.

    python experiments/runtime.py

Every system of the table on three classes of UCF101 (in KINEMA_DATA), beside the original network
with random weights, which are as fast as others; and c3d-mini, the default weights, alone
(runtime-c3d-mini). Let nothing else run. What was measured is kept in experiments/.cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from real_videos import real_videos

from kinema.evaluation.runtime import runtime
from kinema.evaluation.systems import SYSTEMS
from kinema.files import atomic_path
from kinema.views.runtime import summary, write

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
SECONDS = 10.0
"""Of each system, on one core and on all."""
OF_C3D = tuple(name for name in SYSTEMS if name.startswith("c3d"))
TABLES = {"runtime": (None, tuple(SYSTEMS)), "runtime-c3d-mini": ("c3d-mini", OF_C3D)}
"""Weights and systems of each."""


def main() -> None:
    videos = real_videos() / "ucf101-3"
    for name, (weights, systems) in TABLES.items():
        folder = HERE / ".cache" / name
        made = runtime(
            [videos], out=folder, systems=systems, weights=weights, seconds=SECONDS, progress=True
        )
        write(made, folder)
        for kind in ("json", "md", "png"):
            with atomic_path(RESULTS / f"{name}.{kind}") as partial:
                shutil.copyfile(folder / f"runtime.{kind}", partial)
        print("\n".join(summary(made)))


if __name__ == "__main__":
    main()
