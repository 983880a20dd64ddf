"""Which files of a folder are videos, and what is told of those that are passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.datasets.loaders import load
from kinema.video.sources import find_videos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*paths: Path, **options) -> list[str]:
    return [source.name for source in find_videos(paths, **options)]


# --- endings --------------------------------------------------------------------------------------

# What cameras, players and FFmpeg's own muxers call videos.
VIDEOS = """
    avi mp4 m4v mkv webm mov qt mpg mpeg m1v m2v mpv m2p vob vro ts m2t m2ts mts tp trp tod
    3gp 3g2 3gpp 3gpp2 3gp2 asf wmv wm dvr-ms wtv flv f4v divx xvid rm rmvb ogv ogm mxf gxf dv
    y4m ivf obu 264 265 h264 h265 hevc avc h261 h263 mjpeg mjpg mj2 nut nsv nuv amv dav ismv
    mp4v mpeg4 gif
"""

# Sound, pictures, scripts, playlists, subtitles, data.
OTHERS = """
    mp3 m4a wav ogg oga opus flac aac mka jpg jpeg png bmp tif webp heic avif svg py sh js avs
    vpy m3u8 m3u pls asx srt ass vtt sub idx txt csv json xml html pdf zip npy safetensors
    part lrv thm
"""


@pytest.mark.parametrize("ending", VIDEOS.split())
def test_videos_are_found_by_their_ending(tmp_path, ending):
    touch(tmp_path, f"a.{ending}", f"B.{ending.upper()}", f"c.d/e.f.{ending}")
    sources = find_videos([tmp_path])
    names = [f"B.{ending.upper()}", f"a.{ending}", f"c.d/e.f.{ending}"]
    assert [source.name for source in sources] == names
    assert sources.notes == ()


@pytest.mark.parametrize("ending", OTHERS.split())
def test_other_files_are_passed_over_and_counted(tmp_path, ending):
    touch(tmp_path, "v.mp4", f"a.{ending}", f"b/c.{ending.upper()}")
    sources = find_videos([tmp_path])
    assert [source.name for source in sources] == ["v.mp4"]
    assert sources.notes == (f"2 files that are no videos were passed over (.{ending} 2).",)


def test_what_is_passed_over_is_one_line(tmp_path):
    touch(tmp_path, "v.mp4", *(f"{i}.txt" for i in range(3)), "a.jpg", "README", "b/c.jpg", "d.py")
    (note,) = find_videos([tmp_path, tmp_path / "v.mp4"]).notes
    assert (
        note == "7 files that are no videos were passed over (.txt 3, .jpg 2, no ending 1, .py 1)."
    )


def test_a_path_that_is_named_is_taken_whatever_it_is_called(tmp_path):
    touch(tmp_path, "talk.mp3", ".hidden.mp4", ".hidden/v.mp4", ".hidden/.deeper/v.mp4")
    assert found(tmp_path / "talk.mp3", tmp_path / ".hidden.mp4") == ["talk.mp3", ".hidden.mp4"]
    assert found(tmp_path / ".hidden") == ["v.mp4"]


SCRIPTS = [
    b"import { a } from './b';\n",
    "\ufeffexport const \u00fc = 1;\r\n\t// \u4f60\n".encode(),
    ("// " + "\u4f60" * 3000).encode(),  # the first bytes end within a character
]
TRANSPORT = (b"G" + bytes(187)) * 30


@pytest.mark.parametrize("ending", ["ts", "mts"])
def test_typescript_is_no_transport_stream(tmp_path, ending):
    for index, script in enumerate(SCRIPTS):
        (tmp_path / f"script{index}.{ending}").write_bytes(script)
    (tmp_path / f"a.{ending}").write_bytes(TRANSPORT)
    (tmp_path / f"b.{ending}").write_bytes(TRANSPORT[100:])  # recordings begin anywhere
    (tmp_path / f"c.{ending}").write_bytes(b"")  # told when it is read
    sources = find_videos([tmp_path])
    assert [source.name for source in sources] == [f"{name}.{ending}" for name in "abc"]
    assert sources.notes == (f"3 files that are no videos were passed over (.{ending} 3).",)


@pytest.mark.parametrize("ending", ["dat", "mod"])
def test_files_that_are_rarely_videos_must_begin_as_one(tmp_path, ending):
    (tmp_path / f"a.{ending}").write_bytes(b"\0\0\1\xba" + bytes(2000))
    (tmp_path / f"b.{ending}").write_bytes(b"RIFF\0\0\0\0CDXAfmt " + bytes(2000))
    (tmp_path / f"c.{ending}").write_bytes(TRANSPORT)
    (tmp_path / f"x.{ending}").write_bytes(b"module example.com/m\n")
    (tmp_path / f"y.{ending}").write_bytes(bytes(range(256)) * 8)
    assert found(tmp_path) == [f"{name}.{ending}" for name in "abc"]


# --- hidden things --------------------------------------------------------------------------------


def test_hidden_folders_are_left_alone_as_hidden_files_are(tmp_path):
    touch(tmp_path, "a.mp4", ".b.mp4", "._a.mp4", ".DS_Store", ".snapshots/a.mp4", "c/.git/x.mp4")
    touch(tmp_path, "c/d.mp4", "@eaDir/a.mp4/SYNOVIDEO.mp4", "$RECYCLE.BIN/x.mp4")
    touch(tmp_path, ".frames/000001.jpg")
    sources = find_videos([tmp_path])
    assert [source.name for source in sources] == ["a.mp4", "c/d.mp4"]
    (note,) = sources.notes
    assert note.startswith("hidden, not searched or taken: ")
    assert f"{tmp_path}/.b.mp4" in note
    assert "._a.mp4" not in note


def test_nothing_but_hidden_videos_is_told(tmp_path):
    touch(tmp_path, ".snapshots/a.mp4")
    with pytest.raises(ValueError, match=r"no video found in .*: hidden, .*/\.snapshots\.$"):
        find_videos([tmp_path])


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "img_{:05}.jpg",
        "frame{:04}.png",
        "{}.jpg",
        "{:05}.jpg",
        "{:06}.JPG",
        "{:06}.png",
        "{:08}.jpeg",
    ],
)
def test_pictures_that_are_named_otherwise_are_told_the_rule(tmp_path, pattern):
    touch(tmp_path, *(f"frames/v1/{pattern.format(number)}" for number in range(1, 26)))
    rule = r"25 pictures are not read as a video: .*must be named 000001\.jpg, 000002\.jpg, \.\.\.$"
    for given in ("frames", "frames/v1"):
        with pytest.raises(ValueError, match=f"no video found in .*{given}: .*frames/v1: {rule}"):
            find_videos([tmp_path / given])
    touch(tmp_path, "frames/a.mp4", "frames/v2/000001.jpg", *(f"frames/v3/{i}.png" for i in "12"))
    sources = find_videos([tmp_path / "frames"])
    assert [source.name for source in sources] == ["a.mp4", "v2"]
    (note,) = sources.notes
    assert "frames/v1 (and 1 more such folder): 25 pictures are not read as a video" in note


def test_pictures_beside_videos_are_only_counted(tmp_path):
    touch(tmp_path, "a.mp4", "thumb1.jpg", "thumb2.jpg")
    assert find_videos([tmp_path]).notes == (
        "2 files that are no videos were passed over (.jpg 2).",
    )


def test_datasets_tell_the_rule_and_what_they_pass_over(tmp_path):
    touch(tmp_path, "d/run/a.mp4", "d/run/a.srt", "d/walk/v1/img_1.jpg", "d/walk/v1/img_2.jpg")
    notes = load(tmp_path / "d").notes
    assert "1 file that is no video was passed over (.srt 1)." in notes
    assert any("walk/v1: 2 pictures are not read as a video" in note for note in notes)
    (tmp_path / "d/run/a.mp4").unlink()
    with pytest.raises(ValueError, match=r"no dataset in .*must be named 000001\.jpg"):
        load(tmp_path / "d")


def test_datasets_leave_hidden_folders_alone(tmp_path):
    touch(tmp_path, "d/run/a.mp4", "d/run/.old/b.mp4", "d/@eaDir/c.mp4", "d/walk/e.mp4")
    assert [sample.name for sample in load(tmp_path / "d").samples] == ["run/a.mp4", "walk/e.mp4"]


def test_lists_whose_videos_are_pictures_named_otherwise_tell_the_rule(tmp_path):
    for name, video in [("trainlist01.txt", "v_A_g01_c01"), ("testlist01.txt", "v_A_g02_c01")]:
        (tmp_path / name).write_text(f"A/{video}.avi 1\n")
    touch(tmp_path, "A/v_A_g01_c01/img_1.jpg", "A/v_A_g01_c01/img_2.jpg", "A/v_A_g02_c01.avi")
    notes = load(tmp_path, kind="ucf101").notes
    assert any("v_A_g01_c01: 2 pictures are not read as a video" in note for note in notes)
