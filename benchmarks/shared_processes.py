"""Two shared processes on two cores beside one process with two threads, on real videos.

    KINEMA_DATA=... benchmarks/shared_processes.py [--videos 64] [--rounds 5]

Writes benchmarks/shared_processes.json: seconds of each, alternating, and the ratio of the medians;
beside it the seconds of the processor, which tell less of what else the machine does. Chunks are of
16 videos or more, so a short list tells how unequal its chunks are. It wants a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import write


def seconds_of(listed: Path, out: Path, processes: int) -> tuple[float, float]:
    """How long so many processes take for a list, with two threads in all; the processor, too."""
    given = [sys.executable, "-m", "kinema", "extract", "--list", str(listed), "--out", str(out)]
    given += ["--threads", str(2 // processes), "--weights", "c3d-untrained"]
    given += ["--shared"] if processes > 1 else []
    begun, used = time.perf_counter(), processor_seconds()
    running = [
        subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    assert not any(process.wait() for process in running)
    return round(time.perf_counter() - begun, 2), round(processor_seconds() - used, 2)


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    data = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    videos = sorted(data.rglob("*.avi"))[: given.videos]
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        listed = Path(folder, "list.txt")
        listed.write_text("".join(f"{path}\n" for path in videos), encoding="utf-8")
        for number in range(given.rounds):
            for processes, seconds in found.items():
                out = Path(folder, f"{processes}-{number}")
                seconds.append(seconds_of(listed, out, processes))
    walls, used = ([[one[i] for one in found[n]] for n in (1, 2)] for i in (0, 1))
    one, two = map(statistics.median, walls)
    result = {
        "command": "benchmarks/shared_processes.py",
        "videos": len(videos),
        "seconds_of_one_process_with_two_threads": walls[0],
        "seconds_of_two_processes_with_a_thread_each": walls[1],
        "percent_of_its_speed": round(100 * one / two, 1),
        "seconds_of_the_processor": {"one": used[0], "two": used[1]},
    }
    write("shared_processes", result)


if __name__ == "__main__":
    main()
