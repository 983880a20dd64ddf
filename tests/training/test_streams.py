"""Streams of prepared clips: files of both versions, flow that is mirrored, a network of flow."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.training.clip_store import ClipStore
from kinema.training.clip_writer import ClipWriter
from kinema.training.material import open_store
from kinema.training.pictures import encode
from kinema.training.sampling import mean_volume, read_clip

FORMATS = Path(__file__).parents[1] / "formats"
sys.path.insert(0, str(FORMATS))

import clips as golden  # noqa: E402

from small_videos import write_folder  # noqa: E402

BOTH = {"rgb": {"channels": 3}, "flow": {"channels": 2}}


@pytest.mark.parametrize(
    ("version", "streams"),
    [(1, {"rgb": 3}), (2, {"rgb": 3, "flow": 2}), (3, {"rgb": 3, "flow": 2, "imagenet": 5})],
    ids=["1", "2", "3"],
)
def test_every_version_is_read(version, streams):
    store = ClipStore(FORMATS / f"kinema-clips-{version}.clips")
    assert store.about["format"] == f"kinema-clips-{version}"
    assert store.streams == streams
    assert (store.size, store.classes) == (golden.SIZE, ("blue", "red"))
    assert store.skipped == ({"path": "red/c.mp4", "reason": "the file is empty."},)
    for video, (name, label, group, start, count) in zip(store.videos, golden.VIDEOS, strict=True):
        assert (video.name, video.labels, video.group) == (name, (label,), group)
        (segment,) = video.segments
        assert (segment.start_seconds, segment.num_frames) == (start, count)
        for stream in streams:
            drawn = getattr(golden, stream)(label, count).astype(int)
            found = store.frames(segment, stream=stream)
            assert (found.shape, found.dtype) == (drawn.shape, np.uint8)
            # JPEG's loss; a swapped channel makes 30. Maps lose nothing.
            assert np.abs(found - drawn).mean() < (0.01 if stream == "imagenet" else 3)
            np.testing.assert_array_equal(store.frames(segment, 1, 2, stream=stream), found[1:3])
    with pytest.raises(ValueError, match="holds the streams rgb.*; got 'depth'"):
        store.frames(segment, stream="depth")


@pytest.mark.parametrize("version", [2, 3])
def test_todays_code_writes_the_golden_file(tmp_path, version):
    golden.write(tmp_path / "x.clips", version)
    there = FORMATS / f"kinema-clips-{version}.clips"
    new, old = (ClipStore(p) for p in (tmp_path / "x.clips", there))
    assert new.about == old.about
    assert new.videos == old.videos


def test_clips_of_maps():
    store = ClipStore(FORMATS / "kinema-clips-3.clips")
    assert (store.maps, store.size_of("imagenet"), store.size_of("flow")) == (
        {"imagenet"}, (2, 3), golden.SIZE,
    )  # fmt: skip
    segment = store.videos[1].segments[0]  # three frames
    options = {"length": 4, "mean": np.zeros(5), "crop": (2, 3), "stream": "imagenet"}
    clip = read_clip(store, segment, 0, short="wrap", **options)
    expected = golden.imagenet(1, 3)[[0, 1, 2, 0]].transpose(3, 0, 1, 2) * (6 / 255)
    np.testing.assert_allclose(clip, expected, rtol=1e-6)
    turned = read_clip(store, segment, 0, short="wrap", flip=True, **options)
    np.testing.assert_array_equal(turned, clip[..., ::-1])
    with pytest.raises(ValueError, match="holds the streams rgb, flow, imagenet; got 'depth'"):
        store.size_of("depth")


def test_maps_need_no_frames_of_a_models_size():
    path = FORMATS / "kinema-clips-3.clips"

    def model(*shape):
        return types.SimpleNamespace(input_shape=shape, stream="imagenet", frame_size=(9, 9))

    assert open_store(path, model(5, 16, 2, 3)).maps == {"imagenet"}
    with pytest.raises(ValueError, match="holds maps of 2x3, but the network takes 2x2: maps are"):
        open_store(path, model(5, 16, 2, 2))
    with pytest.raises(ValueError, match="imagenet of 5 channels, but the network needs imagenet"):
        open_store(path, model(1280, 16, 2, 3))


def test_damaged_maps_are_told(tmp_path):
    path = Path(shutil.copy(FORMATS / "kinema-clips-3.clips", tmp_path / "x.clips"))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE maps_imagenet SET zlib = x'00' WHERE id = 1")
        database.execute("DELETE FROM maps_imagenet WHERE id = 5")
    database.close()
    store = ClipStore(path)
    one, two = (video.segments[0] for video in store.videos)
    with pytest.raises(ValueError, match="is damaged: picture 1"):
        store.frames(one, stream="imagenet")
    with pytest.raises(ValueError, match="is damaged: pictures from 5 are missing"):
        store.frames(two, stream="imagenet")
    assert len(store.frames(one, stream="flow")) == 4


def test_a_preparation_of_version_1_is_gone_on_with(tmp_path):
    path = Path(shutil.copy(FORMATS / "kinema-clips-1.clips", tmp_path / "x.clips"))
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM about WHERE key = 'finished'")
    database.close()
    frames = golden.rgb(0, 2)
    with ClipWriter(path, golden.ABOUT) as writer:
        writer.add("red/c.mp4", (1,), "g", "print", [(0.0, [encode(f, 95) for f in frames])])
        writer.finish()
    store = ClipStore(path)
    assert store.about["format"] == "kinema-clips-1"
    assert [video.name for video in store.videos] == ["blue/a.mp4", "red/b.mp4", "red/c.mp4"]
    with pytest.raises(ValueError, match="was begun with other streams"):
        ClipWriter(path, {**golden.ABOUT, "streams": BOTH})


def test_streams_have_as_many_frames_as_each_other(tmp_path):
    pictures = {name: [encode(f, 95) for f in getattr(golden, name)(0, 3)] for name in BOTH}
    with ClipWriter(tmp_path / "x.clips", {**golden.ABOUT, "streams": BOTH}) as writer:
        for streams, message in [
            (pictures["rgb"], "keeps the streams rgb, flow; a has rgb"),
            ({**pictures, "flow": pictures["flow"][:2]}, "differ in their frames"),
        ]:
            with pytest.raises(ValueError, match=message):
                writer.add("a", (0,), "a", "print", [(0.0, streams)])
        writer.add("a", (0,), "a", "print", [(0.0, pictures), (1.0, pictures)])
        writer.finish()
    (video,) = ClipStore(tmp_path / "x.clips").videos  # nothing of what was refused was kept
    assert [s.first_picture for s in video.segments] == [0, 3]
    with pytest.raises(ValueError, match="a stream must be named in small letters"):
        ClipWriter(tmp_path / "y.clips", {**golden.ABOUT, "streams": {"x; DROP": {"channels": 1}}})


def test_a_mirrored_clip_of_flow_points_the_other_way():
    store = ClipStore(FORMATS / "kinema-clips-2.clips")
    segment = store.videos[1].segments[0]  # three frames: to the right by 10, 11, 12, up by 40
    mean = mean_volume(store, store.videos, length=4, threads=1, stream="flow")
    assert mean.tolist() == [128, 128]
    options = {"length": 4, "mean": mean, "crop": (8, 10), "stream": "flow"}
    clip = read_clip(store, segment, 0, **options)
    assert (clip.shape, clip.dtype) == ((2, 4, 8, 10), np.float32)
    np.testing.assert_allclose(clip[0].mean((1, 2)), [10, 11, 12, 12], atol=1)
    np.testing.assert_allclose(clip[1].mean((1, 2)), [-40] * 4, atol=1)
    mirrored = read_clip(store, segment, 0, flip=True, **options)
    np.testing.assert_array_equal(mirrored[0], -clip[0, ..., ::-1])
    np.testing.assert_array_equal(mirrored[1], clip[1, ..., ::-1])
    volume = np.random.default_rng(0).random((2, 4, *store.size), np.float32)
    there = read_clip(store, segment, 0, offset=(3, 5), **{**options, "mean": volume})
    plain = read_clip(store, segment, 0, offset=(3, 5), **{**options, "mean": np.zeros(2)})
    np.testing.assert_array_equal(there, plain - volume[:, :, 3:11, 5:15])


# --- a network that sees flow ---------------------------------------------------------------------

NETWORK = Network(
    (2, 4, 10, 10),
    (
        Conv3d("first", 4),
        MaxPool3d("pool", (2, 4, 4)),
        Linear("last", 2, relu=False),
        Softmax("prob"),
    ),
)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Grey videos, of which flow alone tells one class from the other: up or down."""
    path = tmp_path_factory.mktemp("flow") / "x.clips"
    generator = np.random.default_rng(0)
    size = NETWORK.frame_size
    about = {**golden.ABOUT, "size": list(size), "classes": ["down", "up"], "streams": BOTH}
    with ClipWriter(path, about) as writer:
        for number in range(8):
            label = number % 2
            frames = generator.integers(100, 140, (8, *size, 2)).astype(np.uint8)
            frames[..., 1] += np.uint8(40 * label)
            grey = np.full((8, *size, 3), 90, np.uint8)
            streams = {
                "rgb": [encode(frame, 95) for frame in grey],
                "flow": [encode(frame, 95) for frame in frames],
            }
            name = f"{about['classes'][label]}/{number}.mp4"
            writer.add(name, (label,), name, "print", [(0.0, streams)])
        writer.finish()
    return path


