"""experiments/weights.py: figures are those of what is kept, and all nets see the same clips."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from kinema.video.synthetic import draw_video, write_video

ROOT = Path(__file__).parent.parent
EXPERIMENT = ROOT / "experiments" / "weights.py"

pytestmark = pytest.mark.skipif(
    not EXPERIMENT.is_file(), reason="experiments are not beside the tests"
)


@pytest.fixture(scope="module")
def worth():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(EXPERIMENT.parent)
        specification = importlib.util.spec_from_file_location("worth_of_weights", EXPERIMENT)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def rows(worth):
    return json.loads((worth.OUT / "weights.json").read_text())["rows"]


def test_figures_are_those_of_what_is_kept(rows):
    judged = {name: row for name, row in rows.items() if "right" in row}
    assert {"c3d-mini", "c3d-mini-random"} <= set(judged)
    for row in judged.values():
        for column, right in row["right"].items():
            marks = "".join(right.values())
            share = marks.count("1") / len(marks)
            if column == "classes":  # groups 1 to 7 are the first official split's, and so on
                splits = [""] * 3
                for group, part in right.items():
                    splits[(int(group.rpartition("g")[2]) - 1) // 7] += part
                shares = [part.count("1") / len(part) for part in splits]
                assert [round(100 * one, 1) for one in shares] == row["splits"]
                share = sum(shares) / 3
            assert round(100 * share, 1) == pytest.approx(row[column], abs=1e-9)
        sizes = {column: sum(map(len, right.values())) for column, right in row["right"].items()}
        known = {"classes": 327, "reversed": 218, "fast": 218, "drawn": 160}
        assert sizes == {column: known[column] for column in sizes}


def test_the_tables_are_made_of_them(worth, rows):
    """If not: python experiments/weights.py makes them again; the card holds a copy."""
    made = worth.as_markdown(rows)
    assert (worth.OUT / "weights.md").read_text(encoding="utf-8") == made
    card = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    for table in made.split("\n\n"):
        assert table in card


def test_what_is_right_is_kept_by_group_and_paired_by_video(worth):
    groups = np.array(["b", "a", "b", "a", "c"])
    one = worth.by_group(np.array([1, 0, 1, 1, 0], bool), groups)
    assert one == {"a": "01", "b": "11", "c": "0"}
    other = worth.by_group(np.array([0, 0, 1, 1, 0], bool), groups)
    figures = {"classes": 60.0, "reversed": 50.0, "fast": 50.0, "drawn": 25.0}
    row, before = ({**figures, "right": {"classes": each}} for each in (one, other))
    found = worth.difference(row, before, "classes")
    assert found.mean == pytest.approx(0.2)  # one video of five
    assert found.low == 0  # group b need not be drawn
    assert found.high == pytest.approx(0.5)  # one of two where b alone is
    assert worth.difference(row, before, "drawn") is None
    with pytest.raises(ValueError, match="the rows are of other videos"):
        worth.difference(row, {"right": {"classes": {"a": "01"}}}, "classes")
    text = worth.as_markdown({"imagenet": before, "mine": row, "old": figures})
    assert "| old | 60.0 | 50.0 | 50.0 | 25.0 |" in text
    assert text.endswith(
        "| less imagenet | classes | reversed | fast | drawn |\n| --- | --- | --- | --- | --- |\n"
        "| mine | +20.0 (+0.0 to +50.0) |  |  |  |\n"
    )


def test_a_row_keeps_what_is_not_judged_again_unless_its_weights_are_others(worth):
    row = {"sha256": "a", "fast": 50.0, "drawn": 30.0, "right": {"fast": {"g": "10"}}}
    found = {"sha256": "a", "drawn": 100.0, "right": {"drawn": {"g": "1"}}}
    right = {"fast": {"g": "10"}, "drawn": {"g": "1"}}
    assert worth.joined(row, found) == {**row, "drawn": 100.0, "right": right}
    assert worth.joined({**row, "sha256": "b"}, found) == found
    assert worth.joined({}, found) == found


def test_two_ways_are_told_apart_by_whole_groups(worth):
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 3)
    apart = np.array([3, 0, 0, 0])
    one = generator.normal(size=(30, 4)) + apart
    two = generator.normal(size=(30, 4)) - apart
    assert worth.told_apart(one, two, groups).mean() > 0.95
    # What tells them in one group only is not learned from the others.
    same = one.copy()
    same[groups == 0, 1] += 100
    right = worth.told_apart(one, same, groups)
    assert right[np.tile(groups, 2) == 0].mean() == 0.5
    assert len(right) == 60


@pytest.mark.parametrize("how", ["forward", "reversed", "fast"])
def test_a_teacher_sees_the_clips_that_other_nets_see(worth, how, tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, draw_video("clockwise", seed=0, num_frames=70))
    seen = []

    def look(clips):
        seen.append(worth.backwards(clips) if how == "reversed" else clips)
        return clips

    extractor = worth.Extractor("c3d-mini-random", plan=worth.PLANS[how])
    extractor(path, rearrange=look)
    mean = extractor.weights.mean.reshape(3, 1, 1, 1)
    expected = (np.concatenate(seen) + mean)[:, ::-1]  # B, G, R

    teacher = object.__new__(worth.Taught)  # its network is no part of this
    teacher._is_of_clips = True
    teacher._shrink = worth.resizing(worth.C3D_RESIZE)
    given = []
    teacher._run = lambda inputs: given.append(inputs) or np.zeros((len(inputs), 1))
    rows = teacher(path, how)
    assert len(rows) == {"forward": 4, "reversed": 4, "fast": 2}[how]
    np.testing.assert_allclose(np.concatenate(given), expected, atol=1e-4)

    teacher._is_of_clips, teacher._shrink = False, worth.centred
    given.clear()
    teacher(path, how)
    assert np.concatenate(given).shape == (len(rows), 3, 1, 224, 224)


def test_rows_are_kept_by_split_class_and_name(worth, monkeypatch, tmp_path):
    monkeypatch.setattr(worth, "CACHE", tmp_path)

    class Net:
        checksum, asked = "abc", []

        def __call__(self, path, how):
            self.asked.append((path, how))
            return np.full((1, 2), len(self.asked), np.float32)

    net = Net()
    paths = [Path("drawn", split, "red", "v_red_0001.mp4") for split in ("train", "test")]
    first = [worth.rows_of(net, path, "forward")[0, 0] for path in paths]
    again = [worth.rows_of(net, path, "forward")[0, 0] for path in paths]
    assert first == again == [1, 2]
    assert worth.rows_of(net, paths[0], "fast")[0, 0] == 3
