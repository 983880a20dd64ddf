"""Near-duplicates: videos of one recording or one fixed scene, told by what their frames look like.

    videos --sketch--> thumbnails --similarity of each pair--> links --connected--> groups

A classifier that learned from one clip of a recording knows the next one by its background. Where
a dataset does not say which videos belong together, `group_near_duplicates` finds out, and folds
keep them on one side.

Note [What counts as a near-duplicate]
    A video is sketched by `NUM_FRAMES` evenly spaced frames, grey, without black borders, brought
    to 24x18 pixels. Two frames are compared by the directions of their edges: the correlation of
    their horizontal and vertical gradients, whose lengths are square-rooted so that one strong edge
    does not decide. The similarity of two videos is the highest of any two of their frames, also
    with one video mirrored. Frames without contrast (black, fades) are like nothing.

    What this finds and what it does not is measured by `experiments/copies.py`: copies that were
    encoded anew, scaled, stretched, brightened, mirrored, bordered, cut to a part or cropped by up
    to a twentieth on each side are found, and so is the same fixed camera at another time. Crops
    of a tenth are not. A camera that moves shows its scene only where frames are nearly the same.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kinema.datasets.folds import SAME_SCENE
from kinema.datasets.types import Dataset, Split
from kinema.files import cache_file, read_kept_tensors, write_tensors
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import PLAIN, Reading, Video
from kinema.video.reader import Frame, spread
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Step, at_places, walk

FORMAT = "kinema-sketch-1"

NUM_FRAMES = 8
HEIGHT, WIDTH = 18, 24

SIMILARITY = 0.55
"""From which on two videos count as near-duplicates (docs/results/README.md shows why)."""

_BORDER = 32
"""Rows and columns at the edge with no pixel brighter than this in any frame are no picture."""

_LEAST_CONTRAST = 8.0
"""Standard deviation of a frame's pixels, of 255, below which it is like nothing."""

