"""`runtime`: how fast the paper's features are on one's own machine and videos, and beside C3D.

Note [What a cell is]
    A system on one core or on all. Each runs in a process of its own, which is bound to its cores,
    so that no library takes more. What is loaded once, weights say, and the first frames are not
    counted; then videos are read one after the other until the time is over, frames go through the
    system as they come, and what it gives is written to files: all that is counted, input and
    output, as in the paper. What a video took that is skipped does not count, nor do its frames.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import active_children, get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kinema.evaluation.systems import SYSTEMS, Asked, Items, Write
from kinema.features.extractor import versions
from kinema.files import check_not_newer, check_out, write_json
from kinema.network import c3d
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading, Video, each_video
from kinema.video.reader import Frame
from kinema.video.sources import Source, find_videos, fingerprint
from kinema.weights.file import resolve
from kinema.words import number_of

RUNTIME_FORMAT = "kinema-runtime-1"

WARM_FRAMES = 32
"""That a system sees before its time is taken."""
MEASURED_SHARE = 0.9
"""Of the seconds that were asked for: a cell of fewer is told."""
PAPER: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "idt": (3.5, 202.2, 91.4),
        "brox": (0.3, 2513.9, 1135.9),
        "brox-gpu": (1.2, 607.8, 274.6),
        "c3d-gpu": (313.9, 2.2, 1.0),
    }
)
"""Of Tran et al. 2015: frames a second, hours for UCF101, times slower than C3D."""

UCF101_FRAMES = round(313.9 * 2.2 * 3600)
"""Of UCF101, by the paper's own column for C3D."""

DIFFERS = (
    "The paper's are of one core of its CPU and of one Tesla K40, input and output included; its "
    "C3D ran on the GPU, its iDT and Brox were their authors' and OpenCV's programs, on videos of "
    "320x240. Here iDT takes SIFT for SURF, and Brox is our own solver."
)


@dataclass(frozen=True)
class Cell:
    """The speed of a system; see Note [What a cell is].

    Attributes:
        system: its name in `SYSTEMS`.
        cores: of the CPU that it had.
        num_frames: that it saw.
        seconds: that it took.
    """

    system: str
    cores: int
    num_frames: int
    seconds: float

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS or not (self.num_frames > 0 and self.seconds > 0):
            raise ValueError(f"{self}: there is no such cell.")

    @property
    def frames_per_second(self) -> float:
        """Of video."""
        return self.num_frames / self.seconds

    @property
    def ucf101_hours(self) -> float:
        """For all of UCF101, by extrapolation."""
        return UCF101_FRAMES / self.frames_per_second / 3600


