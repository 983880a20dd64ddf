"""`make release`: a line for each thing that does not agree; and what is pinned in two places."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import kinema

from release import ROOT, disagreements, version_of

NAMES = [
    f"kinema-1.2.3-{python}-{platform}.whl"
    for python in ("cp311-cp311", "cp312-abi3")
    for platform in (
        "manylinux_2_27_x86_64.manylinux_2_28_x86_64",
        "manylinux_2_28_aarch64",
        "macosx_11_0_x86_64",
        "macosx_11_0_arm64",
    )
]


def git(folder, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def tree(tmp_path):
    """A repository in which all agree on 1.2.3."""
    root = tmp_path / "tree"
    write(root, "src/kinema/__init__.py", '"""x"""\n\n__version__ = "1.2.3"\n')
    write(root, "CHANGELOG.md", "# Changes\n\n## Unreleased\n\n## 1.2.3 (2027-01-31)\n\n- x\n")
    write(root, "CITATION.cff", 'version: "1.2.3"\ndate-released: 2027-01-31\n')
    write(
        root,
        "pyproject.toml",
        '[project]\nrequires-python = ">=3.11"\n[tool.scikit-build]\nwheel.py-api = "cp312"\n',
    )
    write(root, ".gitignore", "/dist/\n")
    git(tmp_path, "init", "-q", "tree")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    git(root, "tag", "v1.2.3")
    for name in NAMES:
        write(root, f"dist/{name}", "")
    return root


def change(name, old, new):
    """Something that is other than it should be, and committed and tagged all the same."""

    def do(root):
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        write(root, name, text.replace(old, new))
        git(root, "commit", "-qam", "y")
        git(root, "tag", "-f", "v1.2.3")

    return do


def rename(old, new):
    return lambda root: (root / "dist" / old).rename(root / "dist" / new)


def test_where_all_agree_nothing_is_said(tree):
    assert disagreements(tree) == []


@pytest.mark.parametrize(
    ("do", "line"),
    [
        (
            change("CHANGELOG.md", "1.2.3 (", "1.2.2 ("),
            "CHANGELOG.md: the newest heading is `1.2.2 (2027-01-31)`, not `1.2.3 (YYYY-MM-DD)`.",
        ),
        (
            change("CHANGELOG.md", "Unreleased\n", "Unreleased\n\n- more\n"),
            "CHANGELOG.md: there are changes below `Unreleased`.",
        ),
        (
            change("CITATION.cff", '"1.2.3"', '"1.2.0"'),
            "CITATION.cff: version is 1.2.0, not 1.2.3.",
        ),
        (
            change("CITATION.cff", "2027-01-31", "2027-01-30"),
            "CITATION.cff: date-released is 2027-01-30, not 2027-01-31 as in CHANGELOG.md.",
        ),
        (lambda root: git(root, "tag", "-d", "v1.2.3"), "git: there is no tag v1.2.3."),
        (lambda root: write(root, "new.py", ""), "git: the tree is not clean: new.py."),
        (
            lambda root: (root / "dist" / NAMES[0]).unlink(),
            "dist: there is no wheel cp311-cp311 for manylinux x86_64.",
        ),
        (
            lambda root: write(root, "dist/kinema-1.2.2-cp312-abi3-macosx_11_0_arm64.whl", ""),
            "dist/kinema-1.2.2-cp312-abi3-macosx_11_0_arm64.whl: it is of the version 1.2.2, not "
            "1.2.3.",
        ),
        (
            lambda root: write(root, "dist/kinema-1.2.3-cp312-abi3-linux_x86_64.whl", ""),
            "dist/kinema-1.2.3-cp312-abi3-linux_x86_64.whl: its tags are not among those of a "
            "release.",
        ),
        (
            lambda root: write(root, "dist/kinema.whl", ""),
            "dist/kinema.whl: no name of a wheel.",
        ),
    ],
)
def test_each_disagreement_is_a_line(tree, do, line):
    do(tree)
    assert disagreements(tree) == [line]


def test_a_tag_of_another_commit_is_told(tree):
    git(tree, "commit", "-qm", "z", "--allow-empty")
    (line,) = disagreements(tree)
    assert re.fullmatch(r"git: the tag v1.2.3 is of \w{10}, and \w{10} is checked out\.", line)


def test_a_version_that_is_another_one_is_told_everywhere(tree):
    change("src/kinema/__init__.py", "1.2.3", "1.3.0.dev0")(tree)
    found = disagreements(tree)
    assert found[0] == "src/kinema/__init__.py: 1.3.0.dev0 is no version that can be released."
    # And CHANGELOG.md, CITATION.cff, the tag; each wheel is of another version, and one is missing.
    assert len(found) == 1 + 3 + 8 + 8


def test_the_version_stands_in_one_place():
    assert version_of(ROOT) == kinema.__version__ == importlib.metadata.version("kinema")


def pins(path):
    return dict(re.findall(r"([\w-]+)==([\w.+]+)", Path(path).read_text(encoding="utf-8")))


def test_what_is_pinned_elsewhere_is_what_the_constraints_pin():
    constraints, hooks = pins(ROOT / "constraints.txt"), pins(ROOT / ".pre-commit-config.yaml")
    assert {"ruff", "clang-format"} <= hooks.keys()
    assert hooks.items() <= constraints.items()


def test_the_wheels_that_are_built_are_those_that_a_release_has():
    with open(ROOT / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)
    first, second, *_ = settings["tool"]["cibuildwheel"]["build"].split()
    assert first.removesuffix("-*") == "cp3" + settings["project"]["requires-python"][4:]
    assert second.removesuffix("-*") == settings["tool"]["scikit-build"]["wheel"]["py-api"]
    workflow = (ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")
    assert workflow.count("- system: ") == 4


def test_security_names_tests_that_there_are():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in tests] == []
    files = re.findall(r"`((?:tests|src)/[\w/.]+)`", text)
    assert [file for file in files if not (ROOT / file).is_file()] == []
