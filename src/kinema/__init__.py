"""Learn, extract and use spatiotemporal features of video with 3-D convolutional networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kinema.cli.demo import demo
    from kinema.engine.export import export
    from kinema.evaluation.ablation import ablation
    from kinema.evaluation.compactness import compactness
    from kinema.evaluation.compare import compare
    from kinema.evaluation.embedding import embed
    from kinema.evaluation.runtime import runtime
    from kinema.evaluation.transfer import transfer
    from kinema.features.estimators import C3DFeatures
    from kinema.features.extracted import ExtractedTables
    from kinema.features.extraction import extract
    from kinema.features.table import FeatureTable
    from kinema.features.trajectory_files import write_trajectories
    from kinema.finding.classify import classify
    from kinema.finding.duplicates import duplicates
    from kinema.finding.search import search
    from kinema.flow.pictures import draw_flow
    from kinema.methods.predict import predict
    from kinema.sharing.status import status
    from kinema.training.prepare import prepare
    from kinema.training.train import train
    from kinema.views.convolve import convolve
    from kinema.views.excitation import excite
    from kinema.views.filters import kernels

# Names and rooms are imported when they are first used, so that `import kinema` and
# `kinema --help` are quick. A command's function goes by the command's name; `kinema.flow` is the
# room of optical flow, so the command `flow` is `draw_flow`.
_PUBLIC = {
    "C3DFeatures": "kinema.features.estimators",
    "ExtractedTables": "kinema.features.extracted",
    "FeatureTable": "kinema.features.table",
    "ablation": "kinema.evaluation.ablation",
    "classify": "kinema.finding.classify",
    "compactness": "kinema.evaluation.compactness",
    "compare": "kinema.evaluation.compare",
    "convolve": "kinema.views.convolve",
    "demo": "kinema.cli.demo",
    "draw_flow": "kinema.flow.pictures",
    "duplicates": "kinema.finding.duplicates",
    "embed": "kinema.evaluation.embedding",
    "excite": "kinema.views.excitation",
    "export": "kinema.engine.export",
    "extract": "kinema.features.extraction",
    "kernels": "kinema.views.filters",
    "predict": "kinema.methods.predict",
    "prepare": "kinema.training.prepare",
    "runtime": "kinema.evaluation.runtime",
    "search": "kinema.finding.search",
    "status": "kinema.sharing.status",
    "train": "kinema.training.train",
    "transfer": "kinema.evaluation.transfer",
    "write_trajectories": "kinema.features.trajectory_files",
}
_ROOMS = ("datasets", "engine", "estimators", "features", "network", "reference", "weights")

__all__ = [
    "C3DFeatures",
    "ExtractedTables",
    "FeatureTable",
    "__version__",
    "ablation",
    "classify",
    "compactness",
    "compare",
    "convolve",
    "demo",
    "draw_flow",
    "duplicates",
    "embed",
    "excite",
    "export",
    "extract",
    "kernels",
    "predict",
    "prepare",
    "runtime",
    "search",
    "status",
    "train",
    "transfer",
    "write_trajectories",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kinema.{name}")
    raise AttributeError(f"module 'kinema' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
