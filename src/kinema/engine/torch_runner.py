"""How the engine torch takes clips to the device and rows back; see `torch_forward`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kinema.engine.torch_forward import forward_of, switches
from kinema.model import Model


class TorchRunner:
    """A model on a device in a precision.

    Args:
        model: what to compute.
        parameters: by name, float32.
        device: "cpu" or "cuda".
        precision: one of `precision.PRECISIONS`.
        threads: CPU threads for one run.

    Raises:
        ValueError: there is no CUDA device.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, np.ndarray],
        *,
        device: str,
        precision: str,
        threads: int,
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError('`device` is "cuda", but PyTorch sees no CUDA device.')
        self._threads = threads
        self._device = torch.device(device)
        self._precision = precision
        self._mean: Any = None  # of `start`: the caller's, and its copy on the device
        tensors = {
            name: torch.from_numpy(_writeable(array)).to(self._device)
            for name, array in parameters.items()
        }
        self._packed_bytes = sum(tensor.nbytes for tensor in tensors.values())
        self._forward = forward_of(model, tensors, self._device, precision)

    @property
    def packed_bytes(self) -> int:
        """Of the parameters as they came."""
        return self._packed_bytes

    @property
    def versions(self) -> dict[str, Any]:
        """PyTorch's and cuDNN's, as `known_faults` takes them."""
        cudnn_version = torch.backends.cudnn.version()
        return {"torch_version": torch.__version__, "cudnn_version": cudnn_version}

    def start(
        self, frames: np.ndarray, mean: np.ndarray, wanted: Sequence[str]
    ) -> Callable[[], dict[str, np.ndarray]]:
        """See `Engine.start`; nothing here waits for the device."""
        device = self._device
        on_gpu = device.type == "cuda"
        with torch.inference_mode(), switches(self._precision):
            pixels = torch.from_numpy(frames)
            if on_gpu:
                pixels = pixels.pin_memory().to(device, non_blocking=True)
            if self._mean is None or self._mean[0] is not mean:  # sent once
                self._mean = mean, torch.from_numpy(_writeable(mean)).to(device)
            x = pixels.permute(0, 4, 1, 2, 3).flip(1).float() - self._mean[1]
            found = self._forward(x, wanted)
            outputs = {name: y.to("cpu", non_blocking=on_gpu) for name, y in found.items()}
            done = torch.cuda.Event() if on_gpu else None
            if done is not None:
                done.record()

        def wait() -> dict[str, np.ndarray]:
            if done is not None:
                done.synchronize()
            # A copy, so that pinned memory is free for the next batch.
            return {name: y.numpy().copy() for name, y in outputs.items()}

        return wait

    def run(self, clips: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """The outputs of the asked layers of clips (N, 3, T, H, W) float32."""
        before = torch.get_num_threads()  # a setting of the whole process
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode(), switches(self._precision):
                x = torch.from_numpy(_writeable(clips)).to(self._device)
                return {name: y.cpu().numpy() for name, y in self._forward(x, wanted).items()}
        finally:
            torch.set_num_threads(before)


def _writeable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is read-only: torch warns of those even where it only reads."""
    return array if array.flags.writeable else array.copy()
