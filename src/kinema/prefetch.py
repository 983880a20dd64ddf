"""Work in a thread, beside the one that uses its results."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True)
class _Raised:
    error: BaseException
