"""CONTRIBUTING.md is followed to the letter, in a copy of the house."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema.video.synthetic import write_dataset

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

# The package of the folder `src`, in whichever way another one is installed.
IN_THE_COPY = (
    "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'kinema' not in f.__module__ and "
    "'skbc' not in f.__module__]; sys.path.insert(0, 'src'); "
)


def steps(title: str) -> list[tuple[str, str]]:
    """The blocks of a section: their language and text."""
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```(\w+)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def apply(diff: str, root: Path) -> None:
    """Change files as a diff says whose hunks give whole lines, but no numbers."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, _, hunks = part.partition("\n")
        lines = (root / name).read_text(encoding="utf-8").splitlines()
        place = 0
        for hunk in hunks.split("@@\n"):
            changes = hunk.splitlines()
            known = [change[1:] for change in changes if change[0] != "+"]
            place = next(n for n in range(place, len(lines)) if lines[n : n + len(known)] == known)
            lines[place : place + len(known)] = [c[1:] for c in changes if c[0] != "-"]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def python(house: Path, code: str, *arguments: str) -> str:
    """What a program prints that imports the package of the copy."""
    command = [sys.executable, "-c", IN_THE_COPY + code, *arguments]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contributing") / "videos"
    write_dataset(folder, num_train=2, num_test=1, num_frames=16, width=64, height=48)
    return folder


@pytest.fixture
def house(tmp_path, videos):
    """A copy of the package and the examples, with videos beside them."""
    house = tmp_path / "house"
    ignored = shutil.ignore_patterns("*.cpp", "*.h", "__pycache__")
    shutil.copytree(Path(kinema.__file__).parent, house / "src" / "kinema", ignore=ignored)
    compiled = importlib.util.find_spec("kinema.native._native").origin
    shutil.copy(compiled, house / "src" / "kinema" / "native")
    shutil.copytree(ROOT / "examples", house / "examples", ignore=shutil.ignore_patterns("paper*"))
    shutil.copytree(videos, house / "videos")
    return house


def follow(house: Path, title: str) -> str:
    """Do what a section says; returns what its commands print."""
    printed = ""
    for language, text in steps(title):
        if language == "diff":
            apply(text, house)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            if program == "cp":
                shutil.copy(house / arguments[0], house / arguments[1])
            else:
                assert program == "kinema"
                code = "from kinema.cli import main; sys.exit(main(sys.argv[1:]))"
                printed += python(house, code, *arguments)
    return printed


def test_the_copy_is_what_runs(house):
    printed = python(house, "import kinema; print(kinema.__file__)")
    assert Path(house / "src" / "kinema" / "__init__.py").samefile(printed.strip())


def test_a_method(house):
    """Mean colours say nothing of the class: the four videos of a scene show the same frames."""
    follow(house, "A method")
    result = json.loads((house / "compared" / "result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["mean-colour", "chance"]
    assert [row["accuracy"] for row in result["rows"]] == [0.25, 0.25]


def test_a_network(house):
    pytest.importorskip("torch")
    follow(house, "A network")
    (path, *_) = sorted((house / "features").rglob("*.safetensors"))
    assert kinema.FeatureTable.load(path).features.shape == (1, 32)
    # 16 frames of 64x64, by hand: (2, 4, 4) and (4, 4, 4) leave 2 frames of 4x4.
    printed = python(
        house,
        "from kinema.network import c3d_tiny; n = c3d_tiny(4, input_shape=(3, 16, 64, 64)); "
        "print(n.num_parameters)",
    )
    counted = 8 * 3 * 27 + 8, 16 * 8 * 27 + 16, 32 * 16 * 2 * 4 * 4 + 32, 4 * 32 + 4
    assert int(printed) == sum(counted)


def test_a_dataset(house):
    (house / "listed").mkdir()
    lines = []
    for number, path in enumerate(sorted((house / "videos").rglob("*.mp4"))):
        shutil.copy(path, house / "listed" / path.name.replace("v_", f"{number}_"))
        split, label, _ = path.relative_to(house / "videos").parts
        lines.append(f"{number}_{path.name.removeprefix('v_')}\t{label}\t{split}\n")
    (house / "listed" / "clips.tab").write_text("".join(lines))
    follow(house, "A dataset")
    code = (
        "from kinema.datasets import load; d = load('listed'); s = d.splits['official']; "
        "print(d.kind, len(s.train), len(s.test), *sorted(d.classes))"
    )
    classes = ["clockwise", "counterclockwise", "fast_clockwise", "fast_counterclockwise"]
    assert python(house, code).split() == ["tab", "8", "4", *classes]


def test_a_file_format(house):
    follow(house, "A file format for features")
    tables = sorted((house / "tables").rglob("*.csv"))
    assert len(tables) == 12
    (video,) = (house / "videos" / "test" / "clockwise").glob("*.mp4")
    kinema.extract([video], out=house / "plain")
    plain = kinema.FeatureTable.load(house / "plain" / f"{video.name}.safetensors")
    path = f"tables/test/clockwise/{video.name}.csv"
    code = (
        f"import kinema; t = kinema.FeatureTable.load({path!r}); "
        "t.save('again.npy', 'npy'); print(t.about['layer'])"
    )
    assert python(house, code).strip() == "fc6"
    np.testing.assert_array_equal(np.load(house / "again.npy"), plain.features)
