"""How the engine torch takes clips to the device and rows back; see `torch_forward`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from kinema.engine.torch_forward import forward_of, switches
from kinema.engine.torch_resize import resized
from kinema.model import Model
from kinema.video.clips import resize


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
        height, width = model.input_shape[2:]
        self._size, self._crop = model.frame_size, (height, width)
        self._resizes = True
        # Copies to the device have a stream of their own, beside what is computed there.
        self._copying = torch.cuda.Stream() if self._device.type == "cuda" else None
        self._compared: set[tuple[int, ...]] = set()  # sizes of frames, see `_cut`
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

    def packed(self, frames: Sequence[np.ndarray]) -> tuple[torch.Tensor, bool]:
        """What `start` takes of frames. Safe in any thread.

        Returns:
            (F, H, W, 3) uint8 in pinned memory, and whether they have been cut out: those that do
            not need to be resized, or cannot be on the device.
        """
        if not self._resizes or len({frame.shape for frame in frames}) > 1:
            frames = [resize(frame, self._size) for frame in frames]
        is_cut = frames[0].shape[:2] == self._size
        if is_cut:
            (top, left), (height, width) = self._corner, self._crop
            frames = [frame[top : top + height, left : left + width] for frame in frames]
        shape = (len(frames), *frames[0].shape)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        for place, frame in zip(pixels.numpy(), frames, strict=True):
            place[:] = frame
        return pixels, is_cut

    def start(
        self,
        packed: tuple[torch.Tensor, bool],
        clips: np.ndarray,
        mean: np.ndarray,
        wanted: Sequence[str],
    ) -> Callable[[], dict[str, np.ndarray]]:
        """See `Engine.start`; nothing here waits for the device, but for the first frames."""
        device = self._device
        on_gpu = device.type == "cuda"
        with torch.inference_mode(), switches(self._precision):
            frames = self._cut(*packed)
            order = torch.from_numpy(np.ascontiguousarray(clips, np.int64))
            if on_gpu:
                order = order.pin_memory()
            if self._mean is None or self._mean[0] is not mean:  # sent once
                self._mean = mean, torch.from_numpy(_writeable(mean)).to(device)
            pixels = frames[order.to(device, non_blocking=on_gpu)]
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

    def _cut(self, pixels: torch.Tensor, is_cut: bool) -> torch.Tensor:
        """The frames on the device, (F, *crop, 3) uint8.

        The first ones of each size are also resized by OpenCV, whose builds for other processors
        may go other ways; where they do, frames are resized by it alone.
        """
        frames = self._sent(pixels)
        if is_cut:
            return frames
        size = tuple(pixels.shape[1:3])
        cut = resized(frames, self._size, self._crop)
        if size not in self._compared:
            right = self._cut_by_opencv(pixels)
            if not torch.equal(cut.cpu(), right):
                self._resizes = False
                warnings.warn(
                    f"the GPU resizes frames of {size[1]}x{size[0]} otherwise than OpenCV "
                    f"{cv2.__version__}: they are resized on the CPU, which is slower.",
                    stacklevel=6,
                )
            self._compared.add(size)
        return cut if self._resizes else self._cut_by_opencv(pixels).to(self._device)

    def _sent(self, pinned: torch.Tensor) -> torch.Tensor:
        if self._copying is None:
            return pinned.to(self._device)
        with torch.cuda.stream(self._copying):
            sent = pinned.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream()
        computing.wait_stream(self._copying)
        sent.record_stream(computing)  # its memory is not used again before that
        return sent

    def _cut_by_opencv(self, pixels: torch.Tensor) -> torch.Tensor:
        (top, left), (height, width) = self._corner, self._crop
        frames = np.stack([resize(frame, self._size) for frame in pixels.numpy()])
        cut = frames[:, top : top + height, left : left + width]
        return torch.from_numpy(np.ascontiguousarray(cut))

    @property
    def _corner(self) -> tuple[int, int]:
        """Top and left of the centre of a resized frame."""
        (height, width), crop = self._size, self._crop
        return (height - crop[0]) // 2, (width - crop[1]) // 2

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
