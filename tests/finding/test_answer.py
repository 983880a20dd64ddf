"""Answers: rows to CSV that no spreadsheet carries out, to JSON without NaN, to pandas."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import dataclass

import pytest

from kinema.finding.answer import Answer, guarded, kept_in, write_table
from kinema.skipped import Skipped


@dataclass(frozen=True)
class Row:
    path: str
    seconds: float
    found: bool


ANSWER = Answer(
    rows=(Row("=cmd|'/c calc'!A1.mp4", math.nan, True), Row("b.mp4", -1.5, False)),
    skipped=(Skipped("bad.mp4", "it holds no frame."),),
    notes=("a note",),
)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_that_would_be_carried_out_is_guarded(text):
    assert guarded(text) == "'" + text


@pytest.mark.parametrize("value", ["a=b", "", "'=1", -1.5, 3, None])
def test_other_cells_are_as_they_are(value):
    assert guarded(value) == value


def test_csv(tmp_path):
    ANSWER.write_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        assert [*csv.reader(file)] == [
            ["path", "seconds", "found"],
            ["'=cmd|'/c calc'!A1.mp4", "", "True"],
            ["b.mp4", "-1.5", "False"],
        ]


def test_a_table_without_rows_has_its_header(tmp_path):
    write_table(tmp_path / "a.csv", [], ["path", "label"])
    assert (tmp_path / "a.csv").read_text() == "path,label\n"


def test_json_has_no_nan(tmp_path):
    ANSWER.write_json(tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert found["rows"][0]["seconds"] is None
    assert found["rows"][1] == {"path": "b.mp4", "seconds": -1.5, "found": False}
    assert found["skipped"] == [{"path": "bad.mp4", "reason": "it holds no frame."}]
    assert found["notes"] == ["a note"]


def test_to_pandas():
    pandas = pytest.importorskip("pandas")
    frame = ANSWER.to_pandas()
    assert [*frame.columns] == ["path", "seconds", "found"]
    assert pandas.isna(frame.seconds[0])
    assert frame.seconds[1] == -1.5


def test_without_pandas_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="`to_pandas` needs pandas: pip install pandas."):
        ANSWER.to_pandas()


def test_notebooks_show_its_rows():
    shown = ANSWER._repr_html_()
    assert "<p>Answer: 2 rows, 1 video skipped</p>" in shown
    assert "<tr><td>=cmd|&#x27;/c calc&#x27;!A1.mp4</td><td></td><td>True</td></tr>" in shown
    assert "<tr><td>b.mp4</td><td>-1.5</td><td>False</td></tr>" in shown
    assert "<p>a note</p>" in shown


def test_where_things_are_kept(tmp_path, monkeypatch):
    assert kept_in(tmp_path) == tmp_path
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "mine"))
    assert kept_in(None) == tmp_path / "mine" / "finding"
