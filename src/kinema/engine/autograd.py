"""Convolutions that learn: the native kernels behind PyTorch's autograd, on a CPU.

`conv3d` is what a training loop calls in the place of `torch.nn.functional.conv3d`, and of the ReLU
and the max pooling that follow it. Its gradients are computed by the same kernels, bit-equal for
any number of threads (docs/engine.md, Learning).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from kinema.network import Conv3d, MaxPool3d

if TYPE_CHECKING:  # who learns with PyTorch's kernels, on a GPU, may have none of ours
    from kinema import native

Window = tuple[int, int, int]


def conv3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    relu: bool = False,
    pool: Window = (1, 1, 1),
) -> torch.Tensor:
    """3-D convolution, stride 1, zero padding of half a kernel; if asked, ReLU and max pooling.

    Equal, up to rounding, to `functional.conv3d`, `relu` and `functional.max_pool3d` with
    `ceil_mode=True` of PyTorch, forward and backward; of equal values in a window the first wins.
    Pooling is done before the convolution's output leaves the cache where the windows divide its
    tiles (4, 2 or 1 samples along an axis, see plan.h), and by PyTorch where they do not.

    Runs on `torch.get_num_threads()` threads. There is no second derivative.

    Args:
        x: (N, C, T, H, W) float32, on the CPU.
        weight: (O, C, I, J, K) float32, odd I, J, K.
        bias: (O,) float32, or None.
        relu: whether to take max(., 0), before the pooling.
        pool: size and stride of the windows along time, height, width; `network.MaxPool3d` without
            padding.

    Returns:
        (N, O, T', H', W') float32: sizes divided by those of the windows, rounded up.

    Raises:
        TypeError, ValueError: not such tensors; the argument is named.
    """
    from kinema import native

    _check(x, weight, bias)
    t, h, w = MaxPool3d("pool", pool).kernel
    window = (t, h, w)
    if not isinstance(relu, bool):
        raise TypeError(f"`relu` must be True or False, got {relu!r}.")
    if bias is None:
        bias = weight.new_zeros(len(weight))
    fused = native.can_pool(x.shape[2:], weight.shape[2:], window)
    inside = window if fused else (1, 1, 1)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias)):
        y = _Convolution.apply(x, weight, bias, relu, inside)
    else:
        y, _ = _forward(x, weight, bias, relu, inside, keep_winners=False)
    if not fused:
        y = torch.nn.functional.max_pool3d(y, window, ceil_mode=True)
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        relu: bool,
        window: Window,
    ) -> torch.Tensor:
        y, winners = _forward(x, weight, bias, relu, window, keep_winners=True)
        ctx.save_for_backward(x, weight, y if relu else None, winners)
        ctx.relu, ctx.window = relu, window
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from kinema import native

        x, weight, y, winners = ctx.saved_tensors
        shapes = (x.shape, weight.shape, weight.shape[:1])
        to_x, to_weight, to_bias = (
            _empty(shape) if needed else None
            for shape, needed in zip(shapes, ctx.needs_input_grad[:3], strict=True)
        )
        _layer_gradients(native.processor()).backward(
            _array(x),
            _array(weight),
            ctx.relu,
            ctx.window,
            None if y is None else _array(y),
            None if winners is None else winners.numpy(),
            _array(gradient),
            to_x,
            to_weight,
            to_bias,
            torch.get_num_threads(),
        )
        gradients = (to_x, to_weight, to_bias)
        return (*(None if g is None else torch.from_numpy(g) for g in gradients), None, None)


def _forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    window: Window,
    *,
    keep_winners: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The output and, for the way back through a pooling, which sample each maximum was."""
    from kinema import native

    clips, channels = len(x), len(weight)
    sizes = [-(-size // step) for size, step in zip(x.shape[2:], window, strict=True)]
    y = _empty((clips, channels, *sizes))
    winners = None
    if keep_winners and window != (1, 1, 1):
        blocks = -(-channels // native.LANES)
        winners = np.empty(clips * blocks * native.LANES * math.prod(sizes), np.uint8)
    _layer_gradients(native.processor()).forward(
        _array(x),
        _array(weight),
        _array(bias),
        relu,
        window,
        y,
        winners,
        torch.get_num_threads(),
    )
    return torch.from_numpy(y), None if winners is None else torch.from_numpy(winners)


@functools.cache
def _layer_gradients(processor: str) -> native.LayerGradients:
    """One for all convolutions: its memory is kept from call to call and fits the largest."""
    from kinema import native

    return native.LayerGradients(processor)


def _empty(shape: Any) -> np.ndarray:
    """NumPy asks for large pages, which torch.empty does not: fresh memory is much faster so."""
    return np.empty(tuple(shape), np.float32)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Refuse what is not a convolution, by name."""
    tensors = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"`{name}` must be a torch.Tensor, got {type(tensor).__name__}.")
        if tensor.dtype != torch.float32:
            raise TypeError(f"`{name}` must be float32, got {tensor.dtype}.")
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise ValueError(
                f"`{name}` must be a dense tensor on the CPU, got {tensor.layout} on "
                f"{tensor.device}."
            )
    if x.ndim != 5 or 0 in x.shape[1:]:
        raise ValueError(f"`x` must be (N, C, T, H, W), none but N zero; got {tuple(x.shape)}.")
    if weight.ndim != 5 or weight.shape[1] != x.shape[1] or not len(weight):
        raise ValueError(
            f"`weight` must be (O, {x.shape[1]}, I, J, K) for such an `x`, "
            f"got {tuple(weight.shape)}."
        )
    t, h, w = weight.shape[2:]
    Conv3d("weight", len(weight), (t, h, w))  # refuses even kernels
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"`bias` must be ({len(weight)},), got {tuple(bias.shape)}.")
