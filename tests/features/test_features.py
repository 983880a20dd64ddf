"""Extraction from end to end: rows, resuming, bad videos, lists, formats."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import kinema
from kinema import files
from kinema import network as networks
from kinema.engine import reference
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.features.table_files import FORMATS
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.skipped import Skipped
from kinema.video.clips import preprocess
from kinema.video.reader import VideoReader
from kinema.weights.file import Weights, random_weights

from odd_videos import draw_frame, write_video

# Seconds matter here, not features: one thin convolution.
TINY = random_weights(
    Network(
        (3, 16, 112, 112),
        (Conv3d("conv1a", 2), MaxPool3d("pool1", (4, 16, 16)), Linear("fc6", 7)),
    ),
    name="tiny",
)


@pytest.fixture
def videos(tmp_path):
    """Four videos in two folders, of 40, 16, 17 and 24 frames."""
    folder = tmp_path / "videos"
    for name, count in [("a/v1.avi", 40), ("a/v2.mp4", 16), ("b/v1.avi", 17), ("b/c/v3.mp4", 24)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_video(folder / name, count, codec=codec)
    return folder


def run(paths, out, **options):
    return extract(paths, out=out, **{"weights": TINY, **options})


def skipped(out):
    path = Path(out) / "skipped.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_same_folders(one: Path, two: Path):
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (one, two)]
    assert files[0] == files[1]
    _, mismatch, errors = filecmp.cmpfiles(one, two, [str(f) for f in files[0]], shallow=False)
    assert not mismatch
    assert not errors


# --- rows -----------------------------------------------------------------------------------------


def test_rows_names_and_times(videos, tmp_path):
    report = run([videos], tmp_path / "out")
    assert (report.num_videos, report.num_done, report.num_clips) == (4, 4, 4 + 1 + 1 + 2)
    table = FeatureTable.load(tmp_path / "out" / "a" / "v1.avi.safetensors")
    assert table.features.shape == (4, 7)
    assert table.start_frame.tolist() == [0, 8, 16, 24]
    assert table.stop_frame.tolist() == [16, 24, 32, 40]
    np.testing.assert_allclose(table.start_seconds, np.array([0, 8, 16, 24]) / 25)
    np.testing.assert_allclose(table.stop_seconds, np.array([16, 24, 32, 40]) / 25)
    assert table.about["video"] == "a/v1.avi"
    assert table.about["settings"]["weights_sha256"] == TINY.sha256
    assert (tmp_path / "out" / "b" / "c" / "v3.mp4.safetensors").is_file()
    assert not skipped(tmp_path / "out")


def test_features_are_the_references_on_opencvs_frames(videos, tmp_path):
    """Nothing of ours but the network's formula: OpenCV decodes, resizes and crops."""
    run([videos / "a" / "v1.avi"], tmp_path / "out", stride=12)
    table = FeatureTable.load(tmp_path / "out" / "v1.avi.safetensors")
    capture = cv2.VideoCapture(str(videos / "a" / "v1.avi"))
    images = [capture.read()[1] for _ in range(40)]
    clips = []
    for start in (0, 12, 24):
        small = np.stack([cv2.resize(i, (171, 128)) for i in images[start : start + 16]])
        clip = small.astype(np.float64).transpose(3, 0, 1, 2) - 128
        clips.append(clip[:, :, 8:120, 29:141])
    expected = reference.run(TINY.network, TINY, np.stack(clips), ("fc6",))["fc6"]
    assert (expected > 0).any()
    np.testing.assert_allclose(table.features, expected, rtol=2e-5, atol=1e-3)


def test_short_videos_are_padded_or_skipped(tmp_path):
    write_video(tmp_path / "short.mp4", 5)
    run([tmp_path / "short.mp4"], tmp_path / "padded")
    table = FeatureTable.load(tmp_path / "padded" / "short.mp4.safetensors")
    assert table.num_padded_frames.tolist() == [11]
    assert table.stop_frame.tolist() == [5]
    run([tmp_path / "short.mp4"], tmp_path / "skipped", short="skip")
    assert "5 frames" in skipped(tmp_path / "skipped")[0]["reason"]


