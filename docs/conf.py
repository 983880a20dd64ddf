"""How `make docs` builds the site: Sphinx, from the Markdown that a code host shows as it is.

The source folder is the repository, so that a link goes where it goes on a code host: to a page of
the site, or, if it leads to a file that is none, to a copy of that file. A link to a folder becomes
its text. Nothing comes from a network.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

import kinema

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

project = "Kinema"
author = "Kinema's authors"
project_copyright = f"{author}, Apache-2.0"
release = version = kinema.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "cyclopts.ext.sphinx",
    "sphinx_gallery.gen_gallery",
]
root_doc = "docs/README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/**"]
exclude_patterns = [".*", "[!RCScd]*", "**/.*"]  # of the root only these and docs/ are walked
default_role = "code"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"
suppress_warnings = ["toc.not_included"]  # tables of results, which their index links

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them
autodoc_typehints_format = "short"
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"Kinema {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["kinema.css"]
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "monokai"

sphinx_gallery_conf = {
    "examples_dirs": "examples/gallery",
    "gallery_dirs": "docs/gallery",
    "filename_pattern": "",
    "ignore_pattern": "__init__",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "matplotlib_animations": False,
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def with_contents(app: Sphinx, name: str, content: list[str]) -> None:
    """Behind the index, what its lists link to, once more as the site's table of contents.

    Pages that no list names come last, so that none is lost.
    """
    if name != root_doc:
        return
    groups: dict[str, list[str]] = {}
    for title, body in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", content[0], re.MULTILINE):
        links = re.findall(r"^- \[[^]]+\]\(([^)#]+)\.(?:md|rst)\)", body, re.MULTILINE)
        groups[title] = [link for link in links if "/" not in link.removeprefix("api/")]
    named = {page for pages in groups.values() for page in pages}
    others = sorted({path.stem for path in DOCS.glob("*.md")} - named - {"README"})
    groups["Examples"] = ["gallery/index"]
    groups["More"] = [*others, "results/README", "../CONTRIBUTING", "../CHANGELOG"]
    for title, pages in groups.items():
        lines = "\n".join(f"/{(DOCS / page).resolve().relative_to(ROOT)}" for page in pages)
        content[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def folders_as_text(app: Sphinx, document: nodes.document) -> None:
    """A site cannot show a folder: of a link to one its text is left."""
    here = (ROOT / app.env.doc2path(app.env.docname)).parent
    for node in [*document.findall(pending_xref)]:
        if node.get("reftype") == "myst" and (here / node["reftarget"]).is_dir():
            node.replace_self(node.children)


def without_emphasis(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """A star in a docstring is a star, as in (N, *shape)."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[index] = re.sub(r"(`[^`]*`)|\*", lambda match: match[1] or r"\*", line)


def write_front_door(app: Sphinx, failed: Exception | None) -> None:
    """index.html, which leads to the index."""
    if failed is None:
        page = f"{root_doc}.html"
        (Path(app.outdir) / "index.html").write_text(
            f'<!doctype html>\n<meta charset="utf-8">\n<title>{html_title}</title>\n'
            f'<meta http-equiv="refresh" content="0; url={page}">\n<a href="{page}">Kinema</a>\n',
            encoding="utf-8",
        )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", with_contents)
    app.connect("doctree-read", folders_as_text)
    app.connect("autodoc-process-docstring", without_emphasis, priority=400)  # before napoleon
    app.connect("build-finished", write_front_door)
