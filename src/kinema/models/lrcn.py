"""LRCN of Donahue et al., CVPR 2015: a network of frames, an LSTM over them, a label at every step.

Numbers are those of the authors' Caffe models for activities. Frames: conv1 96x7x7/2, conv2
384x5x5/2 in 2 groups, conv3 512x3x3, conv4 512x3x3 and conv5 384x3x3 in 2 groups, fc6 4096; ReLU,
pooling 3x3/2 behind conv1, conv2 and conv5, then local response normalisation (5 channels, k 1,
alpha 1e-4 as Caffe counts it, beta 0.75) behind the first two poolings. Dropout 0.9 behind fc6, 0.5
behind the LSTM.

    i, f, o = sigmoid(W x + b + V h),  g = tanh(W x + b + V h)    four blocks of rows, in this order
    c = f c + i g,  h = o tanh(c)                                 from c = h = 0

While it learns the softmax of every step has the clip's label; the clip's probabilities are the
mean of its steps'. Its authors' frames had learned from ImageNet; `LRCNOnImageNet` sits on it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kinema.layers import ClipShape
from kinema.models.alexnet import (
    PIXEL_SCALE,
    flat,
    frames_of,
    initialise,
    output_shape,
    pool,
)
from kinema.models.sizes import clip_shape, scaled
from kinema.models.step_scores import log_mean_softmax, loss_at_steps

FLOW_LEVELS = 20 / 127 * 240 / 256 * 16
"""Levels of the authors' flow images in one step of the flow that goes in: a step is 20/127 pixel
of a frame of 256 lines, theirs had 240, and a pixel was 16 levels."""


class CaffeLSTM(nn.Module):
    """An LSTM without peepholes, with one bias; see the equations above.

    Args:
        inputs, cells: how many.
        width: at which; Caffe's weights, uniform within 0.01, grow as their number falls.
    """

    def __init__(self, inputs: int, cells: int, width: float = 1.0) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 4 * cells)
        self.hidden = nn.Linear(cells, 4 * cells, bias=False)
        for part in (self.input, self.hidden):
            nn.init.uniform_(part.weight, -0.01 / math.sqrt(width), 0.01 / math.sqrt(width))
        nn.init.zeros_(self.input.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, cells) hidden states of the steps of (N, T, inputs)."""
        gates = self.input(x)
        h = c = gates.new_zeros(len(x), self.hidden.in_features)
        states = []
        for step in gates.unbind(1):
            i, f, o, g = (step + self.hidden(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 1)


class _Recurrent(nn.Module):
    """fc6 of frames, the LSTM, the last layer; subclasses say what fc6 sees."""

    input_shape: ClassVar[ClipShape]
    layers = ("fc6", "lstm")
    test_stride = 8
    cells: ClassVar[int] = 256

    def _add_head(
        self, values: int, num_classes: int, width: float, dropout: float, lstm_dropout: float
    ) -> None:
        d6, cells = scaled(4096, width), scaled(self.cells, width)
        self.fc6 = nn.Linear(values, d6)
        self.fc8 = nn.Linear(cells, num_classes)
        initialise(self, self.fc8, width)
        self.lstm = CaffeLSTM(d6, cells, width)  # behind `initialise`: its weights are its own
        self.drop6, self.drop_lstm = nn.Dropout(dropout), nn.Dropout(lstm_dropout)

    def _below(self, clips: Tensor) -> Tensor:
        """(N, T, values) below fc6."""
        raise NotImplementedError

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """(N, T, units) of "fc6" or "lstm", before their dropout."""
        fc6 = self.fc6(self._below(clips)).relu()
        return fc6 if layer == "fc6" else self.lstm(self.drop6(fc6))

    def steps(self, clips: Tensor) -> Tensor:
        """(N, T, K) class scores of every step, before the softmax."""
        return self.fc8(self.drop_lstm(self.features(clips, "lstm")))

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) logarithms of the steps' mean probabilities."""
        return log_mean_softmax(self.steps(clips))

    def loss(self, clips: Tensor, labels: Tensor) -> Tensor:
        """The mean over clips and steps of the cross-entropy with the clip's label (N,)."""
        return loss_at_steps(self.steps(clips), labels)


class LRCN(_Recurrent):
    """LRCN on frames.

    In: (N, 3, 16, 227, 227). An LSTM of 256 cells. A video is judged by clips every 8 frames, the
    last one at its end.

    Args:
        num_classes: how many.
        width: what every number of channels, units and cells is multiplied by.
        input_shape: (channels, frames, height, width) of what goes in; None as published.
        dropout: behind fc6.
        lstm_dropout: behind the LSTM.

    Raises:
        ValueError: another shape, or frames too small for the layers.
    """

    input_shape = (3, 16, 227, 227)
    stream = "rgb"

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.9,
        lstm_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        shape = clip_shape(input_shape, self.input_shape)
        c1, c2, c3, c4, c5 = (scaled(number, width, 2) for number in (96, 384, 512, 512, 384))
        self.maps = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, c1, 7, stride=2),
                relu1=nn.ReLU(),
                pool1=pool(3, 2),
                norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1),
                conv2=nn.Conv2d(c1, c2, 5, stride=2, groups=2),
                relu2=nn.ReLU(),
                pool2=pool(3, 2),
                norm2=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1),
                conv3=nn.Conv2d(c2, c3, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(c3, c4, 3, padding=1, groups=2),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(c4, c5, 3, padding=1, groups=2),
                relu5=nn.ReLU(),
                pool5=pool(3, 2),
            )
        )
        values = flat(output_shape(self.maps, (3, *shape[2:]), "frames"))
        self._add_head(values, num_classes, width, dropout, lstm_dropout)

    def pictures(self, clips: Tensor) -> Tensor:
        """(N, 3, T, H, W) images less their mean."""
        return clips

    def _below(self, clips: Tensor) -> Tensor:
        maps = self.maps(frames_of(self.pictures(clips)) / PIXEL_SCALE)
        return maps.flatten(1).unflatten(0, (len(clips), -1))


class LRCNFlow(LRCN):
    """LRCN on images of optical flow: x, y and the magnitude, 16 levels a pixel, clipped to a byte.

    In: (N, 2, 16, 227, 227), flow in steps of 20/127 pixel; the third channel is made within.
    An LSTM of 1024 cells (recalled). The rest is that of `LRCN`.
    """

    input_shape = (2, 16, 227, 227)
    stream = "flow"
    cells = 1024

    def pictures(self, clips: Tensor) -> Tensor:
        """The authors' flow images less their mean, 128 in all channels."""
        flow = clips * FLOW_LEVELS
        magnitude = torch.linalg.vector_norm(flow, dim=1, keepdim=True)
        return torch.cat([flow, magnitude], 1).clamp(-128, 127)


class LRCNOnImageNet(_Recurrent):
    """LRCN on ImageNet's features: the mean of each frame's maps goes into fc6.

    In: (N, 1280, 16, 7, 7), the last maps of EfficientNet-Lite0, which stand in for the authors'
    own network of frames that learned from ImageNet. The rest is that of `LRCN`.
    """

    input_shape = (1280, 16, 7, 7)
    stream = "imagenet"

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.9,
        lstm_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels = clip_shape(input_shape, self.input_shape)[0]
        self._add_head(channels, num_classes, width, dropout, lstm_dropout)

    def _below(self, clips: Tensor) -> Tensor:
        return clips.mean((3, 4)).transpose(1, 2)