def test_batches_do_not_change_rows(tmp_path):
    """Videos of 1, 2 and 17 clips, in both orders: the tables' bytes are the same."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, count in [("one", 16), ("two", 25), ("seventeen", 16 + 16 * 8)]:
        write_video(folder / f"{name}.mp4", count)
    weights = random_weights(networks.c3d_mini(2, input_shape=(3, 16, 56, 56)), name="mini")
    paths = sorted(folder.iterdir())
    for batch in (1, 3, 8):
        run(paths, tmp_path / str(batch), batch=batch, weights=weights)
    run(paths[::-1], tmp_path / "back", weights=weights)
    for other in ("3", "8", "back"):
        assert_same_folders(tmp_path / "1", tmp_path / other)
    table = FeatureTable.load(tmp_path / "1" / "seventeen.mp4.safetensors")
    assert len(table) == 17
    assert len(np.unique(table.features, axis=0)) == 17


def test_a_layer_with_axes_is_flattened(videos, tmp_path):
    run([videos / "a" / "v2.mp4"], tmp_path / "out", layer="pool1")
    table = FeatureTable.load(tmp_path / "out" / "v2.mp4.safetensors")
    assert table.about["layer_shape"] == [2, 4, 7, 7]
    images = [frame.image for frame in VideoReader(videos / "a" / "v2.mp4")]
    clip = preprocess(images, mean=TINY.mean)[None]
    expected = reference.run(TINY.network, TINY, clip, ("pool1",))["pool1"]
    np.testing.assert_allclose(table.features, expected.reshape(1, -1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(videos, tmp_path, format):
    if FORMATS[format].module:
        pytest.importorskip(FORMATS[format].module)
    run([videos], tmp_path / "out", format=format)
    run([videos], tmp_path / "plain")
    got = FeatureTable.load(tmp_path / "out" / f"a/v1.avi{FORMATS[format].ending}")
    expected = FeatureTable.load(tmp_path / "plain" / "a/v1.avi.safetensors")
    np.testing.assert_array_equal(got.features, expected.features)
    assert run([videos], tmp_path / "out", format=format).num_found == 4


def test_the_default_is_the_mini_network(videos, tmp_path):
    kinema.extract(videos / "a" / "v2.mp4", out=tmp_path / "out")
    table = kinema.FeatureTable.load(tmp_path / "out" / "v2.mp4.safetensors")
    assert table.features.shape == (1, 512)
    assert table.about["weights"] == "c3d-mini"
    assert table.about["trained"] is True


def test_a_folder_of_the_former_default_says_what_its_weights_are_called_now(videos, tmp_path):
    """They were random numbers, and called c3d-mini."""
    out, video = tmp_path / "out", videos / "a" / "v2.mp4"
    kinema.extract(video, out=out, weights="c3d-mini-random:1")
    content = json.loads((out / "run.json").read_text())
    content["weights"]["name"] = "c3d-mini:1"
    (out / "run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"\(c3d-mini-random:1, as it is called now\)"):
        kinema.extract(video, out=out)
    assert kinema.extract(video, out=out, weights="c3d-mini-random:1").skipped == []


# --- stopping and going on ------------------------------------------------------------------------


def test_a_second_run_does_nothing(videos, tmp_path):
    run([videos], tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.safetensors")}
    report = run([videos], tmp_path / "out")
    assert (report.num_done, report.num_found, report.num_clips) == (0, 4, 0)
    assert {p: p.stat().st_mtime_ns for p in before} == before


COMMAND = "import sys; from kinema.cli import main; sys.exit(main(sys.argv[1:]))"


def start(arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def long_job(tmp_path):
    """Twenty videos, one of them broken, and weights that take a second or two for them."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "v00.mp4", 40)
    for index in range(1, 20):
        shutil.copy(tmp_path / "videos" / "v00.mp4", tmp_path / "videos" / f"v{index:02}.mp4")
    (tmp_path / "videos" / "v05.mp4").write_bytes(b"broken")
    weights = tmp_path / "w.safetensors"
    random_weights(networks.c3d_mini(2, input_shape=(3, 16, 56, 56)), name="mini").save(weights)
    return ["extract", tmp_path / "videos", "--weights", weights, "--out"]


