"""The index: against float32 inner products of all rows with all, and worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.files import write_tensors
from kinema.finding import index as index_room
from kinema.finding.index import Basis, Entry, Index


def rows_like_features(count, width, seed=0):
    """Of length 1, none negative, with fewer directions than numbers, as a layer's are."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(count, 40)) * np.geomspace(1, 0.05, 40)
    rows = np.maximum(hidden @ generator.normal(size=(40, width)) + 0.5, 0) + 1e-3
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def index_of(rows, counts):
    video = np.repeat(np.arange(len(counts)), counts)
    basis = Basis.fit(rows, video, len(rows))
    entries = [Entry(f"{n}.mp4", (n, n), f"mark {n}", count, 1.0) for n, count in enumerate(counts)]
    first = np.arange(len(rows))
    columns = {"start_frame": first, "stop_frame": first + 16}
    columns |= {"start_seconds": first / 25, "stop_seconds": (first + 16) / 25}
    return Index(entries, basis, basis.encode(rows), columns)


@pytest.mark.parametrize("width", [8, 512, 1280])
def test_scores_are_inner_products(width):
    rows = rows_like_features(3000, width)
    index = index_of(rows, [1000, 2000])
    assert index.codes.dtype == np.int8
    assert index.codes.shape == (3000, min(256, width))
    for query in (0, 1700):
        exact = rows.astype(np.float64) @ rows[query]
        assert np.abs(index.scores(rows[[query]]) - exact).max() < 0.02
        best = set(np.argsort(-exact)[:10])
        assert len(best & set(np.argsort(-index.scores(rows[[query]]))[:12])) >= 9


def test_scores_are_the_same_whatever_the_blocks(monkeypatch):
    rows = rows_like_features(1000, 64)
    index = index_of(rows, [1000])
    whole = index.scores(rows[[3]])
    monkeypatch.setattr(index_room, "BLOCK", 77)
    np.testing.assert_allclose(index.scores(rows[[3]]), whole, atol=1e-6)


def test_of_several_vectors_the_largest_counts():
    rows = rows_like_features(300, 32)
    index = index_of(rows, [100, 200])
    each = np.stack([index.scores(rows[[number]]) for number in (5, 150, 299)])
    np.testing.assert_allclose(index.scores(rows[[5, 150, 299]]), each.max(axis=0), atol=1e-6)


def test_a_rank_of_two_is_kept_exactly():
    """Rows in a plane take two directions; a step of int8 is all that is lost."""
    angles = np.linspace(0, np.pi / 2, 50)
    rows = np.zeros((50, 9), np.float32)
    rows[:, 2], rows[:, 7] = np.cos(angles), np.sin(angles)
    index = index_of(rows, [25, 25])
    for number in (0, 20, 49):
        expected = np.cos(angles - angles[number])
        assert np.abs(index.scores(rows[[number]]) - expected).max() < 0.01


def test_similarity_is_the_share_of_pairs_of_other_videos_that_are_less_alike():
    """Two videos of ten equal clips each, at right angles but for one pair in a hundred."""
    rows = np.zeros((20, 4), np.float32)
    rows[:10, 0] = rows[10:, 1] = 1
    rows[0], rows[10] = (0, 0, 1, 0), (0, 0, 1, 0)
    basis = Basis.fit(rows, np.repeat([0, 1], 10), 20)
    # Of 100 pairs of clips of the two videos one has the cosine 1, all others 0.
    assert basis.share(0.0) >= 0.97
    assert basis.share(-0.1) == 0.0
    assert basis.share(1.0) == 1.0


def test_one_video_is_compared_with_itself():
    rows = rows_like_features(30, 16)
    basis = Basis.fit(rows, np.zeros(30, int), 30)
    cosines = (rows @ rows.T)[~np.eye(30, dtype=bool)]
    assert basis.share(np.quantile(cosines, 0.5)) == pytest.approx(0.5, abs=0.02)


def test_one_clip():
    rows = rows_like_features(1, 16)
    index = index_of(rows, [1])
    assert index.scores(rows[[0]])[0] == pytest.approx(1, abs=0.02)
    assert 0 <= index.basis.share(0.5) <= 1


def test_saved_and_loaded(tmp_path):
    rows = rows_like_features(500, 32)
    index = index_of(rows, [200, 0, 300])
    index.save(tmp_path / "index.safetensors")
    loaded = Index.load(tmp_path / "index.safetensors")
    assert [vars(one) for one in loaded.entries] == [vars(one) for one in index.entries]
    assert isinstance(loaded.codes, np.memmap)
    np.testing.assert_array_equal(loaded.codes, index.codes)
    np.testing.assert_array_equal(loaded.scores(rows[[9]]), index.scores(rows[[9]]))
    assert loaded.first.tolist() == [0, 200, 200, 500]
    assert loaded.basis.num_rows == 500
    assert loaded.basis.share(0.9) == index.basis.share(0.9)


def test_an_index_without_clips(tmp_path):
    columns = {name: np.zeros(0, kind) for name, kind in index_room.COLUMNS.items()}
    nothing = Index([Entry("a", (1, 2), reason="broken")], None, np.zeros((0, 0), np.int8), columns)
    nothing.save(tmp_path / "index.safetensors")
    loaded = Index.load(tmp_path / "index.safetensors")
    assert len(loaded) == 0
    assert loaded.entries[0].reason == "broken"
    assert loaded.scores(np.ones((1, 5))).shape == (0,)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "index.safetensors"
    index_of(rows_like_features(100, 16), [100]).save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[: len(whole) // 2], b"\0" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="safetensors"):
            Index.load(path)
    write_tensors(path, {"a": np.zeros(3)}, {"format": index_room.FORMAT})
    with pytest.raises(ValueError, match="missing or damaged"):
        Index.load(path)
    write_tensors(path, {"a": np.zeros(3)}, {"format": "kinema-clips-2"})
    with pytest.raises(ValueError, match="kinema-clips-2"):
        Index.load(path)
