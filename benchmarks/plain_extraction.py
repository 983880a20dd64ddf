"""C3D features of videos as one would write it without Kinema: PyAV, OpenCV and PyTorch.

What extraction.py compares `kinema extract` with. Nothing of Kinema is used but its weight file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

LENGTH = 16
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}


class C3D(nn.Module):
    """C3D up to fc6 and its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv3d(3, 64, 3, padding=1)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2a = nn.Conv3d(64, 128, 3, padding=1)
        self.pool2 = nn.MaxPool3d(2)
        self.conv3a = nn.Conv3d(128, 256, 3, padding=1)
        self.conv3b = nn.Conv3d(256, 256, 3, padding=1)
        self.pool3 = nn.MaxPool3d(2)
        self.conv4a = nn.Conv3d(256, 512, 3, padding=1)
        self.conv4b = nn.Conv3d(512, 512, 3, padding=1)
        self.pool4 = nn.MaxPool3d(2)
        self.conv5a = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5b = nn.Conv3d(512, 512, 3, padding=1)
        self.pool5 = nn.MaxPool3d(2, ceil_mode=True)
        self.fc6 = nn.Linear(8192, 4096)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.conv1a(x).relu_())
        x = self.pool2(self.conv2a(x).relu_())
        x = self.pool3(self.conv3b(self.conv3a(x).relu_()).relu_())
        x = self.pool4(self.conv4b(self.conv4a(x).relu_()).relu_())
        x = self.pool5(self.conv5b(self.conv5a(x).relu_()).relu_())
        return self.fc6(x.flatten(1)).relu_()


def frames(path: str, mean: np.ndarray) -> Iterator[np.ndarray]:
    """Network input of each frame: (3, 112, 112) float32, BGR."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (171, 128))
            crop = image[8:120, 29:141].transpose(2, 0, 1)
            yield crop.astype(np.float32) - mean[:, None, None]


def clips(path: str, mean: np.ndarray, stride: int) -> Iterator[np.ndarray]:
    """Windows of 16 frames: (3, 16, 112, 112)."""
    window: list[np.ndarray] = []
    for frame in frames(path, mean):
        window.append(frame)
        if len(window) == LENGTH:
            yield np.stack(window, axis=1)
            del window[:stride]


def batches(path: str, mean: np.ndarray, stride: int, size: int) -> Iterator[torch.Tensor]:
    """Clips of a video, `size` at a time: (N, 3, 16, 112, 112)."""
    batch: list[np.ndarray] = []
    for clip in clips(path, mean, stride):
        batch.append(clip)
        if len(batch) == size:
            yield torch.from_numpy(np.stack(batch))
            batch.clear()
    if batch:
        yield torch.from_numpy(np.stack(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True, help="text file, one video a line")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    parameters = load_file(arguments.weights)
    mean = parameters.pop("mean").numpy()
    with torch.device("meta"):
        network = C3D()
    network.load_state_dict(parameters, strict=False, assign=True)  # fc7 and fc8 are not wanted
    network.eval()
    layout = LAYOUTS[arguments.layout]
    network.to(memory_format=layout)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.list.read_text(encoding="utf-8").splitlines():
        with torch.inference_mode():
            features = [
                network(batch.contiguous(memory_format=layout)).numpy()
                for batch in batches(path, mean, arguments.stride, arguments.batch)
            ]
        np.save(arguments.out / f"{Path(path).stem}.npy", np.concatenate(features))


if __name__ == "__main__":
    main()
