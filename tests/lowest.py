"""Prints constraints that pin each dependency of the core and its tests to its lower bound.

    python tests/lowest.py > lowest.txt
    pip install --constraint lowest.txt '.[test]'

`make test-lowest` does so, and runs the core's tests: a lower bound that is not tried is a guess.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def lowest() -> list[str]:
    """`name==version` of each."""
    project = tomllib.loads(
        (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [re.sub(r"^([\w.-]+)>=([\w.]+)(,<[\w.]+)?$", r"\1==\2", one) for one in wanted]


if __name__ == "__main__":
    print("\n".join(lowest()))
