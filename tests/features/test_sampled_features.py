"""`--fps`, `--clips`, `--every`, `--crops`: against a slow way that decodes all frames first."""

from __future__ import annotations

import filecmp
import itertools
import json
import shutil
from bisect import bisect_right
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.engine import reference
from kinema.engine.opencv import PictureEngine
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.features.table_files import FORMATS, ROW_COLUMNS
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.skipped import VideoError
from kinema.video.clips import ClipPlan
from kinema.video.crops import crops_of
from kinema.video.loop import Reading
from kinema.video.reader import VideoReader
from kinema.weights.file import random_weights

from odd_videos import ODD, draw_frame, make, write_video

# Four frames of 16x16 out of 18x24.
SMALL = random_weights(
    Network(
        (3, 4, 16, 16),
        (Conv3d("conv1a", 3), MaxPool3d("pool1", (2, 4, 4)), Linear("fc6", 7)),
    ),
    name="small",
)
LENGTH, CROP, SIZE = 4, 16, (18, 24)
MEAN = np.random.default_rng(0).random((3, LENGTH, *SIZE), np.float32) * 200

# Milliseconds; a hole of nine tenths of a second, and frames that come quickly behind each other.
TIMES = [0, 40, 85, 200, 210, 220, 400, 1300, 1340, 1380, 1420, 1700, 1733, 1767, 2000, 2345, 2400,
         2440, 2480, 2700, 2733, 2767, 2800, 3000, 3050]  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A video of a variable frame rate."""
    path = tmp_path_factory.mktemp("videos") / "uneven.mp4"
    write_video(path, len(TIMES), timestamps=[time / 1000 for time in TIMES])
    return path


def decoded(path):
    """All images, by OpenCV, and when they are shown, with the end, by PyAV."""
    capture, images = cv2.VideoCapture(str(path)), []
    while (image := capture.read()[1]) is not None:
        images.append(image)
    with av.open(str(path)) as container:
        frames = [(frame.pts, frame.duration) for frame in container.decode(video=0)]
        base = container.streams.video[0].time_base
    times = [pts * base for pts, _ in frames]
    assert len(times) == len(images)
    return images, [*times, times[-1] + frames[-1][1] * base]


def slowly(path, *, stride=8, fps=None, clips=None, every=None, crops=1, length=LENGTH):
    """Frames of each clip, its columns, and its row, with everything at hand and in fractions."""
    images, times = decoded(path)
    starts, stop = times[:-1], times[-1]
    if fps is None:
        places, moments = list(range(len(images))), [time - starts[0] for time in starts]
    else:
        moments = [k / Fraction(fps) for k in range(10_000)]
        moments = [one for one in moments if one < stop - starts[0] - Fraction(1, 1000)]
        places = [bisect_right(starts, starts[0] + one + Fraction(1, 1000)) - 1 for one in moments]
    last = len(places) - length
    if clips is not None:
        wanted = [i * last // (clips - 1) for i in range(clips)]
    elif every is not None:
        due = [k * Fraction(every).limit_denominator(1000) for k in range(10_000)]
        wanted = [
            next((place for place, one in enumerate(moments) if one + Fraction(1, 1000) >= at), -1)
            for at in due
        ]
        wanted = [place for place in dict.fromkeys(wanted) if 0 <= place <= last]
    else:
        wanted = list(range(0, last + 1, stride))
    chosen = [places[start : start + length] for start in wanted]
    columns = {
        "start_frame": [one[0] for one in chosen],
        "stop_frame": [one[-1] + 1 for one in chosen],
        "start_seconds": [float(times[one[0]]) for one in chosen],
        "stop_seconds": [float(times[one[-1] + 1]) for one in chosen],
        "num_padded_frames": [0] * len(chosen),
    }
    return chosen, columns, [slow_row([images[k] for k in one], crops) for one in chosen]


def slow_row(images, crops):
    """The mean over crops of what the reference says of them."""
    small = [cv2.resize(image, SIZE[::-1]).astype(np.float64) for image in images]
    whole = np.stack(small).transpose(3, 0, 1, 2) - MEAN
    tops_and_lefts = [(1, 4), (0, 0), (0, 8), (2, 0), (2, 8)][: 1 if crops == 1 else 5]
    found = []
    for top, left in tops_and_lefts:
        part = whole[:, :, top : top + CROP, left : left + CROP]
        found += [part, np.flip(part, axis=3)] if crops == 10 else [part]
    assert len(found) == crops
    rows = reference.run(SMALL.network, SMALL, np.stack(found), ("fc6",))["fc6"]
    return rows.mean(axis=0)


def assert_columns(table, columns):
    for name in ROW_COLUMNS:
        np.testing.assert_allclose(getattr(table, name), columns[name], atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"crops": 5},
        {"crops": 10, "stride": 3},
        {"fps": 10},
        {"fps": 29.97, "stride": 2},
        {"fps": 60},
        {"clips": 2},
        {"clips": 6},
        {"every": 0.5},
        {"every": 0.05},
        {"fps": 12.5, "clips": 5, "crops": 10},
        {"fps": 8, "every": 1, "crops": 5},
    ],
)
def test_rows_are_those_of_a_slow_way_with_all_frames(uneven, tmp_path, sampling):
    report = extract(uneven, out=tmp_path, weights=SMALL, mean=MEAN, batch=3, **sampling)
    assert report.num_done == 1
    assert report.notes == []
    table = FeatureTable.load(tmp_path / "uneven.mp4.safetensors")
    _, columns, rows = slowly(uneven, **sampling)
    assert len(table) > 1
    assert_columns(table, columns)
    np.testing.assert_allclose(table.features, rows, rtol=1e-4, atol=1e-3)
    assert len(np.unique(table.features, axis=0)) > 1
    given = {name: value for name, value in sampling.items() if name != "stride"}
    settings = table.about["settings"]
    assert {name: settings.get(name) for name in ("fps", "clips", "every", "crops")} == {
        "fps": None, "clips": None, "every": None, "crops": None, **given,
    }  # fmt: skip


def test_corners_of_the_originals_frames():
    offsets = [(8, 29), (0, 0), (0, 59), (16, 0), (16, 59)]
    assert [crop.offset for crop in crops_of(5, (128, 171), (112, 112))] == offsets
    ten = crops_of(10, (128, 171), (112, 112))
    assert [(crop.offset, crop.mirrored) for crop in ten] == [
        (offset, mirrored) for offset in offsets for mirrored in (False, True)
    ]


def test_a_mirrored_video_has_the_same_ten_crops(uneven, tmp_path):
    """Beside a mean that is its own mirror: columns 0 to 15 of 24 become 8 to 23, 4 to 19 stay."""
    mean = np.maximum(MEAN, MEAN[..., ::-1])
    frames = [frame.image for frame in VideoReader(uneven)][:LENGTH]
    small = [cv2.resize(image, SIZE[::-1]) for image in frames]
    ten, five = (Extractor(SMALL, plan=ClipPlan(length=LENGTH), mean=mean, crops=n).features[0]
                 for n in (10, 5))  # fmt: skip
    back = [np.ascontiguousarray(image[:, ::-1]) for image in small]
    np.testing.assert_allclose(ten.rows(ten.prepare(small)), ten.rows(ten.prepare(back)), rtol=1e-5)
    assert not np.allclose(five.rows(five.prepare(small)), five.rows(five.prepare(back)), rtol=1e-3)


def test_batches_do_not_change_rows(uneven, tmp_path):
    for batch in (1, 8, 25):
        out = tmp_path / str(batch)
        extract(uneven, out=out, weights=SMALL, crops=10, clips=4, batch=batch)
        name = "uneven.mp4.safetensors"
        assert filecmp.cmp(out / name, tmp_path / "1" / name, shallow=False)


# --- a number of clips ----------------------------------------------------------------------------


def test_the_number_of_frames_is_counted_and_not_the_headers(tmp_path):
    """13 frames are promised and 12 come; a header that promises none does not matter either."""
    make(tmp_path, ODD["dropped_frame_avi"])
    assert VideoReader(tmp_path / "dropped.avi").info.num_frames == 13
    write_video(tmp_path / "live.mkv", 12, container_options={"live": "1"})
    assert VideoReader(tmp_path / "live.mkv").info.num_frames is None
    for name in ("dropped.avi", "live.mkv"):
        table = Extractor(SMALL, plan=ClipPlan(length=LENGTH, clips=3))(tmp_path / name)
        assert table.start_frame.tolist() == [0, 4, 8]
        assert table.stop_frame.tolist() == [4, 8, 12]


@pytest.mark.parametrize(
    "name", ["vfr_mkv", "trimmed_mp4", "mid_group_ts", "late_start", "five_frames"]
)
def test_frames_without_images_are_the_same(tmp_path, name):
    path = make(tmp_path, ODD[name])
    seen, counted = VideoReader(path), VideoReader(path, images=False)
    for one, other in itertools.zip_longest(seen, counted):
        assert (one.index, one.start_seconds, one.stop_seconds) == (
            other.index, other.start_seconds, other.stop_seconds,
        )  # fmt: skip
        assert other.image.shape == (0, 0, 3)


def test_short_videos_have_each_clip_once_and_are_named(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for count in (2, 5, 6, 30):
        write_video(videos / f"{count:02}.mp4", count, width=64, height=48)
    options = {"out": tmp_path / "out", "weights": SMALL, "clips": 3}
    told = (
        "2 videos (02.mp4 (1), 05.mp4 (2)) too short for 3 different clips: each that there is was "
        "taken once."
    )
    assert extract(videos, **options).notes == [told]
    again = extract(videos, **options)
    assert (again.num_found, again.notes) == (4, [told])
    found = {
        count: FeatureTable.load(tmp_path / "out" / f"{count:02}.mp4.safetensors")
        for count in (2, 5, 6, 30)
    }
    assert {count: table.start_frame.tolist() for count, table in found.items()} == {
        2: [0], 5: [0, 1], 6: [0, 1, 2], 30: [0, 13, 26],
    }  # fmt: skip
    assert found[2].num_padded_frames.tolist() == [2]
    report = extract(videos, **{**options, "out": tmp_path / "skip"}, short="skip")
    assert [one.reason for one in report.skipped] == ["it has 2 frames, a clip needs 4."]


def test_a_video_that_breaks_has_no_evenly_spread_clips(tmp_path):
    path = tmp_path / "v.avi"
    write_video(path, 100, codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = extract(path, out=tmp_path / "out", weights=SMALL, clips=3)
    assert "broken at frame" in report.skipped[0].reason


def test_time_for_both_walks_is_one(uneven):
    extractor = Extractor(
        SMALL, plan=ClipPlan(length=LENGTH, clips=3), reading=Reading(video_seconds=1e-9)
    )
    with pytest.raises(VideoError, match="it takes longer than 1e-09 s"):
        extractor(uneven)


# --- other inputs, weights and files --------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures" / "v"
    folder.mkdir(parents=True)
    for number in range(1, 12):
        cv2.imwrite(str(folder / f"{number:06}.jpg"), draw_frame(number, 160, 120))
    return folder


def test_folders_of_pictures_have_numbers_and_no_times(pictures, uneven, tmp_path, capsys):
    extract(pictures, out=tmp_path / "clips", weights=SMALL, clips=3, crops=5)
    table = FeatureTable.load(tmp_path / "clips" / "v.safetensors")
    assert table.start_frame.tolist() == [1, 4, 8]  # the last holds 8 ... 11
    assert table.stop_frame.tolist() == [5, 8, 12]
    for name in ("fps", "every"):
        report = extract([pictures, uneven], out=tmp_path / name, weights=SMALL, **{name: 2})
        assert report.num_done == 1
        assert [one.reason for one in report.skipped] == [
            "a folder of pictures has no times, which `fps` and `every` need."
        ]
    (pictures / "000005.jpg").unlink()
    report = extract(pictures, out=tmp_path / "hole", weights=SMALL, clips=3)
    assert report.skipped[0].reason.startswith("broken at frame 5: 000005.jpg cannot be read")


def test_a_list_of_first_frames_chooses_where_clips_start(uneven, tmp_path, capsys):
    listing = tmp_path / "input.lst"
    listing.write_text(f"{uneven} 3 0\n{uneven} 20 0\n")
    for name, value in {"fps": 10, "clips": 3, "every": 2}.items():
        with pytest.raises(ValueError, match=f"`{name}` {value}: the list names the first frames"):
            extract(list=listing, out=tmp_path / "out", weights=SMALL, **{name: value})
    assert not (tmp_path / "out").exists()
    extract(list=listing, out=tmp_path / "out", weights=SMALL, mean=MEAN, crops=5)
    table = FeatureTable.load(tmp_path / "out" / "uneven.mp4.safetensors")
    assert table.start_frame.tolist() == [3, 20]
    images, _ = decoded(uneven)
    rows = [slow_row(images[start : start + LENGTH], 5) for start in (3, 20)]
    np.testing.assert_allclose(table.features, rows, rtol=1e-4, atol=1e-3)
    listing.write_text(f"{uneven} 3\n")  # a label: the whole video is named
    assert extract(list=listing, out=tmp_path / "all", weights=SMALL, clips=3).num_clips == 3


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_them(uneven, tmp_path, format):
    if FORMATS[format].module:
        pytest.importorskip(FORMATS[format].module)
    for number, sampling in enumerate(({"clips": 5, "crops": 5}, {"every": 0.3}, {"fps": 10})):
        options = {"weights": SMALL, "out": tmp_path / str(number), "format": format, **sampling}
        if (format, [*sampling]) == ("c3d", ["fps"]):
            with pytest.raises(ValueError, match="`fps` 10: files of the format c3d are named by"):
                extract(uneven, **options)
            continue
        assert extract(uneven, **options).num_done == 1
        got = FeatureTable.load(tmp_path / str(number) / f"uneven.mp4{FORMATS[format].ending}")
        plan = {name: value for name, value in sampling.items() if name != "crops"}
        plan = ClipPlan(length=LENGTH, **plan)
        expected = Extractor(SMALL, plan=plan, crops=sampling.get("crops", 1))(uneven)
        for name in ("features", *ROW_COLUMNS):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        assert got.about["settings"] == expected.about["settings"]
        assert extract(uneven, **options).num_found == 1


@pytest.mark.parametrize("crops", [1, 5, 10])
def test_imagenets_crops_are_those_of_the_middle_picture(uneven, picture_weights, crops):
    """240 rows of 320 become 256 of 341: corners of 224."""
    plan = ClipPlan(length=16, fps=10, clips=2)
    table = Extractor(picture_weights, plan=plan, crops=crops)(uneven)
    chosen, columns, expected = *slowly_chosen(uneven), []
    assert_columns(table, columns)
    images, _ = decoded(uneven)
    for one in chosen:
        image = cv2.resize(images[one[8]], (341, 256), interpolation=cv2.INTER_LINEAR)[..., ::-1]
        parts = []
        for top, left in [(16, 58), (0, 0), (0, 117), (32, 0), (32, 117)][: 5 if crops > 1 else 1]:
            part = image[top : top + 224, left : left + 224]
            parts += [part, part[:, ::-1]] if crops == 10 else [part]
        pixels = (np.stack(parts).transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128
        expected.append(PictureEngine(picture_weights).run(pixels).mean(axis=0))
    np.testing.assert_allclose(table.features, expected, rtol=1e-4, atol=1e-5)


def slowly_chosen(path):
    """The frames and columns of two clips of 16 at 10 a second."""
    _, times = decoded(path)
    count = next(k for k in range(1000) if k / 10 >= times[-1] - Fraction(1, 1000))
    places = [bisect_right(times[:-1], Fraction(k, 10) + Fraction(1, 1000)) - 1
              for k in range(count)]  # fmt: skip
    chosen = [places[:16], places[-16:]]
    return chosen, {
        "start_frame": [one[0] for one in chosen],
        "stop_frame": [one[-1] + 1 for one in chosen],
        "start_seconds": [float(times[one[0]]) for one in chosen],
        "stop_seconds": [float(times[one[-1] + 1]) for one in chosen],
        "num_padded_frames": [0, 0],
    }


def test_two_nets_take_the_same_crops_each_of_length_1(uneven, picture_weights):
    wide = random_weights(
        Network((3, 16, 16, 16), (MaxPool3d("pool1", (16, 4, 4)), Linear("fc6", 7))), name="wide"
    )
    plan = ClipPlan(every=1)
    both = Extractor([wide, picture_weights], plan=plan, crops=5, batch=10)(uneven)
    alone = [Extractor(one, plan=plan, crops=5)(uneven) for one in (wide, picture_weights)]
    rows = [one.features / np.linalg.norm(one.features, axis=1, keepdims=True) for one in alone]
    np.testing.assert_allclose(both.features, np.hstack(rows), rtol=1e-5)
    assert both.start_frame.tolist() == alone[0].start_frame.tolist() == [0, 7]
    assert both.about["settings"]["crops"] == 5


def test_corners_need_a_mean_of_whole_frames(uneven):
    centre = np.ascontiguousarray(MEAN[:, :, 1:17, 4:20])
    plan = ClipPlan(length=LENGTH)
    one, other = (Extractor(SMALL, plan=plan, mean=mean)(uneven) for mean in (MEAN, centre))
    np.testing.assert_array_equal(one.features, other.features)
    with pytest.raises(ValueError, match=r"`crops` 5: the mean is one of the centre alone"):
        Extractor(SMALL, plan=plan, mean=centre, crops=5)
    Extractor(SMALL, plan=plan, mean="1,2,3", crops=5)


# --- folders and wrong use ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "name", "value"),
    [
        ({"fps": 10}, "fps", "10.0"),
        ({"clips": 3}, "clips", "3"),
        ({"every": 1}, "every", "1.0"),
        ({"crops": 5}, "crops", "5"),
    ],
)
def test_samplings_do_not_mix_in_a_folder(uneven, tmp_path, sampling, name, value):
    for number, (first, second) in enumerate([(sampling, {}), ({}, sampling)]):
        out = tmp_path / str(number)
        extract(uneven, out=out, weights=SMALL, **first)
        none = "all" if name == "clips" else "not given"
        was, now = (value, none) if first else (none, value)
        with pytest.raises(ValueError, match=f"was made with {name} {was}, now it is {now}:"):
            extract(uneven, out=out, weights=SMALL, **second)
        assert extract(uneven, out=out, weights=SMALL, **first).num_found == 1


def test_a_folder_without_them_is_as_before(uneven, tmp_path):
    extract(uneven, out=tmp_path, weights=SMALL)
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert settings.keys() == {
        "architecture", "clips", "colours", "crop", "engine", "format", "keep_partial", "layer",
        "length", "mean", "pool5", "resize", "sampling_rate", "short", "stride", "weights_sha256",
    }  # fmt: skip
    assert (settings["clips"], settings["stride"]) == ("all", 8)
    assert extract(uneven, out=tmp_path, weights=SMALL, stride=8, crops=1).num_found == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--stride 8 --clips 4", "--stride 8 and --clips 4 both choose where clips start"),
        ("--stride 4 --every 2.5", "--stride 4 and --every 2.5 both choose where clips start"),
        ("--clips 4 --every 2", "--clips 4 and --every 2 both choose where clips start"),
        ("--fps 8 --sampling-rate 2", "--fps 8 and --sampling-rate 2 both choose the frames"),
        ("--fps 0", "--fps must be 0.001 to 1000 frames a second, got 0"),
        ("--clips 0", "--clips must be at least 1 clip, got 0"),
        ("--every 0", "--every must be 0.001 to 1e+06 seconds, got 0"),
        ("--fps 8 --format c3d", "--fps 8.0: files of the format c3d"),
        ("--clips 4 --keep-partial", "--clips 4 are spread over a whole video"),
        ("--crops 3", "3"),
    ],
)
def test_wrong_use_is_refused_in_one_line(uneven, tmp_path, capsys, flags, message):
    shutil.copy(uneven, tmp_path / "v.mp4")
    command = ["extract", str(tmp_path / "v.mp4"), "--out", str(tmp_path / "out"), *flags.split()]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_takes_them(uneven, tmp_path, capsys):
    SMALL.save(tmp_path / "small.safetensors")
    command = ["extract", str(uneven), "--weights", str(tmp_path / "small.safetensors")]
    flags = ["--fps", "10", "--clips", "40", "--crops", "10", "--out", str(tmp_path / "out")]
    assert main([*command, *flags]) == 0
    captured = capsys.readouterr()
    table = FeatureTable.load(tmp_path / "out" / "uneven.mp4.safetensors")
    assert "1 video (uneven.mp4 (28)) too short for 40 different clips" in captured.err
    assert len(table) == 28


def test_the_commands_of_the_document_do_what_they_say(uneven, tmp_path, capsys):
    text = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    commands = [line.split()[1:] for line in text.splitlines() if line.startswith("kinema ")]
    found = {}
    for words in commands:
        out = tmp_path / words[words.index("--out") + 1]
        words = [{"videos": str(uneven), out.name: str(out)}.get(word, word) for word in words]
        assert main(words) == 0
        table = FeatureTable.load(out / "uneven.mp4.safetensors")
        found[out.name] = (table.start_frame.tolist(), table.stop_frame.tolist()[-1])
    *times, _ = decoded(uneven)[1]
    last = len(times) - 16
    assert found["features-ten"] == ([k * last // 9 for k in range(10)], len(times))
    assert found["features-seconds"] == ([0], 16)  # the next, at 2 s, is no whole clip
    assert found["features-crops"] == ([0, 8], 24)
    assert found["features-fps"][0][:2] == [0, bisect_right(times, Fraction(8, 25)) - 1]
    assert len(found["features-all"][0]) == 5


def test_wrong_crops_are_refused(uneven, tmp_path):
    with pytest.raises(ValueError, match="`crops` must be one of 1, 5, 10; got 3"):
        extract(uneven, out=tmp_path / "out", weights=SMALL, crops=3)
    assert not (tmp_path / "out").exists()
