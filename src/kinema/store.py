"""Where several machines keep what they share: a plain folder, or what fsspec knows (s3://, ...).

Note [One primitive]
    All that is shared is put there once and never changed: `settle` puts bytes at a name unless
    something is there, and gives back what is there afterwards. A disk does it by a link to a file
    that is whole, S3 by a put with `If-None-Match: *`, Google Cloud Storage with
    `ifGenerationMatch=0`. Whoever reads its own bytes back was the first; so an answer that was
    lost, and a call that was made again, do no harm. Heartbeats alone are rewritten.

    Where fsspec can only ask first and write then (SFTP, say), two may both take themselves for the
    first. That costs time and nothing else, because both make the same bytes.

Note [The store's clock]
    Machines disagree about the time, so ages are told by the times that the store itself gives to
    files. Between looks at it, time goes on by the machine's monotonic clock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from kinema.files import buffered, partial_name, same_bytes

T = TypeVar("T")

WAIT_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a call that failed is made again; so many times."""

CLOCK_SECONDS = 600.0
"""How long the monotonic clock is trusted before the store's is looked at again."""

IS_NO_PASSING_FAULT = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError)
"""Errors that the same call would meet again."""

_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EPERM, errno.ENOSYS}


class StoreError(OSError):
    """A store does not do what is asked of it, also when asked again; the message is one line."""


def is_url(address: str | os.PathLike[str]) -> bool:
    """Whether an address is a URL, of what is no plain folder or file of this machine."""
    return "://" in os.fspath(address)


def open_store(address: str | os.PathLike[str], name: str = "out") -> Store:
    """The store at an address; nothing is written yet.

    Args:
        address: a folder, or a URL of one (s3://bucket/folder).
        name: of the argument, for messages.

    Raises:
        ImportError: a package that the URL takes is not installed.
        ValueError: the URL carries a password, or its protocol is unknown.
    """
    if not is_url(address):
        return LocalStore(address, name)
    return RemoteStore(os.fspath(address), name)


