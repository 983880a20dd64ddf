from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from kinema.video.synthetic import (
    CLASSES,
    NUM_PICTURES,
    draw_pictures,
    draw_video,
    picture_indices,
    write_dataset,
    write_video,
)

SMALL = {"width": 96, "height": 72}


def turn_per_frame(video: np.ndarray) -> float:
    """Degrees that the wheels turn from one frame to the next, clockwise as one sees it.

    Knows where wheels are (the middles of 3 x 4 cells), nothing of how they are drawn: the bright
    side of each is where its brightness has its centre.
    """
    frames, height, width, _ = video.shape
    rows, columns = height // 3, width // 4
    cells = video.mean(axis=3).reshape(frames, 3, rows, 4, columns)
    y, x = np.mgrid[0:rows, 0:columns]
    direction = (x - (columns - 1) / 2) + 1j * (y - (rows - 1) / 2)  # y points down
    direction[np.abs(direction) > 0.3 * rows] = 0
    bright_side = np.einsum("tihjw,hw->tij", cells, direction)
    turns = bright_side[1:] * bright_side[:-1].conj()
    return float(np.degrees(np.angle(turns.sum())))


def decode(path: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB, read without Kinema's own reader."""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


# --- what the frames show -------------------------------------------------------------------------


@pytest.mark.parametrize("label", CLASSES)
def test_every_16_frames_show_each_picture_once(label):
    indices = picture_indices(label, 61)
    for start in range(61 - NUM_PICTURES + 1):
        assert sorted(indices[start : start + NUM_PICTURES]) == list(range(NUM_PICTURES))


def test_the_four_videos_of_a_scene_hold_the_same_frames_in_different_orders():
    videos = {label: draw_video(label, seed=3, num_frames=32, **SMALL) for label in CLASSES}
    for start in (0, 5, 16):
        windows = {
            label: [frame.tobytes() for frame in video[start : start + 16]]
            for label, video in videos.items()
        }
        assert len(set(windows["clockwise"])) == 16
        for label in CLASSES[1:]:
            assert sorted(windows[label]) == sorted(windows["clockwise"])
            assert windows[label] != windows["clockwise"]


def test_same_seed_same_pixels():
    first, again = (draw_video("clockwise", seed=(0, 1, 2), **SMALL) for _ in range(2))
    other = draw_video("clockwise", seed=(0, 1, 3), **SMALL)
    assert first.shape == (48, 72, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 20


@pytest.mark.parametrize(
    ("label", "degrees"),
    [
        ("clockwise", 22.5),
        ("counterclockwise", -22.5),
        ("fast_clockwise", 67.5),
        ("fast_counterclockwise", -67.5),
    ],
)
def test_motion_tells_every_video(label, degrees):
    for seed in range(20):
        video = draw_video(label, seed=seed, num_frames=8, **SMALL)
        assert turn_per_frame(video) == pytest.approx(degrees, abs=6)


def test_no_classifier_of_single_frames_or_of_frames_without_order():
    # Scenes of their own for each video, as someone would draw a dataset who does not pair classes.
    num_train, num_test = 160, 120
    frames, means = [], []
    for seed in range(num_train + num_test):
        indices = picture_indices(CLASSES[seed % 4], 21)[5:]  # frame 5: another picture each
        pictures = draw_pictures((1, seed), width=48, height=36).mean(axis=3)
        frames.append(pictures[indices[0]].ravel())
        means.append(pictures[indices].mean(axis=0).ravel())
    labels = np.arange(num_train + num_test) % 4
    chance, standard_error = 0.25, np.sqrt(0.25 * 0.75 / num_test)
    for vectors in (np.array(frames) / 255, np.array(means) / 255):
        for attacker in (SVC(kernel="linear"), SVC(C=10), KNeighborsClassifier(5)):
            attacker.fit(vectors[:num_train], labels[:num_train])
            accuracy = attacker.score(vectors[num_train:], labels[num_train:])
            assert accuracy < chance + 4 * standard_error, attacker


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "sideways", "seed": 0}, "`label` must be one of clockwise, counter"),
        ({"label": "clockwise", "seed": 0, "num_frames": 0}, "`num_frames` must be at least 1"),
        ({"label": "clockwise", "seed": 0, "width": 8}, "`width` and `height` must be at least"),
    ],
)
def test_draw_video_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_video(**arguments)


