"""search: the hits of a brute-force search over feature tables; what changes is noticed."""

from __future__ import annotations

import json
import os
import shutil

import av
import cv2
import numpy as np
import pytest

import kinema
from kinema.cli.app import main
from kinema.features.table import normalized
from kinema.finding import library as library_room
from kinema.finding.query import parse, seconds_of
from kinema.finding.search import search
from kinema.video.clips import ClipPlan
from kinema.video.synthetic import write_video

import small_videos


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos a colour, 40 frames each: four clips at stride 8."""
    return small_videos.write_folder(tmp_path_factory.mktemp("videos"), num_videos=3)


def exact(folder, out):
    """Unit rows by video, of the tables of `extract`."""
    kinema.extract([folder], out=out)
    return {
        str(path.relative_to(out)).removesuffix(".safetensors"): normalized(
            kinema.FeatureTable.load(path).features
        )
        for path in sorted(out.rglob("*.safetensors"))
    }


def names(hits, folder):
    return [os.path.relpath(hit.path, folder) for hit in hits.rows]


def test_every_clip_is_ranked_as_brute_force_does(folder, cache, tmp_path):
    rows = exact(folder, tmp_path)
    query = "red/red_1.mp4"
    clips = rows[query]
    expected = sorted(
        (
            (float((clips @ row).max()), name, place)
            for name, found in rows.items()
            if name != query
            for place, row in enumerate(found)
        ),
        reverse=True,
    )
    hits = search(folder / query, folder, suppress=False, top=1000, cache=cache)
    assert len(hits) == len(expected) == 8 * 4
    np.testing.assert_allclose(
        [hit.cosine for hit in hits.rows], [cosine for cosine, *_ in expected], atol=1e-5
    )
    told = [
        (name, hit.start_frame // 8)
        for name, hit in zip(names(hits, folder), hits.rows, strict=True)
    ]
    assert told == [(name, place) for _, name, place in expected]
    assert [hit.similarity for hit in hits.rows] == sorted(
        (hit.similarity for hit in hits.rows), reverse=True
    )


def test_the_same_colour_comes_first(folder, cache):
    hits = search(folder / "red" / "red_0.mp4", folder, cache=cache)
    assert sorted(names(hits, folder)[:2]) == ["red/red_1.mp4", "red/red_2.mp4"]
    first = hits.rows[0]
    assert (first.start_seconds, first.start_frame) == (0.0, 0)
    assert first.stop_frame == 40
    assert first.stop_seconds == pytest.approx(40 / 25)
    assert not first.copy
    assert hits.num_clips == 36
    assert hits.num_videos == 9


def test_whole_videos_are_ranked_by_their_means(folder, cache, tmp_path):
    rows = exact(folder, tmp_path)
    vectors = {
        name: normalized(found.mean(axis=0, dtype=np.float64)) for name, found in rows.items()
    }
    query = vectors.pop("blue/blue_2.mp4")
    expected = sorted(vectors, key=lambda name: -float(vectors[name] @ query))
    hits = search(folder / "blue" / "blue_2.mp4", folder, videos=True, cache=cache)
    assert names(hits, folder) == expected
    assert hits.rows[0].cosine == pytest.approx(float(vectors[expected[0]] @ query), abs=1e-5)
    assert (hits.rows[0].start_frame, hits.rows[0].stop_frame) == (0, 40)


def joined(path, *labels):
    """A video in which one colour after the other is shown, two seconds each."""
    parts = [small_videos.draw(label, 90 + number, 50) for number, label in enumerate(labels)]
    write_video(path, np.concatenate(parts))
    return path


def test_a_moment_is_found_and_clips_beside_each_other_are_one_hit(folder, cache, tmp_path):
    long = joined(tmp_path / "long.mp4", "blue", "red", "green", "red", "blue")
    hits = search(folder / "red" / "red_0.mp4", [long], top=2, cache=cache)
    moments = sorted((hit.start_seconds, hit.stop_seconds) for hit in hits.rows)
    for (start, stop), (true_start, true_stop) in zip(moments, [(2, 4), (6, 8)], strict=True):
        assert abs(start - true_start) < 0.8
        assert abs(stop - true_stop) < 0.8
    assert all(hit.start_seconds < hit.peak_seconds < hit.stop_seconds for hit in hits.rows)


def test_the_own_moment_is_left_out_and_others_of_the_video_are_not(cache, tmp_path):
    long = joined(tmp_path / "long.mp4", "red", "blue", "red", "green")
    hits = search(f"{long}@0-2", [tmp_path], top=1, cache=cache)
    assert 3.5 < hits.rows[0].peak_seconds < 6.5
    assert all(hit.start_seconds >= 1.99 for hit in search(f"{long}@0-2", long, cache=cache).rows)


def test_a_whole_video_is_no_hit_of_itself(folder, cache):
    hits = search(folder / "red" / "red_0.mp4", folder, top=100, cache=cache)
    assert "red/red_0.mp4" not in names(hits, folder)


@pytest.mark.parametrize("how", ["bytes", "encoded"])
def test_copies_are_marked(tmp_path, cache, how):
    from test_duplicates import film

    write_video(tmp_path / "a.mp4", np.stack(film(3)))
    write_video(tmp_path / "other.mp4", np.stack(film(3, motion=8)))
    if how == "bytes":
        shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    else:
        frames = [cv2.resize(frame, (120, 90)) for frame in film(3)]
        write_video(tmp_path / "b.mp4", np.stack(frames))
    hits = search(tmp_path / "a.mp4", tmp_path, videos=True, cache=cache)
    assert {os.path.basename(hit.path): hit.copy for hit in hits.rows} == {
        "b.mp4": True,
        "other.mp4": False,
    }


def test_a_picture_is_a_clip_in_which_nothing_moves(folder, cache, tmp_path):
    frame = small_videos.draw("green", 0, 1)[0]
    cv2.imwrite(str(tmp_path / "green.png"), frame[:, :, ::-1])
    write_video(tmp_path / "still.mp4", np.stack([frame] * 16))
    hits = search(tmp_path / "green.png", folder, top=3, videos=True, cache=cache)
    assert all("green" in name for name in names(hits, folder))
    again = search(tmp_path / "still.mp4", folder, top=3, videos=True, cache=cache)
    assert hits.rows[0].cosine == pytest.approx(again.rows[0].cosine, abs=0.02)


def test_new_changed_and_deleted_videos_are_noticed(folder, tmp_path, monkeypatch):
    mine = tmp_path / "videos"
    shutil.copytree(folder, mine)
    query = folder / "red" / "red_0.mp4"
    read = []
    tables = library_room.kept_tables

    def counted(extractor, sources, cache):
        read.extend(source.name for source in sources)
        return tables(extractor, sources, cache)

    def searched():
        read.clear()
        return names(search(query, mine, top=100, videos=True, cache=tmp_path / "cache"), mine)

    assert len(searched()) == 9
    monkeypatch.setattr(library_room, "kept_tables", counted)
    searched()
    assert read == ["red_0.mp4"]  # the query alone
    os.remove(mine / "red" / "red_1.mp4")
    assert "red/red_1.mp4" not in searched()
    assert read == ["red_0.mp4"]
    shutil.copy(folder / "red" / "red_1.mp4", mine / "new.mp4")
    assert "new.mp4" in searched()
    assert read == ["red_0.mp4", "new.mp4"]
    shutil.copy(folder / "blue" / "blue_0.mp4", mine / "new.mp4")
    os.utime(mine / "new.mp4", (1, 1))
    changed = searched()
    assert read == ["red_0.mp4", "new.mp4"]
    assert changed.index("new.mp4") > changed.index("red/red_2.mp4")


def test_added_videos_keep_the_basis_until_there_are_twice_as_many(folder, tmp_path):
    mine = tmp_path / "videos"
    shutil.copytree(folder / "red", mine / "red")
    query, kept = folder / "red" / "red_0.mp4", tmp_path / "cache"

    def fitted_on():
        search(query, mine, cache=kept)
        (file,) = (kept / "index").iterdir()
        return library_room.Index.load(file).basis.num_rows

    assert fitted_on() == 12
    shutil.copytree(folder / "blue", mine / "blue")
    os.remove(mine / "blue" / "blue_2.mp4")
    assert fitted_on() == 12  # 20 clips
    shutil.copy(folder / "blue" / "blue_2.mp4", mine / "blue")
    assert fitted_on() == 24


def test_a_damaged_index_is_made_anew(folder, tmp_path):
    query, kept = folder / "red" / "red_0.mp4", tmp_path / "cache"
    before = search(query, folder, cache=kept)
    (file,) = (kept / "index").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    again = search(query, folder, cache=kept)
    assert "damaged" in again.notes[0]
    assert again.as_rows() == before.as_rows()
    assert not search(query, folder, cache=kept).notes


def test_tables_that_were_deleted_are_made_again(folder, tmp_path):
    query, kept = folder / "red" / "red_0.mp4", tmp_path / "cache"
    before = search(query, folder, cache=kept)
    shutil.rmtree(kept / "features")
    again = search(query, folder, cache=kept)
    assert {*names(again, folder)[:2]} == {*names(before, folder)[:2]}


def test_a_bad_video_costs_a_line_and_is_not_tried_again(folder, tmp_path, capsys):
    mine = tmp_path / "videos"
    shutil.copytree(folder / "red", mine)
    (mine / "bad.mp4").write_bytes(b"no video")
    query, kept = str(folder / "blue" / "blue_0.mp4"), str(tmp_path / "cache")
    for _ in range(2):
        assert main(["search", query, str(mine), "--cache", kept]) == 0
        assert "bad.mp4" in capsys.readouterr().err
    assert main(["search", query, str(mine), "--cache", kept, "--max-skipped", "0"]) == 1


def test_folders_of_pictures_have_frames_and_no_times(cache, tmp_path):
    for number in range(1, 31):
        (tmp_path / "frames").mkdir(exist_ok=True)
        frame = small_videos.draw("red", 5, 30)[number - 1]
        cv2.imwrite(str(tmp_path / "frames" / f"{number:06d}.jpg"), frame[:, :, ::-1])
    write_video(tmp_path / "red.mp4", small_videos.draw("red", 6, 30))
    hits = search(tmp_path / "red.mp4", tmp_path, cache=cache)
    (hit,) = hits.rows
    assert os.path.basename(hit.path) == "frames"
    assert np.isnan(hit.start_seconds)
    assert hit.start_frame in (1, 9)  # the first picture is 000001.jpg
    assert hits.as_rows()[0]["start_seconds"] is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12.5", 12.5), ("1:30", 90), ("1:02:03.5", 3723.5), ("0", 0), (".5", 0.5)],
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1:2:3:4", "1e3", "nan", "1:", "1:234:00", "1:60", "1:60:00"]
)
def test_no_times(text):
    assert seconds_of(text) is None


def test_a_query_is_a_video_a_moment_or_a_clip(tmp_path):
    video = tmp_path / "a@2.mp4"
    write_video(video, small_videos.draw("red", 0, 50))
    plan = ClipPlan()
    assert not parse(str(video), plan).is_part
    moment = parse(f"{video}@0.5-0:01", plan)
    assert (moment.start_seconds, moment.stop_seconds, moment.path) == (0.5, 1.0, video)
    clip = parse(f"{video}@0.4", plan)
    assert clip.start_seconds == 0.4
    assert clip.stop_seconds == pytest.approx(0.4 + 16 / 25)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("missing.mp4", "missing.mp4: no such file"),
        ("missing.mp4@3", "no such file"),
        ("{0}@", "START-STOP"),
        ("{0}@x", "START-STOP"),
        ("{0}@3-2", "stop after it starts"),
        ("{0}@1-", "START-STOP"),
        ("{0}@90", "shows nothing at 90 s, it is 1.6 s long; name a time within"),
        ("{0}@1.6-99", "shows nothing at 1.6 s, it is 1.6 s long; name a time within"),
    ],
)
def test_wrong_queries_are_one_line(folder, cache, capsys, query, said):
    text = query.format(folder / "red" / "red_0.mp4")
    assert main(["search", text, str(folder), "--cache", str(cache)]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "\n" not in told
    assert "QUERY" in told


@pytest.mark.parametrize(
    ("moment", "there"),
    [("@0.4-99", "0:00.4-1:39.0 that is asked for, there is 0:00.4-0:01.6."),
     ("@1.4", "0:01.4-0:02.0 that is asked for, there is 0:01.4-0:01.6."),
     ("@0.4-1.6", None), ("@0.4-1.65", None), ("@0.4", None), ("", None)],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["mp4", "h264"])  # the second has no header that tells a length
def test_a_moment_past_the_end_is_told(cache, folder, tmp_path, capsys, moment, there, ending):
    video = tmp_path / f"q.{ending}"
    if ending == "mp4":
        shutil.copy(folder / "red" / "red_0.mp4", video)
    else:
        _as_raw(folder / "red" / "red_0.mp4", video)
    assert main(["search", f"{video}{moment}", str(folder), "--cache", str(cache)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "ends at" in line]
    said = f"{video} ends at 0:01.6: of the moment {there}"
    assert told == ([] if there is None else [said])


def _as_raw(video, target):
    """The frames of an MP4 file as a bare H.264 stream."""
    with av.open(str(video)) as source, av.open(str(target), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=25, width=source.streams.video[0].width,
                                 height=source.streams.video[0].height)  # fmt: skip
        for frame in source.decode(video=0):
            frame.pts = None
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def test_wrong_settings_are_refused_before_a_video_is_read(folder, tmp_path, capsys):
    query = str(folder / "red" / "red_0.mp4")
    for arguments in (
        [query],
        [query, str(folder), "--top", "0"],
        [query, str(folder), "--page", str(tmp_path)],
        [query, str(folder), "--csv", query],
        [query, str(folder), "--stride", "0"],
    ):
        assert main(["search", *arguments, "--cache", str(tmp_path / "cache")]) == 2
    assert not (tmp_path / "cache").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 5


def test_nothing_to_search(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    write_video(tmp_path / "query" / "q.mp4", small_videos.draw("red", 0, 20))
    with pytest.raises(ValueError, match=r"none of the videos can be used: .*bad\.mp4"):
        search(tmp_path / "query" / "q.mp4", tmp_path / "bad.mp4", cache=tmp_path / "cache")


def test_the_command_prints_lines_json_and_csv(folder, cache, tmp_path, capsys):
    query = str(folder / "red" / "red_0.mp4")
    given = ["search", query, str(folder), "--cache", str(cache), "--top", "3"]
    assert main([*given, "--csv", str(tmp_path / "hits.csv")]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4
    assert "red_1.mp4" in "".join(lines[:2])
    assert "36 clips" in lines[3]
    assert (tmp_path / "hits.csv").read_text().startswith("path,start_seconds,stop_seconds,simi")
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_videos"] == 9
    assert len(found["rows"]) == 3


def test_hostile_names(cache, tmp_path):
    for name in ["a\nb.mp4", "=1.mp4"]:
        write_video(tmp_path / name, small_videos.draw("red", len(name), 20))
    write_video(tmp_path / "q.mp4", small_videos.draw("red", 0, 20))
    hits = search(tmp_path / "q.mp4", tmp_path, cache=cache)
    hits.write_csv(tmp_path / "hits.csv")
    assert len(hits) == 2


def test_a_moment_of_a_real_video_is_found_in_its_copy(ucf101, cache, tmp_path):
    videos = [*ucf101[::40]]
    folder = tmp_path / "videos"
    folder.mkdir()
    for video in videos:
        shutil.copy(video, folder)
    shutil.copy(videos[0], folder / "again.avi")
    hits = search(f"{videos[0]}@1-2.5", folder, top=2, cache=cache)
    assert {os.path.basename(hit.path) for hit in hits.rows} == {"again.avi", videos[0].name}
    assert all(hit.copy and hit.start_seconds < 1.75 < hit.stop_seconds for hit in hits.rows)


def test_a_query_that_cannot_be_read_is_told_before_the_folder_is(folder, tmp_path):
    (tmp_path / "q.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"`query` .*q\.mp4"):
        search(tmp_path / "q.mp4", folder, cache=tmp_path / "cache")
    assert not [*tmp_path.rglob("*.safetensors")]
