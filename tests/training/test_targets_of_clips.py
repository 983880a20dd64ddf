"""Clips that are played backwards or fast, their targets, and frames that a device holds."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.network import Conv3d, Linear, Network  # noqa: E402
from kinema.training.batches import Batches  # noqa: E402
from kinema.training.clip_store import ClipStore  # noqa: E402
from kinema.training.clip_writer import ClipWriter  # noqa: E402
from kinema.training.pictures import encode  # noqa: E402
from kinema.training.processes import Processes  # noqa: E402
from kinema.training.resident import ResidentBatches, SentBatches, batches_on  # noqa: E402
from kinema.training.sampling import Sampler, read_clip  # noqa: E402
from kinema.training.targets import Targets, variant_of  # noqa: E402
from kinema.video.synthetic import draw_video  # noqa: E402

FORMATS = Path(__file__).parents[1] / "formats"
NETWORK = Network((3, 16, 24, 24), (Conv3d("conv1a", 2), Linear("fc6", 4)))


@pytest.fixture
def store(tmp_path):
    about = {"size": [30, 40], "classes": ["blue", "red"], "splits": {}, "clips": "whole"}
    with ClipWriter(tmp_path / "x.clips", about) as writer:
        for number, count in enumerate((60, 5, 18)):
            drawn = draw_video("clockwise", seed=number, num_frames=count, width=40, height=30)
            jpegs = [encode(image, 95) for image in drawn]
            writer.add(f"{number}", (1,), f"{number}", "", [(0.0, jpegs)])
        writer.finish()
    return ClipStore(tmp_path / "x.clips")


def sampler(store, **options):
    return Sampler(store.videos, length=16, size=store.size, crop=(24, 24), seed=3, **options)


def test_a_clip_backwards_and_at_double_speed(store):
    segment = store.videos[0].segments[0]
    options = {"length": 16, "mean": (1, 2, 3), "crop": (24, 24), "offset": (2, 5)}
    plain = read_clip(store, segment, 7, **options)
    np.testing.assert_array_equal(
        read_clip(store, segment, 7, reversed=True, **options), plain[:, ::-1]
    )
    fast = read_clip(store, segment, 7, step=2, **options)
    np.testing.assert_array_equal(fast[:, :8], plain[:, ::2])
    later = read_clip(store, segment, 23, **options)
    np.testing.assert_array_equal(fast[:, 8:], later[:, ::2])


def test_how_clips_are_played_leaves_the_other_draws_as_they_are(store):
    plain = sampler(store)
    played = sampler(store, reversed=0.5, fast=0.5, brightness=0.2)
    draws = [(plain[n], played[n]) for n in range(300)]
    unchanged = {"reversed": False, "step": 1, "fast": False, "gain": 1.0, "shift": 0.0}
    for one, two in draws:
        assert dataclasses.replace(two, start=one.start, **unchanged) == one
        assert two.start + two.step * 15 < max(two.segment.num_frames, 16)
        assert two.step == 1 or two.segment.num_frames >= 31  # too short for double speed
        assert 0.8 <= two.gain <= 1.2
        assert abs(two.shift) <= 0.2 * 128
    assert 0.4 < np.mean([two.reversed for _, two in draws]) < 0.6
    long = [two for _, two in draws if two.segment.num_frames == 60]
    assert 0.35 < np.mean([two.step == 2 for two in long]) < 0.65


def test_pairs_are_one_clip_forwards_and_backwards(store):
    plain = sampler(store, fast=0.5, brightness=0.2)
    paired = sampler(store, fast=0.5, brightness=0.2, paired=True)
    assert len(paired) == 2 * len(plain)
    for n in range(2 * len(plain)):  # into the second epoch
        assert paired[2 * n] == plain[n]
        assert paired[2 * n + 1] == dataclasses.replace(plain[n], reversed=True)


@pytest.mark.parametrize("kind", [ResidentBatches, SentBatches])
@pytest.mark.parametrize("mean", ["constants", "volume", "crop"])
def test_frames_that_a_device_holds_or_gets_make_the_same_clips(store, mean, kind):
    shape = {"constants": (3,), "volume": (3, 16, 30, 40), "crop": (3, 16, 24, 24)}[mean]
    values = np.random.default_rng(0).uniform(60, 160, shape).astype(np.float32)
    order = sampler(store, reversed=0.5, fast=0.5, brightness=0.2)
    with Processes("cpu", "torch", threads=1) as processes:
        options = {"mean": values, "batch": 20, "processes": processes}
        read = list(Batches(store, order, NETWORK, **options).steps(0, 3))
        held = list(kind(store, order, NETWORK, **options).steps(0, 3))
    for one, two in zip(read, held, strict=True):
        assert two.clips.is_contiguous(memory_format=torch.channels_last_3d)
        np.testing.assert_array_equal(one.clips, two.clips.numpy())
        np.testing.assert_array_equal(one.labels, two.labels)
        for name in ("reversed", "speed"):
            np.testing.assert_array_equal(one.vectors[name], two.vectors[name])
    assert len({tuple(batch.vectors["speed"]) for batch in read}) > 1


@pytest.mark.parametrize(
    ("stream", "shape"), [("flow", (2, 3, 10, 12)), ("imagenet", (5, 3, 2, 3))]
)
@pytest.mark.parametrize("short", ["repeat", "wrap"])
@pytest.mark.parametrize("kind", [ResidentBatches, SentBatches])
def test_a_device_holds_or_gets_other_streams_too(stream, shape, short, kind):
    """Two videos of four and three frames, every second of which makes a clip that is too short."""
    store = ClipStore(FORMATS / "kinema-clips-3.clips")
    size, crop = store.size_of(stream), shape[2:]
    order = Sampler(store.videos, length=3, size=size, crop=crop, seed=1, step=2, short=short)
    model = types.SimpleNamespace(input_shape=shape, stream=stream)
    mean = np.full(shape[0], 128 if stream == "flow" else 0.5, np.float32)
    with Processes("cpu", "torch", threads=1) as processes:
        options = {"mean": mean, "batch": 8, "processes": processes}
        read = list(Batches(store, order, model, **options).steps(0, 2))
        held = list(kind(store, order, model, **options).steps(0, 2))
    assert {order[n].flip for n in range(16)} == {True, False}
    for one, two in zip(read, held, strict=True):
        np.testing.assert_allclose(one.clips, two.clips.numpy(), atol=1e-6)


def variants():
    """One video, two segments; segment 0 has rows of its own for two variants."""
    rows = [(0, 0, 0), (0, 16, 0), (0, 0, 2), (0, 16, 6), (1, 0, 0), (0, -1, 2)]
    segment, start, variant = (np.array(column) for column in zip(*rows, strict=True))
    vectors = np.arange(6, dtype=np.float32)[:, None]
    return Targets(["a"], vectors, np.zeros(6, int), start, segment, variant)


@pytest.mark.parametrize(
    ("segment", "start", "played", "row"),
    [
        (0, 3, "", 0),
        (0, 8, "", 0),  # the earlier one of two
        (0, 9, "", 1),
        (0, 12, "reversed", 2),  # the only one of its variant
        (0, 0, "reversed fast", 3),
        (0, 12, "mirrored", 1),  # mirrored clips are taken as they are
        (0, 12, "mirrored reversed", 2),
        (1, 12, "reversed", 4),
        (1, 0, "mirrored fast", 4),
    ],
)
def test_the_target_of_how_a_clip_is_played(segment, start, played, row):
    variant = variant_of(**{name: name in played for name in ("mirrored", "reversed", "fast")})
    assert variants().row("a", segment, start, variant) == row


def test_variants_are_kept(tmp_path):
    targets = variants()
    targets.save(tmp_path / "t.safetensors")
    again = Targets.load(tmp_path / "t.safetensors")
    assert again.sha256 == targets.sha256
    np.testing.assert_array_equal(again.variant, targets.variant)
    plain = dataclasses.replace(targets, variant=None)
    assert plain.sha256 != targets.sha256


@pytest.mark.parametrize(("free", "kind"), [(10**9, ResidentBatches), (10, SentBatches)])
def test_frames_are_held_where_they_fit(store, free, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    material = types.SimpleNamespace(store=store, train=store.videos)
    assert batches_on(types.SimpleNamespace(kind="cuda", device="cuda"), material) is kind
    assert batches_on(types.SimpleNamespace(kind="cpu", device="cpu"), material) is Batches
