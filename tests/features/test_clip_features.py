"""Rows of ImageNet's network and of two nets side by side, from extraction to prediction."""

from __future__ import annotations

import filecmp
import json

import numpy as np
import pytest

from kinema import C3DFeatures
from kinema import network as networks
from kinema.cli.app import main
from kinema.engine.opencv import PictureEngine
from kinema.features.clip_features import centre
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.features.table_files import ROW_COLUMNS
from kinema.methods.classifier import Classifier
from kinema.methods.predict import Predictor
from kinema.video.clips import ClipPlan
from kinema.video.reader import VideoReader
from kinema.weights.file import random_weights

from odd_videos import write_video
from small_videos import write_folder

SMALL = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="small")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, 43)
    return path


def columns(table):
    return {name: getattr(table, name) for name in ROW_COLUMNS}


@pytest.mark.parametrize(("sampling_rate", "middles"), [(1, [8, 16, 24, 32]), (2, [16, 24])])
def test_rows_are_of_middle_frames_with_the_times_of_c3ds(
    video, picture_weights, sampling_rate, middles
):
    plan = ClipPlan(sampling_rate=sampling_rate)
    table = Extractor(picture_weights, plan=plan, batch=3)(video)
    np.testing.assert_equal(columns(table), columns(Extractor(SMALL, plan=plan)(video)))
    frames = [centre(frame.image) for frame in VideoReader(video)]
    pixels = np.stack([frames[index] for index in middles]).astype(np.float32)
    expected = PictureEngine(picture_weights).run((pixels.transpose(0, 3, 1, 2) - 127) / 128)
    np.testing.assert_array_equal(table.features, expected)
    assert len(np.unique(table.features, axis=0)) == len(middles)
    assert table.about["layer"] == "pool"
    assert table.about["settings"]["weights_sha256"] == picture_weights.sha256


def test_a_short_videos_middle_is_padded(tmp_path, picture_weights):
    write_video(tmp_path / "v.mp4", 5)
    table = Extractor(picture_weights)(tmp_path / "v.mp4")
    last = [frame.image for frame in VideoReader(tmp_path / "v.mp4")][-1]
    pixels = centre(last).transpose(2, 0, 1)[None].astype(np.float32)
    expected = PictureEngine(picture_weights).run((pixels - 127) / 128)
    np.testing.assert_array_equal(table.features, expected)
    assert table.num_padded_frames.tolist() == [11]


def test_two_nets_stand_side_by_side_each_of_length_1(video, picture_weights):
    table = Extractor([SMALL, picture_weights], layer="fc7", batch=3)(video)
    assert table.about["weights"] == "small+imagenet"
    assert table.about["layer"] == "fc7+pool"
    assert not table.about["trained"]
    alone = [Extractor(SMALL, layer="fc7")(video), Extractor(picture_weights)(video)]
    np.testing.assert_equal(columns(table), columns(alone[0]))
    rows = [one.features.astype(np.float64) for one in alone]
    rows = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in rows]
    np.testing.assert_allclose(table.features, np.hstack(rows), rtol=1e-6)
    parts = table.about["settings"]["parts"]
    assert [part["weights_sha256"] for part in parts] == [SMALL.sha256, picture_weights.sha256]
    vector = C3DFeatures([SMALL, picture_weights], layer="fc7").transform([video])[0]
    np.testing.assert_array_equal(vector, table.video_vector())
    with pytest.raises(ValueError, match="`tables` must be of one net each"):
        Classifier.train([table, table], ["a", "b"])
    shorter = random_weights(networks.c3d_mini(3, input_shape=(3, 8, 16, 16)), name="shorter")
    with pytest.raises(ValueError, match="imagenet sees clips of 16 frames, shorter of 8"):
        Extractor([picture_weights, shorter])


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("layer", "fc7", "imagenet has one feature, its layer 'pool'"),
        ("mean", "1,2,3", "imagenet subtracts its own"),
        ("mean", [1, 2, 3], "imagenet subtracts its own"),
        ("mean", "cpu", "imagenet subtracts its own"),
        ("device", "cuda", "imagenet is computed on the CPU"),
        ("engine", "torch", "imagenet is computed by OpenCV alone"),
        ("engine", "native", "imagenet is computed by OpenCV alone"),
    ],
)
def test_flags_without_a_choice_are_refused_by_name(picture_weights, flag, value, said):
    with pytest.raises(ValueError, match=f"`{flag}` .*{said}.*"):
        Extractor(picture_weights, **{flag: value})


def test_what_one_of_two_nets_has_a_choice_of_is_its_own(picture_weights):
    asked = {"layer": "pool5", "mean": [1, 2, 3], "device": "cpu", "engine": "native"}
    first, second = Extractor([SMALL, picture_weights], **asked).features
    assert (first.layer, first.weights.mean.tolist()) == ("pool5", [1, 2, 3])
    assert (second.layer, second.weights.mean.tolist()) == ("pool", [127, 127, 127])
    assert Extractor(picture_weights, layer="pool", device="cpu").layer == "pool"


