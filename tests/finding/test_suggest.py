"""Suggestions by hand: which parts, how unlike, and the file that is filled in and handed back."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kinema.datasets.loaders import load
from kinema.features.table import FeatureTable
from kinema.finding.suggest import Pool, Suggestion, parts_of, path_in, write_suggestions
from kinema.methods.classifier import Classifier, Net
from kinema.methods.seen import Seen
from kinema.video.sources import Source

CLIPS = {"length": 16, "stride": 8, "sampling_rate": 1, "short": "pad"}


def table(features, *, step: float = 0.32, length: float = 0.64, timed: bool = True):
    start = np.arange(len(features)) * (step if timed else np.nan)
    frames = np.arange(len(features)) * 8
    return FeatureTable(
        np.asarray(features), frames, frames + 16, start, start + length, np.zeros(len(features))
    )


def test_parts_are_two_seconds_long():
    found = parts_of(table(np.ones((12, 2))))
    assert [(start, stop, rows.tolist()) for start, stop, rows in found] == [
        (0.0, pytest.approx(1.92), [0, 1, 2, 3, 4]),
        (pytest.approx(1.6), pytest.approx(3.52), [5, 6, 7, 8, 9]),
    ]  # the last two clips span less than a second
    ((start, _, rows),) = parts_of(table(np.ones((3, 2)), timed=False))
    assert np.isnan(start)
    assert rows.tolist() == [0, 1, 2]
    assert len(parts_of(table(np.ones((1, 2))))) == 1


@pytest.fixture
def classifier():
    """x against y; a third dimension plays no part."""
    return Classifier(
        classes=("x", "y"),
        coefficients=np.array([[1.0, 0, 0], [0, 1.0, 0]]),
        intercepts=np.zeros(2),
        nets=(Net("w", CLIPS),),
    )


def test_the_uncertain_and_unlike_are_suggested(classifier):
    """Two kinds of uncertain videos, many of the first: one of each comes, and no sure one."""
    pool = Pool(classifier, 2, 100, {})
    generator = np.random.default_rng(0)
    for number in range(40):
        third = 0.0 if number % 8 else 5.0
        pool.add(Source(Path(f"/v/{number}.mp4"), ""), [table([[1, 1.02, third]] * 5)])
    for number in range(60):
        sure = [[generator.uniform(3, 4), 0.1, 0.0]] * 5
        pool.add(Source(Path(f"/v/sure{number}.mp4"), ""), [table(sure)])
    found = pool.suggestions()
    numbers = [int(Path(one.path).stem) for one in found]
    assert sorted(number % 8 == 0 for number in numbers) == [False, True]
    assert {one.why for one in found} == {"y or x"}
    assert {one.label for one in found} == {""}


def test_what_it_is_sure_of_is_not_suggested_even_if_there_are_fewer_then(classifier):
    """A label that it foretells with certainty changes nothing: outside all margins, and known."""
    wide = dataclasses.replace(classifier, coefficients=np.array([[3.0, -3, 0], [-3, 3.0, 0]]))
    rows = {"sure": [1.0, 0.1, 0.0], "within": [1.0, 0.75, 0.0], "torn": [1.0, 1.01, 0.0]}
    distances = {name: wide.scores(np.array([row]))[0].round(2) for name, row in rows.items()}
    assert {name: max(each) for name, each in distances.items()} == {
        "sure": 2.69, "within": 0.6, "torn": 0.02,
    }  # fmt: skip
    pool = Pool(wide, 3, len(rows), {})
    for name, row in rows.items():
        pool.add(Source(Path(f"/v/{name}.mp4"), ""), [table([row] * 5)])
    assert [Path(one.path).stem for one in pool.suggestions()] == ["torn", "within"]
    far = dataclasses.replace(wide, seen=Seen(np.array([[0.0, 1.0, 0.0]]), 0.1))
    pool = Pool(far, 3, len(rows), {})
    pool.add(Source(Path("/v/sure.mp4"), ""), [table([rows["sure"]] * 5)])
    assert [one.why for one in pool.suggestions()] == ["x or y, or none of these"]


def test_of_few_videos_the_unsurer_half_is_looked_at(classifier):
    """Clusters of all would take odd ones that it is nearly sure of."""
    pool = Pool(classifier, 2, 8, {})
    for number in range(8):
        row = [1.0, 1.0 - 0.1 * number, 0.5 * number]
        pool.add(Source(Path(f"/v/{number}.mp4"), ""), [table([row] * 5)])
    assert {int(Path(one.path).stem) for one in pool.suggestions()} <= {0, 1, 2, 3}


def test_what_is_labelled_is_not_suggested_again(classifier, tmp_path):
    source = Source(tmp_path / "v.mp4", "v.mp4")
    rows = np.tile([1.0, 1.01, 0.0], (20, 1))
    pool = Pool(classifier, 3, 1, {str(tmp_path / "v.mp4"): [(1.93, 3.0)]})
    pool.add(source, [table(rows)])
    starts = sorted(round(one.start_seconds, 2) for one in pool.suggestions())
    assert starts == [0.0, 3.2, 4.8]
    none = Pool(classifier, 3, 1, {str(tmp_path / "v.mp4"): [(0.0, float("inf"))]})
    none.add(source, [table(rows)])
    assert none.suggestions() == []


def test_parts_that_are_all_alike_are_enough(classifier):
    pool = Pool(classifier, 3, 1, {})
    pool.add(Source(Path("/v.mp4"), ""), [table(np.ones((50, 3)))])
    assert len(pool.suggestions()) == 3


def test_the_file_filled_in_is_the_next_labelled(tmp_path):
    """Names and labels that a spreadsheet would carry out come back as they were."""
    names = ["=a.mp4", "b.mp4", "-c.mp4", "sub/d\n.mp4"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "first.csv").write_text(
        "path,label,start_seconds,stop_seconds,group\n"
        "./=a.mp4,'=1+1,0.5,2,g1\n./=a.mp4,@x,2,,\nb.mp4,'=1+1,,,\n"
    )
    before = load(tmp_path / "first.csv")
    part = [Suggestion(str(tmp_path / name), "", 1.28, 3.2, "@x", 0.25, "") for name in names[2:]]
    whole = Suggestion(str(tmp_path / "b.mp4"), "", float("nan"), float("nan"), "@x", 0.25, "")
    write_suggestions(tmp_path / "next.csv", before, [*part, whole])
    text = (tmp_path / "next.csv").read_text()
    rows = list(csv.reader(text.splitlines(keepends=True)))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert [row[0] for row in rows[1:]] == [
        "./=a.mp4", "./=a.mp4", "b.mp4", "./-c.mp4", "sub/d\n.mp4", "b.mp4",
    ]  # fmt: skip
    again = load(tmp_path / "next.csv")
    assert (again.samples, again.classes) == (before.samples, before.classes)
    assert again.notes == ("3 rows have no label yet, left out.",)
    filled = [[row[0], row[1] or "new", *row[2:]] for row in rows[1:-1]]
    with open(tmp_path / "next.csv", "w", newline="") as file:
        csv.writer(file).writerows([rows[0], *filled])
    handed = load(tmp_path / "next.csv")
    assert handed.classes == ("=1+1", "@x", "new")
    assert [s.start_seconds for s in handed.samples if handed.classes[s.labels[0]] == "new"] == [
        1.28, 1.28,
    ]  # fmt: skip


def test_paths_are_relative_below_the_folder_alone(tmp_path):
    assert path_in(tmp_path / "a", tmp_path / "a" / "b" / "c.mp4") == "b/c.mp4"
    assert path_in(tmp_path / "a", tmp_path / "c.mp4") == str(tmp_path / "c.mp4")
