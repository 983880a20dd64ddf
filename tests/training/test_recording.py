"""What is kept of frames besides their pictures: their flow, and a network's maps."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.engine.opencv import PictureEngine
from kinema.features.clip_features import centre, picture
from kinema.flow.cache import FlowFile, FlowSettings, kept_flows
from kinema.skipped import VideoError
from kinema.training import recording
from kinema.training.clip_store import ClipStore
from kinema.training.prepare import prepare
from kinema.training.recording import Recording, flow_picture
from kinema.training.sampling import mean_volume, read_clip
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video

from small_videos import write_folder

SHIFT = np.array([3.0, -2.0])
"""Pixels a frame, to the right and down."""


def moving(num_frames=6, height=64, width=96, seed=0, shift=SHIFT):
    """(T, H, W, 3) uint8: a smooth texture that moves as a whole, what leaves comes in again."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 3)
    smooth = smooth[height : 2 * height, width : 2 * width]
    grey = np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    x, y = shift.astype(int)
    frames = [np.roll(grey, (n * y, n * x), (0, 1)) for n in range(num_frames)]
    return np.stack(frames)[..., None].repeat(3, -1)


def write_exactly(path, frames):
    """A video without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            file.mux(stream.encode(picture.reformat(format="bgr0")))
        file.mux(stream.encode())


def contents(path):
    with sqlite3.connect(path) as database:
        tables = [n for (n,) in database.execute("SELECT name FROM sqlite_master ORDER BY 1")]
        rows = {
            name: database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for name in tables
            if not name.startswith("sqlite")
        }
    database.close()
    return rows


def prepared(folder, out, **settings):
    prepare(folder, out=out, **{"size": (32, 48), "threads": 1, **settings})
    return ClipStore(out)


@pytest.fixture
def imagenet(picture_weights, monkeypatch):
    """ImageNet's network with random weights, for which no package is needed."""
    arrays = picture_weights.arrays
    monkeypatch.setattr(recording.imagenet, "read", lambda: {"arrays": arrays})
    monkeypatch.setattr(recording.imagenet, "check_installed", lambda: None)
    monkeypatch.setattr(recording._engines, "maps", None, raising=False)
    monkeypatch.delattr(recording._engines, "maps")
    return arrays


# --- flow -----------------------------------------------------------------------------------------


