"""The package's public face: each command's function, by a name that no module takes."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import kinema
from kinema.cli.app import commands

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
