"""Tables that are kept in a folder, and found again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kinema.features import extracted
from kinema.features.extractor import Extractor, Rearrange
from kinema.features.table import FeatureTable
from kinema.files import cache_file
from kinema.skipped import Skipped
from kinema.video.sources import Source
from kinema.video.steps import Made, Step, walk

_PLAIN = {"settings", "engine"}
"""The keys of what `extract` makes, too."""


class TableCache:
    """Tables in a folder, found again by the video's content and all that decides over them.

    What the folder has not, folders of shared runs may have, see `extracted`.

    Args:
        folder: made if it is missing.
        extractor: what makes the tables.
        key: what else decides over them, JSON values.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        extractor: Extractor,
        key: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._extracted = extracted.tables_beside(folder)
        self._key = {"settings": extractor.settings(), "engine": extractor.engine_name, **key}

    @property
    def what(self) -> Hashable:
        """Equal for caches that keep the same tables at the same places, see `Step`."""
        return os.path.abspath(self._folder), json.dumps(self._key, sort_keys=True)

    def find(self, source: Source, mark: str) -> FeatureTable | None:
        """The table of a video with this fingerprint; None if there is none, or a damaged one."""
        kept = self._file(source, mark)
        if kept.is_file():
            with contextlib.suppress(ValueError):  # a damaged table is made anew
                return FeatureTable.load(kept)
        if source.is_part or source.starts is not None or self._key.keys() != _PLAIN:
            return None
        settings, engine = self._key["settings"], self._key["engine"]
        tables = (one.find(mark, settings, engine) for one in self._extracted)
        return next((table for table in tables if table is not None), None)

    def keep(self, source: Source, made: Made) -> None:
        """Keep the table of a video."""
        made.value.save(self._file(source, made.mark))

    def _file(self, source: Source, mark: str) -> Path:
        return cache_file(self._folder, {**self._key, **source.content_key(mark)})


def kept_step(
    extractor: Extractor, cache: TableCache | None = None, *, rearrange: Rearrange | None = None
) -> Step:
    """`Extractor.step` with tables found and kept in the cache, if there is one."""
    if cache is None:
        return extractor.step(rearrange=rearrange)
    return extractor.step(find=cache.find, keep=cache.keep, rearrange=rearrange, what=cache.what)


def kept_tables(
    extractor: Extractor,
    videos: Iterable[Source],
    cache: TableCache | None = None,
    *,
    rearrange: Rearrange | None = None,
) -> Iterator[tuple[Source, FeatureTable | Skipped]]:
    """Each video and its table, in order; what is made anew is kept in the cache, if there is one.

    `rearrange` is that of `Extractor.step`.
    """
    step = kept_step(extractor, cache, rearrange=rearrange)
    for source, (made,) in walk(videos, [step], **extractor.walking):
        yield source, made if isinstance(made, Skipped) else made.value