class Store:
    """Names ("claims/000001.1") and the bytes behind them. See Note [One primitive].

    Args:
        address: as messages name it.
        name: of the argument that named it.
    """

    def __init__(self, address: str, name: str = "out") -> None:
        self.address, self._argument = address, name
        self._offset: float | None = None
        self._looked = 0.0

    def __str__(self) -> str:
        return self.address

    def settle(self, name: str, data: bytes) -> bytes:
        """Put bytes at a name unless something is there, and give back what is there then."""

        def once() -> bytes:
            try:
                self._create(name, data)
                return data
            except Exception as error:  # whatever it says: what counts is what is there
                with contextlib.suppress(FileNotFoundError):
                    return self._read(name)
                raise error

        return self._patiently(once, f"write {name}")

    def settle_file(self, name: str, path: Path) -> bool:
        """Put the bytes of a file of this machine at a name unless something is there.

        It may be larger than the memory.

        Returns:
            Whether its bytes are there then.
        """

        def once() -> bool:
            try:
                self._create(name, path)
                return True
            except Exception as error:  # as in `settle`
                with (
                    contextlib.suppress(FileNotFoundError),
                    self.open(name) as there,
                    open(path, "rb") as ours,
                ):
                    return same_bytes(ours, there)
                raise error

        return self._patiently(once, f"write {name}")

    def open(self, name: str) -> IO[bytes]:
        """What is at a name, to read parts of; a part that does not come is asked for again.

        Raises:
            FileNotFoundError: there is nothing.
        """
        size = self._patiently(lambda: self._size(name), f"read {name}")

        def part(start: int, stop: int) -> bytes:
            return self._patiently(lambda: self._read(name, start, stop), f"read {name}")

        return buffered(part, size)

    def write(self, name: str, data: bytes) -> None:
        """Put bytes at a name, in place of what may be there."""
        self._patiently(lambda: self._write(name, data), f"write {name}")

    def read(self, name: str) -> bytes:
        """The bytes at a name.

        Raises:
            FileNotFoundError: there are none.
        """
        return self._patiently(lambda: self._read(name), f"read {name}")

    def delete(self, name: str) -> None:
        """Remove what is at a name; there may be nothing."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self._delete(name), f"delete {name}")

    def times(self, folder: str) -> dict[str, float]:
        """The names in a folder, without its own, and when each was written, in seconds.

        Of a folder that is not there: none.
        """
        try:
            return self._patiently(lambda: self._times(folder), f"list {folder}")
        except FileNotFoundError:
            return {}

    def now(self) -> float:
        """The time by the store's clock, in seconds. See Note [The store's clock]."""
        elapsed = time.monotonic()
        if self._offset is None or elapsed - self._looked > CLOCK_SECONDS:
            self._offset = self._patiently(self._probe, "write to it") - time.monotonic()
            self._looked = elapsed
        return time.monotonic() + self._offset

    def check(self) -> None:
        """Prove that files can be written, and that what is there is not written over.

        Raises:
            ValueError: they cannot, with what to do.
        """
        probe = f"_shared/probes/{uuid.uuid4().hex}"
        try:
            self.settle(probe, b"first")
            there = self.settle(probe, b"second")
            self.delete(probe)
            self.now()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(self._refusal(error)) from None
        except PermissionError:
            raise ValueError(
                f"`{self._argument}` {self} may not be written to: see to the permissions of this "
                "user, or name another place."
            ) from None
        if there != b"first":
            raise ValueError(
                f"`{self._argument}` {self} writes over what is there though it is told not to, so "
                "no work can be shared there: name another place."
            )

    def _refusal(self, error: OSError) -> str:
        return f"`{self._argument}` {self} is not there: make it, or name another place."

    def _probe(self) -> float:
        """The store's time now: that of a file which is written for it."""
        name = f"_shared/probes/{uuid.uuid4().hex}"
        self._write(name, b"")
        try:
            return self._modified(name)
        finally:
            self._delete(name)

    def _patiently(self, call: Callable[[], T], what: str) -> T:
        """Make a call, and again if it fails for a reason that may pass."""
        for wait in (*WAIT_SECONDS, None):
            try:
                return call()
            except IS_NO_PASSING_FAULT:
                raise
            except Exception as error:
                lasting = isinstance(error, OSError) and error.errno in _LASTING
                if lasting or wait is None or _is_of_credentials(error):
                    raise StoreError(
                        error.errno if isinstance(error, OSError) else None,
                        f"cannot {what} ({' '.join(str(error).split()) or type(error).__name__})",
                        self.address,
                    ) from None
                time.sleep(wait)
        raise AssertionError("unreachable")

    # --- what each kind of store does, once ---

    def _create(self, name: str, data: bytes | Path) -> None:
        raise NotImplementedError

    def _write(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        raise NotImplementedError

    def _size(self, name: str) -> int:
        raise NotImplementedError

    def _delete(self, name: str) -> None:
        raise NotImplementedError

    def _times(self, folder: str) -> dict[str, float]:
        raise NotImplementedError

    def _modified(self, name: str) -> float:
        raise NotImplementedError


class LocalStore(Store):
    """A plain folder, also on a disk that several machines share."""

    def __init__(self, folder: str | os.PathLike[str], name: str = "out") -> None:
        super().__init__(os.fspath(folder), name)
        self._folder = Path(folder)

    @contextlib.contextmanager
    def _partial(
        self, name: str, data: bytes | Path, *, flush: bool
    ) -> Iterator[tuple[Path, Path]]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(partial_name(path.name))
        try:
            with open(partial, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    with open(data, "rb") as ours:
                        shutil.copyfileobj(ours, file)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            yield partial, path
        finally:
            partial.unlink(missing_ok=True)

    def _create(self, name: str, data: bytes | Path) -> None:
        with self._partial(name, data, flush=True) as (partial, path):
            try:
                os.link(partial, path)
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise StoreError(
                        errno.ENOSYS,
                        "this disk knows no hard links, by which work is shared; name another "
                        "folder, or the URL of what is behind it",
                    ) from None
                raise

    def _write(self, name: str, data: bytes) -> None:
        # A heartbeat that a power cut takes is missed by nobody.
        with self._partial(name, data, flush=False) as (partial, path):
            os.replace(partial, path)

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        with open(self._folder / name, "rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def _size(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def _delete(self, name: str) -> None:
        (self._folder / name).unlink()

    def _times(self, folder: str) -> dict[str, float]:
        found = {}
        for entry in os.scandir(self._folder / folder):
            if not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found[entry.name] = entry.stat().st_mtime
        return found

    def _modified(self, name: str) -> float:
        return (self._folder / name).stat().st_mtime

    def _refusal(self, error: OSError) -> str:
        return f"`{self._argument}` {self}: a file is there, where a folder is needed."


class RemoteStore(Store):
    """What fsspec knows by a URL; credentials come from the environment alone.

    Raises:
        ImportError, ValueError: see `open_store`.
    """

    def __init__(self, url: str, name: str = "out") -> None:
        super().__init__(url.rstrip("/"), name)
        self._files, self._root = file_system(url, name)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _create(self, name: str, data: bytes | Path) -> None:
        at = self._at(name)
        if isinstance(data, bytes):
            self._files.pipe_file(at, data, mode="create")
        elif self._files.exists(at):  # `put_file` of some does not ask; and it is sent in vain
            raise FileExistsError(name)
        else:
            self._files.put_file(os.fspath(data), at, mode="create")

    def _write(self, name: str, data: bytes) -> None:
        self._files.pipe_file(self._at(name), data)

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        part = {} if stop is None else {"start": start, "end": stop}
        content: bytes = self._files.cat_file(self._at(name), **part)
        return content

    def _size(self, name: str) -> int:
        self._files.invalidate_cache()
        return int(self._files.info(self._at(name))["size"])

    def _delete(self, name: str) -> None:
        self._files.rm_file(self._at(name))

    def _times(self, folder: str) -> dict[str, float]:
        entries = self._files.ls(self._at(folder), detail=True, refresh=True)
        return {
            entry["name"].rpartition("/")[2]: _seconds(entry)
            for entry in entries
            if entry["type"] == "file"
        }

    def _modified(self, name: str) -> float:
        self._files.invalidate_cache()
        return _seconds(self._files.info(self._at(name)))

    def _refusal(self, error: OSError) -> str:
        return (
            f"`{self._argument}` {self}: there is no such bucket or place ({error}); make it, or "
            "name another."
        )


def file_system(url: str, name: str = "out") -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path there.

    Raises:
        ImportError, ValueError: see `open_store`.
    """
    protocol = url.partition("://")[0]
    if urllib.parse.urlsplit(url).username is not None or "?" in url:
        raise ValueError(
            f"`{name}`: a URL with a user, a password or a query is not taken, because it would be "
            "shown and kept; credentials belong into the environment or the cloud's own files."
        )
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ImportError(f"`{name}` {url} needs fsspec: pip install 'kinema[shared]'.") from None
    try:
        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise ImportError(
            f"`{name}` {url} needs a package ({error}): pip install 'kinema[shared]', or the one "
            f"that fsspec names for {protocol}://."
        ) from None
    except ValueError as error:
        raise ValueError(f"`{name}` {url}: {error}.") from None
    return files, path.rstrip("/")


_TIME_KEYS = ("LastModified", "mtime", "updated", "last_modified", "modified", "created")
"""What file systems of fsspec call the time at which a file was written."""


def _seconds(entry: dict[str, Any]) -> float:
    value = next((entry[key] for key in _TIME_KEYS if entry.get(key) is not None), None)
    if value is None:
        raise StoreError(errno.ENOSYS, "it tells no times of files, by which claims grow old")
    if isinstance(value, str):
        from datetime import datetime

        value = datetime.fromisoformat(value)
    return float(value if isinstance(value, int | float) else value.timestamp())


def _is_of_credentials(error: Exception) -> bool:
    return "Credential" in type(error).__name__
