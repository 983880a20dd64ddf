"""What a measurement was taken on and with."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from kinema.features.extractor import versions


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions(),
    }


def write(name: str, result: dict[str, Any]) -> None:
    """Write benchmarks/<name>.json and print it."""
    text = json.dumps({**result, "machine": machine()}, indent=1)
    (Path(__file__).parent / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