# --- files ----------------------------------------------------------------------------------------


def test_files_decode_to_the_same_pictures_in_every_class(tmp_path):
    # Bit-equal: no trail of the frame before, no quantiser that follows the motion.
    decoded = {}
    for label in CLASSES:
        video = draw_video(label, seed=1, num_frames=32)
        write_video(tmp_path / f"{label}.mp4", video)
        decoded[label] = decode(tmp_path / f"{label}.mp4")
        assert decoded[label].shape == video.shape
        gray_error = decoded[label].mean(axis=3) - video.mean(axis=3)
        assert np.abs(gray_error).mean() < 3
    for label in CLASSES:
        for frame, picture in zip(decoded[label], picture_indices(label, 32), strict=True):
            assert np.array_equal(frame, decoded["clockwise"][picture])
    assert len({(tmp_path / f"{label}.mp4").stat().st_size for label in CLASSES}) == 1


def test_files_are_h264_at_25_frames_a_second(tmp_path):
    path = tmp_path / "new folder" / "video.mp4"
    write_video(path, iter(draw_video("fast_clockwise", seed=0, num_frames=20, **SMALL)))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 25
        assert stream.frames == 20
        assert (stream.width, stream.height) == (96, 72)
        frames = list(file.decode(stream))
    assert [frame.time * 25 for frame in frames] == pytest.approx(range(20))
    assert all(frame.key_frame for frame in frames)
    write_video(path, draw_video("clockwise", seed=0, num_frames=2), fps=Fraction(30000, 1001))
    with av.open(str(path)) as file:
        assert file.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame, got none"),
        ([np.zeros((15, 16, 3), np.uint8)], "even height, even width"),
        ([np.zeros((16, 16), np.uint8)], "even height, even width"),
        ([np.zeros((16, 16, 3), np.float32)], r"uint8, got .* float32"),
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((18, 16, 3), np.uint8)], r"got \(18, 16, 3\)"),
    ],
)
def test_write_video_refuses_and_leaves_nothing(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "video.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_write_dataset_lays_out_files_and_keeps_what_is_there(tmp_path):
    settings = {"num_test": 1, "num_frames": 16, **SMALL}
    videos = write_dataset(tmp_path, num_train=2, **settings)
    assert [(video.split, video.label) for video in videos] == [
        *(("train", label) for label in CLASSES for _ in range(2)),
        *(("test", label) for label in CLASSES),
    ]
    assert videos[1].path == tmp_path / "train" / "clockwise" / "v_clockwise_0002.mp4"
    assert videos[-1].path == tmp_path.joinpath(
        "test", "fast_counterclockwise", "v_fast_counterclockwise_0001.mp4"
    )
    contents = {video.path: video.path.read_bytes() for video in videos}
    times = {path: path.stat().st_mtime_ns for path in contents}

    lost = videos[2].path
    lost.unlink()
    more = write_dataset(tmp_path, num_train=3, **settings)
    assert len(more) == 16
    assert {path: path.read_bytes() for path in contents} == contents
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {lost}

    # All scenes differ, and most of all no test scene is a training scene.
    firsts = {decode(video.path)[0].tobytes() for video in more}
    assert len(firsts) == 3 + 1
    with pytest.raises(ValueError, match="was drawn with .*'seed': 0.* now it is .*'seed': 1"):
        write_dataset(tmp_path, num_train=2, seed=1, **settings)
    with pytest.raises(ValueError, match="`num_test` must not be negative"):
        write_dataset(tmp_path, num_test=-1)


def test_files_of_a_dataset_show_their_class(tmp_path):
    degrees = dict(zip(CLASSES, (22.5, -22.5, 67.5, -67.5), strict=True))
    videos = write_dataset(tmp_path, num_train=2, num_test=2, num_frames=10)
    assert len(videos) == 16
    for video in videos:
        assert turn_per_frame(decode(video.path)) == pytest.approx(degrees[video.label], abs=6)
