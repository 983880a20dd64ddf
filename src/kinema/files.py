"""Files that are either whole or not there, and the one kind that we make ourselves.

Note [Several runs in one folder]
    Parts of a list may be extracted into one folder by several processes, on several machines that
    share a disk. Each file is written beside its place, under a name that carries the host and the
    run, and takes its place when it is whole; so what a living run writes is told from what a dead
    one left. The few files that all runs write (the settings, the skipped videos) are changed under
    a lock, which the system lifts if a process dies.

        .cat.mp4.safetensors.HOST.PID-START.0123456789ab.kinema-partial

    HOST names the machine and, on Linux, the process namespace (containers have processes of the
    same number); START is when the process was started, because numbers are used again. What
    another host has left is removed when it is a week old: no write takes so long.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

PARTIAL_SUFFIX = ".kinema-partial"

LOCK_NAME = ".kinema-lock"

FORGOTTEN_SECONDS = 7 * 24 * 3600
"""Age from which on a partial file of another host is taken to be left behind."""

_UMASK = os.umask(0)  # it can only be read by setting it
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file to (or a folder); it takes `path`'s place at the end.

    Whatever happens in between (an error, a full disk, a kill), `path` is what it was before. A
    killed process leaves a hidden file that `remove_partial_files` knows.

    Raises:
        ValueError: a folder is there where a file shall be, or the other way round; or a device.
    """
    path = Path(path)
    if path.is_dir() if not folder else path.exists():
        kind = "a folder" if path.is_dir() else "a file"
        raise ValueError(f"{path}: {kind} of this name is there already.")
    if path.exists() and not path.is_file():  # /dev/null would be gone
        raise ValueError(f"{path}: no file but a device or a pipe is there; name another file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path.name))
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


def partial_name(name: str) -> str:
    """What a file is called until it is whole. See Note [Several runs in one folder]."""
    # The name is cut, because names have a largest length and this one is longer.
    short = name.encode("utf-8", "surrogateescape")[:80].decode("utf-8", "ignore")
    return f".{short}.{_host()}.{_run()}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}"


@functools.cache
def _host() -> str:
    """This machine and process namespace, without a dot."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    try:
        return f"{name}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return name


def _run() -> str:
    return f"{os.getpid()}-{_started(os.getpid())}"


def _started(pid: int) -> int:
    """When a process was started, in ticks since the machine was.

    0 where that is not told, -1 of one that has ended and was not waited for.
    """
    try:
        # What is in brackets is the program's name, which may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if state in (b"Z", b"X") else int(fields[18])
    except (OSError, IndexError, ValueError):
        return 0


def check_out(out: str | os.PathLike[str], name: str = "out") -> None:
    """Prove that files can be written to a folder; one that is not there is not made yet.

    Args:
        out: the folder, which may be missing: then the one is tried that it would be made in.
        name: of the argument, for the message.

    Raises:
        ValueError: a file is there, or the folder may not be written to.
        OSError: the disk is full.
    """
    folder = Path(out)
    probe = folder / partial_name("probe")  # if this process dies now, others clear it away
    try:
        probe = _deepest_there(folder) / probe.name
        probe.write_bytes(b"kinema")
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise ValueError(
            f"`{name}` {folder}: a file is there, where a folder is needed; name another folder."
        ) from None
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"`{name}` {folder} cannot be written to ({error.strerror}): name another folder."
        ) from None


def _deepest_there(folder: Path) -> Path:
    """A folder, or else the deepest one above it that is there."""
    for place in (folder, *Path(os.path.abspath(folder)).parents):
        try:
            if stat.S_ISDIR(os.stat(place).st_mode):
                return place
        except FileNotFoundError:
            if not place.is_symlink():  # to nothing: no folder can be made there
                continue
        break
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


@contextlib.contextmanager
def locked_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Makes the folder `out` of a run and keeps other runs out of it.

    The system lifts the lock if this process dies. Where it knows none (Windows, some network
    disks), nobody is kept out.

    Args:
        folder: made if it is missing.
        shared: let in other runs that share it, too.

    Raises:
        ValueError: it is in use by another run, or see `check_out`.
    """
    check_out(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder, shared=shared, wait=False))
        except BlockingIOError:
            raise ValueError(f"`out` {folder} is in use by another run.") from None
        yield


@contextlib.contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """For a moment, the only one of the runs that share a folder; waits for its turn.

    See Note [Several runs in one folder].
    """
    lock = folder / LOCK_NAME
    with contextlib.suppress(FileExistsError):
        lock.touch(exist_ok=False)
    with _locked(lock):
        yield


@contextlib.contextmanager
def _locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    # Over a network a lock of one's own is given for a file that is open to be written alone.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _KNOWS_NO_LOCK:
                raise
        yield
    finally:
        os.close(descriptor)


