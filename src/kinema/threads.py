"""Work in threads, beside the one that uses its results."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any


def num_usable_cores(*, root: str | os.PathLike[str] = "/") -> int:
    """Cores that this process may keep busy: those that it may run on, as far as its quota goes.

    A container often sees all cores of its host, but may use the time of a few: Linux then stops it
    for the rest of each period. A part of a core counts as one.

    Args:
        root: where /proc and /sys are; another one for tests.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(Path(root)))]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores' worth of time that this process's cgroup and those above it may use."""
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    # Each line: number:controllers:path, with no controllers for version 2.
    cgroups = [line.split(":", 2) for line in memberships if line.count(":") >= 2]
    for mount in mounts:
        about, _, kind = mount.partition(" - ")
        fields, (system, *options) = about.split(), kind.split() or [""]
        if system not in ("cgroup", "cgroup2") or len(fields) < 5:
            continue
        if system == "cgroup" and "cpu" not in ",".join(options).split(","):
            continue
        for _number, controllers, path in cgroups:
            if ("cpu" in controllers.split(",")) if system == "cgroup" else not controllers:
                top = root / _unescaped(fields[4]).lstrip("/")
                yield from _quotas_up_to(top, PurePosixPath(_unescaped(fields[3])), path)


def _quotas_up_to(top: Path, shown: PurePosixPath, path: str) -> Iterator[float]:
    """Of a cgroup and those above it; `shown` is the one that is mounted at `top`."""
    try:
        below = PurePosixPath(path).relative_to(shown)
    except ValueError:  # the mount shows another part; its top is all that is known
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    for folder in (top / below, *(top / parent for parent in below.parents)):
        # Version 2, as "max 100000" or "150000 100000".
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        # Version 1, in which -1 is no quota.
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            micros = int((folder / "cpu.cfs_quota_us").read_text())
            if micros > 0:
                yield micros / int((folder / "cpu.cfs_period_us").read_text())


def _unescaped(text: str) -> str:
    r"""A path of mountinfo, in which a blank is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mapped(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    threads: int,
    ahead: int | None = None,
) -> Generator[Any, None, None]:
    """`function` of each item, in order, computed by some threads up to `ahead` items in advance.

    An exception is raised here, in the place of its item.
    """
    ahead = 2 * threads if ahead is None else ahead
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="kinema-worker") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
