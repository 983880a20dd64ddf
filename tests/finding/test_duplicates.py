"""Duplicates: copies made here are found with their times; other moments of a scene are not."""

from __future__ import annotations

import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest

import kinema
from kinema.cli.app import main
from kinema.finding import alignment
from kinema.finding.alignment import Changes, Segment, best_offsets, segments
from kinema.finding.answer import row_values
from kinema.finding.candidates import edges
from kinema.finding.duplicates import Pair, _kind
from kinema.finding.footage import footage
from kinema.finding.matching import Match, enough
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_video

import odd_videos


def film(seed: int, seconds: float = 6, motion: int | None = None) -> list[np.ndarray]:
    """A fixed scene by `seed`; three balls whose way is by `motion`, never the same again."""
    coarse = np.random.default_rng(seed).integers(40, 200, (9, 12, 3), np.uint8)
    scene = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
    generator = np.random.default_rng([seed if motion is None else motion, 1])
    count = int(25 * seconds)
    ways = [
        np.cumsum(cv2.blur(generator.normal(0, 12, (count, 2)), (1, 9)), axis=0)
        + generator.uniform(20, 100, 2)
        for _ in range(3)
    ]
    frames = []
    for index in range(count):
        frame = scene.copy()
        for number, way in enumerate(ways):
            x, y = way[index]
            centre = int(abs(x) % 160), int(abs(y) % 120)
            cv2.circle(frame, centre, 14, (240, 30 + 60 * number, 60), -1)
        frames.append(frame)
    return frames


def coarsely(image, quality=12):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


