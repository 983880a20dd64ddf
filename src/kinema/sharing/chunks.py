"""The list that is shared, cut into chunks; everyone who takes part must have the same one."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.files import check_not_newer
from kinema.store import Store
from kinema.words import first_of, number_of

FORMAT = "kinema-shared-list-1"

LIST = "_shared/list.json.gz"

FEWEST, MOST = 16, 256
"""Names of a chunk; the last one may have fewer."""

CHUNK_BYTES = 256 << 20
"""A chunk that is larger ends, if it has enough names."""

NUM_CHUNKS = 256
"""Short lists are cut into about so many, so that many processes have something to do."""


@dataclass(frozen=True)
class Chunks:
    """Names in order, and where each chunk of them begins.

    Attributes:
        names: sorted.
        borders: chunk i holds the names from borders[i] to borders[i + 1].
        sizes: bytes of each chunk, for the time left.
        sources: by name, what else decides over its result (the clips of a list); None of most.
    """

    names: tuple[str, ...]
    borders: tuple[int, ...]
    sizes: tuple[int, ...]
    sources: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.borders) - 1

    def __getitem__(self, chunk: int) -> tuple[str, ...]:
        return self.names[self.borders[chunk] : self.borders[chunk + 1]]


def cut(sizes: Sequence[int]) -> list[int]:
    """The borders of chunks of things of some sizes in bytes."""
    enough = min(CHUNK_BYTES, sum(sizes) / NUM_CHUNKS)
    borders, held = [0], 0
    for index, size in enumerate(sizes):
        held += size
        count = index + 1 - borders[-1]
        if count == MOST or (count >= FEWEST and held >= enough):
            borders.append(index + 1)
            held = 0
    return borders if borders[-1] == len(sizes) else [*borders, len(sizes)]


def begin(
    store: Store,
    names: Sequence[str],
    size_of: Callable[[str], int],
    sources: Mapping[str, Any] | None = None,
) -> Chunks:
    """The chunks that all share: those that are there, or new ones.

    Args:
        store: where they lie.
        names: in any order.
        size_of: bytes of a name; asked for only by who comes first.
        sources: see `Chunks`.

    Raises:
        ValueError: another list is there, or a damaged one.
    """
    ordered = tuple(sorted(names))
    sources = {} if sources is None else json.loads(json.dumps(dict(sources)))
    try:
        data = store.read(LIST)
    except FileNotFoundError:
        sizes = [size_of(name) for name in ordered]
        borders = cut(sizes)
        pairs = itertools.pairwise(borders)
        content = {
            "format": FORMAT,
            "names": ordered,
            "borders": borders,
            "sizes": [sum(sizes[start:stop]) for start, stop in pairs],
            "sources": sources,
        }
        data = store.settle(LIST, gzip.compress(json.dumps(content).encode(), 6, mtime=0))
    found = _parsed(store, data)
    if (found.names, found.sources) != (ordered, sources):
        raise ValueError(_what_changed(store, found, ordered))
    return found


def load(store: Store) -> Chunks:
    """The chunks that are there.

    Raises:
        FileNotFoundError: nothing was begun there.
        ValueError: the list is damaged, or of a newer version.
    """
    try:
        return _parsed(store, store.read(LIST))
    except FileNotFoundError:
        raise FileNotFoundError(f"{store}: nothing was begun there with --shared.") from None


def _parsed(store: Store, data: bytes) -> Chunks:
    try:
        content = json.loads(gzip.decompress(data))
        check_not_newer(content["format"], FORMAT)
        return Chunks(
            tuple(content["names"]),
            tuple(content["borders"]),
            tuple(content["sizes"]),
            dict(content["sources"]),
        )
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{store}/{LIST} is damaged or of another version ({error}): delete it, and the same "
            "command writes it again; nothing else is lost."
        ) from None


def _what_changed(store: Store, found: Chunks, names: Sequence[str]) -> str:
    new = sorted(set(names) - set(found.names))
    gone = sorted(set(found.names) - set(names))
    what = [f"{first_of(many, 1)} {word}" for many, word in ((new, "new"), (gone, "gone")) if many]
    return (
        f"the list changed: {store} was begun with {number_of(len(found.names), 'video')}, now "
        f"there are {len(names)} ({'; '.join(what) or 'with other clips'}). Give the same list, "
        "with names from the same folder on, or share in another place."
    )
