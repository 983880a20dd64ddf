"""What sharing costs: a million videos with empty work, on a plain folder.

    benchmarks/shared.py [--videos 1000000] [--folder FOLDER]

Writes benchmarks/shared.json: seconds of claims, heartbeats and manifests, a video's share of them
beside what its extraction takes, how long a run needs to find out that all is done (the resume that
reads the most), and the sizes of what is kept. Files of features are left out: they cost a shared
run what they cost a single one.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import tempfile
import time
from pathlib import Path

from machine import write

from kinema.sharing import chunks
from kinema.sharing.loop import share
from kinema.sharing.manifests import Row
from kinema.sharing.status import status
from kinema.store import LocalStore

VIDEO_BYTES = 500_000
"""About the mean of UCF101's videos."""

VIDEOS_AN_HOUR = {"the full C3D on two cores, UCF101's size": 2000, "ten times as fast": 20_000}


def name_of(number: int) -> str:
    """As long as UCF101's names are."""
    return f"v_SomeAction{number % 101:03d}/v_SomeAction_g{number // 101:06d}_c{number % 7:02d}.avi"


def work(names, begun):
    """Nothing, and a row of the size of a real one for it."""
    for name in names:
        begun(name)
        mark = hashlib.sha256(name.encode()).hexdigest()
        yield Row(name, mark, 22, mark[::-1]), None


def timed(call):
    """What a call returns, its seconds, and those of the processor."""
    wall, busy = time.perf_counter(), time.process_time()
    result = call()
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    return result, {"seconds": round(wall, 2), "processor_seconds": round(busy, 2)}


def size_of(folder: Path) -> dict[str, int]:
    """Files of a folder and their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the temporary store lies", default=None)
    given = parser.parse_args()
    names = [name_of(number) for number in range(given.videos)]
    result: dict = {"command": "benchmarks/shared.py", "videos": given.videos}
    with tempfile.TemporaryDirectory(prefix="kinema-", dir=given.folder) as folder:
        out = Path(folder)
        store = LocalStore(out)
        store.check()
        parts, result["begin"] = timed(lambda: chunks.begin(store, names, lambda name: VIDEO_BYTES))
        result["chunks"] = len(parts)
        found, result["run"] = timed(lambda: share(store, parts, work, ending=".safetensors"))
        assert sum(totals.num_videos for totals in found.rows.values()) == given.videos

        def resume():
            again = chunks.begin(store, names, lambda name: VIDEO_BYTES)
            return share(store, again, work, ending=".safetensors")

        again, result["resume"] = timed(resume)
        assert again.num_done == 0
        told, result["status"] = timed(lambda: status(out))
        assert told.num_done == given.videos
        shared = out / "_shared"
        result["sizes"] = {
            "list": (shared / "list.json.gz").stat().st_size,
            **{name: size_of(shared / name) for name in ("claims", "manifests", "beats")},
        }
    seconds = result["run"]["seconds"] / given.videos
    result["microseconds_a_video"] = round(1e6 * seconds, 1)
    result["percent_of_the_time"] = {
        what: round(100 * seconds / (3600 / rate), 4) for what, rate in VIDEOS_AN_HOUR.items()
    }
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    result["peak_memory_bytes"] = peak
    write("shared", result)


if __name__ == "__main__":
    main()