def test_a_network_of_flow_learns_from_prepared_clips(moving, tmp_path):
    pytest.importorskip("torch")
    from kinema.features.extraction import Extractor
    from kinema.training.checkpoint import Checkpoint
    from kinema.training.clip_dataset import ClipDataset
    from kinema.training.train import train
    from kinema.weights.file import Weights

    options = {"batch": 4, "iterations": 30, "learning_rate": 0.02, "evaluations": 1, "threads": 1}
    report = train(moving, out=tmp_path / "run", model=NETWORK, **options)
    assert report.evaluation.video_hit1 == 1.0
    weights = Weights.load(tmp_path / "run" / "weights.safetensors")
    assert weights.mean.tolist() == [128, 128]
    settings = Checkpoint.load(tmp_path / "run" / "checkpoint.safetensors").settings
    assert settings["stream"] == "flow"
    with pytest.raises(ValueError, match="take clips of 2 channels; videos give three"):
        Extractor(weights, layer="last")
    data = ClipDataset(moving, input_shape=(2, 4, 10, 10), stream="flow")
    assert data[0][0].shape == (2, 4, 10, 10)
    with pytest.raises(ValueError, match="`stream` 'flow' of 3 channels is none of"):
        ClipDataset(moving, stream="flow")


def test_streams_that_are_not_there_are_refused(moving, tmp_path):
    torch = pytest.importorskip("torch")
    from kinema.training.train import train

    old = FORMATS / "kinema-clips-1.clips"
    with pytest.raises(ValueError, match="holds rgb of 3 channels, but the network needs flow of"):
        train(old, out=tmp_path / "run", model=NETWORK)

    class Depth(torch.nn.Linear):
        stream = "depth"
        input_shape = (1, 8, 16, 16)

        def __init__(self, num_classes):
            super().__init__(16, num_classes)

    (tmp_path / "videos" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="needs depth, which videos are not prepared to"):
        train(tmp_path / "videos", out=tmp_path / "run", model=Depth)
    assert not (tmp_path / "run").exists()


def test_training_prepares_the_stream_that_its_model_sees(tmp_path):
    pytest.importorskip("torch")
    from kinema.training.train import train

    videos = write_folder(tmp_path / "videos")
    train(videos, out=tmp_path / "run", model=NETWORK, iterations=1, batch=2, threads=1)
    store = ClipStore(tmp_path / "run" / "prepared.clips")
    assert dict(store.streams) == {"flow": 2}
    assert store.size == NETWORK.frame_size
    (segment,) = store.videos[0].segments
    frames = store.frames(segment, stream="flow")
    assert len(frames) == 40
    assert np.ptp(frames) > 20  # its colours are noise that changes
    np.testing.assert_array_equal(frames[-1], frames[-2])  # the last has the pair before's


def test_a_store_names_its_streams(moving):
    database = sqlite3.connect(moving)
    rows = dict(database.execute("SELECT key, value FROM about"))
    database.close()
    assert json.loads(rows["format"]) == "kinema-clips-2"
    assert json.loads(rows["streams"]) == BOTH
