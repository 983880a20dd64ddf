"""One rule for a path that leads nowhere: Note [What is not there] of `video.sources`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.cli.app import app, main
from kinema.features import remote
from kinema.video.sources import find_videos

from odd_videos import write_video

MANY = {
    "extract": "{} --out out",
    "predict": "{} --classifier net --out out",
    "search": "v.mp4 {} --cache cache --csv out/hits.csv",
    "classify": "labelled {} --out out --cache cache",
    "duplicates": "{} --cache cache --page out/page.html",
    "runtime": "{} --out out",
    "excite": "{} --out out",
    "weights mean": "{} --out out/mean.npy",
}
"""Commands that take several videos or folders."""

ONE = {
    "search": "{} labelled --cache cache",
    "classify": "{} v.mp4 --out out --cache cache",
    "trajectories": "{} --out out/t.txt",
    "flow": "{} --out out/f.png",
    "prepare": "{} --out out/c.clips",
    "train": "{} --out out",
    "ablation": "{} --out out",
    "transfer": "{} --out out",
    "compare": "{} --out out",
    "embed": "{} --out out",
    "compactness": "{} --out out",
    "dataset info": "{}",
}
"""Commands that take one video, folder or dataset."""

NO_VIDEOS = {"status", "export", "convolve", "kernels", "demo"} | {
    f"weights {name}" for name in ("list", "info", "convert", "pull")
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video, an empty folder, and two labelled videos, to be in."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("v.mp4"), 20)
    Path("empty").mkdir()
    for label in ("red", "blue"):
        Path("labelled", label).mkdir(parents=True)
        write_video(Path("labelled", label, "v.mp4"), 20)
    return tmp_path


@pytest.fixture
def no_video_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **others: object) -> None:
        raise AssertionError("a video was opened")

    monkeypatch.setattr("kinema.video.reader.VideoReader.__init__", opened)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line of a command that leaves everything as it was."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return told.err


def test_all_commands_are_asked():
    def names(found, words=()):
        for name in found:
            if not name.startswith("-"):
                inner = [*names(found[name], (*words, name))]
                yield from inner or [" ".join((*words, name))]

    assert {*names(app)} == {*MANY, *ONE} | NO_VIDEOS


@pytest.mark.usefixtures("no_video_is_opened")
@pytest.mark.parametrize("beside", ["", "v.mp4 "])
@pytest.mark.parametrize("command", MANY)
def test_a_path_that_leads_nowhere_is_refused(capsys, command, beside):
    arguments = f"{command} {MANY[command].format(beside + 'nothere')}".split()
    assert refused(capsys, arguments) == "kinema: nothere: no such file or folder.\n"


@pytest.fixture
def learned(command: str) -> None:
    """Commands that learn say first that PyTorch is not installed."""
    if command in ("train", "ablation"):
        pytest.importorskip("torch")


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize("command", ONE)
def test_the_only_path_leads_nowhere(capsys, command):
    line = refused(capsys, f"{command} {ONE[command].format('nothere')}".split())
    assert "nothere: no such file" in line


@pytest.mark.usefixtures("no_video_is_opened")
@pytest.mark.parametrize("command", MANY)
def test_a_folder_without_a_video_is_refused(capsys, command):
    line = refused(capsys, f"{command} {MANY[command].format('empty')}".split())
    assert line == f"kinema: no video found in {Path('empty').resolve()}.\n"


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize("command", ONE)
def test_the_only_folder_has_no_video(capsys, command):
    line = refused(capsys, f"{command} {ONE[command].format('empty')}".split())
    assert "holds no pictures" in line or "no dataset in" in line


def test_several_are_counted_on_one_line():
    with pytest.raises(FileNotFoundError) as caught:
        find_videos(["*.avi", "v.mp4", "gone/", "v.mp4/inside"])
    assert str(caught.value) == "*.avi: no such file or folder (nor at 2 more paths)."


def test_what_a_list_names_costs_a_line_and_what_a_folder_holds_too(capsys, here):
    Path("list.txt").write_text("v.mp4\nnothere.mp4\n")
    assert main(["extract", "--list", "list.txt", "--out", "out"]) == 1
    assert f"skipped {here / 'nothere.mp4'}: no such file.\n" in capsys.readouterr().err
    Path("labelled", "red", "gone.mp4").symlink_to("nothere")
    assert main(["extract", "labelled", "empty", "--out", "other"]) == 1
    err = capsys.readouterr().err
    assert f"skipped {here / 'labelled' / 'red' / 'gone.mp4'}: no such file.\n" in err
    assert f"{here / 'empty'}: no video in this folder.\n" in err


def test_a_link_that_leads_nowhere_is_not_there():
    Path("link.mp4").symlink_to("nothere")
    with pytest.raises(FileNotFoundError, match="link.mp4: no such file or folder"):
        find_videos(["link.mp4"])


def test_what_cannot_be_reached_is_skipped_in_its_turn(capsys, here):
    Path("loop").symlink_to("loop")  # it fails to be looked at, but not for being away
    assert main(["extract", "loop", "v.mp4", "--out", "out"]) == 1
    assert f"skipped {here / 'loop'}: it cannot be reached" in capsys.readouterr().err


def test_urls_too():
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    files.pipe_file("/nothing-there/a.mp4", b"video")
    found = remote.find_remote(["memory://nothing-there/a.mp4"])
    assert [video.name for video in found] == ["a.mp4"]
    gone = ["memory://nothing-there/b.mp4", "memory://nothing-there/c.mp4"]
    with pytest.raises(FileNotFoundError, match=r"b.mp4: no such file or folder \(nor at 1 more"):
        remote.find_remote(["memory://nothing-there/a.mp4", *gone])
    Path("list.txt").write_text("\n".join(gone))
    assert len(remote.find_remote([], "list.txt")) == 2
