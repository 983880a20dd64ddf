"""Numbers of things, names of some of them, and times, as messages say them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path


def number_of(count: int, one: str, several: str | None = None) -> str:
    """As "1 video", "3 videos", "2 classes"."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def some(names: Sequence[str], one: str, several: str | None = None, *, show: int = 3) -> str:
    """A number of things, and what the first of them are called: "4 videos (a, b, c, ...)"."""
    first = f"{', '.join(names[:show])}{', ...' * (len(names) > show)}"
    return f"{number_of(len(names), one, several)} ({first})"


def first_of(names: Iterable[str], count: int) -> str:
    """The first few names, and how many more there are: "a, b and 3 more"."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def share_below(share: float) -> str:
    """A share of pairs in percent, rounded down: what is not all of them is never called 100 %."""
    digits = 1 if share < 0.999 else 3
    percent = math.floor(100 * share * 10**digits + 1e-6) / 10**digits
    return f"{percent:.{digits}f} %"


def from_here(path: str) -> str:
    """A path from the current folder, where it lies below it."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return path


def clock(seconds: float) -> str:
    """A time as m:ss.s, or h:mm:ss.s."""
    tenths = round(10 * seconds)
    sign, tenths = "-" * (tenths < 0), abs(tenths)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{before}:{rest // 10:02d}.{rest % 10}"
