"""Tables in notebooks: what is shown, and that nothing in it is carried out."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest

from kinema.notebook import MOST_ROWS, as_html, visible

HOSTILE = "<script>alert(1)</script>\" onload='x' & \u202efdp.exe\n\x00\ud800"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    tags = Tags()
    tags.feed(page)
    return tags


def test_nothing_in_a_text_becomes_a_tag():
    page = read(as_html(HOSTILE, [{HOSTILE: HOSTILE}], notes=[HOSTILE]))
    assert {tag for tag, _ in page.found} == {"p", "table", "thead", "tbody", "tr", "th", "td"}
    assert [attributes for _, attributes in page.found if attributes] == [{"class": "dataframe"}]
    seen = "<script>alert(1)</script>\" onload='x' & \\u202efdp.exe\\n\\x00\\ud800"
    assert [text for text in page.text if text.strip()] == [seen] * 4
    as_html(HOSTILE, []).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (math.nan, ""), (0.123456, "0.1235"), (12, "12"), (True, "True"), ("a", "a")],
)
def test_cells(value, shown):
    assert f"<td>{shown}</td>" in as_html("t", [{"x": value}])


def test_a_long_table_is_cut():
    rows = [{"x": number} for number in range(MOST_ROWS + 3)]
    page = as_html("t", rows)
    assert f"<td>{MOST_ROWS - 1}</td>" in page
    assert f"<td>{MOST_ROWS}</td>" not in page
    assert "<p>... and 3 more</p>" in page
    assert "... and 90 more" in as_html("t", rows, count=100)
    assert "more" not in as_html("t", rows[:MOST_ROWS])


def test_no_rows_no_table():
    assert as_html("nothing", []) == "<p>nothing</p>"


def test_what_can_be_seen_is_left_alone():
    assert visible("v_ünïcode 走る.mp4") == "v_ünïcode 走る.mp4"
