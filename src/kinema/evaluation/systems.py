"""The systems whose speed `runtime` tells: what each takes of a video and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from kinema.features.extractor import Extractor
from kinema.features.trajectories import tracks
from kinema.features.trajectory_files import FORMAT as ROW
from kinema.flow.cache import FlowSettings, write_flows
from kinema.flow.flows import flows, grey
from kinema.network import c3d
from kinema.video.clips import ClipPlan
from kinema.video.reader import Frame, VideoInfo
from kinema.video.sources import Source
from kinema.weights.file import Weights, random_weights

PAIRS_AT_ONCE = 16
"""That Brox solves together on a GPU."""

Items = Callable[[Iterator[Frame], VideoInfo], Iterator[Any]]
"""What a system takes of a video, of its frames: made beside the system, where they are decoded."""
Write = Callable[[Iterator[Any], Path], object]
"""Writes what a system makes of the items of a video."""


@dataclass(frozen=True)
class Asked:
    """What all systems are told.

    Attributes:
        weights: of C3D; None for the original network with random ones, which are as fast.
        stride: frames from clip to clip of C3D.
        batch: clips that go through C3D at once.
    """

    weights: Weights | None = None
    stride: int = 16
    batch: int = 8

    def extractor(self, engine: str, device: str, threads: int) -> Extractor:
        """C3D's, of fc6."""
        weights = self.weights or random_weights(c3d())
        return Extractor(
            weights,
            plan=ClipPlan(length=weights.network.input_shape[1], stride=self.stride),
            device=device,
            engine=engine,
            threads=threads,
            batch=self.batch,
        )


@dataclass(frozen=True)
class System:
    """Something whose speed is told.

    Attributes:
        title: what tables call it.
        begin: loads what is loaded once; of what is asked and the threads.
        paper: its column of `PAPER`; "" if it has none.
        needs: "" for nothing, "torch", or "gpu".
    """

    title: str
    begin: Callable[[Asked, int], tuple[Items, Write]]
    paper: str = ""
    needs: str = ""


def _greys(frames: Iterator[Frame], info: VideoInfo) -> Iterator[np.ndarray]:
    return (grey(frame.image) for frame in frames)


def _trajectories(asked: Asked, threads: int) -> tuple[Items, Write]:
    def write(greys: Iterator[np.ndarray], path: Path) -> None:
        with open(path, "w", encoding="ascii") as file:
            for ended in tracks(greys, threads=threads):
                file.writelines(ROW % tuple(row.tolist()) for row in ended.rows)

    return _greys, write


def _flow(method: str) -> Callable[[Asked, int], tuple[Items, Write]]:
    def begin(asked: Asked, threads: int) -> tuple[Items, Write]:
        def write(greys: Iterator[np.ndarray], path: Path) -> None:
            write_flows(path, flows(greys, method=method, threads=threads), FlowSettings())

        return _greys, write

    return begin


def _brox_on_gpu(asked: Asked, threads: int) -> tuple[Items, Write]:
    from kinema.flow.torch_brox import brox_flow

    def found(greys: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        pairs = pairwise(greys)
        while some := list(islice(pairs, PAIRS_AT_ONCE)):
            count = len(some)
            some += [some[-1]] * (PAIRS_AT_ONCE - count)  # what is compiled is for one size
            first, second = (np.stack(images) for images in zip(*some, strict=True))
            yield from brox_flow(first, second, device="cuda", compiled=True)[:count]

    return _greys, lambda greys, path: write_flows(path, found(greys), FlowSettings())


def _c3d(engine: str, device: str = "cpu") -> Callable[[Asked, int], tuple[Items, Write]]:
    def begin(asked: Asked, threads: int) -> tuple[Items, Write]:
        extractor = asked.extractor(engine, device, threads)

        def items(frames: Iterator[Frame], info: VideoInfo) -> Iterator[Any]:
            source = Source(Path("frames"), "frames")
            return extractor.batches(source, info, map(extractor.shrink, frames))

        def write(batches: Iterator[Any], path: Path) -> None:
            rows = [extractor.run(batch.inputs) for batch in batches]
            np.save(path, np.concatenate(rows))

        return items, write

    return begin


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "idt": System("iDT (CPU)", _trajectories, "idt"),
        "brox": System("Brox (CPU)", _flow("brox"), "brox"),
        "dis": System("DIS flow (CPU), a stand-in for Brox", _flow("dis")),
        "brox-gpu": System("Brox (GPU)", _brox_on_gpu, "brox-gpu", needs="gpu"),
        "c3d": System("C3D (CPU)", _c3d("native")),
        "c3d-torch": System("C3D (CPU, PyTorch)", _c3d("torch"), needs="torch"),
        "c3d-gpu": System("C3D (GPU)", _c3d("torch", "cuda"), "c3d-gpu", needs="gpu"),
    }
)
