"""Learn, extract and use spatiotemporal features of video with 3-D convolutional networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kinema.evaluation.compare import compare
    from kinema.evaluation.transfer import transfer
    from kinema.features.estimators import C3DFeatures
    from kinema.features.extraction import extract
    from kinema.features.table import FeatureTable
    from kinema.finding.classify import classify
    from kinema.finding.duplicates import duplicates
    from kinema.finding.search import search
    from kinema.methods.predict import predict
    from kinema.training.prepare import prepare
    from kinema.training.train import train

# Names and rooms are imported when they are first used, so that `import kinema` and
# `kinema --help` are quick.
_PUBLIC = {
    "C3DFeatures": "kinema.features.estimators",
    "FeatureTable": "kinema.features.table",
    "classify": "kinema.finding.classify",
    "compare": "kinema.evaluation.compare",
    "duplicates": "kinema.finding.duplicates",
    "extract": "kinema.features.extraction",
    "predict": "kinema.methods.predict",
    "prepare": "kinema.training.prepare",
    "search": "kinema.finding.search",
    "train": "kinema.training.train",
    "transfer": "kinema.evaluation.transfer",
}
_ROOMS = ("datasets", "engine", "estimators", "features", "network", "reference", "weights")

__all__ = [
    "C3DFeatures",
    "FeatureTable",
    "__version__",
    "classify",
    "compare",
    "duplicates",
    "extract",
    "predict",
    "prepare",
    "search",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kinema.{name}")
    raise AttributeError(f"module 'kinema' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
