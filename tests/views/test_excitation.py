"""Which clips excite a map most, on videos and networks where the answer is known."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kinema import network as networks
from kinema import plots
from kinema.cli.app import main
from kinema.features.extractor import Extractor
from kinema.network import Conv3d, MaxPool3d, Network
from kinema.skipped import VideoError
from kinema.video.clips import ClipPlan
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_video
from kinema.views import excitation, excitation_pictures
from kinema.views.excitation import excite
from kinema.weights.file import Weights, random_weights

from small_videos import write_folder

RED, BRIGHTENING, SILENT = 0, 1, 2


def hand_made() -> Weights:
    """conv1a with a map for red, one for what becomes brighter, and one that nothing excites."""
    network = Network((3, 16, 16, 16), (Conv3d("conv1a", 3), MaxPool3d("pool1", (1, 2, 2))))
    weight = np.zeros((3, 3, 3, 3, 3), np.float32)
    weight[RED, :, 1, 1, 1] = -1, -1, 2  # B, G, R in the middle
    weight[BRIGHTENING, :, 1, 1, 1] = 1
    weight[BRIGHTENING, :, 0, 1, 1] = -1
    bias = np.array([0, 0, -1], np.float32)
    arrays = {"conv1a.weight": weight, "conv1a.bias": bias}
    return Weights(arrays, network, name="by hand", mean=np.full(3, 128, np.float32))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One with a red square at frames 32 ... 47, one that becomes white at frame 41, a grey one."""
    folder = tmp_path_factory.mktemp("excite") / "videos"
    grey = np.full((64, 48, 64, 3), 60, np.uint8)
    red, flash = grey.copy(), grey.copy()
    red[32:48, 24:36, 40:52] = 230, 20, 20
    flash[41:] = 255
    for name, frames in (("flash", flash), ("grey", grey), ("sub/red", red)):
        write_video(folder / f"{name}.mp4", frames)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, in the place of drawing it."""
    pictures = {}
    monkeypatch.setattr(
        plots, "projections", lambda path, strips, *, title: pictures.update({path.name: strips})
    )
    return pictures


def test_the_known_video_wins_at_the_known_time_and_place(videos, tmp_path, drawn):
    report = excite(
        videos, out=tmp_path, weights=hand_made(), layer="conv1a", maps=[RED, BRIGHTENING, SILENT]
    )
    red, brightening, silent = report.maps
    best = red.excitations[0]
    assert (best.video, best.start_frame, best.stop_frame) == ("sub/red.mp4", 32, 48)
    assert (best.start_seconds, best.stop_seconds) == pytest.approx((32 / 25, 48 / 25))
    t, y, x = best.position
    # The crop of 16 starts at column 4 of frames of 18x24; the square is at rows 9 ... 13 there.
    assert 0 <= t < 16
    assert 8 <= y < 13
    assert 11 <= x < 16
    best = brightening.excitations[0]
    assert (best.video, best.start_frame, best.position[0]) == ("flash.mp4", 32, 41 - 32)
    assert best.activation == pytest.approx(3 * 195, rel=0.02)
    assert silent.excitations == ()
    assert "conv1a map 2: silent on all of them" in report.summary()
    assert sorted(drawn) == ["conv1a-0.png", "conv1a-1.png"]


def test_a_video_is_read_once_for_the_search_and_once_for_all_pictures(
    videos, tmp_path, drawn, monkeypatch
):
    walks, walked = [], VideoReader.__iter__

    def counted(reader):
        walks.append([reader.path.name, 0])
        mine = walks[-1]
        for frame in walked(reader):
            mine[1] = frame.index + 1
            yield frame

    monkeypatch.setattr(VideoReader, "__iter__", counted)
    options = {"weights": hand_made(), "layer": "conv1a", "per_video": 2, "count": 4, "stride": 8}
    excite(videos, out=tmp_path, maps=[BRIGHTENING], **options)
    assert sorted(walks[:3]) == [["flash.mp4", 64], ["grey.mp4", 64], ["red.mp4", 64]]
    # Behind the last clip that is drawn nothing is read (but for what is under way).
    clips = {e.video.rpartition("/")[2] for e in _excitations(tmp_path)}
    assert {name for name, _ in walks[3:]} == clips
    assert len(walks) == 3 + len(clips)
    walks.clear()
    monkeypatch.setattr(excitation_pictures, "MAPS_AT_ONCE", 1)
    excite(videos, out=tmp_path, maps=[RED, BRIGHTENING, SILENT], **options)
    names = [name for name, _ in walks]
    assert names.count("red.mp4") <= 2
    assert {num_frames for name, num_frames in walks if name == "red.mp4"} <= {48, 56, 64}
    assert drawn["conv1a-1.png"][0].title.startswith("flash.mp4, clip from ")


def _excitations(out):
    content = json.loads((out / "excite.json").read_text())
    return [
        SimpleNamespace(video=one["video"])
        for found in content["maps"]
        for one in found["excitations"]
    ]


def test_a_video_that_is_gone_before_its_picture_is_named(videos, tmp_path, monkeypatch):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    draw = excitation.draw

    def late(*arguments, **options):
        (folder / "sub" / "red.mp4").unlink()
        return draw(*arguments, **options)

    monkeypatch.setattr(excitation, "draw", late)
    with pytest.raises(VideoError, match=r"red\.mp4: no such file"):
        excite(folder, out=tmp_path / "out", weights=hand_made(), layer="conv1a", maps=[RED])


def test_the_picture_shows_what_excited_the_map(videos, tmp_path, drawn):
    excite(videos, out=tmp_path, weights=hand_made(), layer="pool1", maps=[RED, BRIGHTENING])
    strip = drawn["pool1-0.png"][0]
    assert len(strip.numbers) == 1  # the kernel looks at one frame
    pixels = strip.values[0].reshape(-1, 3)
    place = np.abs(pixels - 0.5).sum(axis=1).argmax()
    np.testing.assert_allclose(pixels[place], [1, 0.25, 0.25], atol=0.001)  # R, G, B about grey
    red, green, blue = strip.frames[0].reshape(-1, 3)[place].astype(int)
    assert red > 180
    assert green < 80
    assert blue < 80
    strip = drawn["pool1-1.png"][0]
    assert strip.numbers == [40, 41]  # before and after
    before, after = strip.values.reshape(2, -1, 3)
    place = np.abs(after - 0.5).sum(axis=1).argmax()
    np.testing.assert_allclose(before[place], 0, atol=0.01)
    np.testing.assert_allclose(after[place], 1, atol=0.01)


def test_equal_to_running_all_clips(tmp_path_factory, tmp_path, drawn):
    """A small random network: the same clips as a full table of all activations gives."""
    folder = write_folder(tmp_path_factory.mktemp("colours"), num_videos=2, num_frames=56)
    weights = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), seed=1)
    plan = ClipPlan(stride=8)
    extractor = Extractor(weights, layer="conv2a", plan=plan)
    table = []
    for path in sorted(folder.rglob("*.mp4")):
        rows = extractor(path)
        features = rows.features.reshape(len(rows), 32, -1)
        for start, values in zip(rows.start_frame.tolist(), features, strict=True):
            table.append((path.relative_to(folder).as_posix(), start, values.max(axis=1)))
    strongest = {name: np.max([v for n, _, v in table if n == name], 0) for name, _, _ in table}
    for per_video in (1, 2, 99):
        report = excite(
            folder, out=tmp_path, weights=weights, layer="conv2a", maps=[3, 30], count=4,
            per_video=per_video, stride=8,
        )  # fmt: skip
        assert (report.num_videos, report.num_clips) == (6, 36)
        for found in report.maps:
            ranked = sorted(table, key=lambda row: -row[2][found.number])
            expected = []
            for name, start, values in ranked:
                if sum(name == other for other, _, _ in expected) < per_video:
                    expected.append((name, start, float(values[found.number])))
            chosen = [(e.video, e.start_frame, e.activation) for e in found.excitations]
            assert chosen == expected[:4]
            mean = np.mean([values[found.number] for values in strongest.values()])
            assert found.mean == pytest.approx(mean)
    # Without numbers: those whose strongest clips lie farthest above the mean of the videos.
    report = excite(folder, out=tmp_path, weights=weights, layer="conv2a", count=2, stride=8)
    values = np.sort(np.stack([*strongest.values()]), axis=0)
    above = values[-2:].mean(axis=0) - values.mean(axis=0)
    assert [found.number for found in report.maps] == np.argsort(-above)[:3].tolist()


def test_units_of_fully_connected_layers_and_short_videos(tmp_path):
    weights = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), seed=1)
    frames = np.random.default_rng(0).integers(0, 255, (10, 48, 64, 3), np.uint8)
    write_video(tmp_path / "short.mp4", frames)
    report = excite(tmp_path / "short.mp4", out=tmp_path / "out", weights=weights, layer="fc6")
    best = report.maps[0].excitations[0]
    assert (best.start_frame, best.stop_frame, best.position) == (0, 10, ())
    picture = cv2.imread(str(report.picture(report.maps[0].number)))
    assert (picture != 255).any(axis=2).mean() > 0.02  # the frames of noise
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000


def test_bad_videos_cost_a_line_and_the_json_tells_it_all(videos, tmp_path, capsys):
    hand_made_file = tmp_path / "mini.safetensors"
    random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="n").save(hand_made_file)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"x")
    out = tmp_path / "out"
    command = ["excite", videos, bad, "--out", out, "--weights", hand_made_file]
    command += ["--layer", "conv2a", "--map", 5, "--map", 2, "--count", 2]
    assert main([str(part) for part in command]) == 1
    captured = capsys.readouterr()
    assert f"skipped {bad}: it cannot be read as a video" in captured.err
    assert "12 clips of 3 videos" in captured.out
    content = json.loads((out / "excite.json").read_text())
    assert [found["number"] for found in content["maps"]] == [5, 2]
    assert content["skipped"][0]["path"] == str(bad)
    assert (content["layer"], content["num_videos"], content["num_clips"]) == ("conv2a", 3, 12)
    for found in content["maps"]:
        activations = [e["activation"] for e in found["excitations"]]
        assert len(activations) == 2
        assert activations == sorted(activations, reverse=True)
        for e in found["excitations"]:
            assert len(e["position"]) == 3
            assert e["stop_frame"] - e["start_frame"] == 16
    picture = cv2.imread(str(out / "conv2a-5.png"))
    assert picture.shape[0] > 2 * 200
    for strip in np.array_split(picture, 2):  # one for each excitation
        assert (strip != 255).any(axis=2).mean() > 0.2
        assert strip.std() > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "conv9"], "--layer must be one of conv1a, pool1"),
        (
            ["--layer", "prob", "--weights", "c3d-mini-random"],
            "--layer prob cannot be projected; take the one before it",
        ),
        (["--map", "128"], "--map of conv5a must be from 0 to 127, got 128"),
        (["--map", "-1"], "--map of conv5a must be from 0 to 127, got -1"),
        (["--count", "0"], "--count must be at least 1"),
        (["--per-video", "0"], "--per-video must be at least 1"),
        (["--stride", "0"], "--stride must be at least 1"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, arguments, message):
    (tmp_path / "bad.mp4").write_bytes(b"x")
    command = ["excite", str(tmp_path / "bad.mp4"), "--out", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("kinema: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_no_videos_are_one_line(capsys, tmp_path):
    assert main(["excite", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no video found in" in capsys.readouterr().err
    (tmp_path / "bad.mp4").write_bytes(b"x")
    assert main(["excite", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"no video can be read; {tmp_path / 'bad.mp4'}: " in err


def test_a_stopped_search_goes_on_where_it_stopped(videos, tmp_path, monkeypatch, capsys):
    options = {"weights": hand_made(), "layer": "conv1a", "maps": [RED], "stride": 8}
    excite(videos, out=tmp_path / "whole", **options)
    runs, run = [], Extractor.run

    def counted(self, inputs):
        runs.append(len(inputs[0]))
        if stops and len(runs) == 4:
            raise KeyboardInterrupt
        return run(self, inputs)

    monkeypatch.setattr(Extractor, "run", counted)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        excite(videos, out=tmp_path / "out", **options)
    stops = False
    done = len(list((tmp_path / "out" / "found").iterdir()))
    assert 1 <= done < 3
    runs.clear()
    excite(videos, out=tmp_path / "out", **options)
    assert 0 < sum(runs) < 21  # each of the three videos has seven clips
    for name in ("excite.json", "conv1a-0.png"):
        again, whole = (tmp_path / folder / name for folder in ("out", "whole"))
        assert again.read_bytes() == whole.read_bytes()
    runs.clear()
    for file in (tmp_path / "out" / "found").iterdir():
        file.write_bytes(b"damaged")
    excite(videos, out=tmp_path / "out", **{**options, "maps": [BRIGHTENING]})
    assert sum(runs) == 21
    runs.clear()
    excite(videos, out=tmp_path / "out", **{**options, "maps": [BRIGHTENING]})
    assert runs == []
    excite(videos, out=tmp_path / "out", **options, per_video=2)
    assert sum(runs) == 21
