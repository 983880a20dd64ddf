"""Claims: one process has a chunk, the dead lose it, and what they died with is told."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinema.sharing import claims
from kinema.sharing.claims import BEATS, CLAIMS, Heartbeat, claim, look, read_beat
from kinema.sharing.manifests import Row
from kinema.store import LocalStore

from stores import Skewed


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "out")


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(claims, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(claims, "STALE_SECONDS", 1.0)


def die(heart: Heartbeat) -> None:
    """Stop beating, as a killed process does."""
    heart._over.set()
    heart._news.set()
    heart._thread.join()


def died_with(store, chunk, last, *names, done=()):
    """A generation that runs some videos, and ends without an end."""
    held = claim(store, chunk, last)
    heart = Heartbeat(store, held)
    for row in done:
        heart.ended(row)
    for name in names:
        heart.begun(name)
    heart._write()
    return held


def stopped_with(store, chunk, last, name):
    """A generation that is stopped while it runs a video."""
    with Heartbeat(store, claim(store, chunk, last)) as heart:
        heart.begun(name)
        raise KeyboardInterrupt


def test_one_of_many_has_it(store):
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait()
        return claim(store, 3)

    with ThreadPoolExecutor(8) as pool:
        found = [one for one in pool.map(ask, range(8)) if one is not None]
    assert [(one.chunk, one.generation) for one in found] == [(3, 1)]
    assert look(store)[3].generation == 1
    owner = claims.read_owner(store, "000003.1")
    assert owner["process"] > 0
    assert owner["host"]


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_it_is_stale_by_the_stores_clock(tmp_path, fast, monkeypatch, skew):
    """The machine's clock is a day off besides, and nobody asks it."""
    store = Skewed(tmp_path / "out", skew)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86400)
    with Heartbeat(store, claim(store, 0)) as heart:
        time.sleep(1.3)
        assert not look(store)[0].is_free(store.now())
        die(heart)
    time.sleep(1.2)
    assert look(store)[0].is_free(store.now())
    assert claim(store, 0, 1).generation == 2
    assert not look(store)[0].is_free(store.now())


def test_the_next_generation_goes_on_from_what_was_done(store):
    done = Row("a", "mark", 3, "sum")
    died_with(store, 0, 0, "b", done=[done])
    second = claim(store, 0, 1)
    assert second.done == (done,)
    assert not second.quarantined
    assert claim(store, 0, 1) is None


def test_three_deaths_quarantine_what_was_running(store):
    died_with(store, 0, 0, "a", "bad", "c")  # the first generation reads ahead
    died_with(store, 0, 1, "bad", done=[Row("a")])
    assert not claim(store, 1).quarantined
    died_with(store, 0, 2, "bad")
    fourth = claim(store, 0, 3)
    assert fourth.quarantined == {"bad"}
    assert [row.name for row in fourth.done] == ["a"]


def test_deaths_with_others_and_chunks_given_back_quarantine_nothing(store, fast):
    for generation, name in enumerate(["a", "b", "c"]):  # a machine that is taken away again
        died_with(store, 0, generation, name)
    assert not claim(store, 0, 3).quarantined
    for generation in range(4):
        with pytest.raises(KeyboardInterrupt):
            stopped_with(store, 1, generation, "a")
        assert look(store)[1].is_free(store.now())
    assert not claim(store, 1, 4).quarantined


def test_a_video_is_named_before_it_begins_where_one_died(store):
    died_with(store, 0, 0)
    heart = Heartbeat(store, claim(store, 0, 1))  # its thread does not run
    heart.begun("a")
    assert read_beat(store, "000000.2").running == ("a",)


def test_a_chunk_is_given_to_others(store):
    """In place of its process: that is a death, unless the process lives."""
    for last in range(3):
        died_with(store, 0, last, "slow", done=[Row("done")])
        claims.release(store, f"000000.{last + 1}", alive=True)
        assert look(store)[0].is_free(store.now())
    held = claim(store, 0, 3)
    assert (held.quarantined, held.alone) == (frozenset(), False)
    assert held.done == (Row("done"),)
    for last in range(3):
        died_with(store, 1, last, "deadly")
        claims.release(store, f"000001.{last + 1}")
        assert look(store)[1].is_free(store.now())
    held = claim(store, 1, 3)
    assert (held.quarantined, held.alone) == ({"deadly"}, True)


def test_who_is_followed_stops(store, fast):
    with Heartbeat(store, claim(store, 0)) as heart:
        assert claim(store, 0, 1) is not None
        for _ in range(100):
            if heart.lost:
                break
            time.sleep(0.02)
        assert heart.lost


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\x00", b'{"running": 3}', b'{"rows": [[1]]}'])
def test_damaged_claims_and_beats_cost_nothing(store, data):
    died_with(store, 0, 0, "a", done=[Row("b")])
    store.write(f"{CLAIMS}/000000.1", data)
    store.write(f"{BEATS}/000000.1", data)
    store.write(f"{CLAIMS}/rubbish", data)
    assert look(store)[0].generation == 1
    assert claims.read_owner(store, "000000.1").get("host") is None
    assert claim(store, 0, 1).done == ()


def test_the_beats_of_a_chunk_that_is_done_go(store):
    died_with(store, 0, 0, "a")
    held = claim(store, 0, 1)
    with pytest.raises(ValueError, match="x"), Heartbeat(store, held):
        raise ValueError("x")
    held = claim(store, 0, 2)
    Heartbeat(store, held).begun("a")
    claims.clear(store, held)
    assert store.times(BEATS) == {}
    assert set(store.times(CLAIMS)) == {"000000.1", "000000.2", "000000.3"}
