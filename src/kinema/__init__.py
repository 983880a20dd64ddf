"""Learn, extract and use spatiotemporal features of video with 3-D convolutional networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kinema.estimators import C3DFeatures
    from kinema.feature_table import FeatureTable
    from kinema.features import extract

# Rooms are imported when first used, so that `import kinema` and `kinema --help` are quick.
_PUBLIC = {
    "C3DFeatures": "kinema.estimators",
    "FeatureTable": "kinema.feature_table",
    "extract": "kinema.features",
}
_ROOMS = (
    "classifier",
    "clip_store",
    "clips",
    "compactness",
    "compare",
    "convert",
    "copies",
    "datasets",
    "deconvolution",
    "download",
    "embedding",
    "engine",
    "estimators",
    "excitation",
    "export",
    "feature_table",
    "features",
    "kernels",
    "loop",
    "mean",
    "methods",
    "metrics",
    "network",
    "page",
    "predict",
    "prepare",
    "protocol",
    "recipes",
    "reference",
    "report",
    "skipped",
    "sources",
    "synthetic",
    "train",
    "video",
    "weights",
)

__all__ = ["C3DFeatures", "FeatureTable", "__version__", "extract"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kinema.{name}")
    raise AttributeError(f"module 'kinema' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
