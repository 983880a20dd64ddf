"""Datasets as they lie on the disk, whole and in part, against lists counted by hand."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pickle
import re
import shutil
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.cli.app import main
from kinema.datasets.folds import SAME_SCENE, make_folds, plan_folds
from kinema.datasets.inspection import inspect
from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample, Split, make_split
from kinema.video import synthetic

import odd_videos


def touch(folder: Path, *names: str) -> None:
    """Empty files: `load` goes by names, it opens no video."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def names(dataset: Dataset, indices=None) -> list[str]:
    samples = dataset.samples if indices is None else [dataset.samples[i] for i in indices]
    return [sample.name for sample in samples]


def labelled(dataset: Dataset) -> dict[str, list[str]]:
    return {s.name: [dataset.classes[label] for label in s.labels] for s in dataset.samples}


@pytest.fixture(scope="module")
def official(kinema_data: Path) -> Path:
    folder = kinema_data.parent / "lists"
    if not (folder / "ucf101").is_dir():
        pytest.skip(f"the official lists are not in {folder}")
    return folder


# --- a folder per class ---------------------------------------------------------------------------


def test_a_folder_per_class_at_any_depth_in_any_case_and_by_links(tmp_path):
    root = tmp_path / "videos"
    touch(root, "walk/b.mp4", "walk/a/deep.AVI", "walk/notes.txt", "walk/._b.mp4", "run/a.mkv")
    touch(root, ".hidden/x.mp4", "nothing/readme.txt", "loose.mp4")
    touch(tmp_path, "elsewhere/c.mp4")
    (root / "jump").symlink_to(tmp_path / "elsewhere")
    touch(root, "run/frames/000001.jpg", "run/frames/000002.jpg")
    touch(root, "pictures/000001.jpg")
    dataset = load(root)
    assert dataset.kind == "folder"
    assert labelled(dataset) == {
        "jump/c.mp4": ["jump"],
        "run/a.mkv": ["run"],
        "run/frames": ["run"],
        "walk/a/deep.AVI": ["walk"],
        "walk/b.mp4": ["walk"],
    }
    assert [s.path for s in dataset.samples] == [root / s.name for s in dataset.samples]
    assert [s.group for s in dataset.samples] == names(dataset)
    assert dataset.notes == (
        "pictures in no folder of a class left out: 1 folder (pictures).",
        "in no folder of a class, left out: 1 video (loose.mp4).",
        "2 files that are no videos were passed over (.txt 2).",
        "without a video, left out: 1 class (nothing).",
    )
    assert dataset == load(root)
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_ucf101s_names_tell_groups_without_lists(tmp_path):
    touch(tmp_path / "d", "A/v_A_g01_c01.avi", "A/v_A_g01_c02.avi", "B/v_B_g01_c01.mp4")
    touch(tmp_path / "d", "B/v_B_g02_c01/000001.jpg", "B/v_B_g02.avi")
    groups = {s.name: s.group for s in load(tmp_path / "d").samples}
    assert groups == {
        "A/v_A_g01_c01.avi": "A/g01",
        "A/v_A_g01_c02.avi": "A/g01",
        "B/v_B_g01_c01.mp4": "B/g01",
        "B/v_B_g02_c01": "B/g02",
        "B/v_B_g02.avi": "B/v_B_g02.avi",
    }


def test_folders_for_training_and_testing_give_a_split(tmp_path):
    root = tmp_path / "d"
    touch(root, "train/a/1.mp4", "train/b/2.mp4", "Validation/a/3.mp4", "test/b/4.mp4")
    dataset = load(root)
    assert dataset.classes == ("a", "b")
    assert list(dataset.splits) == ["given", "val"]
    train = ["train/a/1.mp4", "train/b/2.mp4"]
    for name, test in [("given", ["test/b/4.mp4"]), ("val", ["Validation/a/3.mp4"])]:
        split = dataset.split(name)
        assert (names(dataset, split.train), names(dataset, split.test)) == (train, test)
    assert dataset.split() == dataset.splits["given"]
    with pytest.raises(ValueError, match="`split` '1' is unknown; known are: given, val"):
        dataset.split("1")


@pytest.mark.parametrize(
    ("files", "classes", "splits"),
    [
        (["train/a/1.mp4", "val/a/2.mp4"], ("a",), ["given"]),
        (["train/1.mp4", "bus/2.mp4"], ("bus", "train"), []),
        (["train/1.mp4", "test/2.mp4", "bus/3.mp4"], None, None),
        (["train/a/1.mp4", "train/b/2.mp4"], ("a", "b"), []),
        (["test/1.mp4", "bus/2.mp4"], ("bus", "test"), []),
        (["a/1.mp4"], ("a",), []),
    ],
)
def test_what_is_a_class_and_what_a_side(tmp_path, files, classes, splits):
    touch(tmp_path / "d", *files)
    if classes is None:
        with pytest.raises(ValueError, match="no dataset in"):
            load(tmp_path / "d")
        return
    dataset = load(tmp_path / "d")
    assert dataset.classes == classes
    assert list(dataset.splits) == splits


def test_drawn_videos_are_a_dataset(tmp_path):
    drawn = synthetic.write_dataset(
        tmp_path, num_train=2, num_test=1, num_frames=4, width=32, height=24
    )
    dataset = load(tmp_path)
    assert (dataset.kind, dataset.classes, list(dataset.splits)) == (
        "folder",
        tuple(sorted(synthetic.CLASSES)),
        ["given"],
    )
    sides = {i: s for s in ("train", "test") for i in getattr(dataset.split("given"), s)}
    found = {
        (s.path, dataset.classes[s.labels[0]], sides[i]) for i, s in enumerate(dataset.samples)
    }
    assert found == {(video.path, video.label, video.split) for video in drawn}


