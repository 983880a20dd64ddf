"""Files that are either whole or not there, and the one kind that we make ourselves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

PARTIAL_SUFFIX = ".partial"

_UMASK = os.umask(0)  # it can only be read by setting it
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it takes `path`'s place at the end.

    Whatever happens in between (an error, a full disk, a kill), `path` is what it was before. A
    killed process leaves a hidden file that ends in ".partial".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    _remove(partial)
    try:
        yield partial
        for file in sorted(partial.rglob("*")) if partial.is_dir() else [partial]:
            file.chmod(0o666 & ~_UMASK)  # some libraries make files that only the owner can read
            _flush_to_disk(file)
        if path.is_dir():
            _remove(path)  # a folder cannot be replaced in one step
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def remove_partial_files(folder: Path) -> None:
    """Delete what killed processes left below `folder`."""
    for partial in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        _remove(partial)


def _flush_to_disk(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], story: Mapping[str, Any]
) -> None:
    """Write arrays and their story, JSON values, as safetensors, atomically.

    The story is one metadata entry, `kinema`: safetensors does not keep the order of several, so
    the bytes would differ from one write to the next.
    """
    # safetensors writes the bytes of an array as they lie, whatever their order.
    ordered = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    data = save(ordered, metadata={"kinema": json.dumps(dict(story), sort_keys=True)})
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def read_tensors(path: Path, *, format: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and story that `write_tensors` wrote.

    Raises:
        ValueError: the file is damaged, or its story is of another format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            story = json.loads((file.metadata() or {}).get("kinema", "{}"))
            if not isinstance(story, dict) or story.get("format") != format:
                raise ValueError(f"it is not of the format {format}")
            return {name: file.get_tensor(name) for name in file.keys()}, story  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is not a safetensors file, or damaged: {error}") from None
