"""The C++ kernels and their one loader: convolution and dense trajectories on a CPU.

`support/` knows memory, threads and processors, and no domain. `convolution/` is a domain: `plan.h`
says which algorithm computes a layer and how its work is cut up; `kernels/` holds the kernels,
compiled once for each kind of processor; `work.cpp` is what the threads of a team do in one layer;
`network.cpp` runs a chain of layers, `layer_gradients.cpp` one layer and its gradients;
`bindings.cpp` shows it to Python. `trajectories/` is another one: a `Picture` is a frame at all
scales, a `Pair` the flow between two, `Tracks` follow it; several threads may use several of them
at once. A further domain is another folder with its `bindings.cpp`, and a call of `add_domain` in
CMakeLists.txt.

`convolve` and `input_gradient` take and give NumPy arrays. Networks are run by `engine.Engine`, and
PyTorch's autograd goes back through `autograd.conv3d`.
"""

from __future__ import annotations

import os

import numpy as np

try:
    from kinema.native._native import (
        LANES,
        LayerGradients,
        Network,
        can_pool,
        targets,
        trajectories,
    )
except ImportError as error:  # pragma: no cover
    raise ImportError(
        f"kinema's native engine is not there ({error}): install it with a C++20 compiler at hand "
        "(pip install . in its folder), or run with the engine torch."
    ) from None

__all__ = [
    "LANES",
    "LayerGradients",
    "Network",
    "can_pool",
    "convolve",
    "input_gradient",
    "processor",
    "targets",
    "trajectories",
]

NO_POOLING = (1, 1, 1)


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


def convolve(
    x: np.ndarray,
    *,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    relu: bool = False,
    threads: int = 1,
) -> np.ndarray:
    """3-D convolution as networks have it (cross-correlation), stride 1, zeros of half a kernel.

    Bit-equal for any number of threads; `reference.conv3d` is the formula.

    Args:
        x: (N, C, T, H, W) float32.
        weight: (O, C, I, J, K) float32, odd I, J, K.
        bias: (O,) float32; None for zeros.
        relu: whether to take max(., 0).
        threads: CPU threads.

    Returns:
        (N, O, T, H, W) float32.

    Raises:
        ValueError: not such arrays; the argument is named.
    """
    x, weight = _activation("x", x), _weight(weight)
    if weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"`weight` must be (O, {x.shape[1]}, I, J, K) for such an `x`, got {weight.shape}."
        )
    bias = np.zeros(len(weight), np.float32) if bias is None else _floats("bias", bias)
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"`bias` must be ({len(weight)},), got {bias.shape}.")
    _check_threads(threads)
    y = np.empty((len(x), len(weight), *x.shape[2:]), np.float32)
    LayerGradients(processor()).forward(x, weight, bias, bool(relu), NO_POOLING, y, None, threads)
    return y


def input_gradient(gradient: np.ndarray, *, weight: np.ndarray, threads: int = 1) -> np.ndarray:
    """From the gradient to a convolution's output, that to its input: the transposed convolution.

    Each value puts its kernel, times itself, where the kernel had looked.

    Args:
        gradient: (N, O, T, H, W) float32, to the output of `convolve` without ReLU.
        weight: (O, C, I, J, K) float32, odd I, J, K.
        threads: CPU threads.

    Returns:
        (N, C, T, H, W) float32.

    Raises:
        ValueError: not such arrays; the argument is named.
    """
    gradient, weight = _activation("gradient", gradient), _weight(weight)
    if len(weight) != gradient.shape[1]:
        raise ValueError(
            f"`weight` must be ({gradient.shape[1]}, C, I, J, K) for such a `gradient`, "
            f"got {weight.shape}."
        )
    _check_threads(threads)
    result = np.empty((len(gradient), weight.shape[1], *gradient.shape[2:]), np.float32)
    LayerGradients(processor()).input_gradient(gradient, weight, result, threads)
    return result


def _floats(name: str, array: np.ndarray) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"`{name}` must be a NumPy array of float32, got {kind}.")
    return np.ascontiguousarray(array)


def _activation(name: str, array: np.ndarray) -> np.ndarray:
    array = _floats(name, array)
    if array.ndim != 5 or 0 in array.shape[1:]:
        raise ValueError(
            f"`{name}` must be (N, channels, T, H, W), none but N zero; got {array.shape}."
        )
    return array


def _weight(array: np.ndarray) -> np.ndarray:
    array = _floats("weight", array)
    if array.ndim != 5 or 0 in array.shape[:2] or not all(size % 2 for size in array.shape[2:]):
        raise ValueError(
            f"`weight` must be (O, C, I, J, K), not empty, with odd I, J, K; got {array.shape}."
        )
    return array


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
