"""The end of a command, the same for all: what was skipped, the last words, the exit code.

Exit codes: 0 done; 1 done, but more videos were skipped than `--max-skipped` allows; 2 wrong use;
3 could not go on (a full disk, say, or an error of ours); 130 stopped by the user.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cyclopts import CycloptsError

from kinema.skipped import EngineError, Skipped

NAMED = 10
"""So many skipped videos are named; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command has done, beside what it printed on its way.

    Attributes:
        skipped: videos that could not be used.
        max_skipped: the most that may be skipped; None for any number.
        notes: lines for standard error.
        lines: last lines for standard output.
        named: whether the skipped videos have been named already.
    """

    skipped: Sequence[Skipped] = ()
    max_skipped: int | None = 0
    notes: Sequence[str] = ()
    lines: Sequence[object] = ()
    named: bool = False


class CouldNotGoOn(Exception):
    """A command ends with exit code 3; the message is the line that says why, if there is one."""


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)


def exit_code(command: Callable[[], Done | None], words: Callable[[Exception], str] = str) -> int:
    """Run a command, print its end, and return the exit code; an error is one line.

    `words` gives what an error says, or a note; its own words by default.

    With KINEMA_DEBUG set, an unexpected error comes with its traceback.
    """
    try:
        return _end(command() or Done(), words)
    except (CycloptsError, ValueError, TypeError, FileNotFoundError, ImportError) as error:
        if isinstance(error, FileNotFoundError) and error.strerror:  # the system's words
            error = ValueError(f"{error.filename}: {error.strerror}.")
        say(f"kinema: {_one_line(words(error))}")
        return 2
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FileExistsError, NotADirectoryError) as error:
        say(f"kinema: {error.filename}: a file is there, where a folder is needed.")
        return 2
    except OSError as error:
        what = f"{error.filename or 'writing'}: {error.strerror}." if error.strerror else error
        say(f"kinema: {what}")
        return 3
    except (CouldNotGoOn, EngineError) as error:
        if error.args:
            say(f"kinema: {_one_line(words(error))}")
        return 3
    except KeyboardInterrupt:
        say("kinema: stopped; the same command goes on from here.")
        return 130
    except Exception as error:
        if os.environ.get("KINEMA_DEBUG"):
            raise
        say(f"kinema: {type(error).__name__}: {_one_line(words(error))}")
        return 3


def _end(done: Done, words: Callable[[Exception], str]) -> int:
    if not done.named:
        for entry in done.skipped[:NAMED]:
            say(words(ValueError(f"skipped {entry}")))
        if len(done.skipped) > NAMED:
            say(f"... and {len(done.skipped) - NAMED} more skipped.")
    for note in done.notes:
        say(words(ValueError(note)))
    for line in done.lines:
        print(line)
    return 1 if done.max_skipped is not None and len(done.skipped) > done.max_skipped else 0


def _one_line(text: str) -> str:
    return " ".join(text.split())
