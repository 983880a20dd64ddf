"""Labels from a few examples: small coloured videos, and five real ones a class."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema import network as networks
from kinema.cli.app import main
from kinema.finding.classify import Classified
from kinema.methods.predict import predict
from kinema.video.synthetic import write_video
from kinema.weights.file import random_weights

from small_videos import draw, write_folder

SMALL = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """labelled/CLASS/..., rest/..., and two weight files."""
    folder = tmp_path_factory.mktemp("classify")
    write_folder(folder / "labelled", num_videos=3)
    for label in ("red", "blue"):
        write_video(folder / "rest" / f"{label}.mp4", draw(label, 77, 40))
    both = np.concatenate([draw("red", 5, 64), draw("green", 6, 64)])
    write_video(folder / "rest" / "red then green.mp4", both)
    for seed in range(2):
        random_weights(SMALL, seed=seed, name=f"net{seed}").save(folder / f"{seed}.safetensors")
    return folder


def told(place: Path, labelled="labelled", videos="rest", **options) -> Classified:
    how = {"weights": place / "0.safetensors", "cache": place / "cache", "cost": 1.0, **options}
    videos = [place / videos] if isinstance(videos, str) else videos
    return kinema.classify(place / labelled, videos, **how)


def by_name(answer: Classified) -> dict[str, str]:
    return {Path(row.path).stem: row.best_class for row in answer.rows}


def labels(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["path,label,start_seconds,stop_seconds", *rows]) + "\n")
    return path


def test_videos_get_their_classes_and_times(place):
    answer = told(place)
    found = by_name(answer)
    assert (found["red"], found["blue"]) == ("red", "blue")
    assert answer.classes == ("blue", "green", "red")
    assert {row.score_kind for row in answer.rows} == {"distance"}
    assert any("not probabilities, which take 20 videos a class" in note for note in answer.notes)
    best = [answer.classes[index] for index in answer.scores.argmax(axis=1)]
    assert best == [row.best_class for row in answer.rows]
    # Frames change from red to green at 64 / 25 s; the clips on the border may be either's.
    mine = [one for one in answer.segments if Path(one.path).stem == "red then green"]
    assert (mine[0].start_seconds, mine[-1].stop_seconds) == (0, pytest.approx(128 / 25))
    for one in mine:
        if one.label and one.stop_seconds < 2:
            assert one.label == "red"
        if one.label and one.start_seconds > 3.3:
            assert one.label == "green"
    assert all(a.stop_seconds == b.start_seconds for a, b in itertools.pairwise(mine))
    assert set(answer.sources) == {row.path for row in answer.rows}
    counts = {name: len(some) for name, some in answer.labelled.items()}
    assert counts == {"blue": 3, "green": 3, "red": 3}


def test_predict_tells_the_same_with_the_classifier_that_is_kept(place):
    """Of two nets side by side, too."""
    nets = [place / "0.safetensors", place / "1.safetensors"]
    answer = told(place, weights=nets, out=place / "out2")
    report = predict(
        [place / "rest"], classifier=place / "out2" / "classifier.safetensors", out=place / "p"
    )
    for row, scores, one in zip(answer.rows, answer.scores, report.predictions, strict=True):
        assert (row.path, row.none_of_these) == (one.video, one.none_of_these)
        np.testing.assert_allclose(scores, one.scores, atol=1e-6)
    lines = [*csv.DictReader((place / "p" / "predictions.csv").open())]
    assert [line["none_of_these"] for line in lines] == [
        str(row.none_of_these) for row in answer.rows
    ]
    assert "none_of_these" in (place / "p" / "clips.csv").read_text().splitlines()[0]


def test_twenty_videos_a_class_give_probabilities(place, tmp_path):
    rows = []
    for label in ("red", "blue"):
        for number in range(20):
            path = tmp_path / "labelled" / label / f"{number}.mp4"
            write_video(path, draw(label, 100 + number, 20))
    answer = told(place, labelled=tmp_path / "labelled")
    rows = answer.rows
    assert {row.score_kind for row in rows} == {"probability"}
    np.testing.assert_allclose(answer.scores.sum(axis=1), 1)
    assert by_name(answer)["red"] == "red"
    assert {row.path: row.score for row in rows}[str(place / "rest" / "red.mp4")] > 0.8


def test_what_is_like_nothing_labelled_is_none_of_these(place, tmp_path):
    """Stripes of black and white, among coloured noise."""
    stripes = np.zeros((40, 36, 48, 3), np.uint8)
    stripes[:, ::4] = 255
    write_video(tmp_path / "stripes.mp4", stripes)
    write_video(tmp_path / "red.mp4", draw("red", 3, 40))
    rows = {Path(row.path).stem: row for row in told(place, videos=[tmp_path]).rows}
    assert (rows["stripes"].none_of_these, rows["stripes"].label) == (True, "")
    assert rows["stripes"].best_class


def test_videos_that_are_labelled_are_left_out_but_not_those_of_labelled_parts(place, tmp_path):
    whole, part = place / "labelled/red/red_0.mp4", place / "rest" / "red then green.mp4"
    rows = [f"{whole},red,,", f"{place}/labelled/green/green_1.mp4,green,,"]
    listed = labels(tmp_path / "l.csv", *rows, f"{part},red,,2", f"{part},green,3,")
    answer = told(place, labelled=listed, videos=[whole, part])
    assert [row.path for row in answer.rows] == [str(part)]
    assert any("left out, since they are labelled: 1 video" in note for note in answer.notes)
    with pytest.raises(ValueError, match=r"`videos`: 1 video \(red_0.mp4\) labelled already"):
        told(place, labelled=listed, videos=[whole])


def test_one_video_a_class_is_trained_and_said(place, tmp_path):
    rows = [f"{place}/labelled/{name}/{name}_0.mp4,{name},," for name in ("red", "blue")]
    answer = told(place, labelled=labels(tmp_path / "l.csv", *rows))
    assert by_name(answer)["red"] == "red"
    assert answer.accuracy is None
    assert any("accuracy cannot be judged" in note for note in answer.notes)
    assert {row.none_of_these for row in answer.rows} == {None}


def test_what_can_be_refused_is_refused_before_a_video_is_read(place, tmp_path, monkeypatch):
    def read(*args, **options):
        raise AssertionError("a video was read")

    monkeypatch.setattr("kinema.finding.classify.walk", read)
    one = labels(tmp_path / "one.csv", f"{place}/labelled/red/red_0.mp4,red,,")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for message, options in (
        (r"one has videos of one class \(red\)", {"labelled": one}),
        ("no video found in", {"videos": [tmp_path / "empty"]}),
        ("`suggest` must be at least 0", {"suggest": -1}),
        ("`cost` must be more than 0", {"cost": -1.0}),
        ("a file is there, where a folder is needed", {"out": tmp_path / "file"}),
    ):
        with pytest.raises(ValueError, match=message):
            told(place, **options)


def test_fewer_suggestions_than_asked_for_are_told(place):
    answer = told(place, suggest=500)
    few = f"{len(answer.suggestions)} parts are suggested, not 500: it is sure of all others"
    assert 1 < len(answer.suggestions) < 500
    assert any(note.startswith(few) for note in answer.notes)
    assert not any("suggested" in note for note in told(place, suggest=1).notes)


HOSTILE = {
    "utf-16": "path,label\na.mp4,x\n".encode("utf-16"),
    "latin-1 label": b"path,label\na.mp4,caf\xe9\n",
    "NUL": b"path,label\na\0.mp4,x\n",
    "columns": b"path,class\na.mp4,x\n",
    "huge time": b"path,label,start_seconds\na.mp4,x,1e308\n",
    "no time": b"path,label,stop_seconds\na.mp4,x,soon\n",
    "huge cell": b"path,label\n" + b"a" * 200_000 + b",x\n",
    "nothing": b"",
    "no label": b"path,label\na.mp4,\n",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_labels_cost_one_line(place, tmp_path, capsys, name):
    (tmp_path / "hostile.csv").write_bytes(HOSTILE[name])
    assert main(["classify", str(tmp_path / "hostile.csv"), str(place / "rest")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hostile.csv" in line


def test_the_command_writes_what_is_handed_back(place, tmp_path, capsys):
    """The suggestions, half filled in, are the next LABELLED; a bad video costs a line."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    common = ["--weights", str(place / "0.safetensors"), "--cache", str(place / "cache")]
    rest = [str(place / "rest"), str(tmp_path / "bad.mp4")]
    labelled = str(place / "labelled")
    assert main(["classify", labelled, *rest, *common, "--suggest", "2"]) == 2
    assert "--suggest writes suggestions.csv to a folder" in capsys.readouterr().err
    command = ["classify", labelled, *rest, *common, "--out", str(out), "--suggest", "2"]
    assert main(command) == 0
    printed, err = capsys.readouterr()
    assert "skipped " in err
    assert "bad.mp4" in err
    assert "3 videos, scored by distance" in printed
    content = json.loads((out / "classified.json").read_text())
    assert len(content["rows"]) == len(content["scores"]) == 3
    assert len([*csv.DictReader((out / "videos.csv").open())]) == 3
    with open(out / "suggestions.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["label"] for row in rows].count("") == 2
    assert len(rows) == 11
    rows[-1]["label"] = "purple"
    with open(out / "suggestions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    command = ["classify", str(out / "suggestions.csv"), *rest[:1], *common, "--json"]
    assert main(command) == 0
    printed, err = capsys.readouterr()
    assert json.loads(printed)["classes"] == ["blue", "green", "purple", "red"]
    assert "1 row has no label yet, left out." in err


def test_names_with_newlines_stay_in_their_lines(place, tmp_path, capsys):
    label = "two\nlines"
    for name in ("red", label):
        write_video(
            tmp_path / "l" / name / "v.mp4", draw("red" if name == "red" else "blue", 1, 20)
        )
    write_video(tmp_path / "rest" / "a\nb.mp4", draw("blue", 2, 20))
    common = ["--weights", str(place / "0.safetensors"), "--cache", str(place / "cache")]
    assert main(["classify", str(tmp_path / "l"), str(tmp_path / "rest"), *common]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("two\\nlines")
    assert "a\\nb.mp4" in first


# --- real videos ----------------------------------------------------------------------------------


def few(ucf101: list[Path], groups: range, number: str) -> list[Path]:
    wanted = {f"g{group:02d}_c{number}" for group in groups}
    return [path for path in ucf101 if path.stem[-7:] in wanted]


def real(tmp_path: Path, paths: list[Path], rest: list[Path], **options) -> Classified:
    listed = labels(tmp_path / "l.csv", *(f"{path},{path.parent.name},," for path in paths))
    return kinema.classify(listed, rest, stride=16, cache=tmp_path / "cache", **options)


def test_five_real_videos_a_class(ucf101, tmp_path):
    """Chance has 1 of 3 right; twelve videos at random have eight or more with probability 0.02."""
    paths = few(ucf101, range(8, 13), "01")
    rest = [*few(ucf101, range(1, 5), "01")]
    answer = real(tmp_path, paths, rest)
    assert len(answer.rows) == 12
    right = [row.best_class == Path(row.path).parent.name for row in answer.rows]
    assert sum(right) >= 8
    assert answer.accuracy is not None
    assert 0 <= answer.accuracy.low <= answer.accuracy.mean <= answer.accuracy.high <= 1


def test_real_videos_of_one_scene_a_class(ucf101, tmp_path):
    """The videos of a class are parted singly, and it is said that this measures scenes."""
    paths = [path for path in ucf101 if path.stem[-7:-4] == "g08" and path.stem[-2:] <= "04"]
    answer = real(tmp_path, paths, few(ucf101, range(9, 10), "01"))
    assert answer.accuracy is not None
    assert any("one scene (group) each: the same scene is on both sides" in n for n in answer.notes)
    assert any("neutral choice: a class is one scene" in note for note in answer.notes)
    assert answer.classifier.seen is not None
