"""Files from the web, whole or not at all: a download that breaks goes on from where it broke.

    <target>.part        the bytes that are here so far
    <target>.part.json   what they are the beginning of: url, ETag, Last-Modified, size
    <target>             there only once every byte is, and the checksum is right

The rest of a file is asked for with Range and If-Range (RFC 9110, sections 13 and 14), and an
answer is believed only where it fits what is here: servers that ignore either are common.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, NamedTuple

from kinema.files import atomic_path
from kinema.progress import Transferred

if sys.platform != "win32":
    import fcntl

SCHEMES = ("http", "https")
FIRST_WAIT_SECONDS = 0.5
"""Wait before the first new try; it doubles with each one, six times at most."""
BYTES_AT_ONCE = 1 << 18
TRY_AGAIN = (408, 425, 429, *range(500, 600))
"""Statuses of a server that may answer better in a moment."""


class DownloadError(OSError):
    """A server that does not give the file; the message is one line with the URL."""


def fetch(
    url: str,
    target: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
) -> Path:
    """Download a file; what stands at `target` is replaced once the new file is whole.

    After a failure, a kill or Ctrl-C the bytes so far stay in `<target>.part`, and the next call
    goes on from there if the file on the server is still the same by its ETag or Last-Modified.
    A server that gives neither is asked for the rest only where a checksum would show a mixture;
    otherwise the file is started anew. A body without a length, neither in a header nor in
    chunks, is taken as whole when the server ends it: there only a checksum shows a cut.

    Args:
        url: http or https address; redirects are followed to such addresses only.
        target: the file to make; missing folders are made too.
        sha256: checksum, or its first hexadecimal digits.
        md5: an older checksum, all 32 digits.
        progress: show bytes, speed and time left on standard error.
        retries: how often to ask again when a try brought no new bytes.
        timeout: seconds after which a connection that stands still counts as broken.

    Returns:
        `target`.

    Raises:
        ValueError: `url` or a checksum is not one, or what came has another checksum.
        DownloadError: the server refuses, or the connection kept breaking; a kind of OSError.
        OSError: the file cannot be written (a full disk); the part is kept.
    """
    target = Path(target)
    checksums = _checksums(sha256, md5)
    _check_url(url)
    if retries < 0:
        raise ValueError(f"`retries` must be at least 0, got {retries}.")
    if timeout <= 0:
        raise ValueError(f"`timeout` must be more than 0 seconds, got {timeout}.")
    if target.is_dir():
        raise IsADirectoryError(f"`target` {target} is a folder; name a file in it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, url, has_checksum=bool(checksums))
    with _alone(part), Transferred(target.name, enabled=progress) as meter:
        try:
            _fill(part, retries=retries, timeout=timeout, meter=meter)
            for kind, expected in checksums.items():
                found = _digest(part.path, kind)
                if not found.startswith(expected):
                    part.clear()
                    raise ValueError(
                        f"{url}: the {kind} of what came is {found}, expected {expected}; it was "
                        f"removed."
                    )
            with open(part.path, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(part.path, target)
        finally:
            part.remove_if_empty()
    return target


# --- what is asked for --------------------------------------------------------------------------


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
        good = good and re.fullmatch("[!-~]+", url) is not None
    except ValueError:  # brackets or a port that are none
        good = False
    if not good:
        raise ValueError(f"`url` must be an http or https address, got {url!r}.")


def _checksums(sha256: str | None, md5: str | None) -> dict[str, str]:
    """The checksums that were given, by kind, in lower case."""
    checksums = {}
    if sha256 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{1,64}", sha256):
            raise ValueError(f"`sha256` must be 1 to 64 hexadecimal digits, got {sha256!r}.")
        checksums["sha256"] = sha256.lower()
    if md5 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{32}", md5):
            raise ValueError(f"`md5` must be 32 hexadecimal digits, got {md5!r}.")
        checksums["md5"] = md5.lower()
    return checksums


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        # Python builds for FIPS refuse md5 unless it is said that it guards nothing.
        new = functools.partial(hashlib.new, kind, usedforsecurity=False)
        return hashlib.file_digest(file, new).hexdigest()


# --- what is here -------------------------------------------------------------------------------


class _Version(NamedTuple):
    """What a server says to tell one version of a file from another."""

    etag: str | None
    last_modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """What to send as If-Range. HTTP forbids weak ETags there (RFC 9110, 13.1.5)."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.last_modified

    def differs(self, other: _Version) -> bool:
        """Whether two answers cannot be about the same bytes."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return True
        if self.etag is not None and other.etag is not None:
            return self.etag != other.etag
        if self.last_modified is not None and other.last_modified is not None:
            return self.last_modified != other.last_modified
        return False


class _Part:
    """The bytes that are here so far and the version of the file that they are the beginning of."""

    def __init__(self, target: Path, url: str, *, has_checksum: bool) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.url = url
        self.version: _Version | None = None
        self._has_checksum = has_checksum
        self._story_path = target.with_name(f"{target.name}.part.json")

    @property
    def num_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        return self.version is not None and self.version.size == self.num_bytes

    @property
    def can_go_on(self) -> bool:
        """Whether the rest can be asked for without the danger of mixing two versions."""
        return (
            self.num_bytes > 0
            and self.version is not None
            and (self._has_checksum or self.version.validator is not None)
        )

    def load(self) -> None:
        """Look at what an earlier call left; what is of no use is cleared."""
        try:
            story = json.loads(self._story_path.read_text())
            size = story["size"]
            if story["url"] == self.url and (size is None or self.num_bytes <= int(size)):
                self.version = _Version(story["etag"], story["last_modified"], size)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no story, or a damaged one: it is not known what the bytes belong to
        if self.version is None:
            self.clear()

    def start(self, version: _Version) -> None:
        """Begin a file anew."""
        self.clear()  # before the new story is told: it must never stand beside old bytes
        self.tell(version)

    def tell(self, version: _Version) -> None:
        """Write down which version this is."""
        self.version = version
        with atomic_path(self._story_path) as partial:
            partial.write_text(json.dumps({"url": self.url, **version._asdict()}))

    def clear(self) -> None:
        """Forget all bytes. The empty file stays until the end: it is the lock."""
        self.version = None
        self.path.write_bytes(b"")
        self._story_path.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        if self.num_bytes == 0:
            self.path.unlink(missing_ok=True)
            self._story_path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(part: _Part) -> Iterator[None]:
    """Refuse to write a part that another process is writing; Windows does not have this lock."""
    if sys.platform == "win32":
        yield
        return
    with open(part.path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The other process may have moved the file into place before this one locked it.
            busy = not os.path.samestat(os.fstat(file.fileno()), os.stat(part.path))
        except (BlockingIOError, FileNotFoundError):
            busy = True
        except OSError:
            busy = False  # a file system without locks
        if busy:
            raise DownloadError(f"{part.path}: another process is downloading this; wait for it.")
        yield


# --- asking -------------------------------------------------------------------------------------


class _Broken(Exception):
    """A try that failed in a way that another may not; says why, in words."""


def _fill(part: _Part, *, retries: int, timeout: float, meter: Transferred) -> None:
    """Ask until the part is whole, or until `retries` tries in a row brought nothing new."""
    part.load()
    failures, most = 0, part.num_bytes
    while not part.is_whole:
        try:
            _ask(part, timeout=timeout, meter=meter)
            return
        except _Broken as broken:
            failures = 1 if part.num_bytes > most else failures + 1
            most = max(most, part.num_bytes)
            if failures > retries:
                raise DownloadError(f"{part.url}: {broken}; {_what_is_here(part)}.") from broken
            time.sleep(FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 6))


def _what_is_here(part: _Part) -> str:
    if part.num_bytes == 0:
        return "nothing is here yet, try again later"
    size = None if part.version is None else part.version.size
    of_size = "" if size is None else f" of {size:,}"
    way_out = "goes on from there" if part.can_go_on else "starts anew"
    return f"{part.num_bytes:,}{of_size} bytes are here, and the same command {way_out}"


def _ask(part: _Part, *, timeout: float, meter: Transferred) -> None:
    """Ask once for what is missing, and write it."""
    offset = part.num_bytes if part.can_go_on else 0
    headers = {"User-Agent": "kinema", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if part.version is not None and part.version.validator is not None:
            headers["If-Range"] = part.version.validator
    try:
        response = _open(part.url, headers, timeout)
    except urllib.error.HTTPError as error:
        with error:
            if not (offset and error.code == 416):
                raise DownloadError(f"{part.url}: {_refusal(error.code)}.") from None
            if _ends_at(error.headers, offset, part):
                return
    else:
        with response:
            if _take(response, part, offset, timeout, meter):
                return
    # The rest that was offered is not the rest of what is here.
    part.clear()
    _ask(part, timeout=timeout, meter=meter)


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects to http and https only; urllib would go to ftp too."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in SCHEMES:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
    """An answer of the 200s. HTTPError is a refusal for good."""
    opener = urllib.request.build_opener(_HttpRedirects)
    try:
        return opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code not in TRY_AGAIN:
            raise
        error.close()
        raise _Broken(_refusal(error.code)) from None
    except (ValueError, http.client.InvalidURL) as error:
        raise ValueError(f"{url} or where it leads is no http address ({error}).") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url}: the server's certificate is not good ({reason.verify_message})."
            ) from None
        raise _Broken(_in_words(reason, timeout)) from error


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return (
            f"the server redirects ({status}) in circles or to what is not an http or https address"
        )
    return f"the server answered {status} {http.client.responses.get(status, '')}".rstrip()


def _in_words(error: object, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the connection stood still for {timeout:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return f"the connection failed ({str(error) or type(error).__name__})"


# --- taking an answer ---------------------------------------------------------------------------


def _version(headers: Message[str, str], size: int | None) -> _Version:
    return _Version(headers.get("ETag"), headers.get("Last-Modified"), size)


def _ends_at(headers: Message[str, str], offset: int, part: _Part) -> bool:
    """Whether a 416 means that the part is whole: nothing comes after its last byte."""
    total = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    if total is None or part.version is None:
        return False
    version = _version(headers, int(total[1]))
    return version.size == offset and not part.version.differs(version)


def _take(
    response: http.client.HTTPResponse, part: _Part, offset: int, timeout: float, meter: Transferred
) -> bool:
    """Write an answer to the part. False: it does not fit what is here, and nothing was written."""
    length = response.length  # None where it is not known, or comes in chunks
    if response.status == 206 and offset:
        last = _last_byte(response, offset, part)
        if last is None:
            return False
        length = last + 1 - offset
    elif response.status == 200:
        part.start(_version(response.headers, length))
    else:
        raise DownloadError(f"{part.url}: {_refusal(response.status)}.")
    size = None if part.version is None else part.version.size
    meter.start(part.num_bytes, size)
    _copy(response, part.path, length, timeout, meter)
    if size is not None and part.num_bytes < size:
        raise _Broken("the connection ended early")
    return True


def _last_byte(response: http.client.HTTPResponse, offset: int, part: _Part) -> int | None:
    """Where a 206 ends; None if it is not the rest of this very version from `offset` on."""
    span = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if span is None or part.version is None:
        return None
    first, last = int(span[1]), int(span[2])
    total = part.version.size if span[3] == "*" else int(span[3])
    if total is None or first != offset or not first <= last < total:
        return None
    if response.length not in (None, last + 1 - first):
        return None
    if part.version.differs(_version(response.headers, total)):
        return None
    if part.version.size is None:
        part.tell(part.version._replace(size=total))
    return last


def _copy(
    response: http.client.HTTPResponse,
    path: Path,
    length: int | None,
    timeout: float,
    meter: Transferred,
) -> None:
    """Append the answer's body, `length` bytes of it at most."""
    with open(path, "ab") as file:
        while length is None or length > 0:
            wanted = BYTES_AT_ONCE if length is None else min(BYTES_AT_ONCE, length)
            # Only reading is tried again: an OSError of the disk must come through.
            try:
                data = response.read1(wanted)
            except (OSError, http.client.HTTPException) as error:
                raise _Broken(_in_words(error, timeout)) from error
            if not data:
                return
            file.write(data)
            file.flush()  # a kill loses nothing that came
            if length is not None:
                length -= len(data)
            meter.advance(len(data))
