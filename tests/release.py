"""Tells what does not agree before a release, a line each; uploads nothing.

    python tests/release.py        # `make release`; ends with 1 if something does not agree

The version is written in one place, src/kinema/__init__.py; the build reads it there. These follow
it: the newest heading of CHANGELOG.md, CITATION.cff, the tag of the commit, the wheels in dist/
(one for each Python and system that .github/workflows/wheels.yml builds for). The tree must be
clean.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

SYSTEMS = (
    ("manylinux", "x86_64"),
    ("manylinux", "aarch64"),
    ("macosx", "x86_64"),
    ("macosx", "arm64"),
)
"""What wheels are for: the beginning and the end of a platform tag."""


def version_of(root: Path) -> str:
    """The version, as the build reads it."""
    text = (root / "src" / "kinema" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("src/kinema/__init__.py: no line `__version__ = ...`.")
    return found[1]


def disagreements(root: Path) -> list[str]:
    """What does not agree with the version, or stands in the way of its release."""
    version = version_of(root)
    found = []
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        found.append(f"src/kinema/__init__.py: {version} is no version that can be released.")
    return [*found, *_texts(root, version), *_git(root, version), *_wheels(root, version)]


def _texts(root: Path, version: str) -> Iterator[str]:
    """CHANGELOG.md and CITATION.cff, which tell the same day."""
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (.+)$", changes, flags=re.MULTILINE)[1:]
    headings, contents = sections[::2], sections[1::2]
    if headings[:1] == ["Unreleased"]:
        if contents[0].strip():
            yield "CHANGELOG.md: there are changes below `Unreleased`."
        headings = headings[1:]
    newest = re.fullmatch(r"(\S+) \((\d{4}-\d{2}-\d{2})\)", headings[0]) if headings else None
    if newest is None or newest[1] != version:
        told = f"`{headings[0]}`" if headings else "missing"
        yield f"CHANGELOG.md: the newest heading is {told}, not `{version} (YYYY-MM-DD)`."
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    entries = dict(re.findall(r'^([\w-]+): "?([^"\n]*)"?$', citation, re.MULTILINE))
    if entries.get("version") != version:
        yield f"CITATION.cff: version is {entries.get('version', 'missing')}, not {version}."
    if newest is not None and entries.get("date-released") != newest[2]:
        yield (
            f"CITATION.cff: date-released is {entries.get('date-released', 'missing')}, not "
            f"{newest[2]} as in CHANGELOG.md."
        )


def _git(root: Path, version: str) -> Iterator[str]:
    """The tag and the tree."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.strip()

    tag = f"v{version}"
    tagged, here = (
        git("rev-parse", "--quiet", "--verify", f"{tag}^{{commit}}"),
        git("rev-parse", "HEAD"),
    )
    if not tagged:
        yield f"git: there is no tag {tag}."
    elif tagged != here:
        yield f"git: the tag {tag} is of {tagged[:10]}, and {here[:10]} is checked out."
    changed = git("status", "--porcelain").splitlines()
    if changed:
        first = changed[0].split(maxsplit=1)[1]
        yield f"git: the tree is not clean: {first}{' and others' * (len(changed) > 1)}."


def _wheels(root: Path, version: str) -> Iterator[str]:
    """A wheel for each Python and system, and no other one."""
    with open(root / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)
    (oldest,) = re.findall(r"^>=3\.(\d+)$", settings["project"]["requires-python"])
    stable = settings["tool"]["scikit-build"]["wheel"]["py-api"]
    wanted = {
        (python, *system)
        for python in (f"cp3{oldest}-cp3{oldest}", f"{stable}-abi3")
        for system in SYSTEMS
    }
    for wheel in sorted((root / "dist").glob("*.whl")):
        parts = wheel.stem.split("-")
        if len(parts) != 5:
            yield f"dist/{wheel.name}: no name of a wheel."
            continue
        _, its_version, python, abi, platforms = parts
        if its_version != version:
            yield f"dist/{wheel.name}: it is of the version {its_version}, not {version}."
            continue
        fitting = {
            (f"{python}-{abi}", system, machine)
            for system, machine in SYSTEMS
            if all(
                tag.startswith(f"{system}_") and tag.endswith(f"_{machine}")
                for tag in platforms.split(".")
            )
        }
        if not fitting & wanted:
            yield f"dist/{wheel.name}: its tags are not among those of a release."
        wanted -= fitting
    for python, system, machine in sorted(wanted):
        yield f"dist: there is no wheel {python} for {system} {machine}."


def main() -> int:
    """Print what does not agree."""
    found = disagreements(ROOT)
    print(*found, sep="\n", end="\n" * bool(found))
    if not found:
        print(f"kinema {version_of(ROOT)}: all agree.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
