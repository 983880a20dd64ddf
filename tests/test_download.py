"""Downloads against a server on this machine that misbehaves in every way servers do."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from kinema import progress
from kinema.download import DownloadError, fetch

from servers import OLD, Cut, Good, ranges

NEW = np.random.default_rng(1).bytes(600_000)
SHA256 = hashlib.sha256(OLD).hexdigest()
MD5 = hashlib.md5(OLD).hexdigest()
LAST_MODIFIED = "Wed, 01 Jan 2020 00:00:00 GMT"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "made" / "file.bin"


def part(target):
    return target.with_name("file.bin.part")


def story(target):
    return target.with_name("file.bin.part.json")


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def check_whole(target, content=OLD):
    assert target.read_bytes() == content
    assert left(target) == ["file.bin"]


def check_part(target, num_bytes, content=OLD):
    assert not target.exists()
    assert left(target) == ["file.bin.part", "file.bin.part.json"]
    assert part(target).read_bytes() == content[:num_bytes]


def wait_for(path, num_bytes):
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < num_bytes:
        assert time.monotonic() < deadline, f"{path} did not grow to {num_bytes} bytes"
        time.sleep(0.005)


# --- whole files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [OLD, b"", b"x"], ids=["long", "empty", "one-byte"])
def test_whole_file(serve, target, content):
    web = serve(Good, content)
    assert fetch(web.url, target) == target
    check_whole(target, content)
    assert ranges(web) == [None]


def test_replaces_what_was_there(serve, target):
    target.parent.mkdir()
    target.write_bytes(b"before")
    web = serve(Good)
    fetch(web.url, str(target))
    check_whole(target)


class NoLength(Good):
    def answer(self, number):
        self.send_file(**{"Content-Length": None})


class BadLength(Good):
    def answer(self, number):
        self.send_file(**{"Content-Length": "many"})


class Chunked(Good):
    """Sends chunks of 1000 bytes; the first answer stops in the middle of the 300th."""

    def answer(self, number):
        start = self.start()
        headers = {"Transfer-Encoding": "chunked"}
        if start:
            size = len(self.web.content)
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.head(206 if start else 200, headers)
        rest = self.web.content[start:]
        for index in range(0, len(rest), 1000):
            chunk = rest[index : index + 1000]
            if number == 1 and index == 299_000:
                self.send(b"3e8\r\n" + chunk[:500])
                return
            self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.send(b"0\r\n\r\n")


@pytest.mark.parametrize("handler", [NoLength, BadLength])
def test_no_length(serve, target, handler):
    fetch(serve(handler).url, target, sha256=SHA256)
    check_whole(target)


def test_chunks_that_end_early(serve, target):
    web = serve(Chunked)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, "bytes=299500-"]


class ChunkedThenCut(Chunked):
    """Tells the size in the second answer only, which ends early too."""

    def answer(self, number):
        if number == 1:
            super().answer(number)
        else:
            self.send_file(stop=400_000 if number == 2 else None)


def test_size_that_is_told_late(serve, target):
    web = serve(ChunkedThenCut)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, "bytes=299500-", "bytes=400000-"]


# --- going on -------------------------------------------------------------------------------------


CUTS = [1, 1000, 299_999, len(OLD) - 1]


@pytest.mark.parametrize("cut", CUTS)
def test_goes_on_by_itself(serve, target, cut):
    web = serve(Cut)
    web.cut = cut
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, f"bytes={cut}-"]
    assert web.requests[1]["If-Range"] == '"old"'
    assert web.num_sent == len(OLD)


@pytest.mark.parametrize("cut", CUTS)
def test_next_call_goes_on(serve, target, cut):
    web = serve(Cut)
    web.cut = cut
    message = rf"ended early; {cut:,} of 600,000 bytes are here, .* goes on from there\.$"
    with pytest.raises(DownloadError, match=message):
        fetch(web.url, target, retries=0)
    check_part(target, cut)
    fetch(web.url, target, retries=0)
    check_whole(target)
    assert ranges(web) == [None, f"bytes={cut}-"]
    assert web.num_sent == len(OLD)


class CutBeforeAnyByte(Good):
    """Ends the first answer after the headers, and the second before them."""

    def answer(self, number):
        if number == 1:
            self.send_file(stop=0)
        elif number > 2:
            self.send_file()


def test_nothing_came(serve, target):
    web = serve(CutBeforeAnyByte)
    with pytest.raises(DownloadError, match="nothing is here yet"):
        fetch(web.url, target, retries=1)
    assert left(target) == []
    fetch(web.url, target)
    check_whole(target)


class Reset(Good):
    """Breaks the first connection off with a reset rather than an orderly end."""

    def answer(self, number):
        self.send_file(stop=200_000 if number == 1 else None)
        if number == 1:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def test_reset(serve, target):
    web = serve(Reset)
    fetch(web.url, target)
    check_whole(target)
    assert len(web.requests) == 2


class Crumbs(Good):
    """Every answer ends after 50,000 bytes."""

    def answer(self, number):
        self.send_file(stop=number * 50_000)


def test_breaks_with_progress_are_not_counted(serve, target):
    web = serve(Crumbs)
    fetch(web.url, target, retries=1)
    check_whole(target)
    assert ranges(web) == [None] + [f"bytes={n * 50_000}-" for n in range(1, 12)]
    assert web.num_sent == len(OLD)


class Stuck(Good):
    """Never gets beyond byte 1000."""

    def answer(self, number):
        self.send_file(stop=1000)


@pytest.mark.parametrize("retries", [0, 2])
def test_gives_up_without_progress(serve, target, retries):
    web = serve(Stuck)
    with pytest.raises(DownloadError) as caught:
        fetch(web.url, target, retries=retries)
    assert str(caught.value).startswith(f"{web.url}: ")
    assert "\n" not in str(caught.value)
    assert len(web.requests) == retries + 1
    check_part(target, 1000)


def test_no_server(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"
        with pytest.raises(DownloadError, match=r"connection failed .*nothing is here yet"):
            fetch(url, target, retries=0)
    assert left(target) == []


class Waits(Good):
    """The first answer stops after 400,000 bytes until the test lets it go on."""

    def answer(self, number):
        if number > 1:
            self.send_file()
            return
        self.send_file(stop=399_990)
        time.sleep(0.05)
        self.send(self.web.content[399_990:400_000])  # a few bytes must not be lost either
        self.web.go_on.wait(20)


def test_killed(serve, target):
    web = serve(Waits)
    program = "import sys; from kinema.download import fetch; fetch(sys.argv[1], sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", program, web.url, str(target)]) as process:
        try:
            wait_for(part(target), 400_000)
            assert process.poll() is None
        finally:
            process.kill()
    check_part(target, 400_000)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, "bytes=400000-"]
    assert web.num_sent == len(OLD)


def test_stopped_by_ctrl_c(serve, target, monkeypatch):
    def stop(self, num_bytes):
        raise KeyboardInterrupt

    web = serve(Good)
    with monkeypatch.context() as patch:
        patch.setattr(progress.Transferred, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(web.url, target)
    num_bytes = part(target).stat().st_size
    assert num_bytes > 0
    check_part(target, num_bytes)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, f"bytes={num_bytes}-"]


def test_stall(serve, target):
    web = serve(Waits)
    fetch(web.url, target, timeout=0.7)
    check_whole(target)
    assert ranges(web) == [None, "bytes=400000-"]


def test_stall_without_a_retry(serve, target):
    web = serve(Waits)
    with pytest.raises(DownloadError, match=r"stood still for 0\.7 s; 400,000 of 600,000"):
        fetch(web.url, target, timeout=0.7, retries=0)
    check_part(target, 400_000)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, "bytes=400000-"]


def test_full_disk(serve, target):
    resource = pytest.importorskip("resource")
    web = serve(Good)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the number is looked at)
            fetch(web.url, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG  # what a limit says in place of ENOSPC
    check_part(target, 100_000)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, "bytes=100000-"]


@pytest.mark.skipif(sys.platform == "win32", reason="no lock there")
def test_two_at_once(serve, target):
    web = serve(Waits)
    first = threading.Thread(target=fetch, args=(web.url, target))
    first.start()
    wait_for(part(target), 400_000)
    with pytest.raises(DownloadError, match="another process is downloading this"):
        fetch(web.url, target)
    web.go_on.set()
    first.join()
    check_whole(target)


# --- what is here is not what the server has ------------------------------------------------------


def cut_at(serve, target, cut, handler=Good, **options):
    """A server that answers as `handler`, after a call that it broke off at byte `cut`."""
    web = serve(Cut, **options)
    web.cut = cut
    with pytest.raises(DownloadError):
        fetch(web.url, target, retries=0)
    web.server.RequestHandlerClass = handler
    web.requests.clear()
    web.num_sent = 0
    return web


class IgnoresIfRange(Good):
    checks_if_range = False


@pytest.mark.parametrize("handler", [Good, IgnoresIfRange])
@pytest.mark.parametrize(
    "content", [NEW, NEW[:-7], NEW + b"more", NEW[:100]], ids=["same-size", "-7", "+4", "short"]
)
@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_changed_on_the_server(serve, target, handler, content, validator):
    old = {"etag": None, "last_modified": LAST_MODIFIED} if validator == "last_modified" else {}
    web = cut_at(serve, target, 300_000, handler, **old)
    changed = '"new"' if validator == "etag" else LAST_MODIFIED.replace("2020", "2021")
    setattr(web, validator, changed)
    web.content = content
    fetch(web.url, target)
    check_whole(target, content)
    assert ranges(web)[0] == "bytes=300000-"


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_no_strong_validator(serve, target, etag):
    web = cut_at(serve, target, 300_000, etag=etag)
    web.content = NEW
    fetch(web.url, target)
    check_whole(target, NEW)
    assert ranges(web) == [None]


def test_last_modified_in_place_of_a_weak_etag(serve, target):
    web = cut_at(serve, target, 300_000, etag='W/"weak"', last_modified=LAST_MODIFIED)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == ["bytes=300000-"]
    assert web.requests[0]["If-Range"] == LAST_MODIFIED


def test_no_validator_but_a_checksum(serve, target):
    web = cut_at(serve, target, 300_000, etag=None)
    fetch(web.url, target, sha256=SHA256)
    check_whole(target)
    assert ranges(web) == ["bytes=300000-"]


def test_no_validator_and_a_mixture(serve, target):
    web = cut_at(serve, target, 300_000, etag=None)
    web.content = NEW
    with pytest.raises(ValueError, match="sha256"):
        fetch(web.url, target, sha256=hashlib.sha256(NEW).hexdigest())
    assert left(target) == []
    fetch(web.url, target, sha256=hashlib.sha256(NEW).hexdigest())
    check_whole(target, NEW)


def test_part_of_another_url(serve, target):
    cut_at(serve, target, 300_000)
    web = serve(Good, NEW)
    fetch(web.url, target)
    check_whole(target, NEW)
    assert ranges(web) == [None]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"url": 3, "size": "?"}'])
def test_damaged_story(serve, target, text):
    web = cut_at(serve, target, 300_000)
    story(target).write_text(text)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None]


class NoRange(Good):
    accepts_range = False


def test_server_without_range(serve, target):
    web = cut_at(serve, target, 300_000, NoRange)
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == ["bytes=300000-"]


class NoRangeAndCut(NoRange):
    def answer(self, number):
        self.send_file(stop=1000)


def test_server_without_range_that_breaks(serve, target):
    web = serve(NoRangeAndCut)
    with pytest.raises(DownloadError):
        fetch(web.url, target, retries=3)
    assert len(web.requests) == 4
    check_part(target, 1000)


class WrongContentRange(Good):
    """Answers a Range with a 206 that is something else than what was asked."""

    def answer(self, number):
        if self.start():
            headers = {"Content-Length": str(self.web.length)}
            self.head(206, headers | {"Content-Range": self.web.content_range})
            self.send(NEW[: self.web.length])
        else:
            self.send_file()


@pytest.mark.parametrize(
    ("content_range", "length"),
    [
        (None, 300_000),
        ("bytes", 300_000),
        ("items 300000-599999/600000", 300_000),
        ("bytes 0-599999/600000", 600_000),
        ("bytes 299999-599999/600000", 300_001),
        ("bytes 300001-599999/600000", 299_999),
        ("bytes 300000-599999/600001", 300_000),
        ("bytes 300000-600000/600000", 300_001),
        ("bytes 300000-299999/600000", 0),
        ("bytes 300000-599999/600000", 1000),
    ],
)
def test_wrong_content_range(serve, target, content_range, length):
    web = cut_at(serve, target, 300_000, WrongContentRange)
    web.content_range, web.length = content_range, length
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == ["bytes=300000-", None]


class ShortRanges(Good):
    """Gives 100,000 bytes a Range at most, with or without the total."""

    def answer(self, number):
        start = self.start()
        if not start:
            self.send_file(stop=100_000)
            return
        data = self.web.content[start : start + 100_000]
        total = "*" if number % 2 else len(self.web.content)
        span = f"bytes {start}-{start + len(data) - 1}/{total}"
        self.head(206, {"Content-Length": str(len(data)), "Content-Range": span})
        self.send(data)


def test_short_ranges(serve, target):
    web = serve(ShortRanges)
    fetch(web.url, target, retries=1)
    check_whole(target)
    assert web.num_sent == len(OLD)


class UnaskedRange(Good):
    def answer(self, number):
        self.head(206, {"Content-Length": "5", "Content-Range": "bytes 0-4/9"})
        self.send(b"01234")


def test_206_that_was_not_asked_for(serve, target):
    with pytest.raises(DownloadError, match="206"):
        fetch(serve(UnaskedRange).url, target)
    assert left(target) == []


def test_416_when_the_part_is_whole(serve, target):
    # Without a length, the part of a call that was killed at the end is not known to be whole.
    web = cut_at(serve, target, 300_000)
    part(target).write_bytes(OLD)
    story(target).write_text(json.dumps(json.loads(story(target).read_text()) | {"size": None}))
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == ["bytes=600000-"]
    assert web.num_sent == 0


@pytest.mark.parametrize("size", [None, 600_000])
def test_part_that_is_too_long(serve, target, size):
    web = cut_at(serve, target, 300_000)
    part(target).write_bytes(OLD + b"more")
    story(target).write_text(json.dumps(json.loads(story(target).read_text()) | {"size": size}))
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == ([None] if size else ["bytes=600004-", None])


def test_part_that_is_known_to_be_whole(serve, target):
    web = cut_at(serve, target, 300_000)
    part(target).write_bytes(OLD)
    fetch(web.url, target)
    check_whole(target)
    assert web.requests == []


class TooLongLength(Good):
    def answer(self, number):
        self.send_file(**{"Content-Length": "600100"})


class TooShortLength(Good):
    def answer(self, number):
        self.send_file(**{"Content-Length": "599900"})


def test_length_that_is_too_long(serve, target):
    web = serve(TooLongLength)
    with pytest.raises(DownloadError, match="ended early"):
        fetch(web.url, target, retries=2)
    assert not target.exists()


def test_length_that_is_too_short(serve, target):
    web = serve(TooShortLength)
    with pytest.raises(ValueError, match="sha256"):
        fetch(web.url, target, sha256=SHA256)
    assert left(target) == []


# --- answers that are no file ---------------------------------------------------------------------


class Refuses(Good):
    """Answers with `web.status`, the first `web.times` times."""

    def answer(self, number):
        if number > self.web.times:
            self.send_file()
            return
        self.head(self.web.status, {"Content-Length": "5"})
        self.send(b"sorry")


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")]
)
def test_refused(serve, target, status, words):
    web = serve(Refuses)
    web.status, web.times = status, 99
    with pytest.raises(DownloadError) as caught:
        fetch(web.url, target)
    assert str(caught.value) == f"{web.url}: the server answered {words}."
    assert len(web.requests) == 1
    assert left(target) == []


def test_refused_in_the_middle(serve, target):
    web = cut_at(serve, target, 300_000, Refuses)
    web.status, web.times = 404, 1
    with pytest.raises(DownloadError, match="404"):
        fetch(web.url, target)
    check_part(target, 300_000)
    fetch(web.url, target)
    check_whole(target)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_busy_then_ready(serve, target, status):
    web = serve(Refuses)
    web.status, web.times = status, 3
    fetch(web.url, target)
    check_whole(target)
    assert len(web.requests) == 4


def test_busy_for_good(serve, target):
    web = serve(Refuses)
    web.status, web.times = 503, 99
    with pytest.raises(DownloadError, match=r"503 Service Unavailable; nothing is here yet"):
        fetch(web.url, target, retries=2)
    assert len(web.requests) == 3
    assert left(target) == []


class Redirects(Good):
    def answer(self, number):
        if self.path == "/there":
            self.send_file(stop=250_000 if number <= 2 else None)
        else:
            self.head(self.web.status, {"Location": self.web.location, "Content-Length": "0"})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(serve, target, status):
    web = serve(Redirects)
    web.status, web.location = status, "/there"
    fetch(web.url, target)
    check_whole(target)
    assert ranges(web) == [None, None, "bytes=250000-", "bytes=250000-"]
    assert web.num_sent == len(OLD)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/file", "data:,text", "/file.bin"]
)
def test_redirect_to_nowhere(serve, target, location):
    web = serve(Redirects)
    web.status, web.location = 302, location
    with pytest.raises(DownloadError, match="redirects"):
        fetch(web.url, target)
    assert left(target) == []


def test_redirect_to_what_is_no_address(serve, target):
    web = serve(Redirects)
    web.status, web.location = 302, "http://127.0.0.1:port/file"
    with pytest.raises(ValueError, match="leads is no http address"):
        fetch(web.url, target)
    assert left(target) == []


class TalksNonsense(Good):
    def answer(self, number):
        self.send(b"I speak no HTTP\r\n\r\n")


def test_no_http(serve, target):
    web = serve(TalksNonsense)
    with pytest.raises(DownloadError, match="connection failed"):
        fetch(web.url, target, retries=1)
    assert left(target) == []


# --- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/file",
        "data:,text",
        "example.org/file",
        "http:///file",
        "http://[::1/file",
        "http://127.0.0.1:port/file",
        "http://127.0.0.1/a file",
        "http://127.0.0.1/caf\u00e9",
        "http://127.0.0.1/a\r\nX: y",
        "",
    ],
)
def test_not_an_address(target, url):
    with pytest.raises(ValueError, match="`url` must be an http or https address"):
        fetch(url, target)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"sha256": ""}, "sha256"),
        ({"sha256": "xyz"}, "sha256"),
        ({"sha256": "0" * 65}, "sha256"),
        ({"md5": "b7a93b2f"}, "md5"),
        ({"retries": -1}, "retries"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_arguments(target, options, word):
    with pytest.raises(ValueError, match=f"`{word}` must be"):
        fetch("http://127.0.0.1:9/file", target, **options)


def test_target_is_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError):
        fetch("http://127.0.0.1:9/file", tmp_path)


# --- checksums ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "checksums",
    [
        {"sha256": SHA256},
        {"sha256": SHA256.upper()},
        {"sha256": SHA256[:8]},
        {"md5": MD5},
        {"sha256": SHA256[:1], "md5": MD5},
    ],
)
def test_right_checksum(serve, target, checksums):
    fetch(serve(Good).url, target, **checksums)
    check_whole(target)


@pytest.mark.parametrize(
    ("checksums", "found"),
    [
        ({"sha256": "0" * 64}, SHA256),
        ({"sha256": "dcc47ddc"}, SHA256),
        ({"sha256": SHA256[1:9]}, SHA256),
        ({"md5": "0" * 32}, MD5),
        ({"sha256": SHA256, "md5": "b7a93b2f9156ccbebe3ca24b41fc5402"}, MD5),
    ],
)
def test_wrong_checksum(serve, target, checksums, found):
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(ValueError, match=found) as caught:
        fetch(serve(Good).url, target, **checksums)
    assert list(checksums.values())[-1] in str(caught.value)
    assert left(target) == ["file.bin"]
    assert target.read_bytes() == b"before"


# --- progress -------------------------------------------------------------------------------------


def test_progress(serve, target, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    web = serve(Good)
    fetch(web.url, target)
    assert capsys.readouterr().err == ""
    fetch(web.url, target, progress=True)
    shown = capsys.readouterr()
    assert "file.bin" in shown.err
    assert shown.out == ""


def test_progress_outside_a_terminal(serve, target, capsys, monkeypatch):
    monkeypatch.setattr("kinema.progress.SECONDS_BETWEEN_LINES", 0.0)
    web = serve(Good)
    fetch(web.url, target, progress=True)
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"file\.bin: 600\.0 kB, .*/s, 0 s to 600\.0 kB", line)
