"""Published networks that are no chain of layers, one file a paper: classes of PyTorch modules.

Each class keeps Note [A model of one's own] in `model`, is named by its paper, and says what of it
is recalled and what stands in for what. `width` scales every one of them; where a paper's network
learned from ImageNet first, a class "on ImageNet" sits on EfficientNet-Lite0's last maps instead.

To add a network, write its file and name it in `MODELS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "slow-fusion": "kinema.models.slow_fusion:SlowFusion",
        "slow-fusion-fovea": "kinema.models.slow_fusion:SlowFusionFovea",
        "two-stream-spatial": "kinema.models.two_stream:Spatial",
        "two-stream-spatial-imagenet": "kinema.models.two_stream:SpatialOnImageNet",
        "two-stream-temporal": "kinema.models.two_stream:Temporal",
        "lrcn": "kinema.models.lrcn:LRCN",
        "lrcn-flow": "kinema.models.lrcn:LRCNFlow",
        "lrcn-imagenet": "kinema.models.lrcn:LRCNOnImageNet",
        "lstm-composite": "kinema.models.lstm_composite:LSTMComposite",
        "lstm-classifier": "kinema.models.lstm_composite:LSTMClassifier",
        "conv-pooling": "kinema.models.long_clips:ConvPooling",
        "conv-pooling-imagenet": "kinema.models.long_clips:ConvPoolingOnImageNet",
        "lstm-long": "kinema.models.long_clips:LongLSTM",
        "lstm-long-imagenet": "kinema.models.long_clips:LongLSTMOnImageNet",
        "slowfast": "kinema.models.slowfast:SlowFast",
    }
)
"""Where the class of each name is; strings, so that PyTorch is imported when one is asked for."""


def load(name: str) -> Any:
    """The class of a name of `MODELS`.

    Raises:
        ValueError: there is no such name.
    """
    if name not in MODELS:
        raise ValueError(f"`name` must be one of {', '.join(MODELS)}; got {name!r}.")
    module, _, made = MODELS[name].partition(":")
    return getattr(importlib.import_module(module), made)