def wait_for_tables(out, count):
    deadline = time.monotonic() + 120
    while len(list(Path(out).glob("*.safetensors"))) < count:
        assert time.monotonic() < deadline, "no tables came"
        time.sleep(0.01)


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(long_job, tmp_path):
    assert start([*long_job, tmp_path / "whole"]).wait() == 1  # one video is skipped
    for count in (1, 8):
        process = start([*long_job, tmp_path / "killed"])
        wait_for_tables(tmp_path / "killed", count)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = len(list((tmp_path / "killed").glob("*.safetensors")))
    assert 8 <= left < 19
    process = start([*long_job, tmp_path / "killed"])
    output, _ = process.communicate()
    assert f"{19 - left} of 20 videos extracted, {left} were there" in output
    assert_same_folders(tmp_path / "whole", tmp_path / "killed")


def test_ctrl_c_stops_with_130_and_one_line(long_job, tmp_path):
    def as_in_a_terminal():  # a shell's background jobs ignore Ctrl-C, and tests may be one
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = start([*long_job, tmp_path / "out"], preexec_fn=as_in_a_terminal)
    wait_for_tables(tmp_path / "out", 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "goes on from here" in errors
    assert len(list((tmp_path / "out").glob("*.safetensors"))) >= 2
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.endswith("-partial")]


def test_leftovers_of_a_killed_write_are_removed(videos, tmp_path):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    *name, host, _, _, _ = files.partial_name("v1.avi.safetensors").split(".")
    assert name == ["", "v1", "avi", "safetensors"]
    parent = os.getppid()

    def left_by(host, process, *, days=0.0):
        path = out / "a" / f".v1.avi.safetensors.{host}.{process}.0123456789ab.kinema-partial"
        path.write_bytes(b"half a table")
        os.utime(path, (time.time() - days * 86400,) * 2)
        return path

    started = files._started(parent)
    gone = [
        left_by(host, f"{dead.pid}-1"),
        left_by(host, f"{parent}-{started + 1}"),  # its number is another process's now
        left_by("elsewhere-4026531836", f"{dead.pid}-1", days=8),
        left_by(f"{host}x", f"{dead.pid}", days=8),  # as versions before named them
    ]
    kept = [
        left_by(host, f"{parent}-{started}"),
        left_by("another-4026531836", f"{dead.pid}-1", days=6),
        left_by(f"{host}y", f"{dead.pid}"),
    ]
    (out / ".mine.partial").mkdir()
    run([videos], out)
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in kept)
    assert (out / ".mine.partial").is_dir()


def test_a_full_disk_stops_with_one_line_and_keeps_what_is_done(long_job, tmp_path):
    import resource

    def small_files():  # a limit on file sizes fails writes as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    process = start([*long_job, tmp_path / "out"], preexec_fn=small_files)
    _, errors = process.communicate()
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").rglob("*-partial"))
    assert start([*long_job, tmp_path / "out"]).wait() == 1
    start([*long_job, tmp_path / "whole"]).wait()
    assert_same_folders(tmp_path / "whole", tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("stride", 4),
        ("layer", "pool1"),
        ("sampling_rate", 2),
        ("short", "skip"),
        ("mean", "1,2,3"),
        ("keep_partial", True),
        ("format", "npy"),
        ("weights", random_weights(TINY.network, seed=1)),
    ],
)
def test_other_settings_are_refused_by_name(videos, tmp_path, option, value):
    run([videos], tmp_path / "out")
    name = "weights_sha256" if option == "weights" else option
    with pytest.raises(ValueError, match=f"was made with {name} "):
        run([videos], tmp_path / "out", **{option: value})


def test_another_video_of_the_same_name_is_not_taken_for_done(videos, tmp_path):
    run([videos / "a" / "v1.avi"], tmp_path / "out")
    run([videos / "b" / "v1.avi"], tmp_path / "out")
    assert "holds features of another video" in skipped(tmp_path / "out")[0]["reason"]