@dataclass(frozen=True, eq=False)
class Runtime:
    """The table.

    Attributes:
        cells: in the order of `SYSTEMS`, one core first.
        settings: what was asked.
        machine: what it was measured on.
        notes: what was left out, and why.
        skipped: videos that could not be used.
    """

    cells: tuple[Cell, ...]
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def slower(self, cell: Cell, than: str = "c3d") -> float | None:
        """How many times as long it takes as C3D: on as many cores, or "c3d-gpu"; None without."""
        for other in self.cells:
            if other.system == than and (than == "c3d-gpu" or other.cores == cell.cores):
                return other.frames_per_second / cell.frames_per_second
        return None

    def as_mapping(self) -> dict[str, Any]:
        """As JSON values."""
        cells = [
            {
                **asdict(cell),
                "title": SYSTEMS[cell.system].title,
                "frames_per_second": cell.frames_per_second,
                "ucf101_hours_extrapolated": cell.ucf101_hours,
                "times_slower_than_c3d_cpu": self.slower(cell),
                "times_slower_than_c3d_gpu": self.slower(cell, "c3d-gpu"),
            }
            for cell in self.cells
        ]
        return {
            "format": RUNTIME_FORMAT,
            "cells": cells,
            "settings": dict(self.settings),
            "machine": dict(self.machine),
            "notes": list(self.notes),
            "skipped": [one.as_mapping() for one in self.skipped],
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Runtime:
        """What `runtime` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; `kinema runtime --out` writes one.")
        try:
            content = json.loads(Path(path).read_bytes())
            check_not_newer(content.get("format"), RUNTIME_FORMAT)
            names = [field.name for field in fields(Cell)]
            return cls(
                tuple(Cell(**{name: cell[name] for name in names}) for cell in content["cells"]),
                content["settings"],
                content["machine"],
                tuple(content["notes"]),
                tuple(Skipped(**one) for one in content["skipped"]),
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeError):
            raise ValueError(f"{path}: it is no file that `kinema runtime` wrote.") from None


def runtime(
    videos: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    systems: Sequence[str] = tuple(SYSTEMS),
    seconds: float = 20.0,
    weights: str | os.PathLike[str] | None = None,
    stride: int = 16,
    batch: int = 8,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Runtime:
    """Measure the paper's runtime table on one's own videos; see Note [What a cell is].

    Args:
        videos: files and folders, see `find_videos`.
        out: folder for runtime.json, which is written after each cell; a stopped run goes on.
        systems: names of `SYSTEMS`.
        seconds: for which each cell reads videos.
        weights: of C3D, a name or a file; None for the original network with random ones, which are
            as fast.
        stride: frames from clip to clip of C3D.
        batch: clips that go through C3D at once.
        threads: the CPU's cores beside one; all by default.
        colours, video_seconds: see `video.loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        ValueError, FileNotFoundError: a setting is wrong, or there is no video that can be read.
    """
    unknown = [name for name in systems if name not in SYSTEMS]
    if unknown or not systems:
        raise ValueError(
            f"`systems` must be some of {', '.join(SYSTEMS)}; got {', '.join(unknown) or 'none'}."
        )
    if not 0 < seconds < float("inf"):
        raise ValueError(f"`seconds` must be more than 0 and finite, got {seconds:g}.")
    cores = num_usable_cores() if threads is None else threads
    if cores < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    if batch < 1:
        raise ValueError(f"`batch` must be at least 1 clip, got {batch}.")
    named = None if weights is None else resolve(weights)
    length = (named.network if named else c3d()).input_shape[1]
    ClipPlan(length=length, stride=stride)
    reading = Reading(colours, video_seconds)
    found = find_videos(videos)
    check_out(out)
    Path(out).mkdir(parents=True, exist_ok=True)
    file = Path(out, "runtime.json")
    settings = {
        "seconds": seconds,
        "weights": "random, C3D" if named is None else named.name,
        "stride": stride,
        "batch": batch,
        "num_videos": len(found),
        "videos": hashlib.sha256("\n".join(map(_content, found)).encode()).hexdigest()[:16],
        "colours": colours,
    }
    facts = machine()
    known, bad = _known(file, settings, facts)
    todo, notes = [], [*found.notes]
    for name in SYSTEMS:
        if name in systems and (why := _missing(SYSTEMS[name].needs)):
            notes.append(f"{SYSTEMS[name].title} is left out: {why}")
        elif name in systems:
            todo += [(name, n) for n in _cores_of(name, cores)]
    cells: dict[tuple[str, int], Cell] = {key: known[key] for key in todo if key in known}
    skipped = {one.path: one for one in bad}

    def told() -> Runtime:
        ordered = tuple(cells[key] for key in todo if key in cells)
        over = [
            f"{SYSTEMS[cell.system].title}, {number_of(cell.cores, 'core')}: measured for "
            f"{cell.seconds:.2g} s, not {seconds:g}: the videos were over, or could not be used."
            for cell in ordered
            if cell.seconds < MEASURED_SHARE * seconds
        ]
        return Runtime(ordered, settings, facts, (*notes, *over), tuple(skipped.values()))

    with Counted("cells", len(todo), enabled=progress) as bar:
        for name, n in todo:
            if (name, n) not in cells:
                work = _Work(name, n, weights, stride, batch, seconds, reading, tuple(found))
                cells[name, n], bad = _in_its_own_process(work)
                skipped |= {one.path: one for one in bad}
                write_json(file, told().as_mapping())
            bar.advance()
    result = told()
    write_json(file, result.as_mapping())
    return result


def machine() -> dict[str, Any]:
    """What it is measured on: processor, cores, GPU, versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    found = {
        "cpu": cpu,
        "cores": num_usable_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions(),
    }
    if importlib.util.find_spec("torch"):
        from kinema.flow.torch_brox import gpu_name

        found["torch"] = importlib.metadata.version("torch")
        found |= {"gpu": name} if (name := gpu_name()) else {}
    return found


def _content(source: Source) -> str:
    """What tells whether a video is the same as before."""
    with contextlib.suppress(OSError):  # one that cannot be read is skipped in its turn
        return f"{source} {fingerprint(source.path)}"
    return str(source)


def _known(
    file: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[dict[tuple[str, int], Cell], Sequence[Skipped]]:
    """Cells that a run with these settings measured here before, and what it skipped."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        kept = Runtime.load(file)
        if (kept.settings, kept.machine) == (settings, facts):
            return {(cell.system, cell.cores): cell for cell in kept.cells}, kept.skipped
    return {}, ()


def _missing(needs: str) -> str:
    if needs and not importlib.util.find_spec("torch"):
        return "it needs PyTorch (pip install 'kinema[torch]')."
    if needs == "gpu":
        from kinema.flow.torch_brox import gpu_name

        return "" if gpu_name() else "PyTorch sees no GPU here."
    return ""


def _cores_of(name: str, cores: int) -> list[int]:
    """What is measured of a system; beside a GPU the CPU has all of its cores."""
    return [cores] if cores == 1 or SYSTEMS[name].needs == "gpu" else [1, cores]


@dataclass(frozen=True)
class _Work:
    """What a cell's process is told."""

    system: str
    cores: int
    weights: str | os.PathLike[str] | None
    stride: int
    batch: int
    seconds: float
    reading: Reading
    videos: tuple[Source, ...]


def _in_its_own_process(work: _Work) -> tuple[Cell, list[Skipped]]:
    """A cell; what a library keeps, and which cores it has, is over with its process.

    Ctrl-C goes to both: here it ends the other one, which would print where it was.
    """
    before = set(active_children())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with _without_interrupts():  # a process begins as its parent is
            result = pool.submit(_measured, work)
        try:
            return result.result()
        except KeyboardInterrupt:
            for child in set(active_children()) - before:
                child.terminate()
            raise


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _measured(work: _Work) -> tuple[Cell, list[Skipped]]:
    """A cell, in its own process."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: work.cores])
    weights = None if work.weights is None else resolve(work.weights)
    asked = Asked(weights, work.stride, work.batch)
    system = SYSTEMS[work.system].begin(asked, work.cores)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result")
        warm = _Passed(lambda num: num < WARM_FRAMES)
        warm.go(system, work, file)
        if not warm.num:
            reason = f" ({warm.skipped[0]})" if warm.skipped else ""
            raise ValueError(f"`videos` must hold one that can be used; none can{reason}.")
        begun = time.perf_counter()
        passed = _Passed(lambda _: time.perf_counter() - begun < work.seconds)
        passed.go(system, work, file)
        if not passed.num:
            raise ValueError(f"`seconds` {work.seconds:g} is too short: no frame was done in them.")
    return Cell(work.system, work.cores, passed.num, passed.seconds), passed.skipped


class _Passed:
    """Frames that went through a system, and how long, as long as there should be more of them."""

    def __init__(self, more: Callable[[int], bool]) -> None:
        self._more = more
        self._num_read = 0
        self._of_videos: deque[list[int]] = deque()  # of each that is being read, in order
        self.num, self.seconds = 0, 0.0
        self.skipped: list[Skipped] = []

    def go(self, system: tuple[Items, Write], work: _Work, file: Path) -> None:
        items, write = system

        def read(video: Video) -> Iterator[Any]:
            self._of_videos.append(count := [0])
            reader = video.reader()
            return items(self._counted(video.frames(reader), count), reader.info)

        def use(source: Source, found: Iterator[Any]) -> None:
            write(found, file)

        begun = time.perf_counter()
        for _, outcome in each_video(work.videos, read, use, reading=work.reading):
            now = time.perf_counter()
            (num,) = self._of_videos.popleft()
            if not isinstance(outcome, Skipped):
                self.num += num
                self.seconds += now - begun
            begun = now
            if not self._more(self._num_read):
                break  # the last one may have ended too early
            if isinstance(outcome, Skipped):
                self.skipped.append(outcome)

    def _counted(self, frames: Iterator[Frame], count: list[int]) -> Iterator[Frame]:
        for frame in frames:
            if not self._more(self._num_read):
                return
            self._num_read += 1
            count[0] += 1
            yield frame
