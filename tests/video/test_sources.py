"""What sources are called below a root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_folders import touch

from kinema.video.folders import videos_below
from kinema.video.sources import Source, find_videos


def found(*paths: Path, **options) -> list[str]:
    return [source.name for source in find_videos(paths, **options)]


def test_parts_of_a_list_give_the_names_of_the_whole(tmp_path):
    touch(tmp_path, "videos/a/1.mp4", "videos/a/2.mp4", "videos/b/3.mp4", "videos/b/c/4.mp4")
    lines = [f"{path}\n" for path in videos_below(tmp_path / "videos")]
    whole = tmp_path / "whole.txt"
    whole.write_text("".join(lines))
    names = found(list_file=whole, root=tmp_path / "videos")
    assert names == ["a/1.mp4", "a/2.mp4", "b/3.mp4", "b/c/4.mp4"]
    parts = []
    for part in (lines[:2], lines[2:3], lines[3:]):
        (tmp_path / "part.txt").write_text("".join(part))
        parts += found(list_file=tmp_path / "part.txt", root=f"{tmp_path}/videos/b/..")
    assert parts == names
    assert found(tmp_path / "videos" / "a", root=tmp_path) == ["videos/a/1.mp4", "videos/a/2.mp4"]
    assert found(tmp_path / "videos" / "a") == ["1.mp4", "2.mp4"]


def test_a_root_is_relative_to_the_current_folder(tmp_path, monkeypatch):
    touch(tmp_path, "videos/a/1.mp4")
    monkeypatch.chdir(tmp_path)
    assert found(Path("videos/a/1.mp4"), root="videos") == ["a/1.mp4"]
    assert found(Path("videos/a/1.mp4"), root=".") == ["videos/a/1.mp4"]


def test_wrong_roots_are_refused(tmp_path):
    touch(tmp_path, "one/a.mp4", "one-more/b.mp4", "frames/000001.jpg")
    with pytest.raises(ValueError, match=r"`root` .*/one is no folder above .*/one-more/b\.mp4"):
        find_videos([tmp_path / "one", tmp_path / "one-more"], root=tmp_path / "one")
    with pytest.raises(ValueError, match=r"`root` .*/frames is no folder above .*/frames; name"):
        find_videos([tmp_path / "frames"], root=tmp_path / "frames")
    with pytest.raises(FileNotFoundError, match=r"`root` .*/nowhere: no such folder"):
        find_videos([tmp_path / "one"], root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"`root` .*/a\.mp4 must be a folder, but it is a file"):
        find_videos([tmp_path / "one"], root=tmp_path / "one" / "a.mp4")


def test_sources_are_a_sequence(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    sources = find_videos([tmp_path])
    expected = [Source(tmp_path / name, name) for name in ("a.mp4", "b.mp4")]
    assert list(sources) == expected
    assert (len(sources), sources[1], list(sources[:1])) == (2, expected[1], expected[:1])
    assert os.fspath(sources[0]) == str(tmp_path / "a.mp4")
