"""Brox et al. 2004 in PyTorch, many pairs at once: for a GPU, and to hold the CPU's kernels to.

See Note [What is minimised] and Note [Red-black] of `brox`.

Note [One line of a colour]
    The pixels of a colour lie in one line, row after row, in such a way that the four neighbours of
    each, all of the other colour, lie at four fixed distances from its own place there. With i, j
    the row and the column and Q half a row and one,

        red (i + j even)  at  i Q + (j - i) / 2,        black  at  i Q + (j - i - 1) / 2;
        red's neighbours:     right 0, left -1, down Q - 1, up -Q;
        black's:              right 1, left 0, down Q, up 1 - Q.

    So a half sweep is a few operations on whole lines. Neighbours outside of the image have the
    weight 0, and so has what lies between the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.flow.brox import (
    DEFAULT,
    EPSILON,
    PRESMOOTHING,
    SWEEPS_A_CHECK,
    Brox,
    gaussian,
    mirrored,
    pairs_of_images,
)

CUBIC = -0.5
"""Keys's parameter of the bicubic interpolation (IPOL, bicubic_interpolation.h)."""


def gpu_name() -> str:
    """What PyTorch calls the GPU; "" if it sees none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def brox_flow(
    first: np.ndarray,
    second: np.ndarray,
    *,
    settings: Brox = DEFAULT,
    device: str = "cpu",
    compiled: bool = False,
    graph: bool = True,
) -> np.ndarray:
    """The flow of Brox et al. 2004 of pairs of grey images.

    The flow of a pair does not depend, beyond rounding, on the pairs beside it.

    Args:
        first: (N, H, W) or (H, W), grey, uint8 or finite floats of any range.
        second: the image after each.
        settings: see `Brox`.
        device: "cpu", "cuda", ...; PyTorch's name.
        compiled: whether `torch.compile` fuses what a warp and a sweep do, once it has taken its
            time to compile: less memory traffic on a GPU.
        graph: whether a GPU's sweeps are launched as one CUDA graph; it changes no bit.

    Returns:
        (N, H, W, 2) or (H, W, 2) float32: pixels to the right and down.

    Raises:
        ValueError: not such images.
    """
    images = pairs_of_images(first, second)
    with torch.inference_mode():
        flow = _pyramid(torch.from_numpy(images).to(device), settings, compiled, graph)
    return flow.cpu().numpy().reshape(*first.shape, 2)


def _pyramid(images: Tensor, settings: Brox, compiled: bool, graph: bool) -> Tensor:
    """(2, N, H, W) to (N, H, W, 2)."""
    images = _blurred(_normalised(images), PRESMOOTHING)
    sizes = settings.sizes(*images.shape[2:])
    levels = [images]
    for size in sizes[1:]:
        levels.append(
            _sampled(_blurred(levels[-1], settings.zoom_sigma), size, 2 * (1 / settings.nu,))
        )
    flow = torch.zeros_like(levels[-1])
    for index in reversed(range(len(sizes))):
        if flow.shape != levels[index].shape:
            size = sizes[index]
            steps = tuple(one / other for one, other in zip(flow.shape[2:], size, strict=True))
            flow = _sampled(flow, size, steps) / settings.nu
        flow = _scale(levels[index], flow, settings, compiled, graph)
    return flow.permute(1, 2, 3, 0)


def _scale(images: Tensor, flow: Tensor, settings: Brox, compiled: bool, graph: bool) -> Tensor:
    """The flow (2, N, H, W) of one scale, from that of the coarser one."""
    _, num_pairs, height, width = images.shape
    first = images[0], *_gradient(images[0])
    second_x, second_y = _gradient(images[1])
    second = torch.stack([images[1], second_x, second_y, *_second_derivatives(images[1])])
    system = _System(num_pairs, height, width, settings, images.device, compiled, graph)
    equations = _compiled_equations() if compiled else _equations
    for _ in range(settings.warps):
        change = torch.zeros_like(flow)
        for _ in range(settings.inner):
            terms = equations(first, second, flow, change, settings.alpha, settings.gamma)
            change = system.solve(*terms, change)
        flow = flow + change
    return flow


def _equations(
    first: Sequence[Tensor],
    second: Tensor,
    flow: Tensor,
    change: Tensor,
    alpha: float,
    gamma: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The linear system of a warp, linearised at `change`; see `_System.solve`.

    Args:
        first: (N, H, W) each, the image and its derivatives by x and by y.
        second: (6, N, H, W), the same and by x twice, by x and y, by y twice.
        flow, change: (2, N, H, W).
        alpha, gamma: see `Brox`.
    """
    warped, x, y, xx, xy, yy = _warped(second, flow)
    edges = alpha * _edges(flow)
    divergence = torch.zeros_like(flow)
    for edge, beside in zip(edges, _neighbours(flow), strict=True):
        divergence = divergence + edge * (beside - flow)
    difference, difference_x, difference_y = warped - first[0], x - first[1], y - first[2]
    now = difference + x * change[0] + y * change[1]
    now_x = difference_x + xx * change[0] + xy * change[1]
    now_y = difference_y + xy * change[0] + yy * change[1]
    p = (now**2 + EPSILON**2).rsqrt()
    g = gamma * (now_x**2 + now_y**2 + EPSILON**2).rsqrt()
    constant = divergence - torch.stack(
        [
            p * difference * x + g * (difference_x * xx + difference_y * xy),
            p * difference * y + g * (difference_x * xy + difference_y * yy),
        ]
    )
    diagonal = edges.sum(0) + torch.stack(
        [p * x * x + g * (xx * xx + xy * xy), p * y * y + g * (yy * yy + xy * xy)]
    )
    coupling = p * x * y + g * (xx + yy) * xy
    return constant, diagonal, coupling, edges


