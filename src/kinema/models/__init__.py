"""Published networks that are no chain of layers: what C3D is compared with, one file each.

They are plain PyTorch modules, see Note [A model of one's own] in `kinema.model`. To add one, write
its file and name it in `MODELS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "slow-fusion": "slow_fusion:SlowFusion",
        "slow-fusion-fovea": "slow_fusion:SlowFusionFovea",
        "two-stream-spatial": "two_stream:Spatial",
        "two-stream-spatial-imagenet": "two_stream:SpatialOnImageNet",
        "two-stream-temporal": "two_stream:Temporal",
        "lrcn": "lrcn:LRCN",
        "lrcn-flow": "lrcn:LRCNFlow",
        "lrcn-imagenet": "lrcn:LRCNOnImageNet",
        "lstm-composite": "lstm_composite:LSTMComposite",
        "lstm-classifier": "lstm_composite:LSTMClassifier",
        "conv-pooling": "long_clips:ConvPooling",
        "conv-pooling-imagenet": "long_clips:ConvPoolingOnImageNet",
        "lstm-long": "long_clips:LongLSTM",
        "lstm-long-imagenet": "long_clips:LongLSTMOnImageNet",
        "slowfast": "slowfast:SlowFast",
    }
)
"""File and class by the name that the command line and weight files have for it."""


def load(name: str) -> Callable[..., Any]:
    """The class of a name of `MODELS`.

    Raises:
        ValueError: there is no such name.
        ImportError: PyTorch is not installed.
    """
    if name not in MODELS:
        raise ValueError(f"`name` must be one of {', '.join(MODELS)}; got {name!r}.")
    file, _, made = MODELS[name].partition(":")
    try:
        module = importlib.import_module(f"kinema.models.{file}")
    except ImportError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"{name} needs PyTorch: pip install 'kinema[train]'.") from None
    found: Callable[..., Any] = getattr(module, made)
    return found
