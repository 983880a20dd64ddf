"""The store of trajectories: what it keeps, its faults, and several videos at once."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

import fake_trajectories
from kinema.features import trajectory_store
from kinema.features.together import fill
from kinema.features.trajectories import track
from kinema.features.trajectory_store import RECORD, TrajectoryStore, as_records, grey
from kinema.skipped import Skipped
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video

from small_videos import draw

REAL = trajectory_store._tracks


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(trajectory_store, "_tracks", fake_trajectories.tracks)


@pytest.fixture
def _real(monkeypatch, _fake):
    monkeypatch.setattr(trajectory_store, "_tracks", REAL)


@pytest.fixture
def videos(tmp_path):
    sources = []
    for number, label in enumerate(("blue", "green", "red")):
        write_video(tmp_path / "v" / f"{label}.mp4", draw(label, number, 13))
        sources.append(as_source(tmp_path / "v" / f"{label}.mp4"))
    return sources


def frames_of(source):
    return [grey(frame) for frame in VideoReader(source.path)]


@pytest.mark.parametrize("frame_step", [1, 3, 6])
def test_it_keeps_what_the_tracker_gave(videos, tmp_path, frame_step):
    store = TrajectoryStore(frame_step, tmp_path / "cache")
    for source, records in store.records(videos):
        rows = np.concatenate([*fake_trajectories.tracks(iter(frames_of(source)[::frame_step]))])
        assert isinstance(records, np.memmap)
        num_frames = len(range(0, 13, frame_step))
        rows[:, 9] = np.clip((rows[:, 0] - 7.5) / num_frames, 0, 0.999)
        np.testing.assert_array_equal(records["info"], rows[:, :10])
        np.testing.assert_array_equal(records["descriptors"], rows[:, 10:].astype(np.float16))
        np.testing.assert_array_equal(np.load(records.filename), records)
        assert records.filename.stat().st_size - 892 * len(rows) in range(300)


def test_grey_is_opencvs(videos):
    frame = next(iter(VideoReader(videos[0].path)))
    expected = frame.image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey(frame), expected, atol=0.51)
    np.testing.assert_array_equal(
        grey(frame), cv2.cvtColor(frame.image[..., ::-1].copy(), cv2.COLOR_BGR2GRAY)
    )


def test_a_video_is_tracked_once(videos, tmp_path, monkeypatch):
    store = TrajectoryStore(1, tmp_path)
    before = [np.array(records) for _, records in store.records(videos)]
    monkeypatch.setattr(trajectory_store, "_tracks", None)
    moved = videos[0].path.rename(tmp_path / "elsewhere.mp4")
    again = [records for _, records in store.records([as_source(moved), *videos[1:]])]
    for one, two in zip(before, again, strict=True):
        np.testing.assert_array_equal(one, two)


DAMAGES = [
    b"damaged",
    b"",
    b"PK\x03\x04 no zip file",
    b"\x93NUMPY\x01\x00\x76\x00{'descr': [(" + bytes(200),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(videos, tmp_path, damage):
    store = TrajectoryStore(1, tmp_path / "cache")
    ((_, records),) = store.records(videos[:1])
    before = np.array(records)
    records.filename.write_bytes(damage)
    ((_, again),) = store.records(videos[:1])
    np.testing.assert_array_equal(again, before)


def test_a_file_that_was_cut_off_is_made_anew(videos, tmp_path):
    store = TrajectoryStore(1, tmp_path / "cache")
    ((_, records),) = store.records(videos[:1])
    before, file = np.array(records), records.filename
    file.write_bytes(file.read_bytes()[:-100])
    ((_, again),) = store.records(videos[:1])
    np.testing.assert_array_equal(again, before)


def test_a_video_without_trajectories_is_no_fault(tmp_path):
    write_video(tmp_path / "black.mp4", np.zeros((20, 36, 48, 3), np.uint8))
    store = TrajectoryStore(1, tmp_path / "cache")
    for _ in range(2):  # made and found
        ((_, records),) = store.records([as_source(tmp_path / "black.mp4")])
        assert records.shape == (0,)
        assert records.dtype == RECORD


def test_a_bad_video_costs_one_line_and_leaves_no_file(videos, tmp_path, monkeypatch):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    store = TrajectoryStore(1, tmp_path / "cache")
    asked = [videos[0], as_source(tmp_path / "bad.mp4"), videos[1]]
    outcomes = [outcome for _, outcome in store.records(asked)]
    assert [isinstance(one, Skipped) for one in outcomes] == [False, True, False]
    assert str(outcomes[1]).startswith(f"{tmp_path / 'bad.mp4'}: ")

    def breaks(frames):
        yield from fake_trajectories.tracks([next(frames), next(frames)])
        raise RuntimeError("in the middle")

    monkeypatch.setattr(trajectory_store, "_tracks", breaks)
    ((_, outcome),) = store.records(videos[2:])
    assert str(outcome) == f"{videos[2].path}: unexpected RuntimeError: in the middle"
    assert len([*(tmp_path / "cache").iterdir()]) == 2


def test_a_video_that_is_changed_meanwhile_is_not_kept(videos, tmp_path, monkeypatch):
    def changes(frames):
        yield from fake_trajectories.tracks([next(frames)])
        with open(videos[0].path, "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(trajectory_store, "_tracks", changes)
    ((_, outcome),) = TrajectoryStore(1, tmp_path / "cache").records(videos[:1])
    assert "it was changed while it was read" in str(outcome)
    assert not [*(tmp_path / "cache").iterdir()]


def test_videos_are_tracked_at_once(videos, tmp_path, monkeypatch):
    """Each waits in its tracker until the other one is in its own."""
    meet = threading.Barrier(2, timeout=20)

    def meets(frames):
        yield from fake_trajectories.tracks([next(frames)])
        meet.wait()

    monkeypatch.setattr(trajectory_store, "_tracks", meets)
    store = TrajectoryStore(1, tmp_path / "cache", threads=2)
    assert not any(isinstance(one, Skipped) for _, one in store.records(videos[:2]))


def test_steps_share_one_decoding(videos, tmp_path, monkeypatch):
    """And each gives what it gives alone."""
    from kinema.video import loop

    opened = []

    class Counted(loop.VideoReader):
        def __init__(self, path, **how):
            opened.append(path)
            super().__init__(path, **how)

    monkeypatch.setattr(loop, "VideoReader", Counted)
    stores = [TrajectoryStore(step, tmp_path / "together") for step in (1, 3, 6, 3)]
    assert all(skipped is None for _, skipped in fill(stores, videos))
    assert sorted(opened) == sorted(source.path for source in videos)
    for step in (1, 3, 6):
        together = TrajectoryStore(step, tmp_path / "together").records(videos)
        alone = TrajectoryStore(step, tmp_path / "alone").records(videos)
        for (_, one), (_, two) in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one, two)
    assert len([*(tmp_path / "together").iterdir()]) == 9


def test_what_is_wrong_is_told_before_a_video_is_read(tmp_path):
    with pytest.raises(ValueError, match="`frame_step` must be at least 1 frame, got 0"):
        TrajectoryStore(0, tmp_path).step()
    with pytest.raises(ValueError, match="`cache` must be a folder"):
        TrajectoryStore().step()


@pytest.mark.usefixtures("_real")
def test_frames_that_cannot_be_tracked_are_told_in_one_line(tmp_path):
    write_video(tmp_path / "small.mp4", np.zeros((20, 16, 48, 3), np.uint8))
    source = as_source(tmp_path / "small.mp4")
    ((_, outcome),) = TrajectoryStore(1, tmp_path / "cache").records([source])
    assert str(outcome).startswith(f"{source.path}: frame 0 is 48x16: each side must be at least")


@pytest.mark.usefixtures("_real")
@pytest.mark.parametrize("frame_step", [1, 3])
def test_real_tracks_and_their_times(ucf101, tmp_path, frame_step):
    """The tracker's own rows, which know the number of frames."""
    source = as_source(min(ucf101, key=lambda path: path.stat().st_size))
    frames = [trajectory_store.grey(frame) for frame in VideoReader(source.path)][::frame_step]
    expected = np.concatenate([*track(frames, threads=2, num_frames=len(frames))])
    ((_, records),) = TrajectoryStore(frame_step, tmp_path).records([source])
    np.testing.assert_allclose(records["info"], expected[:, :10], rtol=1e-6)
    np.testing.assert_array_equal(records["descriptors"], expected[:, 10:].astype(np.float16))


