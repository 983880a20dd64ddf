"""No link in the Markdown leads nowhere; and what finds those that do."""

from __future__ import annotations

import pytest

import links


@pytest.mark.parametrize("path", links.sources(), ids=str)
def test_every_link_leads_somewhere(path):
    assert links.dead_in_markdown(path) == []


def test_the_sources_are_all_pages():
    names = {str(path.relative_to(links.ROOT)) for path in links.sources()}
    assert {"README.md", "CONTRIBUTING.md", "docs/README.md", "docs/results/README.md"} <= names


def test_dead_links_in_markdown_are_found(tmp_path):
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    other.write_text("# A *b* `c_d`, e\n\n## Again\n\n## Again\n\n```\n# no heading\n```\n")
    page.write_text(
        "[good](b.md) [good](b.md#a-b-c_d-e) [good](b.md#again-1) [good](https://x.y/z)\n"
        "[good](#top)\n# Top\n[`code`](b.md#no-heading) ![x](x.png) [x][y]\n\n[y]: z.md\n\n"
        "`[code](none)`\n```sh\n[code](none)\n```\n[x](#topp)\n"
    )
    assert links.dead_in_markdown(page) == [
        f"{page}: b.md#no-heading: no such heading",
        f"{page}: x.png: no such file",
        f"{page}: #topp: no such heading",
        f"{page}: z.md: no such file",
    ]


def test_dead_links_in_a_site_are_found(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text('@import "https://x.y/z.css"; a {b: url(no.woff)}')
    (tmp_path / "a.html").write_text(
        '<link href="_static/a.css"><script src="//x.y/z.js"></script><a href="https://x.y">x</a>'
        '<h1 id="one"></h1><a href="#one">x</a><a href="#two">x</a><a href="b.html#three">x</a>'
        '<a href="b%20c.html">x</a><img src="data:image/png;base64,AA=="><img src="no.png">'
    )
    (tmp_path / "b.html").write_text('<p id="four"></p>')
    assert links.dead_in_site(tmp_path) == [
        "a.html: <script> //x.y/z.js: comes from a network",
        "a.html: #two: no such place",
        "a.html: b.html#three: no such place",
        "a.html: b%20c.html: no such file",
        "a.html: no.png: no such file",
        "_static/a.css: https://x.y/z.css: comes from a network",
        "_static/a.css: no.woff: no such file",
    ]
