"""Frames of prepared clips as JPEG pictures; see Note [The format of prepared clips]."""

from __future__ import annotations

import cv2
import numpy as np


def decode(jpeg: bytes, frame: np.ndarray) -> bool:
    """Fill a frame (H, W, C) from its picture; False if that is none of this size."""
    height, width, channels = frame.shape
    data = np.frombuffer(jpeg, np.uint8)
    if channels == 3:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if image is None or image.shape != frame.shape:
            return False
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=frame)
        return True
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (channels * height, width):
        return False
    frame[:] = image.reshape(channels, height, width).transpose(1, 2, 0)
    return True


def encode(image: np.ndarray, quality: int) -> bytes:
    """A frame (H, W, 3) uint8 RGB as JPEG without chroma subsampling.

    Of another number of channels these stand one above the other in a grey picture.
    """
    if image.shape[2] != 3:
        rows = np.ascontiguousarray(image.transpose(2, 0, 1)).reshape(-1, image.shape[1])
        done, data = cv2.imencode(".jpg", rows, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        return data.tobytes()
    flags = [
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    assert done
    return data.tobytes()