def test_a_folder_without_classes_says_what_was_looked_for(tmp_path):
    touch(tmp_path / "d", "a.mp4", "b.mp4")
    with pytest.raises(ValueError, match=r"a folder per class .*train/<class>.*trainlist01.txt"):
        load(tmp_path / "d")
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder"):
        load(tmp_path / "gone")
    with pytest.raises(ValueError, match="`kind` must be auto, folder, .*; got 'imagenet'"):
        load(tmp_path / "d", kind="imagenet")
    with pytest.raises(ValueError, match="a.mp4 is a file"):
        load(tmp_path / "d" / "a.mp4")
    with pytest.raises(ValueError, match="name the CSV file"):
        load(tmp_path / "d", kind="csv")
    with pytest.raises(FileNotFoundError, match=r"looked for trainlist01.txt \(ucf101\); name"):
        load(tmp_path / "d", kind="ucf101")
    with pytest.raises(FileNotFoundError, match="`lists` .*gone: no such"):
        load(tmp_path / "d", lists=tmp_path / "gone")


def test_a_folder_around_the_classes_is_pointed_out(tmp_path):
    touch(tmp_path / "d", "UCF-101/a/1.avi", "UCF-101/b/2.avi")
    assert "UCF-101 counts as one class; if its 2 folders are" in load(tmp_path / "d").notes[0]


# --- UCF101 ---------------------------------------------------------------------------------------


def ucf_lists(folder: Path) -> None:
    write(folder / "classInd.txt", "1 B", "2 A", "3 C")
    write(folder / "trainlist01.txt", "B/v_B_g02_c01.avi 1", "A/v_A_g02_c01.avi 2")
    write(folder / "testlist01.txt", "B/v_B_g01_c01.avi", "A/v_A_g01_c01.avi", "C/v_C_g01_c01.avi")
    write(folder / "trainlist02.txt", "B/v_B_g01_c01.avi 1", "A/v_A_g01_c01.avi 2")
    write(folder / "testlist02.txt", "B/v_B_g02_c01.avi\r", "", "A/v_A_g02_c01.avi")


@pytest.mark.parametrize(
    ("root", "lists"),
    [
        ("UCF-101", "ucfTrainTestlist"),  # beside
        ("UCF-101", "."),
        (".", "."),
        (".", "ucfTrainTestlist"),  # below
        ("UCF-101", "UCF-101"),
    ],
)
def test_ucf101_in_part_with_the_lists_anywhere_near(tmp_path, root, lists):
    ucf_lists(tmp_path / lists)
    touch(tmp_path / "UCF-101", "B/v_B_g01_c01.avi", "B/v_B_g02_c01.mp4", "A/v_A_g02_c01.AVI")
    touch(tmp_path / "UCF-101", "A/v_A_g03_c01.avi")
    dataset = load(tmp_path / root)
    below = "UCF-101/" if root == "." else ""
    assert dataset.kind == "ucf101"
    assert dataset.classes == ("B", "A")  # the official order
    assert labelled(dataset) == {
        f"{below}A/v_A_g02_c01.AVI": ["A"],
        f"{below}B/v_B_g01_c01.avi": ["B"],
        f"{below}B/v_B_g02_c01.mp4": ["B"],
    }
    assert [s.group for s in dataset.samples] == ["A/g02", "B/g01", "B/g02"]
    assert dataset.splits == {"1": Split((0, 2), (1,)), "2": Split((1,), (0, 2))}
    assert dataset.missing == ("A/v_A_g01_c01.avi", "C/v_C_g01_c01.avi")
    assert dataset.notes == (
        f"in no list, left out: 1 video ({below}A/v_A_g03_c01.avi).",
        "without a video, left out: 1 class (C).",
    )


def test_lists_of_a_neighbour_are_left_alone(tmp_path):
    ucf_lists(tmp_path / "ucfTrainTestlist")
    touch(tmp_path / "mine", "x/1.avi", "y/2.avi")
    assert load(tmp_path / "mine").kind == "folder"
    with pytest.raises(ValueError, match=r"of 5 videos \(A/v_A_g01_c01.avi, .*names none is there"):
        load(tmp_path / "mine", lists=tmp_path)


