"""Imports run one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kinema

PACKAGE = Path(kinema.__file__).parent

# Each room may import the rooms above it, and no others.
ORDER = (
    "lazy",
    "words",
    "notebook",
    "own",
    "layers",
    "models",
    "model",
    "network",
    "picture_network",
    "files",
    "progress",
    "download",
    "threads",
    "skipped",
    "metrics",
    "plots",
    "store",
    "sharing",
    "native",
    "video",
    "flow",
    "datasets",
    "weights",
    "engine",
    "features",
    "training",
    "methods",
    "finding",
    "evaluation",
    "views",
    "cli",
)

# Public addresses of what lives in a room, and the ways in.
DOORS = {"__init__", "__main__", "estimators", "reference"}

# Published networks are PyTorch modules; the package names them without importing one.
MODELS_FILES = {
    f"models.{path.stem}"
    for path in (PACKAGE / "models").glob("*.py")
    if path.stem not in ("__init__", "sizes")
}

# These may import torch; `engine.engine` only when it is asked to run on it.
MAY_IMPORT_TORCH = MODELS_FILES | {
    "engine.autograd",
    "engine.engine",
    "engine.first_layers",
    "engine.torch_forward",
    "engine.torch_network",
    "engine.torch_resize",
    "engine.torch_runner",
    "engine.triton_stem",
    "flow.torch_brox",
    "model",
    "training.clip_dataset",
    "training.compiled",
    "training.descent",
    "training.learner",
    "training.log",
    "training.processes",
    "training.resident",
}
IMPORT_TORCH_AT_ONCE = MODELS_FILES | {
    "evaluation.ablation",
    "engine.autograd",
    "engine.first_layers",
    "engine.torch_forward",
    "engine.torch_network",
    "engine.torch_resize",
    "engine.torch_runner",
    "engine.triton_stem",
    "flow.torch_brox",
    "training.learner",
    "training.batches",
    "training.clip_dataset",
    "training.compiled",
    "training.descent",
    "training.processes",
    "training.resident",
    "training.run",
    "training.train",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name for name in FILES if name.split(".")[0] not in DOORS}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, also within a function or for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kinema":
            assert node.level == 0, f"{path}: imports are absolute"
            within = (node.module or "").split(".")[1:]
            for alias in node.names:
                whole = ".".join([*within, alias.name])
                found.add(whole if whole in FILES else ".".join(within))
        elif isinstance(node, ast.Import):
            found |= {a.name[len("kinema.") :] for a in node.names if a.name.startswith("kinema.")}
    return {name for name in found if name}


def room_of(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module):
    place = ORDER.index(room_of(module))
    for imported in imported_modules(FILES[module]):
        assert imported not in DOORS, f"{imported} is for users: import the room behind it"
        assert ORDER.index(room_of(imported)) <= place, f"{module} imports {imported}"


def test_every_room_stands_in_the_order_and_in_the_folder():
    assert {room_of(module) for module in MODULES} == set(ORDER)


def test_no_files_import_each_other_in_a_circle():
    left = {
        name: {other for other in imported_modules(FILES[name]) if other in FILES} - {name}
        for name in FILES
        # What a package names is imported when it is first used.
        if FILES[name].name != "__init__.py"
    }
    done: set[str] = set(FILES) - set(left)
    while left:
        free = {name for name, needs in left.items() if needs <= done}
        assert free, f"a circle among {sorted(left)}"
        done |= free
        for name in free:
            del left[name]


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_file_needs_a_map(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= 450


def modules_after(code: str) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(printed.splitlines()[-1].split())


def test_only_some_files_import_torch():
    assert {name for name in MODULES if imports_torch(FILES[name])} == MAY_IMPORT_TORCH
    names = ", ".join(f"kinema.{name}" for name in sorted(MODULES - IMPORT_TORCH_AT_ONCE))
    assert "torch" not in modules_after(f"import {names}")


def imports_torch(path: Path) -> bool:
    """Anywhere in the file, also within a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return any(name.split(".")[0] == "torch" for name in names)


HEAVY = {"numpy", "av", "cv2", "torch", "sklearn", "matplotlib"}


@pytest.mark.parametrize("code", ["import kinema", "from kinema.cli import main; main(['--help'])"])
def test_import_and_help_are_light(code):
    assert not HEAVY & modules_after(code)


def test_public_names_can_be_imported():
    """The design's public face, each at its address, in a fresh interpreter."""
    for code in (
        "from kinema import C3DFeatures, FeatureTable, compare, extract",
        "from kinema import duplicates, predict, prepare, transfer",
        "from kinema.weights import Weights",
        "from kinema.engine import Engine",
        "from kinema.network import c3d, c3d_mini, kernel_depth",
        "from kinema.datasets import load, make_folds, make_split",
        "from kinema.reference import conv3d",
        "from kinema.estimators import C3DFeatures",
        "import kinema; kinema.weights.Weights, kinema.engine.Engine, kinema.network.c3d,"
        " kinema.datasets.load, kinema.reference.conv3d, kinema.estimators.C3DFeatures",
    ):
        assert "torch" not in modules_after(code), code


def test_every_module_and_public_name_has_a_docstring():
    for name, path in FILES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), name
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public:
                assert ast.get_docstring(node), f"{name}: {node.name}"
