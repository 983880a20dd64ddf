"""Prepared clips in PyTorch's loaders: the clips that `train` sees, in its order."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from kinema.training.clip_dataset import ClipDataset  # noqa: E402
from kinema.training.clip_store import ClipStore  # noqa: E402
from kinema.training.prepare import prepare, split_videos  # noqa: E402
from kinema.training.sampling import Sampler, even_clips, read_clip  # noqa: E402

from small_videos import write_folder  # noqa: E402

SHAPE = (3, 8, 16, 16)
MEAN = np.array([100, 110, 120], np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    prepare(write_folder(folder / "videos"), out=folder / "x.clips", size=(18, 24))
    return folder / "x.clips"


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")], ids=["none", "fork", "spawn"]
)
def test_a_loader_gives_the_clips_of_an_epoch_of_training(store, workers, context):
    data = ClipDataset(store, input_shape=SHAPE, mean=MEAN, seed=5)
    opened = ClipStore(store)
    train, _ = split_videos(opened)
    sampler = Sampler(train, length=8, size=(18, 24), crop=(16, 16), seed=5)
    assert len(data) == len(sampler) == 9 * 5  # nine videos of forty frames
    data.set_epoch(1)
    loader = DataLoader(data, batch_size=7, num_workers=workers, multiprocessing_context=context)
    place = len(sampler)
    for clips, labels in loader:
        assert clips.dtype == torch.float32
        assert clips.shape[1:] == SHAPE
        for clip, label in zip(clips, labels, strict=True):
            draw = sampler[place]
            expected = read_clip(
                opened, draw.segment, draw.start,
                length=8, mean=MEAN, crop=(16, 16), offset=draw.offset, flip=draw.flip,
            )  # fmt: skip
            np.testing.assert_array_equal(clip.numpy(), expected)
            assert int(label) == draw.label
            place += 1
    assert place == 2 * len(sampler)


def test_the_test_side_is_what_is_evaluated(store):
    data = ClipDataset(store, side="test", input_shape=SHAPE, mean=MEAN)
    opened = ClipStore(store)
    _, test = split_videos(opened)
    expected = [
        (read_clip(opened, segment, start, length=8, mean=MEAN, crop=(16, 16)), video.labels[0])
        for video in test
        for segment, start in even_clips(video, length=8, num_clips=10)
    ]
    assert len(data) == len(expected) == 30
    for (clip, label), (wanted, true) in zip(data, expected, strict=True):
        np.testing.assert_array_equal(clip.numpy(), wanted)
        assert label == true
    np.testing.assert_array_equal(data[-1][0], data[29][0])
    with pytest.raises(IndexError, match="`index` must be less than 30, got 30"):
        data[30]
    with pytest.raises(ValueError, match='`side` must be "train" or "test"'):
        ClipDataset(store, side="both")


def test_without_a_mean_it_is_that_of_the_training_clips(store):
    data = ClipDataset(store, input_shape=SHAPE)
    assert data.mean.shape == (3, 8, 18, 24)
    clips = torch.stack([clip for clip, _ in data])
    assert abs(float(clips.mean())) < 5  # of pixels that lie between 30 and 210
