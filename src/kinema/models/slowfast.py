"""SlowFast: a pathway of few frames and many channels, one of many frames and few channels.

Note [SlowFast]
    Feichtenhofer, Fan, Malik, He, ICCV 2019, table 1. The fast pathway sees every frame of the
    clip, the slow one every alpha-th; the fast one has beta times the slow one's channels. Both are
    residual networks of bottlenecks, which shrink no axis of time:

        stage     slow, kernels and channels                 fast                          output
        stem      1x7x7, 64, stride 1x2x2                    5x7x7, 8, stride 1x2x2        112x112
        pool1     maximum of 1x3x3, stride 1x2x2             the same                      56x56
        res2      (1x1x1, 64; 1x3x3, 64; 1x1x1, 256) x 3     (3x1x1, 8; 1x3x3, 8; 32) x 3  56x56
        res3      (1x1x1, 128; 1x3x3, 128; 512) x 4          (3x1x1, 16; ...; 64) x 4      28x28
        res4      (3x1x1, 256; 1x3x3, 256; 1024) x 6         (3x1x1, 32; ...; 128) x 6     14x14
        res5      (3x1x1, 512; 1x3x3, 512; 2048) x 3         (3x1x1, 64; ...; 256) x 3     7x7

    Behind pool1, res2, res3 and res4 a convolution of 5x1x1 with a stride of alpha over time makes
    of the fast pathway's C channels 2 C of the slow one's frames, which are laid behind the slow
    pathway's channels. The means over all places and frames of both, side by side, go through
    dropout of 0.5 and a fully connected layer.

    From the authors' code (facebookresearch/SlowFast, SLOWFAST_4x16_R50.yaml and
    video_model_builder.py): batch normalisation and ReLU behind a lateral convolution too; the
    stride of a stage in its first 3x3 convolution; the last normalisation of a bottleneck begins
    with a gain of 0; frames divided by 0.225 * 255. With 400 classes it has 34.48 million
    parameters (pytorchvideo, docs/source/model_zoo.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.models.sizes import PIXEL_DEVIATION, clip_shape, scaled

BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Bottlenecks of res2 to res5 by depth: three layers each, the stem and the last one. 50 and 101
are published (He et al., CVPR 2016, table 1), 14 and 26 are for small machines."""

_SLOW_TIME = (1, 1, 3, 3)
"""Frames that a slow bottleneck's first convolution sees, res2 to res5; a fast one's sees 3."""

EXPANSION = 4
"""Channels that leave a bottleneck over those within it."""


