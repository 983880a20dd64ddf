"""GoogLeNet without its classifiers: what a frame is, to networks on long clips.

Note [GoogLeNet]
    Szegedy et al., CVPR 2015, table 1: two convolutions with local response normalisation, nine
    Inception modules. Pooling rounds up, as its authors' sizes and Caffe's do. Auxiliary
    classifiers are left out. With a classifier of 1000 classes behind the mean over places it has
    6,998,552 parameters, as BVLC's GoogLeNet without the auxiliary ones (netscope; chaosmail's
    caffejs).

    What is published works on pixels less their mean; our frames are divided by s first, so that
    weights of He's size learn. Convolution, ReLU and pooling keep that factor, and the
    normalisation x / (1 + alpha/5 sum x^2)^0.75 too if its alpha is s^2 times the published one:
    so it is.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.sizes import PIXEL_DEVIATION, scaled

SMALLEST = 32
"""The least height and width: less than a cell of the last maps would be left."""

# 1x1; before 3x3, 3x3; before 5x5, 5x5; behind the pooling (table 1). None: a pooling between.
_INCEPTIONS: dict[str, tuple[int, int, int, int, int, int] | None] = {
    "inception_3a": (64, 96, 128, 16, 32, 32),
    "inception_3b": (128, 128, 192, 32, 96, 64),
    "pool3": None,
    "inception_4a": (192, 96, 208, 16, 48, 64),
    "inception_4b": (160, 112, 224, 24, 64, 64),
    "inception_4c": (128, 128, 256, 24, 64, 64),
    "inception_4d": (112, 144, 288, 32, 64, 64),
    "inception_4e": (256, 160, 320, 32, 128, 128),
    "pool4": None,
    "inception_5a": (256, 160, 320, 32, 128, 128),
    "inception_5b": (384, 192, 384, 48, 128, 128),
}

_pool = partial(functional.max_pool2d, kernel_size=3, stride=2, ceil_mode=True)


class GoogLeNet(nn.Module):
    """Frames (N, 3, H, W), B, G, R less their mean, to the last maps (N, channels, H', W').

    See Note [GoogLeNet]. At a width of 1 and 220x220 pixels the maps are (1024, 6, 6).
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        first, second = scaled(64, width), scaled(192, width)
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.conv2_reduce = nn.Conv2d(first, first, 1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        channels = second
        self.inceptions = nn.ModuleDict()
        for name, numbers in _INCEPTIONS.items():
            if numbers is not None:
                module = Inception(channels, *(scaled(number, width) for number in numbers))
                self.inceptions[name] = module
                channels = module.out_channels
        self.out_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """The maps of inception_5b."""
        x = _normalised(_pool(self.conv1(frames / PIXEL_DEVIATION).relu()))
        x = self.conv2(self.conv2_reduce(x).relu()).relu()
        x = _pool(_normalised(x))
        for name in _INCEPTIONS:
            x = self.inceptions[name](x) if name in self.inceptions else _pool(x)
        return x


class Inception(nn.Module):
    """Convolutions of three sizes and a pooling, side by side (Szegedy et al., figure 2b).

    Args:
        channels: that come in.
        one: channels of the 1x1 convolution.
        reduce3, three: channels before the 3x3 convolution, and of it.
        reduce5, five: channels before the 5x5 convolution, and of it.
        pooled: channels of the 1x1 convolution behind the pooling.
    """

    def __init__(
        self,
        channels: int,
        one: int,
        reduce3: int,
        three: int,
        reduce5: int,
        five: int,
        pooled: int,
    ) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, one, 1)
        self.reduce3 = nn.Conv2d(channels, reduce3, 1)
        self.three = nn.Conv2d(reduce3, three, 3, padding=1)
        self.reduce5 = nn.Conv2d(channels, reduce5, 1)
        self.five = nn.Conv2d(reduce5, five, 5, padding=2)
        self.pooled = nn.Conv2d(channels, pooled, 1)
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """(N, one + three + five + pooled, H, W)."""
        parts = (
            self.one(x),
            self.three(self.reduce3(x).relu()),
            self.five(self.reduce5(x).relu()),
            self.pooled(functional.max_pool2d(x, 3, stride=1, padding=1)),
        )
        return torch.cat(parts, dim=1).relu()


def _normalised(x: Tensor) -> Tensor:
    """Local response normalisation over 5 channels, alpha 0.0001 of pixels, beta 0.75, k 1.

    As BVLC's GoogLeNet (caffejs prints its layers); PyTorch divides alpha by 5, as Caffe does.
    """
    return functional.local_response_norm(x, 5, alpha=1e-4 * PIXEL_DEVIATION**2, beta=0.75, k=1.0)
