"""What a long measurement keeps from one start to the next."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from machine import machine

from kinema.files import atomic_path

LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino")


def cache_folder() -> Path:
    """benchmarks/.cache, which git does not see."""
    folder = Path(__file__).parent / ".cache"
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder


def libraries() -> dict[str, str]:
    """Versions of the engines that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Kept:
    """Parts of a result, JSON values, on disk after every cell; see `__getitem__`.

    They are dropped when the machine or a version is another one: times that were taken on
    different machines must not be compared.
    """

    def __init__(self, name: str) -> None:
        self._path = cache_folder() / f"{name}.json"
        self._facts = {**machine(), **libraries()}
        self._parts: dict[str, Any] = {}
        if self._path.is_file():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["facts"] == self._facts:
                self._parts = content["parts"]
            else:
                print("the machine or a version has changed: everything is measured anew")

    def __getitem__(self, part: str) -> dict[str, Any]:
        """One part, empty at first; change it, then `save`."""
        return self._parts.setdefault(part, {})

    def forget(self, part: str) -> None:
        self._parts.pop(part, None)

    def save(self) -> None:
        with atomic_path(self._path) as partial:
            partial.write_text(json.dumps({"facts": self._facts, "parts": self._parts}), "utf-8")
