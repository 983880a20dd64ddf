"""`Index`: clips of many videos as small whole numbers, searched from end to end.

    rows of length 1 --basis, (k, D)--> k numbers --less offset, by scale--> int8     one row a clip

Note [What an index keeps of a row]
    The similarity of two clips is the cosine of their features. The `basis` holds the k directions
    in which the rows are longest (PCA about zero: inner products are what is to be kept, so no mean
    is taken off), k at most 256. Each number is kept as an int8 on a scale of its own. A row is
    then k bytes, and its inner product with a query comes out of one matrix product. The best few
    are compared anew with the rows themselves, which the feature tables hold.

Note [The scale of similarities]
    A cosine of 0.93 says nothing: of features after a ReLU all are high. So a similarity is told by
    its place among the folder's own: the share of pairs of its clips, of different videos, that are
    less alike. 0.99 says: of a hundred pairs of clips of this folder, one is as much alike as this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from kinema.files import read_tensors, write_tensors

FORMAT = "kinema-index-1"

MOST_NUMBERS = 256
"""k, of a row: 200,000 rows take 51 MB."""

MOST_SAMPLED = 20_000
"""Rows that a basis is fitted on."""

NUM_PAIRS = 200_000
"""Of clips, whose cosines make the scale of similarities."""

BLOCK = 8_192
"""Rows that become float32 at once: 8 MB of k = 256, which stays in the processor's cache."""

_BEYOND = 1.1
"""How much further than the sampled rows an int8 reaches."""

_SHARES = np.concatenate([np.linspace(0, 0.99, 100), 1 - np.geomspace(1e-2, 1e-5, 61)[1:], [1.0]])
"""Of pairs that are less alike, at which the scale is kept."""


