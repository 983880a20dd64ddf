"""How a device computes the first convolution, its ReLU and pooling fastest: it is asked.

cuDNN is slow where there are three channels, and nobody knows beforehand by how much a kernel of
`triton_stem` is faster on a chip, and which of its tiles. So on the first batch of a shape each way
is run. One whose output is not PyTorch's own within the precision's error is never used; of the
others the fastest is. What follows these layers is the same work for each of them. The choice holds
for the process.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from kinema.engine.first_clip import ERRORS
from kinema.engine.torch_network import apply_layer
from kinema.network import Network

PLAIN = "PyTorch"
"""The way that is always there; the others are called by their tiles."""

Way = Callable[[Tensor], Tensor]
"""Clips to what the first pooling gives."""

_ROUNDS = 5
_CLIPS = 8
"""That are compared at once: the output of a first convolution is large."""

_chosen: dict[Hashable, str] = {}


class FirstLayers:
    """The first two layers of a network, a convolution and a pooling.

    Args:
        network: the whole.
        parameters: by name, as they are used.
        precision: "bf16" or "fp16".
        plain: these layers by PyTorch.
        ways: the same by others, by name; what `triton_ways` gives.
        try_plain: whether PyTorch may be chosen where another way is right.

    Attributes:
        plain, ways: those that are not known to be wrong.
    """

    def __init__(
        self,
        network: Network,
        parameters: Mapping[str, Tensor],
        precision: str,
        *,
        plain: Way,
        ways: Mapping[str, Way],
        try_plain: bool = True,
    ) -> None:
        self._layers = network.layers[:2]
        name = self._layers[0].name
        self._parameters = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        self._precision, self.plain, self.ways = precision, plain, dict(ways)
        self._try_plain = try_plain

    def __call__(self, x: Tensor) -> Tensor:
        """The pooling's output of clips (N, C, T, H, W)."""
        name = self.way_of(x)
        return self.plain(x) if name == PLAIN else self.ways[name](x)

    def way_of(self, x: Tensor) -> str:
        """The name of the way that batches of this shape go."""
        key = (*self._layers, self._precision, x.shape, x.device, self._try_plain)
        if _chosen.get(key, PLAIN) not in (PLAIN, *self.ways):
            return PLAIN
        if key not in _chosen:
            _chosen[key] = self._fastest(x)
        return _chosen[key]

    def _fastest(self, x: Tensor) -> str:
        """Of the ways that are right; others are forgotten, and told once."""
        seconds, wrong, failed = {}, [], []
        for name, way in list(self.ways.items()):
            try:
                error = self.error_of(x, way(x))
                if error <= ERRORS[self._precision]:
                    seconds[name] = seconds_of(way, x)
                    continue
                wrong.append(f"{error:.2g} ({name})")
            except torch.cuda.OutOfMemoryError:  # the network itself needs less
                continue
            except Exception as error:  # of many kinds, for what is missing is found late
                failed.append(error)
            del self.ways[name]
        if wrong:
            warnings.warn(
                "the GPU computes the first convolution wrong by Triton, which is not used: in "
                f"{self._precision} it is off by {', '.join(wrong)}, and may be by "
                f"{ERRORS[self._precision]:.2g} (PyTorch {torch.__version__}).",
                stacklevel=6,
            )
        elif failed and not self.ways:
            note("Triton could not compile the first convolution", failed[0])
        if self._try_plain or not seconds:
            seconds[PLAIN] = seconds_of(self.plain, x) if seconds else 0.0
        return min(seconds, key=seconds.__getitem__)

    def error_of(self, x: Tensor, y: Tensor) -> float:
        """Of what a way gives of clips the largest relative error, of a whole one or of a value."""
        errors = []
        for clips, found in zip(x.split(_CLIPS), y.split(_CLIPS), strict=True):
            right = apply_layer(self._layers[0], clips, *self._parameters)
            right = apply_layer(self._layers[1], right).float().flatten(1)
            off = found.float().flatten(1) - right
            for length in (2, float("inf")):
                size: Any = functools.partial(torch.linalg.vector_norm, ord=length, dim=1)
                smallest = torch.finfo(torch.float32).tiny
                errors.append((size(off) / size(right).clamp_min(smallest)).max())
        return float(torch.stack(errors).max())  # of PyTorch: what is no number stays so


def triton_ways(network: Network, parameters: Mapping[str, Tensor]) -> dict[str, Way]:
    """Those of `triton_stem` by name; none where Triton is not there, or for other networks."""
    try:
        from kinema.engine.triton_stem import TILES, can_fuse, convolve_and_pool, packed
    except ImportError as error:
        note("Triton is not there", error)
        return {}
    if not can_fuse(network):
        return {}
    name = network.layers[0].name
    matrices, bias = packed(parameters[f"{name}.weight"]), parameters[f"{name}.bias"]
    return {
        "Triton {}x{}x{}".format(*tile): functools.partial(
            convolve_and_pool, matrices=matrices, bias=bias, tile=tile
        )
        for tile in TILES
    }


def seconds_of(way: Way, x: Tensor) -> float:
    """The least time of some runs, after one that is not counted."""
    way(x)
    return min(_timed(way, x) for _ in range(_ROUNDS))


def _timed(way: Way, x: Tensor) -> float:
    if not x.is_cuda:
        begun = time.perf_counter()
        way(x)
        return time.perf_counter() - begun
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    way(x)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def note(what: str, error: Exception) -> None:
    """Tell that something goes on without what an error took away."""
    reason = " ".join(str(error).split())[:200]
    warnings.warn(f"{what}, and what it does is done slower: {reason}", stacklevel=4)