def test_a_copy_that_is_there_twice_counts_once(tmp_path):
    ucf_lists(tmp_path)
    touch(tmp_path, "x/v_B_g01_c01.avi", "y/v_B_g01_c01.mp4", "v_B_g02_c01.avi")
    dataset = load(tmp_path)
    assert names(dataset) == ["v_B_g02_c01.avi", "x/v_B_g01_c01.avi"]
    assert "there twice, the other one is taken: 1 video (y/v_B_g01_c01.mp4)." in dataset.notes


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("trainlist01.txt", "B/v_B_g02_c01 1", "line 3: expected `class/video.avi label`, got 'B/"),
        ("trainlist01.txt", "v_B_g02_c01.avi 1", "line 3: expected"),
        ("trainlist01.txt", "B/v_B_g03_c01.avi 2", "line 3: B is 1 in classInd.txt, not 2"),
        ("testlist01.txt", "D/v_D_g03_c01.avi", "line 4: class 'D' is not in classInd.txt"),
        ("testlist01.txt", "A/v_A_g02_c01.avi", "line 4: A/v_A_g02_c01.avi is in split 1 already"),
        ("classInd.txt", "5 D", "line 4: expected `4 class`, got '5 D'"),
    ],
)
def test_a_bad_line_of_ucf101_is_named(tmp_path, file, line, message):
    ucf_lists(tmp_path)
    touch(tmp_path, "B/v_B_g01_c01.avi")
    with open(tmp_path / file, "a") as text:
        text.write(f"{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"{file}, {message}")):
        load(tmp_path)


def test_a_list_without_its_other_side_is_refused(tmp_path):
    ucf_lists(tmp_path)
    (tmp_path / "testlist02.txt").unlink()
    touch(tmp_path, "B/v_B_g01_c01.avi")
    with pytest.raises(FileNotFoundError, match="testlist02.txt is missing"):
        load(tmp_path)


def test_real_ucf101_has_the_official_splits(kinema_data, official):
    root = kinema_data / "ucf101-3" / "UCF-101"
    dataset = load(root, lists=official / "ucf101")
    here = {path.name: path for path in root.rglob("*.avi")}
    assert len(dataset.samples) == len(here) == 394
    assert dataset.classes == ("BabyCrawling", "Punch", "PushUps")
    assert (len(dataset.split("1").train), len(dataset.split("1").test)) == (290, 104)
    for number in "123":
        for side in ("train", "test"):
            text = (official / "ucf101" / f"{side}list0{number}.txt").read_text()
            expected = [
                line.split()[0]
                for line in text.splitlines()
                if line.split()[0].split("/")[1] in here
            ]
            found = names(dataset, getattr(dataset.split(number), side))
            assert found == sorted(expected)
    assert len(dataset.missing) == 13320 - 394
    assert all(s.name.split("/")[0] == dataset.classes[s.labels[0]] for s in dataset.samples)


def test_the_official_lists_whole(official, tmp_path):
    listed = (official / "ucf101" / "trainlist01.txt").read_text().split()[::2]
    listed += (official / "ucf101" / "testlist01.txt").read_text().split()
    touch(tmp_path / "u", *listed)
    dataset = load(tmp_path / "u", lists=official)
    sizes = [(len(split.train), len(split.test)) for split in dataset.splits.values()]
    assert sizes == [(9537, 3783), (9586, 3734), (9624, 3696)]
    assert len(dataset.classes) == 101
    assert (dataset.missing, dataset.notes) == ((), ())
    assert len({sample.group for sample in dataset.samples}) == 101 * 25
    for split in dataset.splits.values():
        sides = [{dataset.samples[i].group for i in side} for side in (split.train, split.test)]
        assert not sides[0] & sides[1]


# --- HMDB51 ---------------------------------------------------------------------------------------


def test_hmdb51_with_odd_names_archives_and_in_part(tmp_path):
    odd = "[_NEW_]_UPDATED!!!!_clap_hands_#2_(1)&;~_clap_u_nm_np1_fr_bad_0.avi"
    write(
        tmp_path / "splits" / "clap_test_split1.txt",
        f"{odd} 1 ",
        "b_clap_u_nm_np1_fr_bad_0.avi 2 ",
        "b_clap_u_nm_np1_fr_bad_1.avi 0 ",
    )
    write(
        tmp_path / "splits" / "clap_test_split2.txt", f"{odd} 2", "b_clap_u_nm_np1_fr_bad_0.avi 1"
    )
    write(
        tmp_path / "splits" / "brush_hair_test_split1.txt", "b_brush_hair_u_cm_np1_le_goo_0.avi 1"
    )
    write(tmp_path / "splits" / "climb_test_split1.txt", "c_climb_u_cm_np1_le_goo_0.avi 1")
    root = tmp_path / "hmdb51"
    touch(root, f"clap/{odd}", "clap/b_clap_u_nm_np1_fr_bad_0.avi", "clap.rar", "climb.rar")
    touch(root, "clap/b_clap_u_nm_np1_fr_bad_1.avi")
    touch(root, "brush_hair/b_brush_hair_u_cm_np1_le_goo_0.avi")
    dataset = load(root)
    assert (dataset.kind, dataset.classes) == ("hmdb51", ("brush_hair", "clap"))
    assert {s.name.rpartition("/")[2]: s.group for s in dataset.samples} == {
        odd: "[_NEW_]_UPDATED!!!!_clap_hands_#2_(1)&;~",
        "b_clap_u_nm_np1_fr_bad_0.avi": "b",
        "b_clap_u_nm_np1_fr_bad_1.avi": "b",
        "b_brush_hair_u_cm_np1_le_goo_0.avi": "b",
    }
    split = dataset.split("1")
    assert names(dataset, split.test) == ["clap/b_clap_u_nm_np1_fr_bad_0.avi"]
    assert len(split.train) == 2
    assert names(dataset, dataset.split("2").test) == [f"clap/{odd}"]
    assert dataset.missing == ("climb/c_climb_u_cm_np1_le_goo_0.avi",)
    assert "not unpacked: 1 archive (climb.rar)." in dataset.notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b_clap_u.avi 3", "expected `video.avi 0`, 1 or 2, got 'b_clap_u.avi 3'"),
        ("b_clap_u.avi", "expected"),
        ("a_clap_u.avi 2", "a_clap_u.avi is there twice"),
    ],
)
def test_a_bad_line_of_hmdb51_is_named(tmp_path, line, message):
    write(tmp_path / "clap_test_split1.txt", "a_clap_u.avi 1", line)
    touch(tmp_path, "clap/a_clap_u.avi")
    with pytest.raises(ValueError, match=re.escape(f"clap_test_split1.txt, line 2: {message}")):
        load(tmp_path)


def test_the_official_hmdb51_lists_whole(official, tmp_path):
    for path in (official / "hmdb51").glob("*_test_split1.txt"):
        class_name = path.name.removesuffix("_test_split1.txt")
        videos = [line.rsplit(None, 1)[0] for line in path.read_text().splitlines()]
        touch(tmp_path / "h", *(f"{class_name}/{video}" for video in videos))
    dataset = load(tmp_path / "h", lists=official / "hmdb51")
    assert (len(dataset.classes), len(dataset.samples)) == (51, 6766)
    assert (dataset.missing, dataset.notes) == ((), ())
    for split in dataset.splits.values():
        for side, count in ((split.train, 70), (split.test, 30)):
            by_class = Counter(dataset.samples[i].labels[0] for i in side)
            assert by_class == dict.fromkeys(range(51), count)
        # The official splits do not tear the clips of one source and class apart.
        sides = [
            {(dataset.samples[i].group, dataset.samples[i].labels) for i in side}
            for side in (split.train, split.test)
        ]
        assert not sides[0] & sides[1]


