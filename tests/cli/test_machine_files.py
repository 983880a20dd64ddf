"""Files for schedulers: ten lines each, whose commands this version takes."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from kinema.cli.app import app

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"


def arguments_of(command: str) -> dict:
    """What a command line gives to the function behind it."""
    program, *words = shlex.split(command.replace("$SLURM_CPUS_PER_TASK", "4"))
    assert program == "kinema"
    function, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    assert function.__name__ == "extract"
    return bound.arguments


def test_the_slurm_array():
    path = EXAMPLES / "slurm_array.sh"
    assert subprocess.run(["bash", "-n", path], check=True).returncode == 0
    lines = path.read_text().splitlines()
    assert len(lines) == 10
    options = dict(
        line.removeprefix("#SBATCH --").split("#")[0].strip().partition("=")[::2]
        for line in lines
        if line.startswith("#SBATCH")
    )
    assert (
        options["signal"] == "TERM@60"
    )  # to `srun`'s step; with B: it would go to the shell alone
    assert {"array", "cpus-per-task", "requeue", "time"} <= options.keys()
    given = arguments_of(lines[-1].removeprefix("srun "))
    assert given["sharing"].shared
    assert given["compute"].threads == 4
    assert (given["list"], given["root"]) == ("/data/videos.txt", "/data/videos")


def test_skypilot():
    yaml = pytest.importorskip("yaml")
    path = EXAMPLES / "skypilot.yaml"
    assert len(path.read_text().splitlines()) == 10
    task = yaml.safe_load(path.read_text())
    assert set(task) == {"name", "num_nodes", "workdir", "resources", "setup", "run"}
    assert task["resources"]["use_spot"] is True
    assert (ROOT / "constraints.txt").is_file()
    given = arguments_of(task["run"])
    assert given["sharing"].shared
    assert given["out"].startswith("s3://")


@pytest.mark.parametrize("name", ["slurm_array.sh", "skypilot.yaml"])
def test_the_page_names_them(name):
    assert f"../examples/{name}" in (ROOT / "docs" / "many-machines.md").read_text()
