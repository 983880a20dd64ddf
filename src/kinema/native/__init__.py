"""The C++ kernels and their one loader: separable Winograd convolution on a CPU.

`plan.h` says which algorithm computes a layer and how its work is cut up; `kernels.cpp` holds the
kernels, compiled once for each kind of processor; `work.cpp` is what the threads of `team.h` do in
one layer; `network.cpp` runs a chain of layers, `learning.cpp` one layer and its gradients;
`module.cpp` shows it all to Python. What users call are `engine.Engine` and `autograd.conv3d`.
"""

from __future__ import annotations

import os

try:
    from kinema.native._native import LANES, LayerGradients, Network, can_pool, targets
except ImportError as error:  # pragma: no cover
    raise ImportError(
        f"kinema's native engine is not there ({error}): install it with a C++20 compiler at hand "
        "(pip install . in its folder), or run with the engine torch."
    ) from None

__all__ = ["LANES", "LayerGradients", "Network", "can_pool", "processor", "targets"]


def processor() -> str:
    """The build of the kernels to use: the best that this processor can run.

    The environment variable KINEMA_PROCESSOR forces another: "avx512", "avx2" or "portable".

    Raises:
        ValueError: this processor cannot run what the variable asks for.
    """
    known = targets()
    forced = os.environ.get("KINEMA_PROCESSOR")
    if not forced:
        return known[0]
    if forced not in known:
        raise ValueError(
            f"KINEMA_PROCESSOR must be one of {', '.join(known)} on this machine, got {forced!r}."
        )
    return forced