def test_half_precision_is_what_the_note_says():
    rows = np.random.default_rng(0).uniform(-1, 1, (100, 436)).astype(np.float32)
    records = as_records(rows)
    assert records.nbytes == 100 * 892
    np.testing.assert_allclose(records["descriptors"], rows[:, 10:], rtol=2**-11, atol=2**-25)


def test_a_stopped_run_keeps_no_part_of_a_video_as_the_whole(videos, tmp_path, monkeypatch):
    whole = {r.filename.name: len(r) for _, r in TrajectoryStore(1, tmp_path / "a").records(videos)}

    def slow(frames):
        for rows in fake_trajectories.tracks(frames):
            time.sleep(0.05)
            yield rows

    monkeypatch.setattr(trajectory_store, "_tracks", slow)
    records = TrajectoryStore(1, tmp_path / "b", threads=1).records(videos)
    next(records)
    time.sleep(0.1)  # the next video has begun
    records.close()
    kept = {file.name: len(np.load(file)) for file in (tmp_path / "b").glob("*.npy")}
    assert kept
    assert kept.items() <= whole.items()


def test_headers_are_read_without_ast(tmp_path, monkeypatch):
    """Threads break `ast` for each other in Python 3.11, and NumPy reads headers by it."""
    import ast

    rows = np.random.default_rng(0).normal(size=(5, 436)).astype(np.float32)
    np.save(tmp_path / "x.npy", trajectory_store.as_records(rows))
    np.save(tmp_path / "none.npy", trajectory_store.as_records(rows[:0]))

    def broken(*_):
        raise SystemError("AST constructor recursion depth mismatch (before=45, after=41)")

    monkeypatch.setattr(ast, "literal_eval", broken)
    found = trajectory_store.read_records(tmp_path / "x.npy")
    np.testing.assert_array_equal(found["info"], rows[:, :10])
    assert len(trajectory_store.read_records(tmp_path / "none.npy")) == 0
    whole = (tmp_path / "x.npy").read_bytes()
    for damaged in (whole[:-1], whole[:100], b"", whole[:192] + whole[193:], b"PK\x03\x04" + whole):
        (tmp_path / "x.npy").write_bytes(damaged)
        with pytest.raises(ValueError, match="x.npy (is damaged|holds no trajectories)"):
            trajectory_store.read_records(tmp_path / "x.npy")
