"""One file a chunk: the first one counts, whoever dies, and all that is told is in it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kinema.sharing import chunks, claims, loop, manifests, shards
from kinema.sharing.manifests import Row
from kinema.sharing.status import status
from kinema.skipped import EngineError
from kinema.store import LocalStore

from drawn_work import PACKING, content_of, names_of
from stores import Failing, rows_of

pytest.importorskip("pyarrow")

TESTS = Path(__file__).parent.parent


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(claims, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.4)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.1)


def working(calls=None, skips=(), content=content_of):
    def work(names, begun):
        for name in names[::-1]:  # in another order than they stand in
            begun(name)
            if calls is not None:
                calls[name] += 1
            if name in skips:
                yield Row(name, reason="it was slow."), None
            else:
                yield Row(name, "mark", 1), content(name)

    return work


def begun(out, count=40, store=None):
    store = store or LocalStore(out)
    return store, chunks.begin(store, names_of(count), lambda name: 1)


def share(store, parts, work) -> loop.Shared:
    return loop.share(store, parts, work, ending=".txt", packing=PACKING)


def held(store, chunk) -> tuple[list[Row], dict[str, str]]:
    rows, contents = json.loads(store.read(shards.path_of(chunk)))
    return [Row(**row) for row in rows], contents


def check(store, parts) -> None:
    """Shards hold what manifests tell, in order, and nothing else lies about."""
    told = rows_of(store)
    assert [row.name for row in told] == [*parts.names]
    for chunk in range(len(parts)):
        rows, contents = held(store, chunk)
        assert rows == told[parts.borders[chunk] : parts.borders[chunk + 1]]
        assert contents == {r.name: content_of(r.name).decode() for r in rows if r.sha256}
    assert set(store.times(shards.FOLDER)) == {f"{i:06d}.parquet" for i in range(len(parts))}
    assert not store.times("folder")  # where files a name would lie


def test_a_chunk_is_one_file(tmp_path, fast):
    store, parts = begun(tmp_path)
    found = share(store, parts, working(skips=names_of(40)[3:5]))
    assert (found.num_done, len(found.skipped)) == (38, 2)
    check(store, parts)
    assert share(store, parts, working()).num_done == 0
    assert status(tmp_path).num_done == 40


def test_a_chunk_without_a_file_has_no_shard(tmp_path, fast):
    store, parts = begun(tmp_path, 16)
    assert len(share(store, parts, working(skips=names_of(16))).skipped) == 16
    assert not store.times(shards.FOLDER)
    assert status(tmp_path).num_skipped == 16


def test_a_store_that_fails_one_call_in_four(tmp_path, fast, monkeypatch):
    """Also when a shard was put down and the answer was lost."""
    monkeypatch.setattr("kinema.store.WAIT_SECONDS", (0.0,) * 20)
    store, parts = begun(tmp_path, 64, Failing(tmp_path, one_in=4))
    share(store, parts, working())
    check(LocalStore(tmp_path), parts)
    assert store.failures > 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "full")])
def test_what_was_done_of_a_chunk_that_is_given_back_is_done_again(tmp_path, fast, error):
    """Beats tell of rows whose files went with their process."""
    store, parts = begun(tmp_path, 16)
    calls = Counter()

    def stops(names, begun):
        for number, row in enumerate(working(calls, names_of(16)[14:])(names, begun)):
            if number == 5:
                time.sleep(0.2)  # a beat tells of the others
                raise error
            yield row

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        share(store, parts, stops)
    told = claims.read_beat(store, claims.key_of(0, 1)).rows
    assert (len(told), sum(bool(row.reason) for row in told)) == (5, 2)
    share(store, parts, working(calls))
    check(store, parts)
    # The two that were skipped stay so; each other one is done, again if it had been.
    assert Counter(calls.values()) == {1: 2 + 10, 2: 4}
    assert [row.name for row in rows_of(store) if row.reason] == names_of(16)[14:]


def test_a_video_that_was_done_once_can_be_quarantined(tmp_path, fast):
    """It is done again, and then its deaths count; where its file is kept, it is not done again."""
    store, _ = begun(tmp_path, 16)
    name, slow = names_of(16)[7], Row(names_of(16)[2], reason="it was slow.")
    for generation in range(4):
        held = claims.claim(store, 0, generation)
        heart = claims.Heartbeat(store, dataclasses.replace(held, done=()))
        if generation == 0:
            heart.ended(Row(name, "mark", 1, "0" * 64))
            heart.ended(slow)
            heart._write()
        else:
            heart.begun(name)
    again = claims.claim(store, 0, 4, kept=False)
    assert (again.done, again.quarantined) == ((slow,), {name})
    kept = claims.claim(store, 0, 5)
    assert (len(kept.done), kept.quarantined) == (2, set())


def test_a_video_that_kills_its_processes_is_quarantined(tmp_path):
    out, deadly = tmp_path / "out", names_of(32)[20]
    path = os.pathsep.join([str(TESTS), str(TESTS / "sharing")])
    program = [sys.executable, str(TESTS / "sharing" / "drawn_work.py"), str(out), "32", "0.001"]
    for death in range(4):
        process = subprocess.run(
            [*program, "--deadly", deadly, "--shards"],
            env={**os.environ, "PYTHONPATH": path},
            timeout=300,
            check=False,
        )
        assert process.returncode == (0 if death == 3 else -signal.SIGKILL)
    store = LocalStore(out)
    check(store, chunks.load(store))
    reasons = {row.name: row.reason for row in rows_of(store) if row.reason}
    assert reasons.pop(deadly) == "3 processes died while it was read."
    assert [*reasons] == [name for name in names_of(32) if name.endswith("3.mp4")]


# --- where a shard is there already ---------------------------------------------------------------


def there_without_its_manifest(tmp_path, **work):
    """A shard whose process died before it told of it."""
    store, parts = begun(tmp_path, 16)
    share(store, parts, working(**work))
    store.delete(manifests.path_of(0))
    return store, parts, store.read(shards.path_of(0))


def test_the_first_shard_counts_also_where_it_skipped_others(tmp_path, fast):
    first, second = names_of(16)[3], names_of(16)[9]
    store, parts, data = there_without_its_manifest(tmp_path, skips=[first])
    found = share(store, parts, working(skips=[second]))
    assert store.read(shards.path_of(0)) == data
    check(store, parts)  # the manifest tells what the shard holds
    assert [row.name for row in found.skipped] == [first]


def test_a_damaged_shard_is_made_again(tmp_path, fast):
    store, parts, data = there_without_its_manifest(tmp_path)
    store.write(shards.path_of(0), data[:-9])
    share(store, parts, working())
    assert store.read(shards.path_of(0)) == data


def test_other_bytes_and_other_videos_are_an_error(tmp_path, fast):
    store, parts, data = there_without_its_manifest(tmp_path)
    with pytest.raises(
        EngineError, match=r"000000.parquet is there with other bytes of folder/0000"
    ):
        share(store, parts, working(content=lambda name: content_of(name)[::-1]))
    store.write(shards.path_of(0), data.replace(b"0007.mp4", b"7007.mp4"))
    with pytest.raises(EngineError, match=r"000000.parquet is of other videos"):
        share(store, parts, working())