_BLOCK = 256
"""Videos that are compared with as many others at once."""


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Which videos of a dataset are near-duplicates of which.

    Attributes:
        names: of the n videos, sorted.
        pairs: (m, 2) indices of near-duplicates, most similar first.
        similarities: (m,) of each pair, up to 1.
        unreadable: why videos could not be looked at, by name; they are linked to nothing.
    """

    names: tuple[str, ...]
    pairs: np.ndarray
    similarities: np.ndarray
    unreadable: Mapping[str, str]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """n names: that of the first video which a video is linked to, through others or not."""
        size = len(self.names)
        links = coo_array((np.ones(len(self.pairs)), tuple(self.pairs.T)), shape=(size, size))
        _, component = connected_components(links, directed=False)
        _, first, of = np.unique(component, return_index=True, return_inverse=True)
        return tuple(self.names[index] for index in first[of])

    def of_readable(self) -> NearDuplicates:
        """The same of the videos alone that could be read."""
        kept = [index for index, name in enumerate(self.names) if name not in self.unreadable]
        place = np.zeros(len(self.names), int)
        place[kept] = np.arange(len(kept))
        names = tuple(self.names[index] for index in kept)
        return NearDuplicates(names, place[self.pairs], self.similarities, {})

    def straddling(self, split: Split) -> list[tuple[str, str, float]]:
        """Test videos with a near-duplicate among the training videos: both and how similar.

        Each test video is there once, with its nearest; the most similar ones come first.
        """
        train, test = set(split.train), set(split.test)
        found: dict[int, tuple[str, str, float]] = {}
        for pair, similarity in zip(self.pairs.tolist(), self.similarities, strict=True):
            for tested, learned in (pair, pair[::-1]):
                if tested in test and learned in train and tested not in found:
                    found[tested] = (self.names[tested], self.names[learned], float(similarity))
        return list(found.values())

    def summary(self) -> str:
        """How many videos were joined to how many groups, in one line."""
        facts = self.as_mapping({})
        text = (
            f"{facts['num_joined']} of {len(self.names)} videos look like another one (same "
            f"recording or scene); {facts['num_groups']} groups, the largest of "
            f"{facts['largest_group']}"
        )
        if self.unreadable:
            text += f"; {len(self.unreadable)} could not be read and stand alone"
        return f"{text}."

    def as_mapping(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """What was found as JSON values."""
        sizes = Counter(self.groups).values()
        return {
            "num_groups": len(sizes),
            "num_joined": sum(size for size in sizes if size > 1),
            "largest_group": max(sizes, default=0),
            "groups": dict(zip(self.names, self.groups, strict=True)),
            "pairs": [
                [self.names[first], self.names[second], round(float(similarity), 4)]
                for (first, second), similarity in zip(
                    self.pairs.tolist(), self.similarities, strict=True
                )
            ],
            "straddling": {name: self.straddling(split) for name, split in splits.items()},
            "unreadable": dict(self.unreadable),
        }

    def text(self, splits: Mapping[str, Split], *, max_names: int | None = 5) -> str:
        """What was found to read: the pairs and how similar they are, most similar first.

        Then, for each split, the test videos with a near-duplicate among the training videos.

        Args:
            splits: given ones by name.
            max_names: how many pairs are named, and videos for each split; None for all.
        """
        lines = [f"near-duplicates {self.summary()}"]
        lines += [
            f"            {self.names[first]} ~ {self.names[second]} ({similarity:.2f})"
            for (first, second), similarity in zip(
                self.pairs[:max_names].tolist(), self.similarities[:max_names], strict=True
            )
        ]
        if max_names is not None and len(self.pairs) > max_names:
            more = len(self.pairs) - max_names
            lines.append(f"            ... and {more} more pair{'s'[: more != 1]}")
        for name, split in splits.items():
            found = self.straddling(split)
            lines.append(
                f"split {name:<5} {len(found)} of {len(split.test)} test videos look like one to "
                "train on"
            )
            lines += [
                f"            {tested} ~ {learned} ({similarity:.2f})"
                for tested, learned, similarity in found[:max_names]
            ]
            if max_names is not None and len(found) > max_names:
                lines.append(f"            ... and {len(found) - max_names} more")
        return "\n".join(lines)


def find_near_duplicates(
    dataset: Dataset,
    *,
    similarity: float = SIMILARITY,
    cache: str | os.PathLike[str] | None = None,
    reading: Reading = PLAIN,
    threads: int | None = None,
    progress: bool = False,
) -> NearDuplicates:
    """Look at every video and compare each with each. See Note [What counts as a near-duplicate].

    Args:
        dataset: labelled videos; labels, groups and splits play no part.
        similarity: from which on two videos count as near-duplicates, more than 0, at most 1.
        cache: a folder for the sketches of videos.
        reading: how videos are read.
        threads: videos that are read at once; None for one on each core.
        progress: whether to show progress on standard error.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"`similarity` must be more than 0 and at most 1, got {similarity}.")
    samples = dataset.samples
    sketches = np.zeros((len(samples), NUM_FRAMES, HEIGHT, WIDTH), np.uint8)
    unreadable: dict[str, str] = {}
    looked = walk(
        (sample.source for sample in samples),
        [step(cache, reading=reading)],
        reading=reading,
        threads=threads or num_usable_cores(),
    )
    with Counted("near-duplicates", len(samples), enabled=progress) as bar:
        for index, (_, (made,)) in enumerate(looked):
            if isinstance(made, Skipped):
                unreadable[samples[index].name] = made.reason
            else:
                sketches[index] = made.value
            bar.advance()
    pairs, similarities = similar_pairs(sketches, similarity)
    return NearDuplicates(tuple(sample.name for sample in samples), pairs, similarities, unreadable)