def test_the_bytes_of_a_flow_by_hand():
    flow = np.zeros((128, 160, 2), np.float32)  # of half as many lines: twice as many pixels
    flow[..., 0] = 2.5  # 5 pixels: 31.75 steps
    flow[..., 1] = -30.0  # 60 pixels, more than 20
    assert np.unique(flow_picture(flow, (32, 40))[..., 0]).tolist() == [128 + 32]
    assert np.unique(flow_picture(flow, (32, 40))[..., 1]).tolist() == [1]
    np.testing.assert_array_equal(
        flow_picture(-flow, (32, 40)).astype(int) - 128,
        128 - flow_picture(flow, (32, 40)).astype(int),
    )
    flow[:, :80] = 0
    shrunk = flow_picture(flow, (1, 2))
    assert shrunk.tolist() == [[[128, 128], [160, 1]]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A moving video, the same mirrored, a still one and one of one frame, all without loss."""
    root = tmp_path_factory.mktemp("moving") / "videos"
    frames = moving()
    write_exactly(root / "a" / "plain.mkv", frames)
    write_exactly(root / "a" / "mirrored.mkv", frames[:, :, ::-1])
    write_exactly(root / "b" / "still.mkv", frames[:1].repeat(4, 0))
    write_exactly(root / "b" / "one.mkv", frames[:1])
    return root


@pytest.fixture(scope="module")
def flowing(pairs):
    return prepared(pairs, pairs.parent / "x.clips", streams=("rgb", "flow"))


def flow_of(store, name):
    (video,) = [video for video in store.videos if video.name == name]
    return store.frames(video.segments[0], stream="flow").astype(float)


def test_the_flow_of_a_moving_video_is_its_motion(flowing):
    """64 lines: a pixel is four of a frame of 256."""
    assert flowing.about["format"] == "kinema-clips-2"
    found = flow_of(flowing, "a/plain.mkv")
    assert found.shape == (6, 32, 48, 2)
    inner = found[:, 8:-8, 8:-8]  # what comes in at the borders has no origin
    expected = 128 + 4 * SHIFT * 127 / 20
    np.testing.assert_allclose(np.median(inner, (1, 2)), np.tile(expected, (6, 1)), atol=2)
    assert np.abs(inner - expected).mean() < 4
    np.testing.assert_array_equal(found[5], found[4])  # the last frame has no next one


def test_a_mirrored_clip_is_the_clip_of_the_mirrored_video(flowing):
    mean = mean_volume(flowing, flowing.videos, length=6, threads=1, stream="flow")
    options = {"length": 6, "mean": mean, "crop": (32, 48), "stream": "flow"}
    videos = {video.name: video.segments[0] for video in flowing.videos}
    plain = read_clip(flowing, videos["a/plain.mkv"], 0, **options)
    turned = read_clip(flowing, videos["a/plain.mkv"], 0, flip=True, **options)
    mirrored = read_clip(flowing, videos["a/mirrored.mkv"], 0, **options)
    inner = np.s_[:, :, 8:-8, 8:-8]
    # DIS walks its patches from left to right, so that its rounding is not that of the mirror.
    assert np.abs(turned[inner] - mirrored[inner]).mean() < 2.5
    assert np.abs(plain[inner] - mirrored[inner])[0].mean() > 100
    with pytest.raises(ValueError, match="cannot be played backwards"):
        read_clip(flowing, videos["a/plain.mkv"], 0, reversed=True, **options)


def test_a_still_video_and_a_single_frame_have_no_flow(flowing):
    for name, count in (("b/still.mkv", 4), ("b/one.mkv", 1)):
        found = flow_of(flowing, name)
        assert len(found) == count
        assert (found == 128).all()


def test_flow_is_told_in_lines_of_256_whatever_the_resolution(tmp_path):
    large = np.stack([cv2.resize(f, None, fx=3, fy=3) for f in moving(3)])
    write_exactly(tmp_path / "videos" / "a" / "large.mkv", large)
    found = flow_of(
        prepared(tmp_path / "videos", tmp_path / "x.clips", streams=["flow"]), "a/large.mkv"
    )
    expected = 128 + 4 * SHIFT * 127 / 20
    np.testing.assert_allclose(np.median(found[0, 8:-8, 8:-8], (0, 1)), expected, atol=2)


def test_frames_of_two_sizes_have_no_flow(tmp_path):
    made = Recording(streams=("flow",), size=(32, 48))
    with made.recorder(tmp_path, as_source("x"), "") as recorder:
        recorder.take({"flow": np.zeros((64, 96), np.uint8)})
        with pytest.raises(VideoError, match=r"of one size, got \(64, 96\) and \(60, 96\)"):
            recorder.take({"flow": np.zeros((60, 96), np.uint8)})


def test_flows_of_the_cache_are_found_or_made_there(pairs, tmp_path):
    cache = tmp_path / "flows"
    settings = {"streams": ("rgb", "flow"), "flow_cache": cache}
    prepared(pairs, tmp_path / "made.clips", **settings)
    files = sorted(cache.glob("*.zip"))
    assert len(files) == 3  # one frame has none
    before = {file: file.stat().st_mtime_ns for file in files}
    videos = [pairs / "a" / "plain.mkv", pairs / "b" / "still.mkv"]
    for _, file in kept_flows(videos, cache):  # what it would have written itself
        assert file.path in files
    exact = [frame.image[..., 0] for frame in VideoReader(pairs / "a" / "plain.mkv")]
    (_, file), *_ = kept_flows(videos, tmp_path / "others")
    assert file.path.read_bytes() == (cache / file.path.name).read_bytes()
    assert FlowFile(cache / file.path.name).num_flows == len(exact) - 1
    found = prepared(pairs, tmp_path / "found.clips", **settings)
    assert contents(tmp_path / "found.clips") == contents(tmp_path / "made.clips")
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert (flow_of(found, "b/still.mkv") == 128).all()  # though a cache reads no motion as 0.08 px
    plain = prepared(pairs, tmp_path / "plain.clips", streams=("rgb", "flow"))
    # A byte of the cache is 0.157 of 64 lines, four steps of 256 lines: half of it is lost.
    assert np.abs(flow_of(found, "a/plain.mkv") - flow_of(plain, "a/plain.mkv")).mean() < 2.5
    with pytest.raises(ValueError, match="was begun with other flow"):
        prepare(pairs, out=tmp_path / "plain.clips", size=(32, 48), **settings)


def test_a_cache_of_other_frames_or_a_damaged_one(pairs, tmp_path):
    cache = tmp_path / "flows"
    settings = {"streams": ("flow",), "flow_cache": cache}
    first = prepared(pairs, tmp_path / "a.clips", **settings)
    ((_, file),) = kept_flows([pairs / "a" / "plain.mkv"], cache)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:100])  # made anew
    again = prepared(pairs, tmp_path / "b.clips", **settings)
    np.testing.assert_array_equal(flow_of(first, "a/plain.mkv"), flow_of(again, "a/plain.mkv"))
    assert file.path.read_bytes() == whole
    ((_, still),) = kept_flows([pairs / "b" / "still.mkv"], cache)
    file.path.write_bytes(still.path.read_bytes())
    report = prepare(pairs, out=tmp_path / "c.clips", size=(32, 48), **settings)
    (skipped,) = report.skipped
    assert f"{file.path} holds flows of other frames: remove it" in skipped.reason


def test_flow_by_brox(tmp_path):
    write_exactly(
        tmp_path / "videos" / "a" / "plain.mkv", moving(2, 32, 48, shift=np.array([1, 0]))
    )
    store = prepared(tmp_path / "videos", tmp_path / "x.clips", streams=["flow"], flow="brox")
    assert store.about["flow"]["method"] == "brox"
    found = np.median(flow_of(store, "a/plain.mkv")[0], (0, 1))
    np.testing.assert_allclose(found, [128 + 8 * 127 / 20, 128], atol=6)


# --- maps -----------------------------------------------------------------------------------------


def test_the_maps_are_those_of_the_network(imagenet, tmp_path):
    folder = write_folder(tmp_path / "videos", num_videos=1, num_frames=3)
    store = prepared(folder, tmp_path / "x.clips", streams=("imagenet", "rgb"))
    assert store.about["format"] == "kinema-clips-3"
    assert store.about["streams"]["imagenet"] == {
        "channels": 1280, "size": [7, 7], "kind": "maps",
    }  # fmt: skip
    assert (store.size, store.size_of("imagenet")) == ((32, 48), (7, 7))
    video = store.videos[2]
    images = [frame.image for frame in VideoReader(folder / video.name)]
    pictures = np.stack([picture(centre(image)) for image in images])
    maps = PictureEngine(imagenet, maps=True).run(pictures)
    pooled = PictureEngine(imagenet).run(pictures)
    np.testing.assert_allclose(maps.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5)
    (segment,) = video.segments
    kept = store.frames(segment, stream="imagenet")
    assert (kept.shape, kept.dtype) == ((3, 7, 7, 1280), np.uint8)
    half = 6 / 255 / 2 + 1e-4
    np.testing.assert_allclose(kept.transpose(0, 3, 1, 2) * (6 / 255), maps, atol=half)

    mean = mean_volume(store, store.videos, length=3, threads=1, stream="imagenet")
    assert (mean.shape, mean.any()) == ((1280,), False)
    options = {"length": 2, "mean": mean, "crop": (7, 7), "stream": "imagenet"}
    clip = read_clip(store, segment, 1, **options)
    assert (clip.shape, clip.dtype) == ((1280, 2, 7, 7), np.float32)
    np.testing.assert_allclose(clip, maps[1:].transpose(1, 0, 2, 3), atol=half)
    np.testing.assert_array_equal(
        read_clip(store, segment, 1, flip=True, **options), clip[..., ::-1]
    )
    np.testing.assert_array_equal(
        read_clip(store, segment, 1, reversed=True, **options), clip[:, ::-1]
    )
    shifted = read_clip(store, segment, 1, **{**options, "mean": np.full(1280, 2.0)})
    np.testing.assert_allclose(shifted, clip - 2, atol=1e-6)
    with pytest.raises(ValueError, match=r"`crop` must be \(7, 7\), as the maps are, got \(5, 5\)"):
        read_clip(store, segment, 1, **{**options, "crop": (5, 5)})


def test_segments_of_two_seconds_have_all_streams(imagenet, tmp_path):
    """Each is a pass of its own: its last frame has the flow of the pair before."""
    for label in ("a", "b"):
        write_video(tmp_path / "videos" / label / "x.mp4", moving(12), fps=4)
    settings = {"clips": "five", "seed": 1}
    streams = ["rgb", "flow", "imagenet"]
    store = prepared(tmp_path / "videos", tmp_path / "x.clips", streams=streams, **settings)
    for video in store.videos:
        assert len(video.segments) == 5
        for segment in video.segments:
            assert segment.num_frames in (8, 9)
            found = store.frames(segment, stream="flow")
            np.testing.assert_array_equal(found[-1], found[-2])
            assert len(store.frames(segment, stream="imagenet")) == segment.num_frames
    settings |= {"flow_cache": tmp_path / "flows", "streams": ["flow"]}
    other = prepared(tmp_path / "videos", tmp_path / "y.clips", **settings)
    assert len(list((tmp_path / "flows").glob("*.zip"))) == 10  # each part is kept by itself
    assert [v.segments for v in other.videos] == [v.segments for v in store.videos]


# --- settings, stopping ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": ["rgb", "depth"]}, "`streams` must be some of rgb, flow, imagenet, each once"),
        ({"streams": ["rgb", "rgb"]}, "each once; got rgb, rgb"),
        ({"streams": []}, "each once; got none"),
        ({"flow": "tv-l1"}, "`method` must be one of dis, brox, got 'tv-l1'"),
    ],
)
def test_wrong_settings(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, out=tmp_path / "x.clips", **settings)
    assert not (tmp_path / "x.clips").exists()


def test_without_its_package_imagenet_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(recording.imagenet, "is_here", lambda: False)
    with pytest.raises(ImportError, match="pip install"):
        prepare(tmp_path, out=tmp_path / "x.clips", streams=["imagenet"])


def test_a_store_begun_with_other_streams_is_refused(pairs, tmp_path):
    out = tmp_path / "x.clips"
    prepared(pairs, out, streams=["flow", "rgb"])
    before = contents(out)
    prepared(pairs, out, streams=["rgb", "flow"])  # their order plays no part
    assert contents(out) == before
    for settings, what in [
        ({}, "other streams"),
        ({"streams": ["flow"]}, "other streams"),
        ({"streams": ["flow", "rgb"], "flow": "brox"}, "other flow"),
    ]:
        with pytest.raises(ValueError, match=f"was begun with {what}"):
            prepare(pairs, out=out, size=(32, 48), **settings)


def test_streams_on_the_command_line(pairs, tmp_path, capsys):
    out = tmp_path / "x.clips"
    command = ["prepare", str(pairs), "--out", str(out), "--size", "32x48"]
    assert main([*command, "--streams", "rgb,flow", "--flow-cache", str(tmp_path / "c")]) == 0
    assert "4 of 4 videos prepared" in capsys.readouterr().out
    assert ClipStore(out).streams == {"rgb": 3, "flow": 2}
    assert list((tmp_path / "c").glob("*.zip"))
    assert main([*command, "--streams", "depth"]) == 2
    assert "--streams must be some of" in capsys.readouterr().err


def test_killed_and_gone_on_with_gives_the_same(tmp_path):
    folder = write_folder(tmp_path / "videos", num_videos=4, num_frames=60)
    whole = prepared(folder, tmp_path / "whole.clips", streams=["rgb", "flow"])
    out, cache = tmp_path / "killed.clips", tmp_path / "flows"
    command = [sys.executable, "-m", "kinema", "prepare", str(folder), "--out", str(out)]
    command += ["--threads", "1", "--size", "32x48", "--streams", "rgb,flow"]
    command += ["--flow-cache", str(cache)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(cache.glob("*.zip"))) < 3:
        time.sleep(0.002)
    process.kill()
    process.wait()
    with pytest.raises(ValueError, match="was not finished"):
        ClipStore(out)
    subprocess.run(command, check=True, capture_output=True)
    found = ClipStore(out)
    assert [v.segments for v in found.videos] == [v.segments for v in whole.videos]
    for video in found.videos:
        for stream, most in (("rgb", 0), ("flow", 5)):
            one, two = (s.frames(video.segments[0], stream=stream) for s in (whole, found))
            assert np.abs(one.astype(int) - two).mean() <= most


def test_a_cache_keeps_dis_of_real_video(ucf101, tmp_path):
    """Prepared flow of UCF101 is DIS's, scaled, within a byte and JPEG's losses."""
    source = ucf101[7]
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / source.name).symlink_to(source)
    store = prepared(tmp_path / "videos", tmp_path / "x.clips", size=(128, 171), streams=["flow"])
    ((_, file),) = kept_flows([source], tmp_path / "flows", settings=FlowSettings())
    exact = file.flow(10, 11)[0] * 256 / file.height
    small = cv2.resize(exact, (171, 128), interpolation=cv2.INTER_AREA)
    found = (store.frames(store.videos[0].segments[0], 10, 1, stream="flow")[0] - 128.0) * 20 / 127
    assert np.abs(found - small.clip(-20, 20)).mean() < 0.15  # pixels


def test_a_recording_takes_its_streams_in_one_pass(pairs):
    made = Recording(streams=("rgb", "flow"), size=(32, 48))
    frame = next(iter(VideoReader(pairs / "a" / "plain.mkv")))
    taken = made.shrink(frame)
    assert {name: value.shape for name, value in taken.items()} == {
        "rgb": (32, 48, 3), "flow": (64, 96),
    }  # fmt: skip
