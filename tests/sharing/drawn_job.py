"""A job for Ray's actors with drawn work: a file for each name, after a moment."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from kinema.sharing import chunks, claims, loop
from kinema.sharing.manifests import Row
from kinema.store import open_store

from drawn_work import content_of, names_of


@dataclass(frozen=True)
class DrawnJob:
    """Writes a file for each name.

    Attributes:
        out: the folder.
        num_names: of the list.
        seconds: that a name takes.
        slow: that it takes the first actor which makes this folder; None if all are alike.
        error: what each actor raises instead.
    """

    out: str
    num_names: int
    seconds: float = 0.01
    slow: float | None = None
    error: Exception | None = None

    def __call__(self, progress):
        if self.error:
            raise self.error
        claims.BEAT_SECONDS, claims.SOON_SECONDS = 0.2, 0.05
        loop.POLL_SECONDS = 0.2
        seconds = self.seconds
        if self.slow is not None:
            try:
                os.mkdir(Path(self.out, "slow"))
                seconds = self.slow
            except FileExistsError:
                time.sleep(1.0)  # the slow one has its chunk first

        def work(names, begun):
            for name in names:
                begun(name)
                time.sleep(seconds)
                yield Row(name, f"mark of {name}", 2), content_of(name)

        store = open_store(self.out)
        parts = chunks.begin(store, names_of(self.num_names), lambda name: 1 << 20)
        return loop.share(store, parts, work, ending=".txt", progress=progress)
