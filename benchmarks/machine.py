"""What a measurement was taken on and with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kinema.evaluation.runtime import machine

__all__ = ["machine", "write"]


def write(name: str, result: dict[str, Any]) -> None:
    """Write benchmarks/<name>.json and print it."""
    text = json.dumps({**result, "machine": machine()}, indent=1)
    (Path(__file__).parent / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
