"""Imports run one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kinema

PACKAGE = Path(kinema.__file__).parent

# These may import torch; `engine` only when it is asked to run on it.
MAY_IMPORT_TORCH = {
    "autograd",
    "engine",
    "learner",
    "processes",
    "torch_network",
    "training_log",
}
IMPORT_TORCH_AT_ONCE = {"autograd", "learner", "processes", "torch_network", "train"}

# Each room may import the rooms named here, and no others. Read from top to bottom.
MAY_IMPORT = {
    "caffe": set(),
    "files": set(),
    "native": set(),
    "network": set(),
    "pickled": set(),
    "prefetch": set(),
    "progress": set(),
    "reference": set(),
    "skipped": set(),
    "structure": set(),
    "pixels": {"skipped"},
    "demuxing": {"skipped", "structure"},
    "video": {"demuxing", "pixels", "skipped"},
    "clips": {"video", "skipped"},
    "autograd": {"native", "network"},
    "engine": {"native", "network", "prefetch", "torch_network"},
    "torch_network": {"autograd", "network"},
    "feature_table": {"files"},
    "sources": {"video"},
    "loop": {"skipped", "sources", "video"},
    "dataset_lists": {"sources"},
    "datasets": {"dataset_lists", "loop", "prefetch", "progress", "skipped", "sources", "video"},
    "copies": {"datasets", "files", "loop", "prefetch", "progress", "skipped", "sources", "video"},
    "synthetic": {"files"},
    "weights": {"files", "network"},
    "checkpoint": {"files"},
    "export": {"engine", "files", "network", "torch_network", "weights"},
    "clip_store": set(),
    "processes": {"prefetch"},
    "recipes": {"network"},
    "sampling": {"clip_store", "clips", "prefetch"},
    "metrics": set(),
    "evaluation": {"clip_store", "engine", "metrics", "prefetch", "sampling"},
    "learner": {"network", "processes", "torch_network"},
    "prepare": {
        "clip_store",
        "clips",
        "dataset_lists",
        "datasets",
        "loop",
        "prefetch",
        "progress",
        "recipes",
        "skipped",
        "sources",
        "video",
    },
    "training_log": {"evaluation", "files"},
    "classifier": {"feature_table", "files"},
    "convert": {"caffe", "network", "pickled", "weights"},
    "download": {"convert", "files", "progress", "weights"},
    "plots": {"files"},
    "mean": {"caffe", "clips", "files", "loop", "progress", "skipped", "sources", "weights"},
    "features": {
        "clips",
        "engine",
        "feature_table",
        "files",
        "loop",
        "mean",
        "progress",
        "skipped",
        "sources",
        "weights",
    },
    "deconvolution": {"engine", "native", "network", "prefetch"},
    "excitation": {
        "clips",
        "deconvolution",
        "features",
        "files",
        "loop",
        "plots",
        "progress",
        "skipped",
        "sources",
        "weights",
    },
    "estimators": {"clips", "feature_table", "features", "loop", "skipped", "sources", "weights"},
    "predict": {
        "classifier",
        "clips",
        "feature_table",
        "features",
        "files",
        "loop",
        "skipped",
        "sources",
        "weights",
    },
    "methods": {
        "clips",
        "estimators",
        "feature_table",
        "features",
        "files",
        "loop",
        "network",
        "prefetch",
        "progress",
        "skipped",
        "sources",
        "video",
        "weights",
    },
    "kernels": {"files", "methods", "network", "plots", "weights"},
    "protocol": {
        "copies",
        "dataset_lists",
        "datasets",
        "files",
        "loop",
        "methods",
        "progress",
        "skipped",
        "weights",
    },
    "compare": {
        "classifier",
        "datasets",
        "embedding",
        "files",
        "loop",
        "methods",
        "metrics",
        "protocol",
        "skipped",
        "sources",
        "weights",
    },
    "report": {"compare", "files"},
    "page": {
        "compare",
        "files",
        "loop",
        "prefetch",
        "progress",
        "report",
        "skipped",
        "sources",
        "video",
    },
    "embedding": {
        "datasets",
        "files",
        "loop",
        "methods",
        "metrics",
        "plots",
        "protocol",
        "skipped",
        "weights",
    },
    "compactness": {
        "datasets",
        "feature_table",
        "files",
        "loop",
        "methods",
        "plots",
        "protocol",
        "skipped",
        "weights",
    },
    "demo": {"classifier", "feature_table", "features", "files", "plots", "synthetic", "video"},
    "train": {
        "checkpoint",
        "clip_store",
        "datasets",
        "engine",
        "evaluation",
        "files",
        "learner",
        "mean",
        "network",
        "plots",
        "prefetch",
        "prepare",
        "processes",
        "progress",
        "recipes",
        "sampling",
        "skipped",
        "training_log",
        "weights",
    },
    "cli": {
        "compactness",
        "compare",
        "convert",
        "copies",
        "datasets",
        "demo",
        "download",
        "embedding",
        "excitation",
        "export",
        "features",
        "files",
        "kernels",
        "loop",
        "mean",
        "metrics",
        "page",
        "predict",
        "prepare",
        "protocol",
        "report",
        "skipped",
        "train",
        "weights",
    },
    "__main__": {"cli"},
    "__init__": {"estimators", "feature_table", "features"},
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "kinema":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kinema."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("kinema.")}
    return rooms


ROOMS = {path.stem: path for path in PACKAGE.glob("*.py")}
ROOMS |= {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_run_one_way(room):
    assert room in MAY_IMPORT, "say here what the new room may import"
    path = ROOMS[room]
    files = (
        path.parent.glob("*.py") if path.name == "__init__.py" and room != "__init__" else [path]
    )
    for file in files:
        assert imported_rooms(file) - {room} <= MAY_IMPORT[room], file


def test_the_table_itself_has_no_circle():
    order: list[str] = []
    left = {room: set(may) for room, may in MAY_IMPORT.items() if room != "__init__"}
    while left:
        free = [room for room, may in left.items() if may <= set(order)]
        assert free, f"a circle among {sorted(left)}"
        order += free
        for room in free:
            del left[room]


def modules_after(code: str) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(printed.splitlines()[-1].split())


def test_only_some_rooms_import_torch():
    assert {n for n, p in ROOMS.items() if imports_torch(p)} == MAY_IMPORT_TORCH
    without = MAY_IMPORT.keys() - IMPORT_TORCH_AT_ONCE - {"__main__", "__init__"}
    rooms = ", ".join(f"kinema.{room}" for room in sorted(without))
    assert "torch" not in modules_after(f"import {rooms}")


def imports_torch(path: Path) -> bool:
    """Anywhere in the file, also within a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return any(name.split(".")[0] == "torch" for name in names)


def test_import_and_help_are_light():
    heavy = {"numpy", "av", "cv2", "torch", "sklearn", "matplotlib"}
    assert not heavy & modules_after("import kinema")
    loaded = modules_after("from kinema.cli import main; main(['--help'])")
    assert not heavy & loaded


def test_every_module_and_public_name_has_a_docstring():
    for path in ROOMS.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path.name
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and path.stem != "reference":
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
