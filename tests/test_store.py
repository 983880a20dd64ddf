"""Stores: who is first, what is there afterwards, what fails and how it is told."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinema import store as stores
from kinema.store import LocalStore, RemoteStore, StoreError, open_store

from stores import SECRET, Failing, Skewed, memory_store


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """What is tried again is tried at once."""
    monkeypatch.setattr(stores, "WAIT_SECONDS", (0.0,) * 6)


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return LocalStore(tmp_path / "out")
    if request.param == "memory":
        return memory_store()
    return RemoteStore(f"s3://{request.getfixturevalue('s3').bucket()}/a/folder")


def test_the_first_one_counts(store):
    store.check()
    assert store.settle("a/b c#é.1", b"first") == b"first"
    assert store.settle("a/b c#é.1", b"second") == b"first"
    assert store.read("a/b c#é.1") == b"first"
    store.write("a/b c#é.1", b"third")
    assert store.read("a/b c#é.1") == b"third"
    assert set(store.times("a")) == {"b c#é.1"}
    store.delete("a/b c#é.1")
    store.delete("a/b c#é.1")
    assert store.settle("a/b c#é.1", b"") == b""
    with pytest.raises(FileNotFoundError):
        store.read("a/none")
    assert store.times("none") == {}


def test_a_file_is_put_down_once_and_read_in_parts(store, tmp_path):
    data = random.Random(0).randbytes((5 << 20) + 7)
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(data)
    other.write_bytes(data[:-1] + b"x")
    assert store.settle_file("a/b.1", path)
    assert store.settle_file("a/b.1", path)
    assert not store.settle_file("a/b.1", other)
    with store.open("a/b.1") as file:
        assert file.seek(-9, os.SEEK_END) == len(data) - 9
        assert file.read() == data[-9:]
        assert file.read(3) == b""
        file.seek(1 << 20)
        assert file.read(3) + file.read(2 << 20) == data[1 << 20 : (3 << 20) + 3]
        file.seek(0)
        assert file.read() == data
    assert path.read_bytes() == data
    assert set(store.times("a")) == {"b.1"}
    with pytest.raises(FileNotFoundError):
        store.open("a/none")


def test_one_of_many_is_first(store):
    barrier = threading.Barrier(8)

    def put(number: int) -> bytes:
        barrier.wait()
        return store.settle("claim", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(put, range(8)))
    assert found == {store.read("claim")}


def test_the_stores_clock(store):
    before = store.now()
    store.write("beat", b"")
    age = store.now() - store.times("")["beat"] if isinstance(store, LocalStore) else 0.0
    assert -2 < age < 5
    store.write("beats/one", b"")  # S3 tells whole seconds
    assert before - 2 < store.times("beats")["one"] < store.now() + 2


def test_the_clock_is_not_this_machines(tmp_path, monkeypatch):
    ahead = Skewed(tmp_path, 3600)
    assert 3590 < ahead.now() - time.time() < 3610
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86400)
    ahead.write("beats/one", b"")
    assert -2 < ahead.now() - ahead.times("beats")["one"] < 5


def test_calls_that_fail_are_made_again(tmp_path):
    store = Failing(tmp_path / "out", one_in=5)
    for number in range(100):
        assert store.settle(f"x/{number}", b"mine") == b"mine"
        assert store.settle(f"x/{number}", b"other") == b"mine"
        assert store.read(f"x/{number}") == b"mine"
    assert len(store.times("x")) == 100
    for number in range(100):
        store.delete(f"x/{number}")
    assert store.times("x") == {}
    assert store.failures > 50


def test_a_store_that_does_not_answer_is_told(tmp_path):
    store = Failing(tmp_path / "out", one_in=1)
    with pytest.raises(StoreError, match="cannot write x .*(line is cut|no answer)"):
        store.settle("x", b"")


def test_a_full_disk_is_told_at_once(tmp_path, monkeypatch):
    store, calls = LocalStore(tmp_path), []

    def full(name, data):
        calls.append(name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_create", full)
    with pytest.raises(StoreError, match="No space") as told:
        store.settle("x", b"")
    assert (len(calls), told.value.errno) == (1, 28)


def test_what_writes_over_is_refused(tmp_path, monkeypatch):
    store = LocalStore(tmp_path / "out")
    monkeypatch.setattr(store, "_create", store._write)
    with pytest.raises(ValueError, match="writes over what is there"):
        store.check()


def test_a_disk_without_links_is_told(tmp_path, monkeypatch):
    def no_link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(StoreError, match="knows no hard links"):
        LocalStore(tmp_path / "out").check()


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(ValueError, match="a file is there"):
            LocalStore(tmp_path / place).check()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may do everything")
def test_no_permission(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="may not be written to"):
        LocalStore(tmp_path / "out").check()


def test_no_bucket_and_no_permission_on_s3(s3, monkeypatch):
    with pytest.raises(ValueError, match="no such bucket"):
        RemoteStore("s3://not-there-at-all/x").check()
    store = RemoteStore(f"s3://{s3.bucket()}/x")

    def denied(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(store, "_create", denied)
    with pytest.raises(ValueError, match="may not be written to") as told:
        store.check()
    assert SECRET not in str(told.value)


def test_no_credentials(monkeypatch):
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(OSError, match="locate credentials"):
        RemoteStore("s3://somewhere-else/x").check()


@pytest.mark.parametrize("url", ["s3://key:word@bucket/x", "gs://key@bucket", "s3://b/x?sig=word"])
def test_urls_with_passwords_are_refused(url):
    with pytest.raises(ValueError, match="environment") as told:
        open_store(url)
    assert "word" not in str(told.value).replace("password", "")


def test_an_unknown_protocol():
    pytest.importorskip("fsspec")
    with pytest.raises(ValueError, match="nowhere://x: Protocol not known"):
        open_store("nowhere://x")


def test_a_missing_package_is_told_and_folders_need_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"pip install 'kinema\[shared\]'"):
        open_store("s3://bucket/x")
    open_store(tmp_path / "out").check()


def test_a_missing_driver_is_told(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match=r"pip install 'kinema\[shared\]'"):
        open_store("s3a://bucket/x")
