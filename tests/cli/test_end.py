"""The end of every command: what was skipped is named, and the exit code follows from it."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import pytest

import kinema.cli
from kinema.cli.end import CouldNotGoOn, Done, exit_code
from kinema.skipped import Skipped


def skipped(count):
    return [Skipped(f"{index}.mp4", "broken.") for index in range(count)]


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("count", "allowed", "code"), [(0, 0, 0), (1, 0, 1), (1, 1, 0), (3, 2, 1), (3, None, 0)]
)
def test_more_skipped_than_allowed_exits_with_1(capsys, count, allowed, code):
    assert exit_code(lambda: Done(skipped=skipped(count), max_skipped=allowed)) == code
    assert capsys.readouterr().err.splitlines() == [
        f"skipped {i}.mp4: broken." for i in range(count)
    ]


def test_ten_are_named_and_the_others_counted(capsys):
    assert exit_code(lambda: Done(skipped=skipped(12))) == 1
    said = capsys.readouterr().err.splitlines()
    assert (len(said), said[-1]) == (11, "... and 2 more skipped.")


def test_what_is_named_already_is_counted_only(capsys):
    assert exit_code(lambda: Done(skipped=skipped(2), named=True)) == 1
    assert capsys.readouterr().err == ""


def test_notes_go_to_standard_error_and_last_lines_to_standard_output(capsys):
    done = Done(skipped=skipped(1), max_skipped=1, notes=["a note"], lines=["42 clips", Path("f")])
    assert exit_code(lambda: done) == 0
    captured = capsys.readouterr()
    assert captured.err == "skipped 0.mp4: broken.\na note\n"
    assert captured.out == "42 clips\nf\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("`stride` must be\nat least 1"), 2, "`stride` must be at least 1"),
        (TypeError("no"), 2, "no"),
        (ImportError("training needs PyTorch"), 2, "training needs PyTorch"),
        (FileNotFoundError(errno.ENOENT, "gone", "v.mp4"), 2, "v.mp4: gone."),
        (FileExistsError(errno.EEXIST, "there", "f"), 2, "f: a file is there, where a folder is"),
        (OSError(errno.ENOSPC, "No space left", "f"), 3, "f: No space left."),
        (OSError(errno.EIO, "bad disk"), 3, "writing: bad disk."),
        (CouldNotGoOn("training diverged"), 3, "training diverged"),
        (RuntimeError("ours"), 3, "RuntimeError: ours"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here."),
    ],
)
def test_an_error_is_one_line_and_a_code(capsys, monkeypatch, error, code, line):
    monkeypatch.delenv("KINEMA_DEBUG", raising=False)
    assert exit_code(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"kinema: {line}")
    assert captured.err.count("\n") == 1


def test_a_process_that_is_not_the_first_ends_without_a_word(capsys):
    assert exit_code(raising(CouldNotGoOn())) == 3
    assert capsys.readouterr().err == ""


def test_an_unexpected_error_comes_with_its_traceback_when_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("KINEMA_DEBUG", "1")
    with pytest.raises(RuntimeError):
        exit_code(raising(RuntimeError("ours")))


def test_nothing_else_decides_on_exit_codes_or_names_skipped_videos():
    for path in Path(kinema.cli.__file__).parent.glob("*.py"):
        if path.name in ("end.py", "demo.py", "app.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
                assert not isinstance(node.value.value, int), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("stderr", "exit"), f"{path.name}:{node.lineno}"
