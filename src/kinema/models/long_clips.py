"""Networks on up to 120 frames of a video: pooling of convolutions, and five layers of LSTMs.

Note [Long clips]
    Ng, Hausknecht, Vijayanarasimhan, Vinyals, Monga, Toderici, CVPR 2015. Each frame goes through
    GoogLeNet; then either the maximum over time of its last maps, place by place, goes through two
    fully connected layers of 4096 to a softmax; or the means of the maps over places go through
    five layers of LSTMs of 512 cells to a softmax at every frame. To the LSTM frame t of T weighs
    g = t / T, in what it learns from and in what it answers,

        loss         =  sum_t g_t cross-entropy_t / sum_t g_t,
        probability  =  sum_t g_t softmax_t / sum_t g_t.

    Confirmed: GoogLeNet's last maps, the maximum over 120 frames, five layers of 512 cells, a
    softmax at every frame. Recalled: 4096 twice, the gains and weights, 220x220 pixels, 30 frames a
    video at 6 a second for the LSTM on UCF101, and that a video that is too short begins again.
    Ours: the division by sum g, so that a learning rate means the same for any T; dropout of 0.5 on
    the fully connected layers; He's initial weights.

    A clip covers 120 frames of a video, 4.8 s at UCF101's 25 a second, whatever number of frames it
    has: 30 frames are each 4th one, which is 6 a second (`frame_step`). The authors took 1 a second
    of minutes of Sports-1M; of 7 s, UCF101's mean, that would leave seven.

    The networks "on ImageNet" have EfficientNet-Lite0's last maps in GoogLeNet's place, since the
    authors' GoogLeNet had learned ImageNet: (N, 1280, T, 7, 7), values 0..6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.layers import ClipShape
from kinema.models.alexnet import output_shape
from kinema.models.googlenet import SMALLEST, GoogLeNet
from kinema.models.sizes import clip_shape, scaled
from kinema.models.step_scores import log_mean_softmax, loss_at_steps

SPAN = 120
"""Frames of a video that a clip covers."""


class _LongClips(nn.Module):
    """What the four have in common: frames to maps, and how a video gives clips."""

    input_shape: ClipShape
    stream = "rgb"
    short = "wrap"
    test_clips = 1
    """One clip covers most of a short video; the authors averaged several of a longer one."""
    frame_step = 1

    def __init__(self, width: float, input_shape: Sequence[int] | None) -> None:
        super().__init__()
        imagenet = self.stream == "imagenet"
        shape = clip_shape(
            input_shape,
            self.input_shape,
            pixels=1 if imagenet else SMALLEST,
            any_channels=imagenet,
        )
        self.frame_step = max(1, round(SPAN / shape[1]))
        self.maps_shape: tuple[int, ...] = (shape[0], *shape[2:])
        if not imagenet:
            self.googlenet = GoogLeNet(width=width)
            self.maps_shape = output_shape(self.googlenet, (shape[0], *shape[2:]), "frames")

    def maps(self, clips: Tensor) -> Tensor:
        """(N, T, channels, H', W'): the last maps of every frame."""
        frames = clips.transpose(1, 2)
        if self.stream == "imagenet":
            return frames
        return self.googlenet(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


class ConvPooling(_LongClips):
    """Conv pooling: the maximum over time of GoogLeNet's last maps. See Note [Long clips].

    Input (N, 3, 120, 220, 220), B, G, R less their mean. Layers: "pool" (N, 1024, 6, 6), "fc6" and
    "fc7" (N, 4096), behind their ReLU.

    Args:
        num_classes: how many.
        width: scales channels and units.
        input_shape: (channels, frames, height, width).
        dropout: of the fully connected layers.

    Raises:
        ValueError: a shape below 32x32 pixels, a width that is not above 0.
    """

    input_shape = (3, SPAN, 220, 220)
    layers = ("pool", "fc6", "fc7")

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(width, input_shape)
        channels, height, columns = self.maps_shape
        units = scaled(4096, width)
        self.fc6 = nn.Linear(channels * height * columns, units)
        self.fc7 = nn.Linear(units, units)
        self.fc8 = nn.Linear(units, num_classes)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        # Caffe's custom for what comes before a softmax: every class about as probable.
        nn.init.normal_(self.fc8.weight, std=0.01)
        nn.init.zeros_(self.fc8.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, num_classes) logits."""
        return self.fc8(self.dropout(self.features(clips, "fc7")))

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """What one of `layers` gives."""
        pooled = self.maps(clips).amax(1)
        if layer == "pool":
            return pooled
        fc6 = self.fc6(pooled.flatten(1)).relu()
        return fc6 if layer == "fc6" else self.fc7(self.dropout(fc6)).relu()


class ConvPoolingOnImageNet(ConvPooling):
    """Conv pooling on ImageNet's maps: input (N, 1280, 120, 7, 7). See `ConvPooling`.

    Layers: "pool" (N, 1280, 7, 7), "fc6" and "fc7" (N, 4096).
    """

    input_shape = (1280, SPAN, 7, 7)
    stream = "imagenet"


class LongLSTM(_LongClips):
    """Five layers of LSTMs on GoogLeNet's last maps, each frame's mean. See Note [Long clips].

    Input (N, 3, 30, 220, 220), B, G, R less their mean, each 4th frame. Layers: "percepts"
    (N, 30, 1024), the means, and "lstm" (N, 512), the last step's output. `forward` gives the log
    of the class probabilities.

    Args:
        num_classes: how many.
        width: scales channels and cells.
        input_shape: (channels, frames, height, width).

    Raises:
        ValueError: a shape below 32x32 pixels, a width that is not above 0.
    """

    input_shape = (3, 30, 220, 220)
    layers = ("percepts", "lstm")
    frame_step = SPAN // 30

    def __init__(
        self, num_classes: int, *, width: float = 1.0, input_shape: Sequence[int] | None = None
    ) -> None:
        super().__init__(width, input_shape)
        cells = scaled(512, width)
        self.lstm = nn.LSTM(self.maps_shape[0], cells, num_layers=5, batch_first=True)
        self.classifier = nn.Linear(cells, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, num_classes): the log of the steps' weighted mean probability."""
        logits = self.step_logits(clips)
        return log_mean_softmax(logits, gains(logits))

    def loss(self, clips: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of every step, weighted by its gain, the mean over clips."""
        logits = self.step_logits(clips)
        return loss_at_steps(logits, labels, gains(logits))

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """What one of `layers` gives."""
        percepts = self.maps(clips).mean((3, 4))
        return percepts if layer == "percepts" else self.lstm(percepts)[0][:, -1]

    def step_logits(self, clips: Tensor) -> Tensor:
        """(N, T, num_classes)."""
        outputs, _ = self.lstm(self.maps(clips).mean((3, 4)))
        return self.classifier(outputs)


class LongLSTMOnImageNet(LongLSTM):
    """Five layers of LSTMs on ImageNet's maps: input (N, 1280, 30, 7, 7). See `LongLSTM`.

    Layers: "percepts" (N, 30, 1280) and "lstm" (N, 512).
    """

    input_shape = (1280, 30, 7, 7)
    stream = "imagenet"


def gains(logits: Tensor) -> Tensor:
    """(T,): t / T of the steps t = 1 ... T of (N, T, K)."""
    steps = logits.shape[1]
    return torch.arange(1, steps + 1, dtype=logits.dtype, device=logits.device) / steps