CHANGES = {
    "coarse": coarsely,
    "small": lambda image: cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA),
    "wide": lambda image: cv2.resize(image, (216, 120)),
    "bright": lambda image: np.clip(image * 1.2 + 25, 0, 255).astype(np.uint8),
    "dark": lambda image: (image * 0.7).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "bordered": lambda image: cv2.copyMakeBorder(image, 10, 10, 40, 40, cv2.BORDER_CONSTANT),
    "cropped": lambda image: image[6:-6, 8:-8],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def rows_of(found):
    return {(row.first.split("/")[-1], row.second.split("/")[-1]): row for row in found.rows}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(tmp_path, cache, name):
    frames = film(1)
    write_video(tmp_path / "a.mp4", frames)
    write_video(tmp_path / "b.mp4", [CHANGES[name](frame) for frame in frames])
    write_video(tmp_path / "c.mp4", film(2))
    found = kinema.duplicates(tmp_path, cache=cache)
    (row,) = found.rows
    assert (row.first, row.second) == (str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"))
    assert row.kind == "copy"
    assert row.mirrored == (name == "mirrored")
    times = (row.first_start_seconds, row.second_start_seconds)
    assert times == pytest.approx((0, 0), abs=0.2)
    assert (row.first_stop_seconds, row.second_stop_seconds) == pytest.approx((6, 6), abs=0.2)
    assert found.groups == ((row.first, row.second),)


def test_times_of_cuts(tmp_path, cache):
    """A part, a piece taken out of the middle, and an opening and an end put around."""
    frames = film(3, 10)
    write_video(tmp_path / "a.mp4", frames)
    write_video(tmp_path / "part.mp4", frames[83:185])
    found = rows_of(kinema.duplicates([tmp_path / "a.mp4", tmp_path / "part.mp4"], cache=cache))
    row = found["a.mp4", "part.mp4"]
    assert row.kind == "part"
    assert (row.first_start_seconds, row.first_stop_seconds) == pytest.approx((3.32, 7.4), abs=0.2)
    assert (row.second_start_seconds, row.second_stop_seconds) == pytest.approx((0, 4.08), abs=0.2)

    write_video(tmp_path / "around.mp4", [*film(7, 2), *frames, *film(8, 3)])
    found = rows_of(kinema.duplicates([tmp_path / "a.mp4", tmp_path / "around.mp4"], cache=cache))
    row = found["a.mp4", "around.mp4"]
    assert row.kind == "part"
    assert (row.first_start_seconds, row.first_stop_seconds) == pytest.approx((0, 10), abs=0.2)
    assert (row.second_start_seconds, row.second_stop_seconds) == pytest.approx((2, 12), abs=0.2)

    write_video(tmp_path / "cut.mp4", [*frames[:100], *frames[150:]])
    rows = kinema.duplicates([tmp_path / "a.mp4", tmp_path / "cut.mp4"], cache=cache).rows
    times = sorted((row.first_start_seconds, row.first_stop_seconds) for row in rows)
    assert np.ravel(times) == pytest.approx([0, 4, 6, 10], abs=0.25)
    times = sorted((row.second_start_seconds, row.second_stop_seconds) for row in rows)
    assert np.ravel(times) == pytest.approx([0, 4, 4, 8], abs=0.25)
    assert {row.kind for row in rows} == {"part"}


def test_the_same_scene_with_other_motion_is_no_duplicate(tmp_path, cache):
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", film(4, motion=number))
    write_video(tmp_path / "copy.mp4", [coarsely(frame) for frame in film(4, motion=1)])
    found = kinema.duplicates(tmp_path, scenes=True, cache=cache)
    assert rows_of(found).keys() == {("1.mp4", "copy.mp4")}
    assert len(found.scenes) == 5  # of six pairs of one scene
    assert {scene.group for scene in found.scenes} == {1}
    assert kinema.duplicates(tmp_path, cache=cache).scenes == ()


def test_still_videos_are_the_same_where_pixels_are(tmp_path, cache):
    picture = film(5)[0]
    changed = picture.copy()
    changed[40:80, 60:100] = 255 - changed[40:80, 60:100]
    write_video(tmp_path / "a.mp4", [picture] * 75)
    write_video(tmp_path / "b.mp4", [coarsely(picture, 60)] * 75)
    write_video(tmp_path / "c.mp4", [changed] * 75)
    assert rows_of(kinema.duplicates(tmp_path, cache=cache)).keys() == {("a.mp4", "b.mp4")}


def test_the_same_bytes_links_and_hostile_names(tmp_path, cache, capsys):
    write_video(tmp_path / "v" / "=1+1.mp4", film(6, 2))
    names = ["a\nb.mp4", "'\"$(x).mp4", os.fsdecode(b"\xff\xfe.mp4")]
    for name in names:
        shutil.copy(tmp_path / "v" / "=1+1.mp4", tmp_path / "v" / name)
    os.link(tmp_path / "v" / "=1+1.mp4", tmp_path / "v" / "zz.mp4")
    found = kinema.duplicates(tmp_path / "v", cache=cache)
    assert [row.score for row in found.rows] == [1.0] * 3
    assert len(found.groups[0]) == 4
    assert all(os.path.exists(path) for path in found.groups[0])
    assert any("zz.mp4" in note for note in found.notes)
    out = tmp_path / "out.csv"
    arguments = [str(tmp_path / "v"), "--cache", str(cache), "--csv", str(out)]
    assert main(["duplicates", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[-1] == (
        "1 group of duplicates, 4 of 4 videos in them. Nothing was changed or deleted."
    )
    with open(out, encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert len([*csv.DictReader(file)]) == 3
    assert main(["duplicates", *arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["groups"]) == 1


def test_few_videos_broken_ones_and_folders_of_pictures(tmp_path, cache, capsys):
    with pytest.raises(ValueError, match="no video found"):
        kinema.duplicates(tmp_path, cache=cache)
    write_video(tmp_path / "v" / "one.mp4", film(9, 2))
    assert kinema.duplicates(tmp_path / "v", cache=cache).rows == []
    odd_videos.make(tmp_path / "v", odd_videos.BAD["zero_frames_mp4"])
    pictures = tmp_path / "v" / "pictures"
    pictures.mkdir()
    for index, frame in enumerate(film(9, 2), 1):
        cv2.imwrite(str(pictures / f"{index:06d}.jpg"), frame[..., ::-1])
    found = kinema.duplicates(tmp_path / "v", cache=cache)
    assert len(found.skipped) == 1
    (row,) = found.as_rows()
    assert row["kind"] == "copy"
    assert {row["first_start_seconds"], row["second_start_seconds"]} == {0.0, None}
    assert main(["duplicates", str(tmp_path / "v"), "--csv", str(tmp_path / "v")]) == 2
    assert "a folder of this name" in capsys.readouterr().err


def test_wrong_arguments_cost_one_line(tmp_path):
    for wrong in ({"similarity": 0}, {"similarity": 1.5}, {"threads": 0}, {"colours": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            kinema.duplicates(tmp_path, **wrong)


# --- by hand --------------------------------------------------------------------------------------


def test_offsets_are_those_of_sums_along_diagonals(monkeypatch):
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=(count, 4)).astype(np.float32) for count in (50, 35))
    second[5:30] = first[17:42]
    products = first @ second.T
    expected = {
        offset: max(
            np.convolve(np.diagonal(products, offset), np.ones(20), "valid").max(initial=0) / 20
            if len(np.diagonal(products, offset)) >= 20
            else 0,
            0,
        )
        for offset in range(-49, 35)
    }
    best = max(expected, key=lambda one: expected[one])
    assert best == -12
    for rows in (7, 1000):
        monkeypatch.setattr(alignment, "_ROWS", rows)
        assert best_offsets(first, second)[0] == best


def test_segments_of_noise_by_hand():
    """Bins 10 to 40 of one are 3 to 33 of the other; the rest is other noise.

    A window with one wrong bin of 15 still agrees to 14/15, so each end may be one bin off.
    """
    from kinema.finding.footage import Footage

    generator = np.random.default_rng(1)
    first, second = (generator.integers(0, 256, (count, 12, 16), np.uint8) for count in (60, 50))
    second[3:33] = first[10:40]
    nothing = np.zeros(0)
    videos = [Changes(Footage(one, nothing, nothing, nothing, nothing)) for one in (first, second)]
    (found,) = segments(*videos)
    assert (found.start, found.stop) == pytest.approx((10, 40), abs=1)
    assert found.offset == -7
    assert found.correlation == pytest.approx(1, abs=1e-3)


def test_kinds_by_hand():
    def one(start, stop, offset=0):
        return Segment(start, stop, offset, 1.0)

    assert _kind([one(0, 100)], 100, 100) == "copy"
    assert _kind([one(2, 97)], 100, 100) == "copy"  # 0.5 s lack
    assert _kind([one(20, 60, -20)], 100, 40) == "part"
    assert _kind([one(0, 40), one(60, 100, -20)], 100, 80) == "part"
    assert _kind([one(50, 100, -50)], 100, 100) == "overlap"


def test_what_score_is_enough_by_hand():
    def match(*pieces):
        found = [Segment(0, length, 0, 1.0) for length, _ in pieces]
        scores = [score for _, score in pieces]
        return Match(0, 1, False, found, scores, (99, 99), (float, float))

    assert enough(match((60, 0.86)), 0.85) is not None
    assert enough(match((59, 0.96)), 0.85) is None  # 1 - 0.15 / 4 = 0.9625
    assert enough(match((59, 0.963)), 0.85) is not None
    assert enough(match((40, 0.9), (30, 0.9)), 0.85).scores == (0.9, 0.9)
    assert enough(match((40, 0.9), (30, 0.8)), 0.85) is None


def test_edges_of_a_mirrored_picture_and_of_none():
    pictures = np.random.default_rng(2).integers(0, 256, (2, 18, 24), np.uint8)
    again = np.clip(pictures * 0.6 + 20, 0, 255).astype(np.uint8)
    assert np.einsum("ij,ij->i", edges(pictures), edges(again)).min() > 0.98
    assert np.abs(np.einsum("ij,ij->i", edges(pictures), edges(pictures[:, :, ::-1]))).max() < 0.3
    assert not edges(np.full((1, 18, 24), 90, np.uint8)).any()


def _other_side(name):
    """first_start_seconds for second_start_seconds, and the other way round."""
    side, rest = name[:5], name[5:]
    return {"first": f"second{rest}", "secon": f"first{name[6:]}"}.get(side, name)


def test_copies_of_real_videos(ucf101, tmp_path, cache):
    """Of clips of as many recordings, so that nothing but the copies is right."""
    first_of = {path.stem.rsplit("_", 1)[0]: path for path in reversed(ucf101)}
    clips = sorted(first_of.values())[::2][:40]
    for name, path in zip(("again", "cut", "mirrored"), clips[3::9], strict=False):
        frames = [frame.image for frame in VideoReader(path)]
        frames = frames[30:-10] if name == "cut" else frames
        write_video(
            tmp_path / f"{name}.mp4", [CHANGES.get(name, coarsely)(frame) for frame in frames]
        )
    found = kinema.duplicates([*clips, tmp_path], cache=cache)
    got = {}
    for row in found.rows:
        values = row_values(row)
        if row.first.startswith(str(tmp_path)):  # pairs go by path
            values = {_other_side(name): value for name, value in values.items()}
        got[os.path.basename(values["second"]), values["first"]] = Pair(**values)
    wanted = {
        (f"{name}.mp4", str(path))
        for name, path in zip(("again", "cut", "mirrored"), clips[3::9], strict=False)
    }
    assert got.keys() == wanted
    for (copy, path), row in got.items():
        start = 1.2 if copy == "cut.mp4" else 0.0
        length = footage(tmp_path / copy).seconds[-1]
        assert row.first_start_seconds == pytest.approx(start, abs=0.2), path
        assert row.second_start_seconds == pytest.approx(0, abs=0.2)
        assert row.second_stop_seconds == pytest.approx(length, abs=0.2)
        assert row.mirrored == (copy == "mirrored.mp4")


def test_the_order_of_folders_plays_no_part(tmp_path):
    write_video(tmp_path / "x" / "b.mp4", film(1))
    write_video(tmp_path / "y" / "a.mp4", film(1))
    write_video(tmp_path / "y" / "c.mp4", film(1)[20:])
    one = kinema.duplicates([tmp_path / "x", tmp_path / "y"], cache=tmp_path / "cache")
    other = kinema.duplicates([tmp_path / "y", tmp_path / "x"], cache=tmp_path / "cache")
    assert len(one) == 2  # the same bytes once, and the part
    assert one.as_mapping() == other.as_mapping()


def test_no_folder_is_one_line(capsys):
    assert main(["duplicates"]) == 2
    assert capsys.readouterr().err.startswith("kinema: duplicates needs FOLDERS: videos, folders")
    with pytest.raises(ValueError, match="`folders` must name at least one folder"):
        kinema.duplicates([])
