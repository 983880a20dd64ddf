"""Which videos are worth comparing: those of which two key pictures look alike.

    key pictures --edges--> descriptors --shortened--> products of each with each --> pairs

Note [Cheap, and rather too many]
    Descriptors are the directions of edges, as in Note [What counts as a near-duplicate] of
    `datasets.near_duplicates`, but of one picture a second, shortened to the `DIMENSIONS` in which
    the key pictures at hand differ most. Each is compared with each, in blocks of matrix products,
    and each with each mirrored one. Two videos are candidates if any two of their pictures reach
    `_ALIKE`; `alignment` then throws most of them out. 20,000 videos of 10 s take minutes. Of many
    hours from one fixed camera all are candidates, and that takes as long as comparing all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

DIMENSIONS = 64
"""They hold some nine tenths of what descriptors are, and a product takes a tenth of the time."""

_ALIKE = 0.45
"""Nearly all copies reach this in one of their pictures, and 0.1 % of other pairs of UCF101."""

_LEAST_CONTRAST = 8.0  # standard deviation of a picture, of 255, below which it is like nothing

_SAMPLE = 5000
"""Key pictures from which the dimensions are taken."""

_BLOCK = 4096


def candidates(keys: Sequence[np.ndarray]) -> list[tuple[int, int, bool]]:
    """Pairs of videos worth comparing: two numbers, the smaller first, and whether mirrored.

    Args:
        keys: (k, 18, 24) uint8 of each video, which may be empty.
    """
    counts = [len(one) for one in keys]
    if not sum(counts):
        return []
    video = np.repeat(np.arange(len(keys)), counts)
    basis = _basis(keys)
    plain, mirrored = (
        np.concatenate([edges(one[:, :, ::step]) @ basis for one in keys if len(one)])
        for step in (1, -1)
    )
    found: set[int] = set()
    for first, second, flipped in _alike(plain, mirrored):
        one, two = video[first], video[second]
        apart = one < two
        codes = (one[apart] * len(keys) + two[apart]) * 2 + flipped
        found.update(np.unique(codes).tolist())
    return [(*divmod(code // 2, len(keys)), bool(code % 2)) for code in sorted(found)]


def votes(first: np.ndarray, second: np.ndarray, count: int) -> list[int]:
    """Offsets in seconds for which most pairs of key pictures speak, most first.

    Args:
        first, second: (k, 18, 24) uint8; mirrored already.
        count: the most offsets.
    """
    ours, theirs = edges(first), edges(second)
    spoken = np.zeros(len(first) + len(second) - 1, np.int64)
    for start in range(0, len(ours), _BLOCK):
        one, two = np.nonzero(ours[start : start + _BLOCK] @ theirs.T >= _ALIKE)
        np.add.at(spoken, two - (one + start) + len(first) - 1, 1)
    # Two key pictures are up to half a second off, so neighbours speak for each other.
    joined = np.convolve(spoken, [1, 2, 1], "same")
    order = np.argsort(-joined, kind="stable")[:count]
    return [int(place) - (len(first) - 1) for place in order if joined[place]]


def edges(pictures: np.ndarray) -> np.ndarray:
    """(k, 2 h w) float32: gradients of (k, h, w) pictures, of length 1; zeros without contrast."""
    plain = pictures.astype(np.float32)
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1)), "edge")
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    across = down[:, :, 2:] - down[:, :, :-2]
    side = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    maps = np.stack([across, side[:, 2:] - side[:, :-2]], axis=1)
    # Square-rooted lengths, so that one strong edge does not decide.
    maps /= np.sqrt(np.hypot(maps[:, :1], maps[:, 1:])) + 1e-3
    maps -= maps.mean(axis=(2, 3), keepdims=True)
    found = maps.reshape(len(maps), -1)
    found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-6
    found[plain.std(axis=(1, 2)) < _LEAST_CONTRAST] = 0
    return found


def _basis(keys: Sequence[np.ndarray]) -> np.ndarray:
    """(864, 64) float32: the directions in which descriptors are largest."""
    step = max(1, sum(map(len, keys)) // _SAMPLE)
    sample = edges(np.concatenate([one for one in keys if len(one)])[::step])
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(vectors[:, -DIMENSIONS:])


def _alike(
    plain: np.ndarray, mirrored: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Numbers of pictures that are alike, block by block of the upper half."""
    for start in range(0, len(plain), _BLOCK):
        ours = plain[start : start + _BLOCK]
        for other in range(start, len(plain), _BLOCK):
            for flipped, side in ((False, plain), (True, mirrored)):
                products = ours @ side[other : other + _BLOCK].T
                places = np.flatnonzero(products >= _ALIKE)
                if len(places):
                    first, second = np.divmod(places, products.shape[1])
                    yield first + start, second + other, flipped
