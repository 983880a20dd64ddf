"""A class of the user's own, which `FILE.py:ClassName` names: a method's, or a model's."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path


def is_place(text: str) -> bool:
    """Whether a text names a class in a file, rather than something of ours."""
    return ".py:" in text


def load_class(place: str) -> type:
    """The class that `FILE.py:ClassName` names; the file is run as a module.

    Raises:
        ValueError: the text is not of this form, the file has no such class, or it fails.
        FileNotFoundError: there is no such file.
    """
    path, _, name = place.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise ValueError(f"`{place}` must name a class as FILE.py:ClassName.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # classes are found again by it, as pickle does
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ValueError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        raise ValueError(f"{path} has no class {name}.")
    return found