@dataclass(frozen=True, eq=False)
class Basis:
    """How rows become int8, and what their similarities mean.

    Attributes:
        directions: (k, D) float32, orthonormal.
        offset, scale: (k,) float32: number = offset + scale * code.
        cosines: of pairs of clips of different videos, at the shares of `_SHARES`, ascending.
        num_rows: how many there were when it was fitted.
    """

    directions: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    cosines: np.ndarray
    num_rows: int

    @classmethod
    def fit(cls, rows: np.ndarray, video: np.ndarray, num_rows: int) -> Basis:
        """Of sampled rows (n, D) of length 1 and the videos (n,) that they are of."""
        rows = rows.astype(np.float32)
        k = min(MOST_NUMBERS, *rows.shape)
        width = rows.shape[1]
        moments = (rows.T @ rows).astype(np.float64) / len(rows)
        _, directions = scipy.linalg.eigh(moments, subset_by_index=[width - k, width - 1])
        directions = np.ascontiguousarray(directions[:, ::-1].T.astype(np.float32))
        numbers = rows @ directions.T
        offset = (numbers.max(axis=0) + numbers.min(axis=0)) / 2
        reach = np.abs(numbers - offset).max(axis=0) * _BEYOND
        scale = np.maximum(reach, 1e-6).astype(np.float32) / 127
        return cls(directions, offset, scale, _pair_cosines(rows, video), num_rows)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """(n, k) int8 of rows (n, D) of length 1."""
        codes = (rows.astype(np.float32) @ self.directions.T - self.offset) / self.scale
        return np.clip(np.rint(codes), -127, 127).astype(np.int8)

    def scores(self, codes: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """(n,) float32, about the largest inner product of each row with some vectors.

        Args:
            codes: (n, k) int8, which may be memory-mapped; they are read block by block.
            vectors: (q, D).
        """
        numbers = vectors.astype(np.float32) @ self.directions.T
        weights, constants = (numbers * self.scale).T, numbers @ self.offset
        count = len(codes)
        scores = np.empty(count, np.float32)
        for start in range(0, count, BLOCK):
            block = codes[start : min(start + BLOCK, count)].astype(np.float32)
            scores[start : start + BLOCK] = (block @ weights + constants).max(axis=1)
        return scores

    def share(self, cosine: Any) -> Any:
        """The share of pairs that are less alike. See Note [The scale of similarities]."""
        return np.interp(cosine, self.cosines, _SHARES)


def _pair_cosines(rows: np.ndarray, video: np.ndarray) -> np.ndarray:
    """At the shares of `_SHARES`, of random pairs of different videos; of one video, of any two."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, len(rows), (2, NUM_PAIRS))
    apart = video[first] != video[second]
    if not apart.any():
        apart = first != second
    if not apart.any():  # one clip in all
        return np.linspace(0, 1, len(_SHARES), dtype=np.float32)
    first, second = first[apart], second[apart]
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        found[part] = np.einsum("nd,nd->n", rows[first[part]], rows[second[part]])
    return np.maximum.accumulate(np.quantile(found, _SHARES)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Entry:
    """One video of an index.

    Attributes:
        name: below the common folder.
        stamp: what tells without reading the file that it is the same: size and time of change.
        mark: its `fingerprint`; "" of one that could not be read.
        num_clips: rows it has; they follow each other.
        length: of the mean of its rows, which are of length 1.
        reason: why it could not be used; "" if it could.
    """

    name: str
    stamp: tuple[int, int]
    mark: str = ""
    num_clips: int = 0
    length: float = 0.0
    reason: str = ""


COLUMNS: Mapping[str, Any] = {
    "start_frame": np.int64,
    "stop_frame": np.int64,
    "start_seconds": np.float64,
    "stop_seconds": np.float64,
}
"""Of a clip, as in a `FeatureTable`."""


@dataclass(frozen=True, eq=False)
class Index:
    """The clips of some videos.

    Attributes:
        entries: the videos, in the order of their rows.
        basis: None where there is no clip.
        codes: (n, k) int8.
        columns: those of `COLUMNS`, (n,) each.
    """

    entries: Sequence[Entry]
    basis: Basis | None
    codes: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return sum(entry.num_clips for entry in self.entries)

    @property
    def first(self) -> np.ndarray:
        """(v + 1,) the first row of each video, and how many rows there are."""
        return np.cumsum([0, *(entry.num_clips for entry in self.entries)])

    @property
    def video(self) -> np.ndarray:
        """(n,) which of the entries a row is of."""
        return np.repeat(np.arange(len(self.entries)), [one.num_clips for one in self.entries])

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) about the largest cosine of each clip with vectors (q, D) of length 1."""
        if self.basis is None:
            return np.zeros(0, np.float32)
        return self.basis.scores(self.codes, vectors)

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        basis = self.basis
        tensors = dict(self.columns)
        fitted = {}
        if basis is not None:
            tensors |= {"codes": self.codes, "directions": basis.directions, "offset": basis.offset}
            tensors |= {"scale": basis.scale, "cosines": basis.cosines}
            fitted = {"num_rows": basis.num_rows}
        videos = [
            [one.name, *one.stamp, one.mark, one.num_clips, one.length, one.reason]
            for one in self.entries
        ]
        write_tensors(path, tensors, {"format": FORMAT, "videos": videos, **fitted})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Index:
        """What `save` wrote.

        Raises:
            ValueError: it is something else, or damaged.
        """
        tensors, about = read_tensors(Path(path), format=FORMAT, without=("codes",))
        try:
            entries = [
                Entry(name, (size, changed), mark, count, length, reason)
                for name, size, changed, mark, count, length, reason in about["videos"]
            ]
            columns = {name: tensors[name] for name in COLUMNS}
            basis, codes = None, np.zeros((0, 0), np.int8)
            if "scale" in tensors:
                codes = _mapped(Path(path), "codes")
                parts = {name: tensors[name] for name in ("directions", "offset", "scale")}
                basis = Basis(**parts, cosines=tensors["cosines"], num_rows=about["num_rows"])
            index = cls(entries, basis, codes, columns)
            rows = len(index)
            if len(codes) != rows or any(len(column) != rows for column in columns.values()):
                raise ValueError("its parts do not fit together")
            return index
        except (KeyError, TypeError) as error:
            raise ValueError(f"a part of it is missing or damaged ({error})") from None


def fit_sampled(
    tables: Sequence[Any], load: Callable[[Any], np.ndarray], counts: Sequence[int]
) -> Basis:
    """A basis of some rows of tables.

    Args:
        tables: what `load` takes, one a video.
        load: gives its rows (m, D) of length 1.
        counts: m of each.
    """
    generator = np.random.default_rng(0)
    order = generator.permutation(len(tables))
    rows: list[np.ndarray] = []
    video: list[np.ndarray] = []
    each = max(MOST_SAMPLED // max(len(tables), 1), 8)
    held = 0
    for index in order.tolist():
        found = load(tables[index])
        chosen = np.sort(generator.permutation(len(found))[:each])
        rows.append(found[chosen])
        video.append(np.full(len(chosen), index))
        held += len(chosen)
        if held >= MOST_SAMPLED:
            break
    return Basis.fit(np.concatenate(rows), np.concatenate(video), sum(counts))


def _mapped(path: Path, name: str) -> np.ndarray:
    """An int8 array of a safetensors file, memory-mapped: read as it is searched."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(size))[name]
    return np.memmap(path, np.int8, "r", 8 + size + about["data_offsets"][0], tuple(about["shape"]))