class SlowFast(nn.Module):
    """SlowFast networks: a slow and a fast pathway, joined sideways. See Note [SlowFast].

    Input (N, 3, 32, 224, 224), B, G, R less their mean, each 2nd frame: 64 frames of the video, of
    which the slow pathway sees T = 4, tau = 16 apart (tau = alpha times `frame_step`). Layers:
    "slow" (N, 2048), "fast" (N, 256), the means of both pathways, and "pool" (N, 2304), both.

    Args:
        num_classes: how many.
        width: scales channels.
        input_shape: (channels, frames, height, width); the slow pathway sees frames / alpha,
            rounded up.
        alpha: frames of the fast pathway over those of the slow one.
        beta: channels of the fast pathway over those of the slow one.
        depth: of the residual networks, 14, 26, 50 (published) or 101.
        dropout: before the last layer.

    Raises:
        ValueError: fewer frames than alpha, fewer than 32x32 pixels, no such depth, or a width or
            beta that is not above 0.
    """

    input_shape = (3, 32, 224, 224)
    stream = "rgb"
    layers = ("slow", "fast", "pool")
    frame_step = 2
    test_clips = 10
    """The paper's: 10 evenly spaced clips (of 3 crops each)."""

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        alpha: int = 8,
        beta: float = 0.125,
        depth: int = 50,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not isinstance(alpha, int) or alpha < 1:
            raise ValueError(f"`alpha` must be at least 1 frame, got {alpha}.")
        if not beta > 0:
            raise ValueError(f"`beta` must be above 0, got {beta}.")
        if depth not in BLOCKS:
            raise ValueError(f"`depth` must be one of {', '.join(map(str, BLOCKS))}, got {depth}.")
        # Less than a cell of res5 would be left, or a slow pathway of less than a frame.
        shape = clip_shape(input_shape, self.input_shape, frames=alpha, pixels=32)
        self.alpha = alpha
        slow, fast = scaled(64, width), scaled(scaled(64, width), beta)
        self.slow_stem = _Stem(shape[0], slow, time=1)
        self.fast_stem = _Stem(shape[0], fast, time=5)
        self.lateral, self.slow_stages, self.fast_stages = (nn.ModuleList() for _ in range(3))
        slow_in, fast_in = slow, fast
        for stage, blocks in enumerate(BLOCKS[depth]):
            lateral = Lateral(fast_in, alpha)
            self.lateral.append(lateral)
            inner, fast_inner, stride = slow * 2**stage, fast * 2**stage, 1 if stage == 0 else 2
            self.slow_stages.append(
                _stage(slow_in + lateral.out_channels, inner, blocks, _SLOW_TIME[stage], stride)
            )
            self.fast_stages.append(_stage(fast_in, fast_inner, blocks, 3, stride))
            slow_in, fast_in = inner * EXPANSION, fast_inner * EXPANSION
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(slow_in + fast_in, num_classes)
        self._begin()

    def forward(self, clips: Tensor) -> Tensor:
        """(N, num_classes) logits."""
        return self.fc(self.dropout(self.features(clips, "pool")))

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """What one of `layers` gives."""
        x = clips / PIXEL_DEVIATION
        slow, fast = self.slow_stem(x[:, :, :: self.alpha]), self.fast_stem(x)
        for lateral, slow_stage, fast_stage in zip(
            self.lateral, self.slow_stages, self.fast_stages, strict=True
        ):
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        pooled = [pathway.mean((2, 3, 4)) for pathway in (slow, fast)]
        return {"slow": pooled[0], "fast": pooled[1], "pool": torch.cat(pooled, dim=1)}[layer]

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.norm3.weight)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)


class Lateral(nn.Module):
    """From the fast pathway to the slow one: 5x1x1, a stride of alpha over time, 2 C channels.

    Its first output is centred on the first frame, as the slow pathway's first frame is.
    """

    def __init__(self, channels: int, alpha: int) -> None:
        super().__init__()
        self.out_channels = 2 * channels
        self.conv = nn.Conv3d(
            channels,
            self.out_channels,
            (5, 1, 1),
            stride=(alpha, 1, 1),
            padding=(2, 0, 0),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(self.out_channels)

    def forward(self, fast: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, 2 C, T / alpha rounded up, H, W)."""
        return self.norm(self.conv(fast)).relu()


class Bottleneck(nn.Module):
    """A residual block: tx1x1, 1x3x3 with the stride, 1x1x1; the sum, then ReLU (He et al. 2016).

    Where channels or sizes change, the shortcut is a convolution of 1x1x1.
    """

    def __init__(self, channels: int, inner: int, time: int, stride: int) -> None:
        super().__init__()
        outer = inner * EXPANSION
        strides = (1, stride, stride)
        self.conv1 = nn.Conv3d(channels, inner, (time, 1, 1), padding=(time // 2, 0, 0), bias=False)
        self.norm1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(
            inner, inner, (1, 3, 3), stride=strides, padding=(0, 1, 1), bias=False
        )
        self.norm2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, outer, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(outer)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != outer:
            self.shortcut = nn.Sequential(
                nn.Conv3d(channels, outer, 1, stride=strides, bias=False), nn.BatchNorm3d(outer)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, T, H, W) to (N, 4 inner, T, H / stride, W / stride)."""
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y)).relu()
        return (self.norm3(self.conv3(y)) + self.shortcut(x)).relu()


class _Stem(nn.Sequential):
    """The stem and pool1 of a pathway."""

    def __init__(self, channels: int, out: int, time: int) -> None:
        super().__init__(
            nn.Conv3d(
                channels,
                out,
                (time, 7, 7),
                stride=(1, 2, 2),
                padding=(time // 2, 3, 3),
                bias=False,
            ),
            nn.BatchNorm3d(out),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )


def _stage(channels: int, inner: int, blocks: int, time: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, inner, time, stride)
    rest = (Bottleneck(inner * EXPANSION, inner, time, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
