"""Work in threads, beside the one that uses its results."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


def num_usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prefetched(items: Iterable[Any], *, ahead: int = 2) -> Iterator[Any]:
    """The items, made in a thread of their own, up to `ahead` of them in advance.

    An exception in the thread is raised here, after the items before it.
    """
    finished = object()
    made: queue.Queue[Any] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                made.put(item, timeout=0.1)
                return

    def make() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(finished)
        except BaseException as error:  # handed over to whoever iterates
            put(_Raised(error))

    thread = threading.Thread(target=make, name="kinema-decoder", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not finished:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        thread.join()


def mapped(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    threads: int,
    ahead: int | None = None,
    stop: Callable[[], object] = lambda: None,
) -> Generator[Any, None, None]:
    """`function` of each item, in order, computed by some threads up to `ahead` items in advance.

    An exception is raised here, in the place of its item. In the end `stop` is called: when no more
    results are wanted, it can cut short what is under way.
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
            stop()
            for future in pending:
                future.cancel()


@dataclass(frozen=True)
class _Raised:
    error: BaseException