def test_three_parts_of_a_list_in_one_folder_at_once(long_job, tmp_path):
    """One of them is killed and run again: the same files as one run, also of a shared root."""
    videos, options = long_job[1], long_job[2:]
    (videos / "deep").mkdir()
    for index in range(14, 20):
        (videos / f"v{index}.mp4").rename(videos / "deep" / f"v{index}.mp4")
    (videos / "v08.mp4").write_text("broken too")
    names = [*sorted(map(str, videos.glob("*.mp4"))), *sorted(map(str, videos.glob("*/*.mp4")))]
    command = ["extract", "--root", videos, *options]
    commands = []
    for part in (names, names[:6], names[6:14], names[14:]):  # the last lie in one folder
        listed = tmp_path / f"{len(commands)}.txt"
        listed.write_text("\n".join(part))
        commands.append([*command[:1], "--list", listed, *command[1:]])
    assert start([*commands[0], tmp_path / "whole"]).wait() == 1
    out = tmp_path / "parts"
    first, *others = [start([*one, out]) for one in commands[1:]]
    deadline = time.monotonic() + 120
    while not [path for path in out.rglob("v0*.safetensors") if path.stem < "v06"]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    first.kill()
    first.wait()
    assert [one.wait() for one in others] == [1, 0]
    assert start([*commands[1], out]).wait() == 1
    assert_same_folders(tmp_path / "whole", out)


