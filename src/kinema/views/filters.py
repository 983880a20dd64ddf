"""`kernels`: the kernels of a convolution as pictures, and how much of them changes over time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema import plots
from kinema.features import imagenet
from kinema.files import locked_folder
from kinema.network import Conv3d, as_network
from kinema.weights import file as weights_room
from kinema.weights.file import Weights

COUNT = 64
"""All kernels of C3D's conv1a."""

IMAGENET = "imagenet"


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernels of one convolution.

    Attributes:
        title: whose they are.
        values: (O, C, T, H, W) float32; the channels of a first layer are B, G, R.
    """

    title: str
    values: np.ndarray

    @property
    def depth(self) -> int:
        """Frames that a kernel looks at."""
        return int(self.values.shape[2])

    @property
    def order(self) -> np.ndarray:
        """Numbers of the kernels from the strongest to the weakest, by their sum of squares."""
        energy = np.square(self.values, dtype=np.float64).sum(axis=(1, 2, 3, 4))
        return np.argsort(-energy, kind="stable")

    @property
    def change_over_time(self) -> float:
        """The share of the sum of squares that is not in the kernels' mean over time, 0 ... 1.

        A kernel that does the same to every frame has 0, the difference of two frames 1.
        """
        values = self.values.astype(np.float64)
        change = np.square(values - values.mean(axis=2, keepdims=True)).sum()
        energy = np.square(values).sum()
        return float(change / energy) if energy else 0.0

    @property
    def change_by_chance(self) -> tuple[float, float]:
        """`change_over_time` of as many independent normal numbers: expectation, deviation.

        The share of T - 1 of T equal squared normal numbers, summed: a beta distribution.
        """
        num_pixels = self.values.size // self.depth
        a, b = num_pixels * (self.depth - 1) / 2, num_pixels / 2
        expected = a / (a + b)
        return expected, float(np.sqrt(expected * (1 - expected) / (a + b + 1)))

    def strip(self, number: int) -> np.ndarray:
        """One kernel as (T, H, W, 3) float32 RGB, 0 ... 1; 0.5, grey, is no weight.

        The largest absolute value of the kernel is full colour, black for negative ones; time
        steps and colours have one scale. On three maps these are taken for B, G, R. On others the
        map on which the kernel is strongest is shown alone, in grey.
        """
        kernel = self.values[number]
        if len(kernel) == 3:
            shown = kernel[::-1]
        else:
            shown = kernel[[np.square(kernel).sum(axis=(1, 2, 3)).argmax()]].repeat(3, axis=0)
        return plots.about_grey(shown)

    def summary(self) -> str:
        """What the layer is and what of it changes over time, in a line."""
        count, maps, *sizes = self.values.shape
        line = f"{self.title}: {count} kernels of {'x'.join(map(str, sizes))} on {maps} maps"
        if self.depth == 1:
            return f"{line}, one frame each"
        expected, deviation = (100 * value for value in self.change_by_chance)
        return (
            f"{line}; {100 * self.change_over_time:.1f} % of their energy changes over time "
            f"(random numbers: {expected:.1f} +- {deviation:.1f} %)"
        )


def kernels(
    weights: str | os.PathLike[str] | Weights,
    *,
    out: str | os.PathLike[str],
    layer: str = "conv1a",
    count: int = COUNT,
    beside: str | os.PathLike[str] | Weights | None = None,
) -> list[Kernels]:
    """Draw the kernels of a convolution as filmstrips, `out/kernels-LAYER.png`.

    A strip is a kernel, its time steps from left to right, the strongest kernels first.

    Args:
        weights: a name, a file, or `Weights`.
        out: folder to write to.
        layer: a convolution.
        count: the most kernels to draw of each network.
        beside: other weights, whose kernels of the same layer are drawn beside; or "imagenet", a
            2-D network's first kernels, EfficientNet-Lite0's.

    Returns:
        The kernels, and those beside.

    Raises:
        ValueError: the layer has no kernels, or is no first one beside "imagenet".
        ImportError: "imagenet" is asked for, and its packages are not installed.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1 kernel, got {count}.")
    found = [_of(weights, layer)]
    if beside == IMAGENET:
        if found[0].values.shape[1] != 3:
            raise ValueError(
                f"`beside` {IMAGENET} is kernels of a first layer, on colours; {layer} is another."
            )
        found.append(Kernels("EfficientNet-Lite0's stem, ImageNet", imagenet.first_kernels()))
    elif beside is not None:
        found.append(_of(beside, layer))
    strips = [(one.title, {int(n): one.strip(n) for n in one.order[:count]}) for one in found]
    with locked_folder(Path(out)):
        plots.kernels(Path(out, f"kernels-{layer}.png"), strips)
    return found


def _of(weights: str | os.PathLike[str] | Weights, layer: str) -> Kernels:
    resolved = weights_room.resolve(weights)
    network = as_network(resolved.network)
    network.check_layer(layer)
    convolutions = [one.name for one in network.layers if isinstance(one, Conv3d)]
    if layer not in convolutions:
        raise ValueError(
            f"`layer` {layer} has no kernels; those of {resolved.name} with kernels are "
            f"{', '.join(convolutions)}."
        )
    trained = "" if resolved.trained else ", not trained"
    return Kernels(f"{layer} of {resolved.name}{trained}", resolved[f"{layer}.weight"])
