"""The demo's figures and picture as the README shows them: benchmarks/demo.json, docs/demo.png."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from machine import write

from kinema.cli.demo import demo


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        result = demo(Path(folder))
        seconds = time.monotonic() - begun
        docs = Path(__file__).parent.parent / "docs"
        shutil.copyfile(Path(folder, "predictions.png"), docs / "demo.png")
    write("demo", {**result, "seconds": round(seconds, 1)})


if __name__ == "__main__":
    main()
