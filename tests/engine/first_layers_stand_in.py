"""In the place of `kinema.engine.triton_stem`, which needs a GPU: PyTorch's own operations."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Changed = Callable[[torch.Tensor], torch.Tensor]


def stem(
    tiles: Sequence[tuple[int, int, int]] = ((64, 4, 2),),
    faults: Mapping[tuple[int, int, int], Changed] | None = None,
) -> Any:
    """The module; `calls` are the shapes that it was given, `faults` change what a tile gives."""
    module: Any = types.ModuleType("kinema.engine.triton_stem")
    module.calls = []

    def convolve_and_pool(x, matrices, bias, *, tile):
        module.calls.append(tuple(x.shape))
        y = torch.nn.functional.conv3d(x, matrices, bias, padding=1).relu()
        y = torch.nn.functional.max_pool3d(y, (1, 2, 2), ceil_mode=True)
        return (faults or {}).get(tile, lambda y: y)(y)

    module.TILES, module.can_fuse, module.packed = tuple(tiles), lambda network: True, lambda w: w
    module.convolve_and_pool = convolve_and_pool
    return module
