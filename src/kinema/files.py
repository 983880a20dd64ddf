"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

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
