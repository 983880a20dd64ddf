"""Errors in the words of the command line: `--fps`, not the keyword argument `fps`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError
from cyclopts.argument import Argument


def spoken(error: BaseException, app: App, given: Sequence[str]) -> str:
    """What an error says, of flags.

    Args:
        error: of the command line itself, or of a function that it called.
        app: the command line.
        given: its arguments.
    """
    if isinstance(error, MissingArgumentError):
        return _missing(error, given)
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        token = error.unused_tokens[0]
        if token.startswith("-"):
            close = difflib.get_close_matches(token, ["--version", "--help"], n=1)
            return f"Unknown option: {token}." + (f" Did you mean {close[0]}?" if close else "")
    said = str(error)
    if isinstance(error, CycloptsError):
        return said
    names = {each.field_info.name: _name(each) for each in _arguments(app, given)}
    return re.sub(r"`(\w+)`", lambda found: names.get(found[1], found[0]), said)


def _missing(error: MissingArgumentError, given: Sequence[str]) -> str:
    argument = error.argument
    command = " ".join(error.command_chain or ())
    if argument is None:
        return str(error)
    begun = [each for each in given if each in argument.names]
    if begun:
        return f"{begun[-1]} needs a value, see `kinema {command} --help`."
    what = (argument.parameter.help or "").rstrip(".")
    told = f": {what[0].lower()}{what[1:]}" if what else f", see `kinema {command} --help`"
    return f"{command} needs {_name(argument)}{told}."


def _arguments(app: App, given: Sequence[str]) -> Iterator[Argument]:
    """Of the command that was asked for, without groups."""
    _, apps, _ = app.parse_commands(given)
    for each in apps[-1].assemble_argument_collection():
        if not each.children:
            yield each


def _name(argument: Argument) -> str:
    """As help shows it: --fps, or VIDEOS for what stands without a flag."""
    if argument.field_info.is_positional and not argument.keys:
        return str(argument.field_info.name).upper()
    return str(argument.name)
