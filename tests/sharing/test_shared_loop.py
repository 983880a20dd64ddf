"""Several processes do a list together: each name once, nothing lost, whoever dies."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kinema.sharing import chunks, claims, loop, manifests
from kinema.sharing.claims import Heartbeat
from kinema.sharing.manifests import Row
from kinema.sharing.status import status
from kinema.skipped import EngineError
from kinema.store import LocalStore, open_store

from drawn_work import content_of, names_of
from stores import rows_of

pytest.importorskip("pyarrow")

TESTS = Path(__file__).parent.parent


def start(out, num_names=160, seconds=0.01, *more) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "sharing")]),
    }
    arguments = [str(out), str(num_names), str(seconds), *map(str, more)]
    program = [sys.executable, str(TESTS / "sharing" / "drawn_work.py"), *arguments]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)


def check(out, num_names, *, quarantined=()) -> None:
    """Each name is in the manifests once, and each file is what it must be."""
    store = open_store(out)
    rows = rows_of(store)
    assert [row.name for row in rows] == names_of(num_names)
    for row in rows:
        if row.name in quarantined:
            assert row.reason == "3 processes died while it was read."
        elif row.name.endswith("3.mp4"):
            assert row.reason == "it ends in three."
        else:
            data = store.read(f"{row.name}.txt")
            assert data == content_of(row.name)
            assert row.sha256 == hashlib.sha256(data).hexdigest()
    told = status(out)
    assert (told.num_done, told.num_chunks_done) == (num_names, told.num_chunks)
    assert len(told.skipped) == sum(bool(row.reason) for row in rows)
    assert not told.stale
    assert not store.times(claims.BEATS)


def ends(*processes) -> list[str]:
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


@pytest.mark.parametrize("where", ["local", "s3"])
def test_three_processes_of_which_one_is_killed(request, tmp_path, where):
    s3 = None if where == "local" else request.getfixturevalue("s3")
    out = tmp_path / "out" if s3 is None else f"s3://{s3.bucket()}/out"
    processes = [start(out) for _ in range(3)]
    store = open_store(out)
    for _ in range(600):  # until it has something to lose
        if store.times(claims.BEATS):
            break
        time.sleep(0.05)
    time.sleep(random.random() * 0.2)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    ends(*processes[1:])
    check(out, 160)


def test_a_store_that_fails_one_call_in_twenty(tmp_path):
    out = tmp_path / "out"
    outputs = ends(*(start(out, 64, 0.005, "--one-in", 20) for _ in range(2)))
    check(out, 64)
    done = sum(int(each.split()[0]) for each in outputs)
    assert done >= 64 - 7
    assert {each.split()[1] for each in outputs} == {"7"}


def test_a_video_that_kills_its_processes_is_quarantined(tmp_path):
    out = tmp_path / "out"
    deadly = names_of(48)[20]
    for _ in range(3):
        process = start(out, 48, 0.001, "--deadly", deadly)
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        time.sleep(0.1)
    ends(start(out, 48, 0.001, "--deadly", deadly))
    check(out, 48, quarantined=[deadly])


# --- in this process ------------------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(claims, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.4)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.1)


def working(calls=None, content=content_of):
    def work(names, begun):
        for name in names:
            begun(name)
            if calls is not None:
                calls[name] += 1
            yield Row(name, "mark", 1), content(name)

    return work


def begun(out, count=40):
    store = LocalStore(out)
    return store, chunks.begin(store, names_of(count), lambda name: 1)


def test_a_second_run_does_nothing(tmp_path, fast):
    store, parts = begun(tmp_path)
    calls = Counter()
    first = loop.share(store, parts, working(calls), ending=".txt")
    assert (first.num_done, first.num_clips) == (40, 40)
    assert set(calls.values()) == {1}
    again = loop.share(store, parts, working(calls), ending=".txt")
    assert (again.num_done, sum(calls.values())) == (0, 40)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "full")])
def test_what_ends_a_run_gives_the_chunk_back_and_what_was_done_stays(tmp_path, fast, error):
    store, parts = begun(tmp_path)
    calls = Counter()

    def stops(names, begun):
        for number, row in enumerate(working(calls)(names, begun)):
            if number == 5:
                raise error
            yield row

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        loop.share(store, parts, stops, ending=".txt")
    claims.STALE_SECONDS = 1e9  # nobody has to wait for it
    loop.share(store, parts, working(calls), ending=".txt")
    assert Counter(calls.values()) == {1: 39, 2: 1}


def test_a_damaged_manifest_is_made_again(tmp_path, fast):
    store, parts = begun(tmp_path)
    loop.share(store, parts, working(), ending=".txt")
    before = {
        name: store.read(f"{manifests.FOLDER}/{name}") for name in store.times(manifests.FOLDER)
    }
    store.write(manifests.path_of(1), before["000001.parquet"][:-7])
    assert "000001.parquet is damaged" in status(tmp_path).notes[0]
    found = loop.share(store, parts, working(), ending=".txt")
    assert len(found.notes) == 1
    assert "000001.parquet is damaged" in found.notes[0]
    assert found.num_done == 16
    for name, data in before.items():
        assert store.read(f"{manifests.FOLDER}/{name}") == data


def test_other_bytes_are_an_error(tmp_path, fast):
    store, parts = begun(tmp_path)
    store.settle(f"{names_of(40)[7]}.txt", b"something else")
    with pytest.raises(EngineError, match=r"0007.mp4.txt is there with other bytes"):
        loop.share(store, parts, working(), ending=".txt")


def test_who_wakes_after_an_hour_does_no_harm(tmp_path, fast, monkeypatch):
    """Its claim was followed and the chunk is done; it goes on, and what it makes is the same."""
    store, parts = begun(tmp_path, 16)
    first = claims.claim(store, 0)
    time.sleep(0.6)
    assert loop.share(store, parts, working(), ending=".txt").num_done == 16
    before = rows_of(store)
    found = loop.Shared(16)
    from kinema.progress import Progress

    progress = Progress(enabled=False)
    progress.start(16, 16)
    monkeypatch.setattr(claims.Heartbeat, "_beat", lambda self: None)  # nothing tells it
    loop._do(store, parts, first, working(), ".txt", found, progress)
    assert found.num_done == 16
    assert rows_of(store) == before


def test_status_while_it_runs(tmp_path, fast):
    store, parts = begun(tmp_path, 48)  # chunks of 16, whichever comes first
    told = status(tmp_path)
    assert (told.num_done, told.videos_per_hour, told.hours_left) == (0, None, None)
    seen = []

    def watching(names, begun):
        for number, row in enumerate(working()(names, begun)):
            if number == 8:
                time.sleep(0.3)
                seen.append(status(tmp_path))
            yield row

    loop.share(store, parts, watching, ending=".txt")
    (worker,) = seen[0].working
    assert (worker.generation, worker.process) == (1, os.getpid())
    assert worker.num_done in (7, 8)
    assert seen[0].num_done == worker.num_done
    assert worker.running
    last = status(tmp_path)
    assert (last.num_done, last.num_clips, last.hours_left) == (48, 48, 0.0)
    assert last.videos_per_hour > 40
    assert "48 of 48 videos (100.0 %)" in last.lines()[0]


def test_status_counts_what_was_done_of_a_chunk_that_was_given_back(tmp_path):
    store, parts = begun(tmp_path, 40)
    name = parts[0][0]

    def stop():
        with Heartbeat(store, claims.claim(store, 0)) as heart:
            heart.ended(Row(name, "mark", 3, "sum"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    found = status(tmp_path)
    assert (found.num_done, found.working, found.stale) == (1, (), ())


def test_status_tells_who_is_dead(tmp_path, fast):
    store, _ = begun(tmp_path, 40)
    claims.claim(store, 1)
    time.sleep(0.6)
    (worker,) = status(tmp_path).stale
    assert (worker.chunk, worker.process) == (1, os.getpid())
    assert "stale: chunk 1.1" in "\n".join(status(tmp_path).lines())
