"""How the lines of list files are read, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_folders import touch

from kinema.video.sources import find_videos


def read(tmp_path: Path, text: str):
    """First frames by name, and the notes, of a list beside the videos."""
    (tmp_path / "list.txt").write_text(text)
    sources = find_videos([], tmp_path / "list.txt")
    return {source.name: source.starts for source in sources}, sources.notes


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.mp4", "b.mp4", "c d.mp4", "frames/000001.jpg")
    return tmp_path


def test_two_numbers_are_a_clip_and_it_is_told(there):
    starts, notes = read(there, "a.mp4 3 5\n")
    assert starts == {"a.mp4": (3,)}
    (note,) = notes
    assert note.startswith(
        f"{there}/list.txt: read as C3D's `path start label`: it names 1 clip of 1 video."
    )
    starts, notes = read(there, "a.mp4 3 5\nframes 1 0\na.mp4 0 5\nc d.mp4 7 -1\n")
    assert starts == {"a.mp4": (3, 0), "frames": (1,), "c d.mp4": (7,)}
    assert "it names 4 clips of 3 videos." in notes[0]


@pytest.mark.parametrize(
    ("text", "form", "count"),
    [
        ("a.mp4 3\nb.mp4 5\n", "`path label`", 2),
        ("a.mp4 3 5\nb.mp4 2\nc d.mp4 1 4 7\n", "`path label label ...`", 3),
        ("a.mp4 3 5\nb.mp4 2\n", "`path label label ...`", 2),
        ("a.mp4 3 5 9\nb.mp4 1 2 4\n", "`path label label ...`", 2),
        ("a.mp4 -1 5\nb.mp4 3 5\n", "`path label label ...`", 2),
        ("a.mp4\nb.mp4 5\n", "`path label`", 1),
    ],
)
def test_other_numbers_are_labels_and_it_is_told(there, text, form, count):
    starts, (note,) = read(there, text)
    assert set(starts.values()) == {None}
    assert set(starts) <= {"a.mp4", "b.mp4", "c d.mp4"}
    paths = "1 path are" if count == 1 else f"{count} paths are"
    assert f"read as {form}: the numbers behind {paths} labels" in note


def test_paths_alone_need_no_note(there):
    starts, notes = read(there, "a.mp4\nc d.mp4\n\nframes\n")
    assert starts == {"a.mp4": None, "c d.mp4": None, "frames": None}
    assert notes == ()


def test_a_name_that_ends_in_numbers_is_taken_whole_and_doubts_are_told(there):
    touch(there, "clip 1 2", "walk 7")
    starts, notes = read(there, "clip 1 2\nwalk 7\n")
    assert (starts, notes) == ({"clip 1 2": None, "walk 7": None}, ())
    touch(there, "walk")
    starts, (note,) = read(there, "clip 1 2\nwalk 7\n")
    assert starts == {"clip 1 2": None, "walk 7": None}
    assert note.endswith(f"read line 2 as {there}/walk 7, though {there}/walk is there too.")


def test_missing_videos_are_read_as_the_others_are(there):
    starts, _ = read(there, "a.mp4 3 5\ngone.mp4 8 5\nlost/v_x 9 0\n")
    assert starts == {"a.mp4": (3,), "gone.mp4": (8,), "lost/v_x": (9,)}
    starts, _ = read(there, "a.mp4 3\ngone.mp4 8\n")
    assert starts == {"a.mp4": None, "gone.mp4": None}


def test_a_video_named_by_clip_and_as_a_whole_is_told(there):
    for text in ("a.mp4 3 5\na.mp4\n", "a.mp4\na.mp4 3 5\n"):
        starts, notes = read(there, text)
        assert starts == {"a.mp4": None}
        assert "1 video of which it names clips is named as a whole too" in notes[1]


def test_an_empty_list_is_named(there):
    (there / "list.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"no video found in list\.txt\.$"):
        find_videos([], "list.txt")