def needs_groups(dataset: Dataset) -> bool:
    """Whether nothing but near-duplicates tells of some videos which belong together."""
    return not dataset.splits and any(
        # Parts of a file are a group of its name, which says nothing of other files.
        sample.group in (sample.name, sample.name.partition("#t=")[0])
        for sample in dataset.samples
    )


def _joined(own: Sequence[str], found: Sequence[str]) -> list[str]:
    """Groups that hold together what either of two groupings does, called after their first."""
    numbers = [np.unique(list(names), return_inverse=True)[1] for names in (own, found)]
    size = len(own)
    pairs = [np.arange(size)] * 2, [numbers[0], numbers[1] + size]
    ends = np.concatenate(pairs[0]), np.concatenate(pairs[1]) + size
    links = coo_array((np.ones(2 * size), ends), shape=(3 * size, 3 * size))
    _, component = connected_components(links, directed=False)
    _, first, of = np.unique(component[:size], return_index=True, return_inverse=True)
    return [own[index] for index in first[of]]


def group_near_duplicates(dataset: Dataset, copies: NearDuplicates | None = None) -> Dataset:
    """A dataset whose groups are its near-duplicates, with a note that says so.

    Videos that have groups of their own keep them, and so do those of an official split. A group is
    called after its first video. Videos of a scene that more than half of all show stand alone, as
    folds cannot keep them on one side; not those of a class that is this scene and nothing else,
    see `datasets.plan_folds`.

    Args:
        dataset: labelled videos.
        copies: what `find_near_duplicates` gives for them; None looks for them here.
    """
    if not needs_groups(dataset):
        return dataset
    if copies is None:
        copies = find_near_duplicates(dataset)
    notes = [f"groups by near-duplicates: {copies.summary()}"]
    groups = _joined([sample.group for sample in dataset.samples], copies.groups)
    sizes = Counter(groups)
    too_large = {group for group, size in sizes.items() if size > len(copies.names) / 2}
    held = {(group, s.labels[0]) for group, s in zip(groups, dataset.samples, strict=True)}
    scenes = Counter(label for _, label in held)
    for group in list(too_large):
        labels = [label for other, label in held if other == group]
        if len(labels) == 1 and scenes[labels[0]] == 1:
            too_large.remove(group)
    if too_large:
        notes.append(
            f"{max(sizes.values())} of {len(copies.names)} videos hang together as near-duplicates"
            f", too many for one side of a fold, and are taken apart: {SAME_SCENE}."
        )
    return dataclasses.replace(
        dataset,
        samples=tuple(
            sample if group in too_large else dataclasses.replace(sample, group=group)
            for sample, group in zip(dataset.samples, groups, strict=True)
        ),
        notes=(*dataset.notes, *notes),
    )


# --- what a video looks like ----------------------------------------------------------------------


def sketch(video: str | os.PathLike[str] | Video) -> np.ndarray:
    """(8, 18, 24) uint8: evenly spaced frames of a video, grey, small, without black borders.

    Raises:
        VideoError, FileNotFoundError: the video cannot be read to its end.
    """
    if not isinstance(video, Video):
        video = Video(as_source(video))
    return _sketch(spread(map(_thumbnail, video.frames()), _PLACES))


def step(cache: str | os.PathLike[str] | None = None, *, reading: Reading = PLAIN) -> Step:
    """The sketch of each video, as a step of a walk; what `find_near_duplicates` finds again.

    Args:
        cache: a folder for sketches; None keeps none.
        reading: how the videos are read.
    """
    if cache is None:
        return Step(_sketches, _thumbnail)
    folder = Path(cache)
    about: dict[str, Any] = {"sketch": [NUM_FRAMES, HEIGHT, WIDTH]}
    if reading.colours != "file":
        about["colours"] = reading.colours

    def file(source: Source, mark: str) -> Path:
        return cache_file(folder, {**about, **source.content_key(mark)})

    def find(source: Source, mark: str) -> np.ndarray | None:
        kept = read_kept_tensors(file(source, mark), format=FORMAT)
        return None if kept is None else kept["frames"]

    def keep(source: Source, made: Made) -> None:
        write_tensors(file(source, made.mark), {"frames": made.value}, {"format": FORMAT})

    return Step(_sketches, _thumbnail, find=find, keep=keep)