_KNOWS_NO_LOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL}


def append_line(path: Path, text: str) -> None:
    """Add a line to a file; the end of one that a killed process broke off is no part of it.

    Several processes that do it take turns: see `exclusively`.
    """
    with open(path, "ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                text = "\n" + text
        file.write(text.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())  # other hosts are to see it before they write


def remove_partial_files(folder: Path) -> None:
    """Delete what killed processes left below `folder`; what living ones write is left alone.

    See Note [Several runs in one folder].
    """
    for partial in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            if _is_left_behind(partial):
                _remove(partial)


def _is_left_behind(partial: Path) -> bool:
    *_, host, run, _unique = ["", "", *partial.name.removesuffix(PARTIAL_SUFFIX).split(".")]
    known = re.fullmatch(r"(\d+)-(\d+)", run)
    if host == _host() and known:
        return not _is_alive(int(known[1]), int(known[2]))
    return time.time() - partial.stat().st_mtime > FORGOTTEN_SECONDS


def _is_alive(pid: int, started: int) -> bool:
    """Whether the process that had this number and began at this time is there yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return not started or _started(pid) in (0, started)


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


class _Parts(io.RawIOBase):
    """A file of which parts are asked for."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._place = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = begin + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        stop = min(self._place + len(buffer), self._size)
        if self._place >= stop:
            return 0
        data = self._read(self._place, stop)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


_BLOCK = 1 << 20
"""Bytes that are read at once."""


def buffered(read: Callable[[int, int], bytes], size: int, num_ahead: int = _BLOCK) -> IO[bytes]:
    """A file to read, of what gives its bytes from a start to a stop, `num_ahead` of them."""
    return io.BufferedReader(_Parts(read, size), num_ahead)


def same_bytes(one: IO[bytes], other: IO[bytes]) -> bool:
    """Whether the same bytes follow in two files."""
    while (ours := one.read(_BLOCK)) == other.read(_BLOCK):
        if not ours:
            return True
    return False


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and their metadata, JSON values, as safetensors, atomically.

    The metadata is one entry, `kinema`: safetensors does not keep the order of several, so
    the bytes would differ from one write to the next.
    """
    # safetensors writes the bytes of an array as they lie, whatever their order.
    ordered = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    data = save(ordered, metadata={"kinema": json.dumps(dict(metadata), sort_keys=True)})
    with atomic_path(path) as partial:
        partial.write_bytes(data)


class OtherFormat(ValueError):
    """A file is one of Kinema's, but of another format than was asked for."""


class NewerFormat(OtherFormat):
    """A file is of a later version of the format that was asked for: a newer Kinema wrote it."""


def check_not_newer(found: object, format: str) -> None:
    """Refuse "kinema-clips-3" where "kinema-clips-2" is the latest version that is read.

    Args:
        found: what a file says that its format is.
        format: the latest version that is read.

    Raises:
        NewerFormat: it is a later one.
    """
    kind, _, number = format.rpartition("-")
    its_kind, _, its_number = found.rpartition("-") if isinstance(found, str) else ("", "", "")
    if its_kind == kind and its_number.isdecimal() and int(its_number) > int(number):
        raise NewerFormat(f"a newer version of Kinema wrote it, in the format {found}")


def read_tensors(
    path: Path, *, format: str, older: Sequence[str | None] = (), without: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata that `write_tensors` wrote.

    Args:
        path: the file.
        format: what its metadata calls it.
        older: what earlier versions of it are called; None for those that went without a name.
        without: names of arrays that are not read.

    Raises:
        NewerFormat: its metadata is of a later version of the format.
        OtherFormat: its metadata is of another format of Kinema's.
        ValueError: the file is damaged, or not one of Kinema's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("kinema", "{}"))
            name = metadata.get("format") if isinstance(metadata, dict) else ""
            if name not in (format, *older):
                check_not_newer(name, format)
                if str(name).startswith("kinema-"):
                    raise OtherFormat(f"it is a file of Kinema's of the format {name}")
                raise ValueError(f"it is not of the format {format}")
            names = [name for name in file.keys() if name not in without]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, metadata
    except SafetensorError as error:
        raise ValueError(f"it is not a safetensors file, or damaged: {error}") from None


def open_parquet(file: IO[bytes]) -> Any:
    """Arrow's `ParquetFile`. Needs pyarrow.

    Read it without Arrow's own threads (`use_threads=False`): a program that ends while they start
    is aborted.
    """
    from pyarrow import parquet

    return parquet.ParquetFile(file, pre_buffer=False)


def read_parquet(file: IO[bytes]) -> Any:
    """The table of Arrow in a Parquet file. Needs pyarrow."""
    return open_parquet(file).read(use_threads=False)


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
