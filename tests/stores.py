"""Stores that fail, lie about the time, or are S3 on this machine; and what lies in one."""

from __future__ import annotations

import contextlib
import random
import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kinema.sharing import chunks, manifests
from kinema.sharing.manifests import Row
from kinema.store import LocalStore, RemoteStore, Store

KEY = "AKIAKINEMATEST"
SECRET = "a-secret-of-the-tests"


class Failing(LocalStore):
    """Fails one call in twenty, before it has done anything, or after it has done it.

    `calls` counts all, `failures` those that failed.
    """

    def __init__(self, folder, *, one_in: int = 20, seed: int = 0) -> None:
        super().__init__(folder)
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._one_in = one_in
        self.calls = self.failures = 0

    def _maybe(self, call, *arguments):
        with self._lock:
            self.calls += 1
            fails = self._random.randrange(self._one_in) == 0
            before = self._random.random() < 0.5
            self.failures += fails
        if fails and before:
            raise ConnectionError("the line is cut")
        result = call(*arguments)
        if fails:
            raise TimeoutError("no answer came")
        return result


for _name in ("_create", "_write", "_read", "_delete", "_times", "_modified"):

    def _method(self, *arguments, _name=_name):
        return self._maybe(getattr(super(Failing, self), _name), *arguments)

    setattr(Failing, _name, _method)


class Skewed(LocalStore):
    """A store whose clock is an hour ahead of this machine's, or behind it."""

    def __init__(self, folder, seconds: float = 3600.0) -> None:
        super().__init__(folder)
        self._seconds = seconds

    def _times(self, folder):
        return {name: t + self._seconds for name, t in super()._times(folder).items()}

    def _modified(self, name):
        return super()._modified(name) + self._seconds


@contextlib.contextmanager
def s3_server(monkeypatch) -> Iterator[SimpleNamespace]:
    """A real S3 server on loopback, with the environment that leads to it; see `s3` in conftest."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=endpoint)

        def bucket() -> str:
            name = f"bucket-{uuid.uuid4().hex[:12]}"
            client.create_bucket(Bucket=name)
            return name

        yield SimpleNamespace(client=client, bucket=bucket, endpoint=endpoint)
    finally:
        server.stop()


def memory_store() -> Store:
    """A store that fsspec keeps in this process."""
    pytest.importorskip("fsspec")
    return RemoteStore(f"memory://{uuid.uuid4().hex}")


def rows_of(store) -> list[Row]:
    """The rows of all manifests."""
    parts = chunks.load(store)
    return [
        row
        for chunk in range(len(parts))
        for row in manifests.read(store.read(manifests.path_of(chunk)), parts[chunk])
    ]