def _thumbnail(frame: Frame) -> np.ndarray:
    """(48, 64) uint8 grey."""
    return _resized(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), 64, 48)


def _sketch(thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    frames = np.stack(thumbnails)
    brightest = frames.max(axis=0)
    rows = np.flatnonzero(brightest.max(axis=1) >= _BORDER)
    columns = np.flatnonzero(brightest.max(axis=0) >= _BORDER)
    if len(rows) >= HEIGHT / 2 and len(columns) >= WIDTH / 2:  # else it is all dark
        frames = frames[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.stack([_resized(frame, WIDTH, HEIGHT) for frame in frames])


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


_PLACES = np.linspace(0, 1, NUM_FRAMES).tolist()
_sketches = at_places(_PLACES, _sketch)


# --- comparing ------------------------------------------------------------------------------------


def similar_pairs(sketches: np.ndarray, similarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of n sketches are alike: each with each, in blocks of matrix products.

    Args:
        sketches: (n, frames, height, width) uint8.
        similarity: the least.

    Returns:
        (m, 2) indices, the smaller one first, and (m,) similarities; the most similar first.
    """
    plain = np.array([_edges(frames) for frames in sketches])
    pairs, values = [np.zeros((0, 2), int)], [np.zeros(0, np.float32)]
    for start, other, best in _blocks(plain):
        first, second = np.nonzero(best >= similarity)
        found = np.stack([first + start, second + other], axis=1)
        apart = found[:, 0] < found[:, 1]  # a block on the diagonal has each pair twice
        pairs.append(found[apart])
        values.append(best[first, second][apart])
    joined, similarities = np.concatenate(pairs), np.concatenate(values)
    order = np.lexsort((joined[:, 1], joined[:, 0], -similarities))
    return joined[order], similarities[order]


def _blocks(plain: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Two first indices and the similarities of a block of videos with another, upper half."""
    for start in range(0, len(plain), _BLOCK):
        ours = plain[start : start + _BLOCK]
        both = [np.concatenate(list(side)) for side in (ours, _mirrored(ours))]
        for other in range(start, len(plain), _BLOCK):
            theirs = np.concatenate(list(plain[other : other + _BLOCK])).T
            best = np.maximum(*(side @ theirs for side in both))
            # One axis after the other: over both at once numpy takes five times as long.
            best = best.reshape(len(ours), NUM_FRAMES, -1).max(axis=1)
            yield start, other, best.reshape(len(ours), -1, NUM_FRAMES).max(axis=2)


def _edges(frames: np.ndarray) -> np.ndarray:
    """(frames, 2 h w) float32: gradients of each, of length 1; zeros without contrast."""
    rows = []
    for frame in frames.astype(np.float32):
        maps = np.stack([cv2.Sobel(frame, cv2.CV_32F, 1, 0), cv2.Sobel(frame, cv2.CV_32F, 0, 1)])
        maps /= np.sqrt(np.hypot(*maps)) + 1e-3
        maps -= maps.mean(axis=(1, 2), keepdims=True)
        seen = float(frame.std() >= _LEAST_CONTRAST)
        rows.append(seen * maps.ravel() / (np.linalg.norm(maps) + 1e-6))
    return np.stack(rows)


def _mirrored(edges: np.ndarray) -> np.ndarray:
    """`_edges` of the mirrored frames: left is right, and gradients across change their sign."""
    maps = edges.reshape(*edges.shape[:-1], 2, HEIGHT, WIDTH)[..., ::-1].copy()
    maps[..., 0, :, :] *= -1
    return maps.reshape(edges.shape)
