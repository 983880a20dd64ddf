"""Videos of many trajectories as one vector each, by codebooks that training videos are held to.

    store of a video --a random part of all training videos'--> codebook, one a channel
    store of a video --in blocks--> vectors of the channels, side by side

Note [What is fitted is found again]
    A codebook is kept in the cache by the training videos' content and its settings, a channel a
    file; so are the vectors that it makes of videos. A second fit on the same videos, a row that
    shares the codebook and a stopped run find them, and no video is opened. Neither the order of
    the videos nor what else there is plays a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # scikit-learn's own, always beside it

from kinema.features.trajectories import INFO
from kinema.features.trajectory_store import BLOCK_RECORDS, CHANNELS, FORMAT, TrajectoryStore
from kinema.files import cache_file, read_kept_tensors, write_tensors
from kinema.methods.fisher import NUM_POSITIONS, FisherVectors
from kinema.methods.words import Words
from kinema.progress import Counted
from kinema.skipped import Skipped, VideoError
from kinema.threads import mapped, num_usable_cores
from kinema.video.sources import Source, as_source, fingerprint
from kinema.words import number_of

CODEBOOK_FORMAT = "kinema-codebook-1"
VECTOR_FORMAT = "kinema-encoded-1"

MOST_CODEBOOKS = 2
"""Channels that are learned at once: each takes 1.5 GB."""


class TrajectoryEncoder(TransformerMixin, BaseEstimator):
    """Turns videos into (n, D) float32, by codebooks of the training videos' trajectories.

    See Note [What is fitted is found again].

    Args:
        kind: of codebook, see Note [Codebooks] in `fisher`.
        stores: of trajectories; those of several are one set.
        cache: a folder for codebooks and vectors.
        seed: of what is drawn.
        progress: whether to show progress on standard error.

    Attributes:
        codebooks_: arrays by channel; none in a channel that has too few trajectories.
        size_: Gaussians or words a channel.
        num_trajectories_: of the training videos.
        num_dimensions_: D.
    """

    def __init__(
        self,
        kind: FisherVectors | Words,
        stores: Sequence[TrajectoryStore],
        *,
        cache: str | os.PathLike[str] | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.kind = kind
        self.stores = stores
        self.cache = cache
        self.seed = seed
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> TrajectoryEncoder:
        """Learn codebooks from n training videos.

        Raises:
            ValueError: there is no cache.
            VideoError: a video cannot be read; it is named.
        """
        if self.cache is None:
            raise ValueError("`cache` must be a folder: codebooks and vectors are kept there.")
        videos = {_content(source): source for source in map(as_source, X)}
        self._key = {
            "format": CODEBOOK_FORMAT,
            "trajectories": FORMAT,
            "kind": {type(self.kind).__name__: asdict(self.kind)},
            "stores": [[store.frame_step, store.colours] for store in self.stores],
            "seed": self.seed,
            "videos": hashlib.sha256("\n".join(sorted(videos)).encode()).hexdigest(),
        }
        found = {channel: self._kept(channel) for channel in CHANNELS}
        if any(codebook is None for codebook in found.values()):
            ordered = [videos[content] for content in sorted(videos)]
            sample, num = self._drawn(ordered)
            size = self.kind.size(min(num, self.kind.num_sampled))
            todo = [channel for channel, codebook in found.items() if codebook is None]

            def learn(channel: str) -> dict[str, np.ndarray]:
                learned = self.kind.fit(self._columns(sample, channel), size) if size else {}
                return {**learned, "counts": np.array([size, num])}

            made = mapped(learn, todo, threads=min(num_usable_cores(), MOST_CODEBOOKS))
            with (
                _one_thread_each(),
                warnings.catch_warnings(),
                Counted("codebooks", len(todo), enabled=self.progress) as bar,
            ):
                # A fixed number of rounds is meant; of equal descriptors there are fewer words.
                warnings.simplefilter("ignore", ConvergenceWarning)
                for channel, learned in zip(todo, made, strict=True):
                    write_tensors(self._file(channel), learned, {"format": CODEBOOK_FORMAT})
                    found[channel] = learned
                    bar.advance()
        self.codebooks_ = {channel: dict(codebook or {}) for channel, codebook in found.items()}
        self._digest = _digest(self.codebooks_)
        counts = [codebook.pop("counts").tolist() for codebook in self.codebooks_.values()]
        self.size_, self.num_trajectories_ = counts[0]
        self.num_dimensions_ = sum(self._widths().values())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """(n, D) float32, channels side by side; zeros for a video without trajectories.

        Raises:
            VideoError: a video cannot be read; it is named.
        """
        return self.encoded(X)[0]

    def encoded(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """As `transform`, and the (n,) numbers of trajectories."""
        assert self.cache is not None
        sources = [as_source(video) for video in X]
        files = [self._vector_file(source) for source in sources]
        vectors = np.empty((len(sources), self.num_dimensions_), np.float32)
        counts = np.zeros(len(sources), int)
        missing = []
        for index, file in enumerate(files):
            kept = read_kept_tensors(file, format=VECTOR_FORMAT)
            if kept is None:
                missing.append(index)
            else:
                vectors[index], counts[index] = kept["vector"], kept["count"]
        of_missing = self._records(sources[index] for index in missing)
        encoded = mapped(self._encode, of_missing, threads=num_usable_cores())
        num = len(missing)
        with _one_thread_each(), Counted("videos encoded", num, enabled=self.progress) as bar:
            for index, (vector, count) in zip(missing, encoded, strict=True):
                vectors[index], counts[index] = vector, count
                tensors = {"vector": vector, "count": counts[index]}
                write_tensors(files[index], tensors, {"format": VECTOR_FORMAT})
                bar.advance()
        return vectors, counts

    def notes(self) -> list[str]:
        """Where the codebooks are smaller than asked for, a line."""
        asked = max(self.kind.size(10**12), 1)
        if self.size_ == asked:
            return []
        one, many = self.kind.unit
        made = number_of(self.size_, one, many) if self.size_ else f"no {one}"
        return [
            f"the codebooks have {made} a channel, not {asked:,}: its training videos have "
            f"{number_of(self.num_trajectories_, 'trajectory', 'trajectories')}, and "
            f"{self.kind.each} make one"
        ]

    # --- training ---

    def _drawn(self, videos: Sequence[Source]) -> tuple[np.ndarray, int]:
        """A random part of all trajectories of videos, and how many there are.

        Only that part is in memory: one pass counts, the next one takes.
        """
        lengths = [len(one) for records in self._records(videos) for one in records]
        total = sum(lengths)
        count = min(total, self.kind.num_sampled)
        generator = np.random.default_rng(self.seed)
        chosen = np.sort(generator.choice(total, count, replace=False, shuffle=False))
        parts, start = [], 0
        for records in self._records(videos):
            for one in records:
                first, last = np.searchsorted(chosen, [start, start + len(one)])
                parts.append(np.asarray(one[chosen[first:last] - start]))
                start += len(one)
        return np.concatenate(parts), total

    def _kept(self, channel: str) -> dict[str, np.ndarray] | None:
        return read_kept_tensors(self._file(channel), format=CODEBOOK_FORMAT)

    def _file(self, channel: str) -> Path:
        assert self.cache is not None
        return cache_file(self.cache, {**self._key, "channel": channel})

    # --- encoding ---

    def _records(self, videos: Iterable[Source]) -> Iterator[list[np.ndarray]]:
        """Of each video its records in each store."""
        sources = [*videos]
        for found in zip(*(store.records(sources) for store in self.stores), strict=True):
            records = []
            for _, one in found:
                if isinstance(one, Skipped):
                    raise VideoError(str(one))
                records.append(one)
            yield records

    def _encode(self, records: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
        """(D,) of one video, and its number of trajectories."""
        parts = [
            self.kind.encode(codebook, self._blocks(records, channel))
            if self.size_
            else np.zeros(self._widths()[channel], np.float32)
            for channel, codebook in self.codebooks_.items()
        ]
        return np.concatenate(parts), sum(map(len, records))

    def _blocks(self, records: Sequence[np.ndarray], channel: str) -> Iterator[np.ndarray]:
        for one in records:
            for start in range(0, len(one), BLOCK_RECORDS):
                yield self._columns(one[start : start + BLOCK_RECORDS], channel)

    def _columns(self, records: np.ndarray, channel: str) -> np.ndarray:
        """(n, d) float32 of a channel, and the places in the video where the kind takes them."""
        rows = records["descriptors"][:, CHANNELS[channel]].astype(np.float32)
        if not self.kind.positions:
            return rows
        return np.hstack([rows, records["info"][:, len(INFO) - NUM_POSITIONS :]])

    def _widths(self) -> Mapping[str, int]:
        """D by channel; without a codebook, as if it were one of size 1."""
        appended = NUM_POSITIONS if self.kind.positions else 0
        return {
            channel: self.kind.num_dimensions(
                columns.stop - columns.start + appended, max(self.size_, 1)
            )
            for channel, columns in CHANNELS.items()
        }

    def _vector_file(self, source: Source) -> Path:
        assert self.cache is not None
        key = {
            **self._key,
            "format": VECTOR_FORMAT,
            "codebooks": self._digest,  # one that was lost may be learned a little otherwise
            "video": _content(source),
        }
        return cache_file(self.cache, key)


def _one_thread_each() -> Any:
    """For products of matrices, where threads have a channel or a video each: it is the quicker
    way, and no bit depends on the number of threads."""
    return threadpool_limits(1, user_api="blas")


def _digest(codebooks: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Of all that they hold."""
    content = hashlib.sha256()
    for channel in sorted(codebooks):
        for name, array in sorted(codebooks[channel].items()):
            content.update(f"{channel} {name}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def _content(source: Source) -> str:
    """What tells what a video shows."""
    return json.dumps(source.content_key(fingerprint(source.path)), sort_keys=True)