# --- Sports-1M ------------------------------------------------------------------------------------

URL = "http://www.youtube.com/watch?v="


def sports_lists(folder: Path, train=(), test=()) -> Path:
    """As published: the labels lie above the lists."""
    write(folder / "labels.txt", *(f"sport {index}" for index in range(487)))
    write(folder / "original" / "train_partition.txt", *train)
    write(folder / "original" / "test_partition.txt", *test)
    return folder / "original"


def test_sports1m_has_all_classes_and_several_labels(tmp_path):
    lists = sports_lists(
        tmp_path / "lists",
        [f"{URL}-_aB3 12,34", f"https{URL[4:]}bbb 486", f"{URL}bbb 0,486", f"{URL}ccc 5"],
        [f"{URL}ddd 7", f"{URL}ccc 6", f"{URL}AAA 1"],
    )
    root = tmp_path / "videos"
    touch(root, "x/y/-_aB3.mp4", "bbb.webm", "ccc.mkv", "ddd.MP4", "aaa.mp4")
    dataset = load(root, lists=lists)
    assert dataset.kind == "sports1m"
    assert dataset.classes == tuple(f"sport {index}" for index in range(487))
    assert {s.name: s.labels for s in dataset.samples} == {
        "x/y/-_aB3.mp4": (12, 34),
        "bbb.webm": (0, 486),
        "ccc.mkv": (5, 6),
        "ddd.MP4": (7,),
    }
    split = dataset.split("official")
    assert names(dataset, split.train) == ["bbb.webm", "ccc.mkv", "x/y/-_aB3.mp4"]
    assert names(dataset, split.test) == ["ddd.MP4"]
    assert dataset.missing == ("AAA",)
    assert dataset.notes == (
        "listed again, with their labels put together: 2 lines.",
        "listed on both sides, kept for training only: 1 video (ccc).",
        "in no list, left out: 1 video (aaa.mp4).",
        "without a video: 480 classes (sport 1, sport 2, sport 3, ...).",
    )


def test_sports1m_lists_packed_or_as_json_say_the_same(tmp_path):
    train, test = [f"{URL}aaa 12,34", f"{URL}bbb 0"], [f"{URL}ccc 1"]
    touch(tmp_path / "videos", "aaa.mp4", "bbb.mp4", "ccc.mp4")
    lists = sports_lists(tmp_path / "text", train, test)
    plain = load(tmp_path / "videos", lists=lists)
    for path in lists.glob("*.txt"):
        (lists / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert load(tmp_path / "videos", lists=lists) == plain  # both: read once
    for path in lists.glob("*.txt"):
        path.unlink()
    assert load(tmp_path / "videos", lists=lists) == plain
    for path in lists.glob("*.gz"):
        path.unlink()
    entries = [{"id": "aaa", "label487": [34, 12], "duration": 3}, {"id": "bbb", "label487": [0]}]
    (lists / "sports1m_train.json").write_text(json.dumps(entries))
    (lists / "sports1m_test.json").write_text(json.dumps([{"id": "ccc", "label487": [1]}]))
    assert load(tmp_path / "videos", lists=lists) == plain
    (lists / "sports1m_test.json").write_text(json.dumps([*entries[1:], {"id": "ccc"}]))
    with pytest.raises(ValueError, match="sports1m_test.json, entry 2: expected an object"):
        load(tmp_path / "videos", lists=lists)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{URL}bbb 3,487", "label 487 is not one of 0 to 486"),
        (f"{URL}bbb -1", "expected `http://www.youtube.com/watch?v=ID 12,34`"),
        (f"{URL}bbb", "expected"),
        ("bbb 3", "expected"),
    ],
)
def test_a_bad_line_of_sports1m_is_named(tmp_path, line, message):
    lists = sports_lists(tmp_path, [f"{URL}aaa 1", "", line])
    touch(tmp_path / "videos", "aaa.mp4")
    with pytest.raises(ValueError, match=re.escape(f"train_partition.txt, line 3: {message}")):
        load(tmp_path / "videos", lists=lists)


def test_sports1m_needs_its_487_labels(tmp_path):
    lists = sports_lists(tmp_path, [f"{URL}aaa 1"], [f"{URL}bbb 1"])
    touch(tmp_path / "videos", "aaa.mp4")
    write(tmp_path / "labels.txt", "walking", "running")
    with pytest.raises(ValueError, match="must hold the 487 different classes.* has 2 lines"):
        load(tmp_path / "videos", lists=lists)
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels.txt, the classes of Sports-1M"):
        load(tmp_path / "videos", lists=lists)


def test_the_official_sports_are_read_in_order(official, tmp_path):
    lists = sports_lists(tmp_path, [f"{URL}aaa 0,486"], [f"{URL}bbb 1"])
    shutil.copy(official / "sports1m-labels.txt", tmp_path / "labels.txt")
    touch(tmp_path / "videos", "aaa.mp4")
    assert labelled(load(tmp_path / "videos", lists=lists)) == {
        "aaa.mp4": ["boomerang", "model aircraft"]
    }


# --- Kinetics -------------------------------------------------------------------------------------

KINETICS = "label,youtube_id,time_start,time_end,split"


