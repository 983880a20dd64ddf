"""Servers on this machine that tests download from."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np

OLD = np.random.default_rng(0).bytes(600_000)


class Good(http.server.BaseHTTPRequestHandler):
    """A server as it should be: lengths, an ETag, Range and If-Range. The others differ in a bit.

    `self.web` is the test's hold on the server, see `running`.
    """

    protocol_version = "HTTP/1.1"
    accepts_range = True
    checks_if_range = True

    @property
    def web(self) -> SimpleNamespace:
        return self.server.web

    def do_GET(self):
        self.web.requests.append({"path": self.path, **self.headers})
        self.close_connection = True
        self.answer(len(self.web.requests))

    def answer(self, number):
        """Answer the `number`th request, counted from 1."""
        self.send_file()

    def start(self):
        """The first byte that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None or not self.accepts_range:
            return 0
        if self.checks_if_range and "If-Range" in self.headers:
            now = [self.web.etag, self.web.last_modified]
            if self.headers["If-Range"] not in now:
                return 0
        return int(asked[1])

    def send_file(self, *, stop=None, **changes):
        """Send the file, up to its byte `stop` only; `changes` are made to the headers."""
        content, start = self.web.content, self.start()
        if start >= len(content) > 0:
            self.head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if start else 200, headers | changes)
        self.send(content[start:stop])

    def head(self, status, headers):
        self.send_response(status)
        validators = {"ETag": self.web.etag, "Last-Modified": self.web.last_modified}
        for name, value in (validators | headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def send(self, data):
        self.web.num_sent += len(data)  # before: the client may be done before this returns
        try:
            self.wfile.write(data)
        except OSError:
            self.web.num_sent -= len(data)
            raise

    def log_message(self, *args):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class Cut(Good):
    """Ends the first answer before byte `web.cut`."""

    def answer(self, number):
        self.send_file(stop=self.web.cut if number == 1 else None)


@contextlib.contextmanager
def running() -> Iterator[Callable[..., SimpleNamespace]]:
    """Gives serve(handler) -> its url, and what it tells: `requests` (headers) and `num_sent`."""
    started = []

    def start(handler, content=OLD, *, etag='"old"', last_modified=None, name="file.bin"):
        server = _Server(("127.0.0.1", 0), handler)
        server.web = SimpleNamespace(
            content=content,
            etag=etag,
            last_modified=last_modified,
            server=server,
            requests=[],
            num_sent=0,
            go_on=threading.Event(),
            url=f"http://127.0.0.1:{server.server_port}/{name}",
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server.web

    try:
        yield start
    finally:
        for server, thread in started:
            server.web.go_on.set()
            server.shutdown()
            thread.join()
            server.server_close()


def ranges(web):
    """What each request asked for."""
    return [request.get("Range") for request in web.requests]


def free_port() -> int:
    """A port of this machine where nobody listens now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
