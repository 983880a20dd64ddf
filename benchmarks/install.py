"""What an installation from this folder costs: benchmarks/install.json.

A fresh virtual environment, then `pip install .`, which compiles the kernels; pip's cache is used
as it is, so the time is that of someone who has the packages at hand or a fast line.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import write

ROOT = Path(__file__).parent.parent


def size_mib(folder: Path) -> float:
    """Bytes of all files under a folder, in MiB."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "environment")
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        before = size_mib(environment)
        pip = [environment / "bin" / "python", "-m", "pip", "--quiet", "install"]
        start = time.perf_counter()
        subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", ROOT], check=True)
        seconds = time.perf_counter() - start
        (site,) = environment.glob("lib/python*/site-packages")
        torch = list(site.glob("torch"))
        packages = {
            path.name: round(size_mib(path), 1)
            for path in site.iterdir()
            if path.is_dir() and size_mib(path) > 10
        }
        write(
            "install",
            {
                "what": "`pip install .` in a fresh virtual environment, kernels compiled",
                "seconds": seconds,
                "mib": size_mib(environment) - before,
                "torch": bool(torch),
                "kinema_mib": size_mib(site / "kinema"),
                "packages_over_10_mib": dict(sorted(packages.items(), key=lambda item: -item[1])),
            },
        )


if __name__ == "__main__":
    main()
