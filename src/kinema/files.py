"""Files that are either whole or not there, and the one kind that we make ourselves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

PARTIAL_SUFFIX = ".kinema-partial"

_UMASK = os.umask(0)  # it can only be read by setting it
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file to (or a folder); it takes `path`'s place at the end.

    Whatever happens in between (an error, a full disk, a kill), `path` is what it was before. A
    killed process leaves a hidden file that `remove_partial_files` knows.

    Raises:
        ValueError: a folder is there where a file shall be, or the other way round.
    """
    path = Path(path)
    if path.is_dir() if not folder else path.exists():
        kind = "a folder" if path.is_dir() else "a file"
        raise ValueError(f"{path}: {kind} of this name is there already.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is cut, because names have a largest length and this one is longer.
    unique = f".{path.name[:40]}.{os.getpid()}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}"
    partial = path.with_name(unique)
    try:
        yield partial
        for file in sorted(partial.rglob("*")) if folder else [partial]:
            file.chmod(0o666 & ~_UMASK)  # some libraries make files that only the owner can read
            _flush_to_disk(file)
        os.replace(partial, path)
        if os.name == "posix":
            _flush_to_disk(path.parent)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and error.filename in (None, partial, str(partial)):
            error.filename = str(path)  # a full disk, say: it is told by no other name
        raise


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Makes the folder `out` of a run and keeps a second run out of it.

    The system lifts the lock if this process dies.

    Raises:
        ValueError: it is in use by another run, or a file is there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"`out` {folder} must be a folder, but a file is there.") from None
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"`out` {folder} is in use by another run.") from None
        yield
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Delete what killed processes left below `folder`; what living ones write is left alone."""
    for partial in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        pid = partial.name.removesuffix(PARTIAL_SUFFIX).split(".")[-2]
        if pid.isdecimal() and not _runs_elsewhere(int(pid)):
            _remove(partial)


def _runs_elsewhere(pid: int) -> bool:
    """Whether another process of this number is alive. (In containers ours is often the same.)"""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


class OtherFormat(ValueError):
    """A file is one of Kinema's, but of another format than was asked for."""


def read_tensors(path: Path, *, format: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and story that `write_tensors` wrote.

    Raises:
        OtherFormat: its story is of another format of Kinema's.
        ValueError: the file is damaged, or not one of Kinema's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            story = json.loads((file.metadata() or {}).get("kinema", "{}"))
            if not isinstance(story, dict) or story.get("format") != format:
                if isinstance(story, dict) and str(story.get("format", "")).startswith("kinema-"):
                    raise OtherFormat(f"it is a file of Kinema's of the format {story['format']}")
                raise ValueError(f"it is not of the format {format}")
            return {name: file.get_tensor(name) for name in file.keys()}, story  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is not a safetensors file, or damaged: {error}") from None


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON values for people and programs to read, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def cache_file(
    folder: str | os.PathLike[str], key: Mapping[str, Any], suffix: str = ".safetensors"
) -> Path:
    """Where a cache keeps what a key decides over.

    Args:
        folder: the cache.
        key: all that decides over the content, JSON values; their order plays no part.
        suffix: of the file's name.
    """
    text = json.dumps(key, sort_keys=True)
    return Path(folder, f"{hashlib.sha256(text.encode()).hexdigest()}{suffix}")


def read_kept_tensors(file: Path, *, format: str) -> dict[str, np.ndarray] | None:
    """Arrays that a cache keeps; None if there are none, or a damaged file."""
    if file.is_file():
        with contextlib.suppress(ValueError):
            return read_tensors(file, format=format)[0]
    return None
