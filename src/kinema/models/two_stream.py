"""The two streams of Simonyan and Zisserman, NIPS 2014: one frame, and a stack of optical flow.

Both are CNN-M-2048 (Chatfield et al., BMVC 2014): conv1 96x7x7/2, conv2 256x5x5/2, conv3 to conv5
512x3x3, fully connected 4096 and 2048, ReLU, pooling 3x3/2 behind conv1, conv2 and conv5; local
response normalisation (5 channels, k 2, alpha 5e-4 as Caffe counts it, beta 0.75) before the first
two poolings. Its sizes, the padding of 1 and Caffe's rounding up are those of its published Caffe
model; the paper of the two streams draws it, and leaves the temporal stream's second normalisation
out. Their fusion is the method's matter, not the network's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kinema.layers import ClipShape
from kinema.models.alexnet import (
    PIXEL_SCALE,
    flat,
    initialise,
    output_shape,
    pool,
)
from kinema.models.sizes import clip_shape, scaled

FLOW_STEP = 20 / 127
"""Pixels of displacement in one step of the flow that goes in: 20 pixels are 127 steps."""


class _Stream(nn.Module):
    """CNN-M-2048 on pictures that a stream makes of clips."""

    input_shape: ClassVar[ClipShape]
    layers = ("pool5", "fc6", "fc7")
    test_clips = 25
    frames: ClassVar[int | None] = None
    second_norm: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.9,
    ) -> None:
        super().__init__()
        shape = clip_shape(input_shape, self.input_shape, exactly=self.frames)
        picture = (shape[0] * shape[1], *shape[2:])
        c1, c2, c3, c4, c5, d6, d7 = (
            scaled(number, width) for number in (96, 256, 512, 512, 512, 4096, 2048)
        )
        parts: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(picture[0], c1, 7, stride=2)),
            ("relu1", nn.ReLU()),
            ("norm1", nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)),
            ("pool1", pool(3, 2)),
            ("conv2", nn.Conv2d(c1, c2, 5, stride=2, padding=1)),
            ("relu2", nn.ReLU()),
            ("norm2", nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)),
            ("pool2", pool(3, 2)),
            ("conv3", nn.Conv2d(c2, c3, 3, padding=1)),
            ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(c3, c4, 3, padding=1)),
            ("relu4", nn.ReLU()),
            ("conv5", nn.Conv2d(c4, c5, 3, padding=1)),
            ("relu5", nn.ReLU()),
            ("pool5", pool(3, 2)),
        ]
        if not self.second_norm:
            parts = [part for part in parts if part[0] != "norm2"]
        self.maps = nn.Sequential(OrderedDict(parts))
        self.fc6 = nn.Linear(flat(output_shape(self.maps, picture, "frames")), d6)
        self.fc7 = nn.Linear(d6, d7)
        self.fc8 = nn.Linear(d7, num_classes)
        self.dropout = nn.Dropout(dropout)
        initialise(self, self.fc8, width)

    def pictures(self, clips: Tensor) -> Tensor:
        """What CNN-M sees of clips: (N, channels, H, W)."""
        raise NotImplementedError

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """Outputs of a layer, before its dropout: "pool5" (N, 512, 6, 6), "fc6" or "fc7"."""
        maps = self.maps(self.pictures(clips))
        if layer == "pool5":
            return maps
        fc6 = self.fc6(maps.flatten(1)).relu()
        return fc6 if layer == "fc6" else self.fc7(self.dropout(fc6)).relu()

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax."""
        return self.fc8(self.dropout(self.features(clips, "fc7")))


class Spatial(_Stream):
    """The spatial stream, all of it learned from the videos at hand.

    In: (N, 3, 1, 224, 224), one frame. Its authors started from ImageNet and learned the last
    layer alone, which is `SpatialOnImageNet`; from scratch they did best with a dropout of 0.9
    (recalled). A video is judged by 25 frames, evenly spaced.

    Args:
        num_classes: how many.
        width: what every number of channels and units is multiplied by.
        input_shape: (3, 1, height, width) of what goes in; None as published.
        dropout: behind fc6 and fc7.

    Raises:
        ValueError: another shape, or frames too small for the layers.
    """

    input_shape = (3, 1, 224, 224)
    stream = "rgb"
    frames = 1

    def pictures(self, clips: Tensor) -> Tensor:
        """The one frame, in units of `PIXEL_SCALE` levels."""
        return clips[:, :, 0] / PIXEL_SCALE


class Temporal(_Stream):
    """The temporal stream: the flow of 10 frames, stacked as 20 channels x, y, x, y, ...

    In: (N, 2, 10, 224, 224), flow in steps of 20/127 pixel. Displacements go in as pixels, as its
    authors restored them, and each flow field less its mean vector, here of the crop. No
    normalisation behind conv2; dropout 0.9. A video is judged by 25 stacks, evenly spaced.

    Args:
        num_classes: how many.
        width: what every number of channels and units is multiplied by.
        input_shape: (2, fields, height, width) of what goes in; None as published.
        dropout: behind fc6 and fc7.

    Raises:
        ValueError: another shape, or fields too small for the layers.
    """

    input_shape = (2, 10, 224, 224)
    stream = "flow"
    second_norm = False

    def pictures(self, clips: Tensor) -> Tensor:
        """The stack, (N, 2 * T, H, W) pixels."""
        moving = clips - clips.mean((3, 4), keepdim=True)
        return moving.transpose(1, 2).flatten(1, 2) * FLOW_STEP


class SpatialOnImageNet(nn.Module):
    """The spatial stream as its authors used it: what ImageNet taught stays, a last layer learns.

    In: (N, 1280, 1, 7, 7), the last maps of EfficientNet-Lite0, which stands in for CNN-M-2048 of
    ImageNet: their mean over places, dropout 0.5, one layer. `width` scales nothing here: ImageNet
    gives the channels. A video is judged by 25 frames, evenly spaced.

    Args:
        num_classes: how many.
        width: taken as by the others.
        input_shape: (1280, 1, height, width) of the maps; None for (1280, 1, 7, 7).
        dropout: before the last layer.

    Raises:
        ValueError: another shape.
    """

    input_shape = (1280, 1, 7, 7)
    stream = "imagenet"
    layers = ("pool",)
    test_clips = 25

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels = clip_shape(input_shape, self.input_shape, exactly=1)[0]
        scaled(channels, width)  # refuses a width that is none
        self.dropout = nn.Dropout(dropout)
        self.fc8 = nn.Linear(channels, num_classes)
        initialise(self, self.fc8, 1.0)

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """The maps' means, (N, 1280)."""
        return torch.mean(clips, (2, 3, 4))

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax."""
        return self.fc8(self.dropout(self.features(clips, "pool")))
