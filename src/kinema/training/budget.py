"""Seconds that a run may take become a number of steps, once, before the first of them.

The number is kept beside the run: one that is gone on with, on a faster machine or a busier one, is
the same run.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from kinema.files import write_json

FILE = "budget.json"


def kept_iterations(out: Path, seconds: float) -> int | None:
    """The steps that a run's folder was begun with; None of one that was not begun.

    Raises:
        ValueError: it was begun with other seconds or a length in steps, or the file is damaged.
    """
    path = out / FILE
    if not path.is_file():
        if (out / "checkpoint.safetensors").is_file():
            raise ValueError(
                f"{out} was begun with a length in steps or epochs: name that instead of `seconds`."
            )
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        before, iterations = float(kept["seconds"]), int(kept["iterations"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: choose another `out`.") from None
    if before != seconds:
        raise ValueError(
            f"{out} was begun with {before:g} `seconds`, which are {iterations} steps: name the "
            "same, or more `iterations`."
        )
    return iterations


def keep(out: Path, seconds: float, seconds_a_step: float) -> int:
    """Write down how many steps fit; at least one."""
    iterations = max(math.floor(seconds / seconds_a_step), 1)
    values = {
        "seconds": seconds,
        "seconds_a_step": round(seconds_a_step, 6),
        "iterations": iterations,
    }
    write_json(out / FILE, values)
    return iterations