def test_kinetics_trimmed_or_whole(tmp_path):
    write(
        tmp_path / "lists" / "train.csv",
        f"{KINETICS},is_cc",
        '"dancing, slowly",-abc_000001,10,20,train,0',
        "zumba,whole,3,13,train,0",
        "zumba,both,0,10,train,0",
        "zumba,twice,0,10,train,0",
        "zumba,twice,30.5,40.5,train,0",
        "gone,gone,0,10,train,0",
    )
    write(tmp_path / "lists" / "val.csv", KINETICS, "zumba,validated,5,15,validate")
    write(tmp_path / "lists" / "test.csv", "youtube_id,time_start,time_end,split", "x,5,15,test")
    root = tmp_path / "kinetics"
    touch(root, "train/dancing/-abc_000001_000010_000020.mp4", "whole.mkv", "twice.mp4")
    touch(root, "val/zumba/validated_000005_000015.mp4", "both.mp4", "both_000000_000010.mp4")
    dataset = load(root)
    assert (dataset.kind, dataset.classes) == ("kinetics", ("dancing, slowly", "zumba"))
    parts = {s.name: (s.start_seconds, s.stop_seconds, s.group) for s in dataset.samples}
    assert parts == {
        "both_000000_000010.mp4": (0.0, None, "both"),
        "train/dancing/-abc_000001_000010_000020.mp4": (0.0, None, "-abc_000001"),
        "twice.mp4#t=0,10": (0.0, 10.0, "twice"),
        "twice.mp4#t=30.5,40.5": (30.5, 40.5, "twice"),
        "val/zumba/validated_000005_000015.mp4": (0.0, None, "validated"),
        "whole.mkv": (3.0, 13.0, "whole"),
    }
    assert dataset.samples[2].path == dataset.samples[3].path == root / "twice.mp4"
    assert list(dataset.splits) == ["val"]
    assert names(dataset, dataset.split().test) == ["val/zumba/validated_000005_000015.mp4"]
    assert len(dataset.split().train) == 5
    assert dataset.missing == ("gone_000000_000010",)
    assert dataset.notes == (
        "test.csv has no column `label`, left out.",
        "without a video, left out: 1 class (gone).",
    )
    only = load(root, lists=tmp_path / "lists" / "val.csv")
    assert names(only) == ["val/zumba/validated_000005_000015.mp4"]
    assert only.splits == {}
    assert "no split is given: all that is marked is val." in only.notes


def test_kinetics_csv_itself_can_be_named(tmp_path):
    lines = ["a,x,0,10,train", "a,y,0,10,val", "a,z,0,10,test", "a,x,0,10,train"]
    write(tmp_path / "all.csv", KINETICS, *lines)
    touch(tmp_path, "x_000000_000010.mp4", "y.mp4", "z.mp4")
    dataset = load(tmp_path / "all.csv")
    assert dataset.kind == "kinetics"
    assert list(dataset.splits) == ["val", "test"]
    assert dataset == load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,y,ten,20,train", "times must be seconds, got 'ten', '20'"),
        ("a,y,20,10,train", "the part from 20 to 10 s is not one"),
        (",y,0,10,train", "`youtube_id` and `label` must not be empty"),
        ("a,y,0,10,holdout", "`split` must be train, val or test, got 'holdout'"),
        ("a,y,0,10", "4 columns where the header has 5"),
        ("b,x,0,10,train", "x from 0 s is 'a', train, before, and 'b', train, here"),
        ("a,x,0,10,val", "x from 0 s is 'a', train, before, and 'a', val, here"),
    ],
)
def test_a_bad_line_of_kinetics_is_named(tmp_path, line, message):
    write(tmp_path / "k.csv", KINETICS, "a,x,0,10,train", line)
    touch(tmp_path, "x.mp4")
    with pytest.raises(ValueError, match=re.escape(f"k.csv, line 3: {message}")):
        load(tmp_path)


# --- CSV ------------------------------------------------------------------------------------------


def test_a_csv_names_videos_labels_sides_and_groups(tmp_path):
    touch(tmp_path, "d/videos/a.mp4", "d/b.avi", "d/c", "elsewhere/e.mp4")
    elsewhere = tmp_path / "elsewhere" / "e.mp4"
    write(
        tmp_path / "d" / "list.csv",
        "\ufeffPath,label,note,split,group",
        '"videos/a.mp4",walk,"a, b",train,g1',
        "./b.avi,run,,test,",
        "c,walk,,,g1",
        "gone.mp4,jump,,train,g2",
    )
    dataset = load(tmp_path / "d" / "list.csv")
    assert (dataset.kind, dataset.root) == ("csv", tmp_path / "d")
    assert labelled(dataset) == {"b.avi": ["run"], "c": ["walk"], "videos/a.mp4": ["walk"]}
    assert [s.group for s in dataset.samples] == ["b.avi", "g1", "g1"]
    assert dataset.splits == {"given": Split((2,), (0,))}
    assert dataset.missing == ("gone.mp4",)
    assert dataset.notes == ("without a video, left out: 1 class (jump).",)
    write(tmp_path / "d" / "far.csv", "path,label", f"{elsewhere},10", "b.avi,9")
    dataset = load(tmp_path / "d" / "far.csv")
    assert (dataset.root, dataset.classes) == (tmp_path, ("9", "10"))
    assert labelled(dataset) == {"d/b.avi": ["9"], "elsewhere/e.mp4": ["10"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,class", "a.mp4,x"], "line 1: no column label in the header"),
        (["path,label", "a.mp4,x", "a.mp4,y"], "line 3: a.mp4 is there twice"),
        (["path,label", "a.mp4,"], "line 2: `path` and `label` must not be empty"),
        (["path,label", "a.mp4"], "line 2: 1 columns where the header has 2"),
        (["path,label,split", "a.mp4,x,rest"], "line 2: `split` must be train, val or test"),
        ([], "line 1: no column label and path"),
    ],
)
def test_a_bad_line_of_a_csv_is_named(tmp_path, lines, message):
    write(tmp_path / "list.csv", *lines)
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match=re.escape(f"list.csv, {message}")):
        load(tmp_path / "list.csv")