def test_the_command_refuses_a_flag_in_one_line(video, tmp_path, capsys, imagenet_is_random):
    command = ["extract", str(video), "--out", str(tmp_path / "out"), "--weights", "imagenet"]
    assert main([*command, "--engine", "torch"]) == 2
    said = "kinema: --engine 'torch': imagenet is computed by OpenCV alone; leave it out.\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", ["imagenet", "c3d-mini+imagenet"])
def test_a_stopped_extraction_goes_on_and_other_weights_are_refused(
    tmp_path, imagenet_is_random, weights
):
    (tmp_path / "videos").mkdir()
    for number in range(3):
        write_video(tmp_path / "videos" / f"v{number}.mp4", 20 + 8 * number, first_index=number)
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    extract(tmp_path / "videos", out=whole, weights=weights)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        run, runs = Extractor.run, []
        patch.setattr(
            Extractor,
            "run",
            lambda self, inputs: run(self, inputs) if runs.append(1) or len(runs) < 3 else stop(),
        )
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "videos", out=begun, weights=weights)
    report = extract(tmp_path / "videos", out=begun, weights=weights)
    assert (report.num_found, report.num_done) == (2, 1)
    names = sorted(path.name for path in whole.iterdir() if not path.name.startswith("."))
    assert filecmp.cmpfiles(whole, begun, names, shallow=False)[1:] == ([], [])
    kept = json.loads((whole / "run.json").read_text())["weights"]
    kept = kept if isinstance(kept, list) else [kept]
    assert [one["name"] for one in kept] == weights.split("+")
    layer = "fc6[+]pool" if "+" in weights else "pool"
    with pytest.raises(ValueError, match=f"was made with layer {layer}, now it is fc6"):
        extract(tmp_path / "videos", out=begun, weights="c3d-mini")
    extract(tmp_path / "videos", out=tmp_path / "c3d", weights="c3d-mini")
    with pytest.raises(ValueError, match=f"was made with layer fc6, now it is {layer}"):
        extract(tmp_path / "videos", out=tmp_path / "c3d", weights=weights)


@pytest.mark.parametrize("format", ["npy", "c3d"])
def test_other_formats_take_it(video, tmp_path, imagenet_is_random, format):
    extract(video, out=tmp_path, weights="c3d-mini+imagenet", format=format)
    name = "v.mp4" if format == "c3d" else "v.mp4.npy"
    found = FeatureTable.load(tmp_path / name)
    np.testing.assert_array_equal(found.features, Extractor("c3d-mini+imagenet")(video).features)
    assert found.about["layer"] == "fc6+pool"


@pytest.mark.parametrize("named", [["imagenet"], ["{small}+imagenet"], ["{small}", "imagenet"]])
def test_a_classifier_names_its_parts_and_finds_them_again(
    tmp_path, picture_weights, imagenet_is_random, capsys, named
):
    SMALL.save(tmp_path / "small.safetensors")
    folder = write_folder(tmp_path / "colours", num_videos=3, num_frames=20)
    words = [word.format(small=tmp_path / "small.safetensors") for word in named]
    flags = [part for word in words for part in ("--weights", word)]
    out = tmp_path / "worth"
    command = ["transfer", str(folder), "--out", str(out), "--folds", "3", "--C", "1", *flags]
    assert main(command) == 0
    captured = capsys.readouterr().out
    assert f"; layer {'fc6+pool' if len(named) > 1 or '+' in named[0] else 'pool'}, " in captured
    title = "efficientnet-lite0, imagenet" if len(named) == 1 and "+" not in named[0] else None
    assert f"| {title or '2 nets (small (random), imagenet)'} + linear SVM |" in captured
    classifier = Classifier.load(out / "classifier.safetensors")
    nets = [net for net in (SMALL, picture_weights) if title is None or net is picture_weights]
    sums = [net.settings["weights_sha256"] for net in classifier.nets]
    assert sums == [net.sha256 for net in nets]
    video = folder / "red" / "red_0.mp4"
    command = ["predict", str(video), "--classifier", str(out / "classifier.safetensors")]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["class"] == "red"
    # By the classifier's own numbers, from tables that `Extractor` makes.
    vectors = [Extractor(net)(video).features.mean(axis=0, dtype=np.float64) for net in nets]
    sides = np.hstack([vector / np.linalg.norm(vector) for vector in vectors])
    expected = classifier.coefficients @ sides + classifier.intercepts
    found = Predictor(classifier=classifier)(video)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    if len(nets) == 1:
        assert main([*command, "--device", "cuda"]) == 2
        assert "imagenet is computed on the CPU" in capsys.readouterr().err


def test_pictures_and_compactness_take_it(tmp_path, imagenet_is_random, capsys):
    folder = write_folder(tmp_path / "colours", num_videos=3, num_frames=20)
    for command in ("embed", "compactness"):
        words = [command, str(folder), "--out", str(tmp_path / command), "--weights", "imagenet"]
        assert main(words) == 0
        assert "efficientnet-lite0, imagenet" in capsys.readouterr().out
