"""Where chunks begin, and that all who share have the same list."""

from __future__ import annotations

import gzip
import itertools
import json

import numpy as np
import pytest

from kinema.sharing import chunks
from kinema.sharing.chunks import CHUNK_BYTES, FEWEST, LIST, MOST, cut
from kinema.store import LocalStore


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "out")


def test_borders_by_hand():
    assert cut([]) == [0]
    assert cut([5] * 3) == [0, 3]
    # A hundred small ones: a chunk has enough bytes at once, and waits for 16 names.
    assert cut([5] * 100) == [0, 16, 32, 48, 64, 80, 96, 100]
    # A million of UCF101's size (half a megabyte): 256 names come before 256 MiB.
    borders = cut([500_000] * 1_000_000)
    assert len(borders) - 1 == 3907
    assert set(np.diff(borders)) == {256, 64}
    # Large ones: 16 MiB each, of which 16 are 256 MiB.
    assert np.diff(cut([16 << 20] * 4096)).tolist() == [16] * 256
    # Nobody knows the sizes of these.
    assert np.diff(cut([0] * 1000)).tolist() == [16] * 62 + [8]


def test_borders_of_any_sizes():
    generator = np.random.default_rng(0)
    for _ in range(20):
        sizes = generator.lognormal(15, 2, generator.integers(1, 3000)).astype(int).tolist()
        borders = cut(sizes)
        assert (borders[0], borders[-1]) == (0, len(sizes))
        counts = np.diff(borders)
        assert counts.max() <= MOST
        assert (counts[:-1] >= FEWEST).all()
        for start, stop in itertools.pairwise(borders):  # none is much larger than it has to be
            assert stop - start <= FEWEST or sum(sizes[start : stop - 1]) < CHUNK_BYTES


def test_all_have_the_borders_of_the_first(store):
    names = [f"v{number:03d}" for number in range(40)]
    first = chunks.begin(store, names[::-1], lambda name: 1 << 30)
    asked = []
    other = chunks.begin(store, names, lambda name: asked.append(name) or 1)
    assert first == other == chunks.load(store)
    assert not asked
    assert first.borders == (0, 16, 32, 40)
    assert first.sizes == (16 << 30, 16 << 30, 8 << 30)
    assert first[1] == tuple(names[16:32])
    assert len(first) == 3


def test_a_list_that_changed_is_refused(store):
    chunks.begin(store, ["a", "b"], lambda name: 1, {"a": (0, 8)})
    with pytest.raises(ValueError, match="the list changed: .*(c new; b gone)"):
        chunks.begin(store, ["a", "c"], lambda name: 1, {"a": (0, 8)})
    with pytest.raises(ValueError, match="the list changed: .*with other clips"):
        chunks.begin(store, ["a", "b"], lambda name: 1, {"a": (0, 16)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no list",
        gzip.compress(b"[]"),
        gzip.compress(b"{}"),
        gzip.compress(json.dumps({"format": "kinema-shared-list-2"}).encode()),
    ],
)
def test_a_damaged_list_is_told_and_can_be_written_again(store, data):
    chunks.begin(store, ["a"], lambda name: 1)
    store.write(LIST, data)
    with pytest.raises(ValueError, match=r"list.json.gz is damaged or of another version.*delete"):
        chunks.begin(store, ["a"], lambda name: 1)
    store.delete(LIST)
    assert chunks.begin(store, ["a"], lambda name: 1).names == ("a",)


def test_nothing_was_begun(store):
    with pytest.raises(FileNotFoundError, match="nothing was begun there with --shared"):
        chunks.load(store)