class _System:
    """The linear system of one scale. See Note [One line of a colour].

    Args:
        num_pairs, height, width: of the images.
        settings: see `Brox`.
        device: where.
        compiled, graph: see `brox_flow`.
    """

    def __init__(
        self,
        num_pairs: int,
        height: int,
        width: int,
        settings: Brox,
        device: torch.device,
        compiled: bool,
        graph: bool,
    ) -> None:
        self._settings, self._shape = settings, (num_pairs, height, width)
        pitch = (width + 1) // 2 + 1
        self._margin = pitch + 1
        self._length = height * pitch
        i, j = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        red = ((i + j) % 2 == 0).flatten()
        place = (i * pitch + (j - i - (i + j) % 2) // 2).flatten()
        # Of each place on a line its pixel, where there is none the zero behind the last one.
        pixel = torch.full((2, self._length), height * width)
        for colour, those in enumerate((red, ~red)):
            pixel[colour, place[those]] = torch.arange(height * width)[those]
        self._pixel = pixel.to(device)
        self._place = torch.where(red, place, place + self._length).to(device)
        lines = (2, 2, num_pairs, self._length)  # colour, component
        self._lines = torch.zeros((*lines[:3], self._length + 2 * self._margin), device=device)
        self._weights = [torch.zeros(lines, device=device) for _ in range(6)]
        self._kept = torch.zeros((num_pairs, 1), device=device)
        self._moved = torch.zeros(num_pairs, device=device)
        distances = ((0, -1, pitch - 1, -pitch), (1, 0, pitch, 1 - pitch))
        step = _compiled_sweep() if compiled else _sweep
        self._sweep = lambda: step(self._lines, self._weights, self._kept, distances, self._margin)
        self._sweeps: Callable[[], object] = self._eager_sweeps
        if graph and device.type == "cuda":
            self._sweeps = _captured(self._eager_sweeps)

    def solve(
        self, constant: Tensor, diagonal: Tensor, coupling: Tensor, edges: Tensor, start: Tensor
    ) -> Tensor:
        """The increment (2, N, H, W) that the sweeps come to.

        Args:
            constant, diagonal: (2, N, H, W), of u's and v's equation.
            coupling: (N, H, W), of v in u's equation and of u in v's.
            edges: (4, N, H, W), weights of the neighbours, see `_neighbours`.
            start: (2, N, H, W).
        """
        omega, num_pairs = self._settings.omega, self._shape[0]
        factor = torch.where(diagonal > 0, omega / diagonal, 0)
        for to, values in zip(
            self._weights,
            [factor * constant, factor * coupling, *(factor * edge for edge in edges)],
            strict=True,
        ):
            to.copy_(self._line(values))
        self._inside().copy_(self._line(start))
        self._kept.fill_(1 - omega)
        going = [True] * num_pairs
        for _ in range(self._settings.most_sweeps // SWEEPS_A_CHECK):
            self._sweeps()
            mean = self._moved / (self._shape[1] * self._shape[2])
            # A pair that has come to its end stays as it is, whatever the others do.
            still = [one >= self._settings.tolerance for one in mean.sqrt().tolist()]
            if not any(still):
                break
            if still != going:
                mask = torch.tensor(still, device=start.device)[:, None]
                for weight in self._weights:
                    weight.mul_(mask)
                self._kept.copy_(torch.where(mask, self._kept, 1))
                going = still
        found = self._inside().permute(1, 2, 0, 3).reshape(2, num_pairs, -1)
        return found[..., self._place].reshape(start.shape)

    def _eager_sweeps(self) -> None:
        for _ in range(SWEEPS_A_CHECK - 1):
            self._sweep()
        before = self._inside().clone()
        self._sweep()
        self._moved.copy_((self._inside() - before).square().sum((0, 1, 3)))

    def _inside(self) -> Tensor:
        return self._lines[..., self._margin : self._margin + self._length]

    def _line(self, values: Tensor) -> Tensor:
        """(2, N, H, W) to (colour, 2, N, length)."""
        flat = torch.nn.functional.pad(values.flatten(2), (0, 1))
        return torch.stack([flat[..., pixels] for pixels in self._pixel])


def _sweep(
    lines: Tensor,
    weights: Sequence[Tensor],
    kept: Tensor,
    distances: Sequence[Sequence[int]],
    margin: int,
) -> None:
    """Relax red, then black; in place."""
    length = weights[0].shape[-1]
    for colour in range(2):
        constant, coupling, *edges = (weight[colour] for weight in weights)
        own = lines[colour, :, :, margin : margin + length]
        new = torch.addcmul(constant, own, kept)
        for edge, distance in zip(edges, distances[colour], strict=True):
            begin = margin + distance
            new = torch.addcmul(new, edge, lines[1 - colour, :, :, begin : begin + length])
        u = torch.addcmul(new[0], coupling[0], own[1], value=-1)
        own[1] = torch.addcmul(new[1], coupling[1], u, value=-1)
        own[0] = u


@cache
def _compiled_sweep() -> Callable[..., None]:
    return torch.compile(_sweep, dynamic=True)


@cache
def _compiled_equations() -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    return torch.compile(_equations, dynamic=True)


def _captured(work: Callable[[], object]) -> Callable[[], object]:
    """Work on a GPU as a graph: its many small operations are launched as one."""
    stream: Any = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is set up once must not be in the graph
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _normalised(images: Tensor) -> Tensor:
    """Each pair scaled together to 0 ... 255; one without any contrast stays as it is."""
    low, high = images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)
    flat = high <= low
    scaled = 255 * (images - low) / torch.where(flat, 1, high - low)
    return torch.where(flat, images, scaled)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    taps = gaussian(sigma)
    radius = len(taps) - 1
    for axis in (-1, -2):
        length = images.shape[axis]
        index = torch.tensor(mirrored(length, radius), device=images.device)
        wide = images.index_select(axis, index)
        parts = [wide.narrow(axis, radius + i, length) for i in range(-radius, radius + 1)]
        images = taps[0] * parts[radius]
        for i in range(1, radius + 1):
            images = images + taps[i] * (parts[radius - i] + parts[radius + i])
    return images


def _cubic(fraction: Tensor) -> tuple[Tensor, ...]:
    """Weights of the pixels at -1, 0, 1, 2 for a place at 0 ... 1 (Keys)."""
    t, a = fraction, CUBIC
    return (
        ((a * t - 2 * a) * t + a) * t,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((-(a + 2) * t + 2 * a + 3) * t - a) * t,
        (-a * t + a) * t * t,
    )


def _sampled(images: Tensor, size: Sequence[int], steps: Sequence[float]) -> Tensor:
    """Images at every `steps` pixels down and right, bicubic; outside, the border pixels."""
    for axis, count, step in zip((-2, -1), size, steps, strict=True):
        place = torch.arange(count, device=images.device) * step
        whole = place.floor()
        weights = _cubic((place - whole).to(images.dtype))
        parts = []
        for offset, weight in zip(range(-1, 3), weights, strict=True):
            index = (whole.long() + offset).clamp(0, images.shape[axis] - 1)
            shape = (-1, 1) if axis == -2 else (-1,)
            parts.append(images.index_select(axis, index) * weight.reshape(shape))
        images = parts[0] + parts[1] + parts[2] + parts[3]
    return images


def _warped(images: Tensor, flow: Tensor) -> Tensor:
    """(6, N, H, W) at each pixel plus the flow (2, N, H, W), bicubic; 0 beside the image."""
    count, num_pairs, height, width = images.shape
    x = flow[0] + torch.arange(width, device=flow.device)
    y = flow[1] + torch.arange(height, device=flow.device)[:, None]
    inside = (x >= 1) & (x < width - 2) & (y >= 1) & (y < height - 2)
    x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
    column, row = x.floor(), y.floor()
    weights_x, weights_y = _cubic(x - column), _cubic(y - row)
    flat = images.reshape(count, num_pairs, -1)
    origin = row.long() * width + column.long()
    found = torch.zeros_like(images)
    for i in range(4):
        line = torch.zeros_like(images)
        for j in range(4):
            index = torch.where(inside, origin + (i - 1) * width + j - 1, 0).flatten(1)
            taken = flat.gather(2, index.expand(count, -1, -1)).reshape(images.shape)
            line = torch.addcmul(line, taken, weights_x[j])
        found = torch.addcmul(found, line, weights_y[i])
    return torch.where(inside, found, 0)


def _neighbours(images: Tensor) -> tuple[Tensor, ...]:
    """What stands right, left, down, up of each pixel; beside the image, the pixel itself."""
    return (
        torch.cat([images[..., 1:], images[..., -1:]], -1),
        torch.cat([images[..., :1], images[..., :-1]], -1),
        torch.cat([images[..., 1:, :], images[..., -1:, :]], -2),
        torch.cat([images[..., :1, :], images[..., :-1, :]], -2),
    )


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """To the right and down, central differences."""
    right, left, down, up = _neighbours(images)
    return 0.5 * (right - left), 0.5 * (down - up)


def _second_derivatives(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By x twice, by x and y, by y twice."""
    right, left, down, up = _neighbours(images)
    _, _, right_down, right_up = _neighbours(right)
    _, _, left_down, left_up = _neighbours(left)
    mixed = 0.25 * (right_down - left_down - right_up + left_up)
    return right - 2 * images + left, mixed, down - 2 * images + up


def _edges(flow: Tensor) -> Tensor:
    """(4, N, H, W): psi' of the smoothness between a pixel and its neighbours; 0 at the border."""
    x, y = _gradient(flow)
    psi = ((x * x + y * y).sum(0) + EPSILON**2).rsqrt()
    edges = torch.stack([0.5 * (psi + other) for other in _neighbours(psi)])
    edges[0, ..., -1] = 0
    edges[1, ..., 0] = 0
    edges[2, :, -1] = 0
    edges[3, :, 0] = 0
    return edges