def test_lines_of_several_processes_are_whole(tmp_path):
    """Each appends while it is the only one; what a killed one broke off is no part of a line."""
    (tmp_path / "x.jsonl").write_text('{"path": "bro')
    code = (
        "import sys; from pathlib import Path; from kinema.files import append_line, exclusively\n"
        "folder = Path(sys.argv[1])\n"
        "for number in range(50):\n"
        "    with exclusively(folder):\n"
        "        append_line(folder / 'x.jsonl', f'{sys.argv[2]} {number} ' + 'x' * 5000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, str(index)]) for index in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    broken, *lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert broken == '{"path": "bro'
    wanted = {f"{index} {number} " + "x" * 5000 for index in range(3) for number in range(50)}
    assert len(lines) == 150
    assert set(lines) == wanted


def test_two_runs_do_not_share_a_folder(videos, tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    out.mkdir()
    import fcntl

    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="in use by another run"):
        run([videos], out)
    os.close(descriptor)
    run([videos], out)


def test_out_that_is_a_file_is_refused(videos, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ValueError, match="a folder is needed"):
        run([videos], tmp_path / "out")
    with pytest.raises(ValueError, match="a folder is needed"):
        run([videos], tmp_path / "out" / "below")


def test_rows_never_take_the_place_of_run_json(videos, tmp_path):
    shutil.copy(videos / "a" / "v1.avi", tmp_path / "run")
    with pytest.raises(ValueError, match="a video called `run`"):
        run([tmp_path / "run"], tmp_path / "out", format="npy")
    assert run([tmp_path / "run"], tmp_path / "out").num_done == 1


def test_a_damaged_table_is_made_anew(videos, tmp_path):
    run([videos], tmp_path / "out")
    table = tmp_path / "out" / "a" / "v1.avi.safetensors"
    before = table.read_bytes()
    table.write_bytes(before[:1000])
    report = run([videos], tmp_path / "out")
    assert (report.num_done, report.num_found) == (1, 3)
    assert table.read_bytes() == before


def test_a_video_that_changes_while_it_is_read_is_skipped(videos, tmp_path, monkeypatch):
    path = videos / "a" / "v1.avi"
    batches = Extractor.batches

    def overwritten(self, source, info, frames):
        yield from batches(self, source, info, frames)
        path.write_bytes(path.read_bytes() + b"more")

    monkeypatch.setattr(Extractor, "batches", overwritten)
    report = run([path], tmp_path / "out")
    assert report.skipped == [Skipped(str(path), "it was changed while it was read.")]


def test_other_versions_are_noted(videos, tmp_path):
    run([videos], tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    content = json.loads(path.read_text())
    content["versions"]["opencv"] = "2.4.0"
    path.write_text(json.dumps(content))
    (note,) = run([videos], tmp_path / "out").notes
    assert "begun with opencv 2.4.0" in note


def test_a_foreign_run_json_is_refused(videos, tmp_path):
    (tmp_path / "out").mkdir()
    for content in ("[]", '{"settings": []}', "{", '{"settings": {}, "versions": 3}'):
        (tmp_path / "out" / "run.json").write_text(content)
        with pytest.raises(ValueError, match="not of a run of this kind"):
            run([videos], tmp_path / "out")


# --- bad videos -----------------------------------------------------------------------------------


def cut(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def test_bad_videos_cost_one_line_and_the_run_goes_on(videos, tmp_path):
    (videos / "a" / "v0.mp4").write_text("this is text")
    (videos / "b" / "empty.avi").touch()
    report = run([videos], tmp_path / "out")
    assert report.num_done == 4
    assert [entry["path"] for entry in skipped(tmp_path / "out")] == [
        str(videos / name) for name in ("a/v0.mp4", "b/empty.avi")
    ]
    assert [entry.as_mapping() for entry in report.skipped] == skipped(tmp_path / "out")
    assert all(entry["reason"] and "\n" not in entry["reason"] for entry in report.skipped)


def test_skipped_videos_are_tried_again(videos, tmp_path):
    good = (videos / "a" / "v1.avi").read_bytes()
    (videos / "a" / "v1.avi").write_bytes(b"not yet")
    run([videos], tmp_path / "out")
    run([videos], tmp_path / "out")
    assert len(skipped(tmp_path / "out")) == 1
    (videos / "a" / "v1.avi").write_bytes(good)
    assert run([videos], tmp_path / "out").num_done == 1
    assert skipped(tmp_path / "out") == []


def test_a_broken_video_is_skipped_with_its_frame_or_kept_in_part(tmp_path):
    write_video(tmp_path / "v.avi", 100, codec="mpeg4")
    cut(tmp_path / "v.avi", 0.5)
    run([tmp_path / "v.avi"], tmp_path / "strict")
    (entry,) = skipped(tmp_path / "strict")
    frame = int(entry["reason"].split("broken at frame ")[1].split(":")[0])
    assert 40 <= frame <= 60
    report = run([tmp_path / "v.avi"], tmp_path / "kept", keep_partial=True)
    assert report.partial == ["v.avi"]
    assert not skipped(tmp_path / "kept")
    table = FeatureTable.load(tmp_path / "kept" / "v.avi.safetensors")
    assert table.about["partial"]["frame"] == frame
    assert len(table) == (frame - 16) // 8 + 1
    assert table.stop_frame.max() <= frame
    whole = tmp_path / "whole"
    write_video(tmp_path / "v.avi", 100, codec="mpeg4")
    run([tmp_path / "v.avi"], whole)
    expected = FeatureTable.load(whole / "v.avi.safetensors").features[: len(table)]
    np.testing.assert_allclose(table.features, expected, rtol=1e-5, atol=1e-4)


def test_a_video_that_breaks_before_its_first_clip_is_skipped_all_the_same(tmp_path):
    write_video(tmp_path / "v.avi", 100, codec="mpeg4")
    cut(tmp_path / "v.avi", 0.1)
    run([tmp_path / "v.avi"], tmp_path / "out", keep_partial=True)
    assert "broken at frame" in skipped(tmp_path / "out")[0]["reason"]


def test_names_with_spaces_and_unicode(tmp_path):
    folder = tmp_path / "vidéos of mine"
    folder.mkdir()
    for name in ["ü ñ 视频.mp4", "-dash.mp4", "a:b.mp4", "100%.mp4", "it's.mp4"]:
        write_video(folder / name, 16)
    report = run([folder], tmp_path / "out")
    assert report.num_done == 5
    assert (tmp_path / "out" / "ü ñ 视频.mp4.safetensors").is_file()


def test_a_name_that_is_too_long_costs_one_line(videos, tmp_path):
    shutil.copy(videos / "a" / "v1.avi", videos / "a" / ("n" * 245 + ".avi"))
    report = run([videos, "/" + "p" * 300], tmp_path / "out")
    assert report.num_done == 4
    assert [entry["path"][-6:] for entry in report.skipped] == ["nn.avi", "pppppp"]
    assert all("too long" in entry["reason"] for entry in report.skipped)


@pytest.mark.parametrize("format", FORMATS)
def test_names_that_are_not_utf8(videos, tmp_path, format):
    if FORMATS[format].module:
        pytest.importorskip(FORMATS[format].module)
    name = os.fsdecode(b"caf\xe9.avi")
    shutil.copy(videos / "a" / "v1.avi", tmp_path / name)
    assert run([tmp_path / name], tmp_path / "out", format=format).num_done == 1
    table = FeatureTable.load(tmp_path / "out" / f"{name}{FORMATS[format].ending}")
    assert table.about["video"] == name


# --- which videos ---------------------------------------------------------------------------------


def test_a_folder_of_pictures_is_one_video(tmp_path):
    folder = tmp_path / "frames" / "v_one"
    folder.mkdir(parents=True)
    for number in range(1, 25):
        image = cv2.cvtColor(draw_frame(number, 160, 120), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{number:06}.jpg"), image)
    for given in (folder, tmp_path / "frames"):
        out = tmp_path / f"out-{given.name}"
        run([given], out)
        table = FeatureTable.load(out / "v_one.safetensors")
        assert table.start_frame.tolist() == [1, 9]  # pictures are numbered from 1
        assert table.stop_frame.tolist() == [17, 25]
        assert np.isnan(table.start_seconds).all()


def test_a_list_of_paths(videos, tmp_path):
    listing = tmp_path / "videos.txt"
    listing.write_text(f"{videos}/a/v1.avi\n\n{videos}/nowhere.avi\n{videos}/b/v1.avi\n")
    report = run([], tmp_path / "out", list=listing)
    assert report.num_done == 2
    (entry,) = skipped(tmp_path / "out")
    assert entry["path"] == str(videos / "nowhere.avi")
    assert entry["reason"] == "no such file."


def test_a_list_of_the_original(videos, tmp_path):
    listing = videos / "input.lst"  # relative to the list
    listing.write_text("a/v1.avi 16 0\na/v1.avi 0 0\nb/c/v3.mp4 8 3\na/v1.avi 17 0\n")
    run([], tmp_path / "out", list=listing)
    table = FeatureTable.load(tmp_path / "out" / "a/v1.avi.safetensors")
    assert table.start_frame.tolist() == [16, 0, 17]
    run([videos], tmp_path / "all")
    every = FeatureTable.load(tmp_path / "all" / "a/v1.avi.safetensors")
    np.testing.assert_allclose(table.features[:2], every.features[[2, 0]], rtol=1e-5, atol=1e-4)
    assert run([], tmp_path / "out", list=listing).num_found == 2
    listing.write_text("a/v1.avi 8 0\nb/c/v3.mp4 8 3\n")
    report = run([], tmp_path / "out", list=listing)
    assert "other clips than the list" in report.skipped[0]["reason"]


def test_a_list_may_name_a_clip_twice(videos, tmp_path):
    listing = tmp_path / "input.lst"
    listing.write_text(f"{videos}/a/v1.avi 8 0\n" * 2 + f"{videos}/a/v1.avi 0 0\n")
    run([], tmp_path / "out", list=listing, format="c3d")
    table = FeatureTable.load(tmp_path / "out" / "v1.avi")
    assert table.start_frame.tolist() == [8, 8, 0]
    assert run([], tmp_path / "out", list=listing, format="c3d").num_found == 1


def test_a_listed_video_that_broke_is_found_done(tmp_path):
    write_video(tmp_path / "v.avi", 100, codec="mpeg4")
    cut(tmp_path / "v.avi", 0.5)
    listing = tmp_path / "input.lst"
    listing.write_text("".join(f"{tmp_path}/v.avi {start} 0\n" for start in (80, 0, 4)))
    options = {"list": listing, "keep_partial": True}
    assert run([], tmp_path / "out", **options).partial == ["v.avi"]
    assert FeatureTable.load(tmp_path / "out" / "v.avi.safetensors").start_frame.tolist() == [0, 4]
    assert run([], tmp_path / "out", **options).num_found == 1


@pytest.mark.parametrize(
    "line",
    ["\ufeff{v}", "{v} 7", "{v}\t7", "{v}\r", "  {v}  "],
    ids=["bom", "label", "tab", "cr", "sp"],
)
def test_forms_of_list_lines(videos, tmp_path, line):
    listing = tmp_path / "l.txt"
    listing.write_text(line.format(v=videos / "a" / "v2.mp4") + "\n", encoding="utf-8", newline="")
    report = run([], tmp_path / "out", list=listing)
    assert (report.num_done, report.skipped) == (1, [])


def test_a_list_can_come_through_a_pipe(videos, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    line = f"{videos}/a/v2.mp4\n"
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(line,))
    writer.start()
    assert run([], tmp_path / "out", list=tmp_path / "pipe").num_done == 1
    writer.join()


def test_one_picture_beside_videos_does_not_hide_them(videos, tmp_path):
    (videos / "a" / "123456.jpg").write_bytes(b"a photo")
    (videos / "a" / "._v1.avi").write_bytes(b"what macOS leaves behind")
    report = run([videos], tmp_path / "out")
    assert (report.num_done, report.skipped) == (4, [])


def test_a_listed_clip_that_does_not_fit_is_said(videos, tmp_path):
    listing = tmp_path / "input.lst"
    listing.write_text(f"{videos}/a/v1.avi 25 0\n")
    report = run([], tmp_path / "out", list=listing)
    assert report.skipped[0]["reason"] == (
        "a clip from frame 25 needs frames up to 40, but the last frame is 39."
    )


def test_a_table_of_labels_is_no_list(videos, tmp_path):
    table = tmp_path / "few.csv"
    table.write_text(f"path,label\n{videos}/a/v1.avi,a\n")
    with pytest.raises(ValueError, match=r"few\.csv is a table with the columns path,label: "):
        run([], tmp_path / "out", list=table)


def test_a_listed_name_may_end_in_numbers(tmp_path):
    write_video(tmp_path / "v.mp4", 16)
    shutil.move(tmp_path / "v.mp4", tmp_path / "v 1 2")
    (tmp_path / "l.txt").write_text(f"{tmp_path}/v 1 2\n")
    assert run([], tmp_path / "out", list=tmp_path / "l.txt").num_done == 1


def test_links_that_lead_back_are_not_followed_for_ever(videos, tmp_path):
    (videos / "b" / "again").symlink_to(videos)
    (videos / "b" / "gone.mp4").symlink_to(videos / "nothing")
    report = run([videos], tmp_path / "out")
    assert report.num_done == 4
    assert [entry["reason"] for entry in report.skipped] == ["no such file."]


@pytest.mark.parametrize(
    ("paths", "options", "error", "message"),
    [
        ([], {}, ValueError, "`paths` must name at least one video or folder"),
        (["EMPTY"], {}, ValueError, "no video found in .*EMPTY"),
        (["a"], {"list": "no.txt"}, FileNotFoundError, "no.txt: no such file"),
        (["a"], {"layer": "fc9"}, ValueError, "`layer` must be one of conv1a"),
        (["a"], {"stride": 0}, ValueError, "`stride` must be at least 1 frame, got 0"),
        (["a"], {"batch": 0}, ValueError, "`batch` must be at least 1"),
        (["a"], {"format": "mat"}, ValueError, "`format` must be one of"),
        (["a"], {"max_skipped": -1}, ValueError, "`max_skipped`"),
        (
            ["a"],
            {"weights": "nothing"},
            FileNotFoundError,
            "'nothing' is neither a file nor",
        ),
        (["a"], {"mean": "1,2"}, FileNotFoundError, "'1,2' is neither"),
        (["a"], {"mean": np.zeros((3, 8, 128, 171))}, ValueError, "`mean` must be"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_done(tmp_path, paths, options, error, message):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "a").touch()
    with pytest.raises(error, match=message):
        run([tmp_path / path for path in paths], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_weights_without_a_mean_are_refused_until_one_is_given(videos, tmp_path):
    bare = Weights(TINY.arrays, TINY.network, name="bare")
    with pytest.raises(ValueError, match="'bare' carry no mean.*give `mean`"):
        run([videos], tmp_path / "out", weights=bare)
    run([videos], tmp_path / "out", weights=bare, mean="128,128,128")
    run([videos], tmp_path / "own")
    one, two = (
        FeatureTable.load(tmp_path / out / "a/v1.avi.safetensors") for out in ("out", "own")
    )
    np.testing.assert_array_equal(one.features, two.features)


def test_a_mean_volume_replaces_the_weights_own(videos, tmp_path):
    mean = np.random.default_rng(0).random((3, 16, 128, 171), np.float32) * 200
    np.savez(tmp_path / "mean.npz", mean=mean)
    table = Extractor(TINY, mean=tmp_path / "mean.npz")(videos / "a" / "v2.mp4")
    images = [frame.image for frame in VideoReader(videos / "a" / "v2.mp4")]
    clip = preprocess(images, mean=mean)[None]
    expected = reference.run(TINY.network, TINY, clip, ("fc6",))["fc6"]
    np.testing.assert_allclose(table.features, expected, rtol=1e-5, atol=1e-3)
