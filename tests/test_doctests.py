"""The examples in docstrings run as they stand, each in a folder of its own."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import kinema

PACKAGE = Path(kinema.__file__).parent


def modules() -> list[str]:
    """Those that have examples."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_say_what_they_say(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        told: list[str] = []
        runner.run(test, out=told.append)
        assert not told, "".join(told)
    assert runner.tries
