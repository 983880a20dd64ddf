"""Dead links: of the Markdown that a code host shows, and of the site that `make docs` builds.

    python tests/links.py           README.md, CONTRIBUTING.md, CHANGELOG.md and docs/
    python tests/links.py SITE      and every page of a built site, which may need no network

No link is followed to a network. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent


def sources(root: Path = ROOT) -> list[Path]:
    """The Markdown files whose links must lead somewhere."""
    found = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*filter(Path.is_file, found), *sorted((root / "docs").rglob("*.md"))]


def dead_in_markdown(path: Path) -> list[str]:
    """The links of a Markdown file that lead nowhere, each a line."""
    text = _without_code(path)
    targets = re.findall(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)", text)
    targets += re.findall(r"^\[[^]]+\]:\s+(\S+)", text, re.MULTILINE)
    dead = []
    for target in targets:
        if urlsplit(target).scheme:
            continue
        name, _, anchor = unquote(target).partition("#")
        goal = (path.parent / name).resolve() if name else path.resolve()
        if not goal.exists():
            dead.append(f"{path}: {target}: no such file")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal):
            dead.append(f"{path}: {target}: no such heading")
    return dead


@cache
def anchors(path: Path) -> frozenset[str]:
    """What can stand behind "#" in a link to a Markdown file: its headings as code hosts name them.

    Letters, digits, "-" and "_" stay, in lower case; blanks become "-"; what is there again gets
    "-1", and so on.
    """
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", _without_code(path), re.MULTILINE):
        plain = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return frozenset(names)


def _without_code(path: Path) -> str:
    """The text without fenced blocks; what is in backticks stays, but for brackets."""
    text = re.sub(r"^(```+|~~~+).*?^\1\s*$", "", path.read_text("utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[][()#`]", "", code[0]), text)


class _Page(HTMLParser):
    """The ids of a page, and its links with their tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append((tag, value))


def dead_in_site(site: Path) -> list[str]:
    """What leads nowhere in a built site, and what a page would fetch from a network."""
    site = site.resolve()
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"{site}: no page is there"]
    dead = []
    for path, page in pages.items():
        where = path.relative_to(site)
        for tag, link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") or parts.netloc:
                if tag != "a":
                    dead.append(f"{where}: <{tag}> {link}: comes from a network")
                continue
            if parts.scheme:  # mailto, data
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not goal.is_file():
                dead.append(f"{where}: {link}: no such file")
            elif goal in pages and unquote(parts.fragment) not in {"", *pages[goal].ids}:
                dead.append(f"{where}: {link}: no such place")
    for path in sorted(site.rglob("*.css")):
        for link in re.findall(
            r"(?:url\(|@import\s)\s*[\"']?([^\"')\s]+)", path.read_text("utf-8")
        ):
            parts = urlsplit(link)
            if parts.netloc:
                dead.append(f"{path.relative_to(site)}: {link}: comes from a network")
            elif not parts.scheme and parts.path and not (path.parent / parts.path).is_file():
                dead.append(f"{path.relative_to(site)}: {link}: no such file")
    return dead


def main(arguments: list[str]) -> int:
    """Print what is dead; 1 if anything is."""
    dead = [line for path in sources() for line in dead_in_markdown(path)]
    for site in arguments:
        dead += dead_in_site(Path(site))
    print(*dead, sep="\n", end="\n" if dead else "")
    print(f"{len(dead)} dead links")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