# --- made splits ----------------------------------------------------------------------------------


@st.composite
def datasets(draw, *, min_groups: int = 1, mixed: bool = False) -> Dataset:
    """Samples of a few classes in groups of up to six; groups hold one class unless `mixed`."""
    num_classes = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=min_groups, max_size=15))
    samples = []
    for group, size in enumerate(sizes):
        own = draw(st.integers(0, num_classes - 1))
        for _ in range(size):
            label = draw(st.integers(0, num_classes - 1)) if mixed else own
            name = f"{len(samples):04d}"
            samples.append(Sample(Path(name), name, (label,), f"group {group}"))
    return Dataset("folder", Path("."), tuple("abcd"[:num_classes]), tuple(samples))


def sides_by_group(dataset: Dataset, split: Split) -> dict[str, set[str]]:
    sides = defaultdict(set)
    for side in ("train", "test"):
        for index in getattr(split, side):
            sides[dataset.samples[index].group].add(side)
    return sides


def check_is_a_split(dataset: Dataset, split: Split) -> None:
    assert sorted(split.train + split.test) == list(range(len(dataset.samples)))
    assert all(len(sides) == 1 for sides in sides_by_group(dataset, split).values())


@given(datasets(mixed=True), st.floats(0.01, 0.99), st.integers(0, 5))
def test_no_group_straddles_and_each_class_can_be_trained_on(dataset, fraction, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = make_split(dataset, test_fraction=fraction, seed=seed)
        assert make_split(dataset, test_fraction=fraction, seed=seed) == split
    check_is_a_split(dataset, split)
    trained = {label for i in split.train for label in dataset.samples[i].labels}
    assert trained == {label for sample in dataset.samples for label in sample.labels}


@given(datasets(), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_class_with_two_groups_is_on_both_sides(dataset, fraction, seed):
    groups = defaultdict(set)
    for sample in dataset.samples:
        groups[sample.labels[0]].add(sample.group)
    single = [dataset.classes[label] for label in sorted(groups) if len(groups[label]) == 1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        split = make_split(dataset, test_fraction=fraction, seed=seed)
    check_is_a_split(dataset, split)
    tested = {dataset.samples[i].labels[0] for i in split.test}
    assert tested == {label for label in groups if len(groups[label]) > 1}
    said = [str(warning.message) for warning in caught]
    assert len(said) == bool(single)
    assert all(name in said[0] for name in single[:3])


@given(datasets(min_groups=2, mixed=True), st.integers(2, 5), st.integers(0, 5))
@settings(deadline=None)
def test_folds_test_each_video_once_and_learn_each_class(dataset, num_folds, seed):
    """Whatever the groups: those of several classes are torn only where a note names the class."""
    folds = plan_folds(dataset, num_folds, seed)
    assert folds == plan_folds(dataset, num_folds, seed)
    everything = list(range(len(dataset.samples)))
    assert sorted(i for split in folds.splits for i in split.test) == everything
    num_videos = Counter(sample.labels[0] for sample in dataset.samples)
    several = {label for label, count in num_videos.items() if count > 1}
    for split in folds.splits:
        assert split.test
        assert sorted(split.train + split.test) == everything
        assert {dataset.samples[i].labels[0] for i in split.train} >= several
    told = " ".join(note for note in folds.notes if SAME_SCENE in note)
    for label in several:
        whole = dataclasses.replace(
            dataset, samples=tuple(s for s in dataset.samples if s.labels == (label,))
        )
        places = {sample.name: index for index, sample in enumerate(dataset.samples)}
        for split in folds.splits:
            test = {places[s.name] for s in whole.samples} & set(split.test)
            torn = {dataset.samples[i].group for i in test} & {
                s.group for s in whole.samples if places[s.name] not in test
            }
            assert not torn or re.search(rf"\b{dataset.classes[label]}\b|\d classes", told)


@given(datasets(min_groups=3), st.integers(2, 5), st.integers(0, 5))
@settings(deadline=None)
def test_each_class_is_in_each_fold_and_there_are_as_many_as_its_groups_allow(
    dataset, num_folds, seed
):
    groups = {(sample.group, sample.labels[0]) for sample in dataset.samples}
    num_groups = Counter(label for _, label in groups)
    num_videos = Counter(sample.labels[0] for sample in dataset.samples)
    # A class of one group is parted into videos; one of one video hinders nobody.
    num_parts = {
        label: num_videos[label] if count == 1 else count
        for label, count in num_groups.items()
        if num_videos[label] > 1
    }
    folds = plan_folds(dataset, num_folds, seed)
    if num_parts:
        assert len(folds.splits) == min(num_folds, *num_parts.values())
        assert (len(folds.splits) < num_folds) == any("in place of" in n for n in folds.notes)
    for split in folds.splits:
        assert {dataset.samples[i].labels[0] for i in split.test} >= set(num_parts)


def of_groups(*members: str) -> Dataset:
    """A dataset by hand: "a:g1 b:g1" are two videos of two classes in one group."""
    parts = [part.partition(":") for part in " ".join(members).split()]
    classes = tuple(sorted({label for label, _, _ in parts}))
    samples = tuple(
        Sample(Path(f"{i:03d}"), f"{i:03d}", (classes.index(label),), group or f"own {i}")
        for i, (label, _, group) in enumerate(parts)
    )
    return Dataset("folder", Path("/d"), classes, samples)


def classes_of(dataset: Dataset, side) -> Counter:
    return Counter(dataset.classes[dataset.samples[i].labels[0]] for i in side)


def test_two_classes_of_one_scene_each_are_parted_singly_and_that_is_told():
    dataset = of_groups("a:x " * 5, "b:y " * 5)
    folds = plan_folds(dataset)
    assert len(folds.splits) == 5
    for split in folds.splits:
        assert classes_of(dataset, split.train) == {"a": 4, "b": 4}
        assert classes_of(dataset, split.test) == {"a": 1, "b": 1}
    assert folds.notes == (
        "the videos of 2 classes (a, b) are one scene (group) each: the same scene is on both "
        "sides, so this measures scenes.",
    )
    with pytest.warns(UserWarning, match="so this measures scenes"):
        assert make_folds(dataset) == folds.splits


def test_only_the_class_of_one_scene_is_parted_singly():
    """Its group holds two videos of another class, too: they stay together."""
    dataset = of_groups("a:x a:x a:x", "b:x b:x b:y b:z")
    folds = plan_folds(dataset, 3)
    assert [classes_of(dataset, split.test)["a"] for split in folds.splits] == [1, 1, 1]
    assert sorted(classes_of(dataset, split.test)["b"] for split in folds.splits) == [1, 1, 2]
    (note,) = folds.notes
    assert note.startswith("the videos of class a are one scene (group): the same scene")


def test_fewer_folds_where_a_class_has_few_groups():
    dataset = of_groups("a " * 3, "b " * 50)
    folds = plan_folds(dataset, 5)
    assert [classes_of(dataset, split.test)["a"] for split in folds.splits] == [1, 1, 1]
    assert all(16 <= classes_of(dataset, s.test)["b"] <= 17 for s in folds.splits)
    assert folds.notes == ("3 folds in place of 5: class a has 3 groups only.",)
    pairs = plan_folds(of_groups("a a b b"), 5)
    assert [len(split.test) for split in pairs.splits] == [2, 2]
    assert pairs.notes == ("2 folds in place of 5: 2 classes (a, b) have 2 groups only.",)
    same = plan_folds(of_groups("a:x a:x b:y b:y"), 5)
    assert [len(split.test) for split in same.splits] == [2, 2]
    assert same.notes[1] == "2 folds in place of 5: 2 classes (a, b) have 2 videos only."


def test_groups_of_several_classes_are_kept_whole_where_it_can_be():
    """Three scenes, each class in two of them: two folds would hold all of one class."""
    triangle = of_groups("a:x a:y b:y b:z c:z c:x")
    folds = plan_folds(triangle, 5)
    assert [len(split.test) for split in folds.splits] == [2, 2, 2]
    for split in folds.splits:
        check_is_a_split(triangle, split)
    # Two folds are wanted, so one of the classes cannot stay whole.
    two = plan_folds(triangle, 2)
    assert len(two.splits) == 2
    assert two.notes[0].startswith("no folds keep the scenes (groups) of class ")
    assert two.notes[0].endswith(f": {SAME_SCENE}.")
    for split in two.splits:
        assert set(classes_of(triangle, split.train)) == set("abc")


def test_a_video_counts_for_the_first_of_its_labels():
    dataset = of_groups("a a b b")
    second = dataclasses.replace(
        dataset,
        classes=("a", "b", "c"),
        samples=tuple(dataclasses.replace(s, labels=(*s.labels, 2)) for s in dataset.samples),
    )
    assert plan_folds(second, 2).splits == plan_folds(dataset, 2).splits


def test_a_class_of_one_video_is_told():
    folds = plan_folds(of_groups("a b b"), 5)
    assert len(folds.splits) == 2
    assert folds.notes[-1] == "one video only, so never both learned and tested: class a."
    with pytest.raises(ValueError, match="fewer than two videos"):
        plan_folds(of_groups("a"))


def test_made_splits_come_near_the_fraction_and_depend_on_the_seed(tmp_path):
    touch(
        tmp_path / "d",
        *(
            f"{c}/v_{c}_g{g:02d}_c{i}.avi"
            for c in "ab"
            for g in range(25)
            for i in range(3 + g % 3)
        ),
    )
    dataset = load(tmp_path / "d")
    splits = [make_split(dataset, test_fraction=0.3, seed=seed) for seed in range(3)]
    assert len(set(splits)) == 3
    for split in splits:
        for label in range(2):
            total = sum(sample.labels == (label,) for sample in dataset.samples)
            tested = sum(dataset.samples[i].labels == (label,) for i in split.test)
            assert abs(tested - 0.3 * total) <= 2.5
    assert dataset.split() == make_split(dataset)
    for fold in make_folds(dataset):
        tested = Counter(dataset.samples[i].labels[0] for i in fold.test)
        assert max(tested.values()) - min(tested.values()) <= 3
    with pytest.raises(ValueError, match="`num_folds` must be at least 2"):
        make_folds(dataset, 1)
    with pytest.warns(UserWarning, match=r"^25 folds in place of 51: 2 classes .* 25 groups only"):
        assert len(make_folds(dataset, 51)) == 25
    with pytest.raises(ValueError, match="`test_fraction` must be between 0 and 1, got 1"):
        make_split(dataset, test_fraction=1)


def test_values_that_make_no_sense_are_refused_at_birth():
    a, b = (Sample(Path(name), name, (0,), name) for name in "ab")
    good = {"kind": "folder", "root": Path("."), "classes": ("x",), "samples": (a, b)}
    assert "2 videos, 1 classes" in repr(Dataset(**good))
    for bad, message in [
        ({"samples": (b, a)}, "sorted by name"),
        ({"samples": (a, a)}, "each name be there once"),
        ({"classes": ()}, "a has a label"),
        ({"kind": "x"}, "`kind` must be"),
        ({"splits": {"1": Split((0,), (2,))}}, "split '1' has an index"),
    ]:
        with pytest.raises(ValueError, match=message):
            Dataset(**{**good, **bad})
    with pytest.raises(ValueError, match="both sides"):
        Split((0, 1), (1,))
    with pytest.raises(ValueError, match="at least one class"):
        Sample(Path("a"), "a", (), "a")
    with pytest.raises(ValueError, match="stop after that"):
        Sample(Path("a"), "a", (0,), "a", 2.0, 1.0)


# --- what is in the files -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    """Two classes, train and test: 4 videos that can be read, 1 broken in the middle, 1 empty."""
    root = tmp_path_factory.mktemp("filmed") / "d"
    frames = [np.full((24, 32, 3), value, np.uint8) for value in range(0, 250, 5)]  # 50
    synthetic.write_video(root / "train" / "walk" / "a.mp4", frames)
    synthetic.write_video(root / "train" / "run" / "b.mp4", frames[:25], fps=10)
    synthetic.write_video(root / "test" / "walk" / "c.mp4", [f[:16] for f in frames[:10]])
    synthetic.write_video(root / "test" / "run" / "d.mp4", frames)
    touch(root, "test/run/empty.mp4")
    odd_videos.make(root / "train" / "run", odd_videos.BAD["broken_middle_avi"])  # broken.avi
    return root


def test_inspect_counts_what_is_in_the_files(filmed):
    report = inspect(load(filmed), threads=2)
    facts = report.as_mapping()
    assert facts["num_videos"] == 6
    walk = next(entry for entry in facts["classes"] if entry["name"] == "walk")
    assert (walk["videos"], walk["groups"]) == (2, 2)
    assert walk["seconds"] == pytest.approx(2.0 + 0.4)
    assert walk["splits"] == {"given": {"train": 1, "test": 1}}
    assert facts["splits"] == {"given": {"train": 3, "test": 3}}
    assert {"width": 32, "height": 16, "videos": 1} in facts["frame_sizes"]
    assert {"fps": 10.0, "videos": 1} in facts["frame_rates"]
    assert facts["seconds"]["shortest"] == pytest.approx(0.4)
    assert facts["unreadable"] == [{"name": "test/run/empty.mp4", "reason": "the file is empty."}]
    json.dumps(facts)


def test_decoding_finds_damage_in_the_middle(filmed):
    dataset = load(filmed)
    report = inspect(dataset, decode=True)
    broken = next(name for name in report.unreadable if "broken" in name)
    assert report.unreadable[broken].startswith("broken at frame")
    assert len(report.unreadable) == 2
    assert report.infos["train/run/b.mp4"].num_frames == 25
    sample = next(s for s in dataset.samples if s.name == "train/run/b.mp4")
    assert report.seconds(sample) == pytest.approx(2.5)


def test_only_the_part_that_counts_is_counted(tmp_path):
    frames = [np.full((24, 32, 3), value, np.uint8) for value in range(0, 250, 5)]
    synthetic.write_video(tmp_path / "x.mp4", frames)  # 2 s
    write(tmp_path / "k.csv", KINETICS, "a,x,0.5,1.25,train", "b,x,1.5,9,val")
    report = inspect(load(tmp_path))
    assert [report.seconds(s) for s in report.dataset.samples] == pytest.approx([0.75, 0.5])


# --- the command ----------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = main(["dataset", "info", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_prints_a_table_and_the_facts(capsys, filmed):
    code, out, _ = run(capsys, filmed)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["class", "videos", "groups", "minutes", "given", "train", "test"]
    assert lines[2][:3] == ["walk", "2", "2"]
    assert lines[2][4:] == ["1", "1"]
    assert ["split", "given", "3", "train,", "3", "test"] in lines
    assert ["missing", "none"] in lines
    assert ["unreadable", "1"] in lines
    assert "            test/run/empty.mp4: the file is empty." in out.splitlines()
    assert all(line == line.rstrip() for line in out.splitlines())


def test_info_as_json_is_whole(capsys, filmed):
    code, out, _ = run(capsys, filmed, "--json", "--decode", "--threads", 1)
    facts = json.loads(out)
    assert code == 0
    assert (facts["kind"], facts["root"]) == ("folder", str(filmed))
    assert len(facts["unreadable"]) == 2


def test_long_lists_are_cut_unless_all_is_asked_for(capsys, tmp_path):
    lists = [f"class{i:02d}_test_split1.txt" for i in range(25)]
    for i, name in enumerate(lists):
        clips = [f"s_class{i:02d}_u_{clip}.avi {clip % 3}" for clip in range(4)]
        write(tmp_path / name, *clips)
        touch(tmp_path, f"class{i:02d}/s_class{i:02d}_u_1.avi")
    code, out, _ = run(capsys, tmp_path)
    assert code == 0
    assert "... and 5 more classes" in out
    assert "class19" in out
    assert "class20 " not in out
    assert out.count("... and 70 more") == 1  # of 75 missing
    assert out.count("... and 20 more") == 1  # of 25 that are empty
    _, out, _ = run(capsys, tmp_path, "--all")
    assert "class24 " in out
    assert "more" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone: no such file or folder"),
        ([".", "--kind", "x"], "--kind"),
        ([".", "--kind", "hmdb51"], "looked for <class>_test_split1.txt"),
        (["."], "no dataset in"),
        ([], "requires an argument"),
    ],
)
def test_wrong_use_is_one_line_and_exits_with_2(capsys, tmp_path, monkeypatch, arguments, message):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_real_ucf101_by_the_command(capsys, kinema_data, official):
    root = kinema_data / "ucf101-3" / "UCF-101"
    code, out, _ = run(capsys, root, "--lists", official / "ucf101", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["splits"]["1"] == {"train": 290, "test": 104}
    assert facts["frame_sizes"] == [{"width": 320, "height": 240, "videos": 394}]
    assert (facts["unreadable"], facts["seconds"]["num_unknown"]) == ([], 0)
