"""One process of a shared run with drawn work: a file for each name, after a moment.

process.py OUT NUM_NAMES SECONDS_A_NAME [--deadly NAME] [--one-in N] [--shards]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time

from kinema.sharing import chunks, claims, loop
from kinema.sharing.manifests import Row
from kinema.sharing.shards import DamagedShard, Packing
from kinema.store import open_store

from stores import Failing


def content_of(name: str) -> bytes:
    """The file of a name."""
    return f"what became of {name}\n".encode() * 50


def names_of(count: int) -> list[str]:
    """So many names."""
    return [f"folder/{number:04d}.mp4" for number in range(count)]


def pack(path, rows, files) -> None:
    """A shard of JSON."""
    contents = {row.name: files[row.name].read_text() for row in rows if row.name in files}
    path.write_text(json.dumps([[vars(row) for row in rows], contents]))


def unpack(file) -> list[Row]:
    try:
        return [Row(**row) for row in json.loads(file.read())[0]]
    except ValueError:
        raise DamagedShard("it is no JSON") from None


PACKING = Packing(pack, unpack)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("num_names", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--deadly")
    parser.add_argument("--one-in", type=int)
    parser.add_argument("--shards", action="store_true")
    given = parser.parse_args()
    claims.BEAT_SECONDS, claims.SOON_SECONDS, claims.STALE_SECONDS = 0.1, 0.02, 1.5
    loop.POLL_SECONDS = 0.2
    store = open_store(given.out)
    if given.one_in:
        store = Failing(given.out, one_in=given.one_in, seed=os.getpid())

    def work(names, begun):
        for name in names:
            begun(name)
            if name == given.deadly:
                time.sleep(0.3)  # a beat tells of it
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(given.seconds)
            if name.endswith("3.mp4"):
                yield Row(name, reason="it ends in three."), None
            else:
                yield Row(name, f"mark of {name}", 2), content_of(name)

    store.check()
    parts = chunks.begin(store, names_of(given.num_names), lambda name: 1 << 20)
    packing = PACKING if given.shards else None
    found = loop.share(store, parts, work, ending=".txt", packing=packing)
    print(found.num_done, len(found.skipped), flush=True)


if __name__ == "__main__":
    main()
