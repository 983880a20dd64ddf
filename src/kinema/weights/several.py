"""Several nets that one setting names: "A+B", or a sequence of names, files and `Weights`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kinema.weights.file import Weights, file_of, resolve

AnyWeights = str | os.PathLike[str] | Weights
"""What names weights: a name, a file, or themselves."""


def parts(weights: AnyWeights | Sequence[AnyWeights]) -> tuple[AnyWeights, ...]:
    """The nets that are named, one by one: "A+B" names two, unless a file is called so."""
    if isinstance(weights, Weights):
        return (weights,)
    if isinstance(weights, str | os.PathLike):
        name = os.fspath(weights)
        return (weights,) if "+" not in name or file_of(name).is_file() else tuple(name.split("+"))
    return tuple(part for each in weights for part in parts(each))


def resolve_all(
    weights: AnyWeights | Sequence[AnyWeights],
    models: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Weights, ...]:
    """All nets that are named, see `parts`; `models` are those of `Weights.load`.

    Raises:
        ValueError, FileNotFoundError, ImportError: there is none, or see `resolve`.
    """
    found = tuple(resolve(part, models) for part in parts(weights))
    if not found:
        raise ValueError("`weights` must name at least one net.")
    return found
