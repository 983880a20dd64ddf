"""Datasets as they lie on the disk, whole and in part, against lists counted by hand."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Split
from kinema.video import synthetic


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
    touch(tmp_path / "none", "readme.txt")
    with pytest.raises(ValueError, match=r"a folder per class .*train/<class>.*trainlist01.txt"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"2 videos \(a.mp4, b.mp4\) in no folder of a class"):
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


PARTS = "path,label,start_seconds,stop_seconds"


def test_a_csv_names_parts_of_files_that_are_one_group(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "v_X_g07_c01.avi")
    write(
        tmp_path / "list.csv",
        f"{PARTS},group",
        "a.mp4,x,1000.001,1000.002,",
        "a.mp4,y,1000.002,,",
        "a.mp4,y,,,",
        "b.mp4,x,2,4.5,",
        "c.mp4,x,0,1,mine",
        "c.mp4,x,1,2,",
        "v_X_g07_c01.avi,y,,3,",
        "v_X_g07_c01.avi,y,3,,",
    )
    samples = load(tmp_path / "list.csv").samples
    assert [(s.name, s.group, s.start_seconds, s.stop_seconds) for s in samples] == [
        ("a.mp4", "a.mp4", 0, None),
        ("a.mp4#t=1000.001,1000.002", "a.mp4", 1000.001, 1000.002),
        ("a.mp4#t=1000.002,", "a.mp4", 1000.002, None),
        ("b.mp4", "b.mp4", 2, 4.5),
        ("c.mp4#t=0,1", "mine", 0, 1),
        ("c.mp4#t=1,2", "c.mp4", 1, 2),
        ("v_X_g07_c01.avi#t=0,3", "X/g07", 0, 3),
        ("v_X_g07_c01.avi#t=3,", "X/g07", 3, None),
    ]
    assert [s.path for s in samples[:3]] == [tmp_path / "a.mp4"] * 3


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "=c.mp4", "-d.mp4")
    lines = ["a.mp4,x,0,2", "a.mp4,,2,4", "b.mp4,,,", "=c.mp4,'=SUM(A1),,", "./-d.mp4,'x,,"]
    write(tmp_path / "list.csv", PARTS, *lines)
    dataset = load(tmp_path / "list.csv")
    assert labelled(dataset) == {"a.mp4": ["x"], "=c.mp4": ["=SUM(A1)"], "-d.mp4": ["'x"]}
    assert dataset.notes == ("2 rows have no label yet, left out.",)
    write(tmp_path / "none.csv", "path,label", "a.mp4,", "b.mp4,")
    with pytest.raises(ValueError, match=re.escape("none.csv: none of its 2 rows has a label")):
        load(tmp_path / "none.csv")


def test_a_part_of_pictures_is_refused(tmp_path):
    touch(tmp_path, "p/000001.jpg", "p/000002.jpg")
    write(tmp_path / "list.csv", PARTS, "p,x,0,1")
    with pytest.raises(ValueError, match=re.escape("p is a folder of pictures, which has no")):
        load(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,class", "a.mp4,x"], "line 1: no column label in the header"),
        (["path,label", "a.mp4,x", "a.mp4,y"], "line 3: a.mp4 is there twice"),
        (["path,label", ",x"], "line 2: `path` must not be empty"),
        (["path,label", "a.mp4,x", ",", "b.mp4,y"], "line 3: `path` must not be empty"),
        (["path,label", "a.mp4"], "line 2: 1 columns where the header has 2"),
        (["path,label,split", "a.mp4,x,rest"], "line 2: `split` must be train, val or test"),
        ([], "line 1: no column label and path"),
        ([PARTS, "a.mp4,x,0,2", "a.mp4,y,,2"], "line 3: a.mp4 from 0 s is there twice"),
        ([PARTS, "a.mp4,x,1:20,"], "line 2: `start_seconds` must be seconds, got '1:20'"),
        ([PARTS, "a.mp4,x,-1,"], "line 2: `start_seconds` must be seconds from 0 on, got -1"),
        ([PARTS, "a.mp4,x,0,nan"], "line 2: `stop_seconds` must be seconds from 0 on, got nan"),
        ([PARTS, "a.mp4,x,1e300,"], "line 2: `start_seconds` must be seconds from 0 on, got 1e300"),
        ([PARTS, "a.mp4,,9,1"], "line 2: `stop_seconds` must be after `start_seconds`, got 9 to 1"),
        ([PARTS, "a.mp4,x,,0"], "line 2: `stop_seconds` must be after `start_seconds`, got 0 to 0"),
        (["path,label", "a.mp4,x\0"], "line 2: it holds a NUL character"),
        (["path,label", "a.mp4,caf\udce9"], "line 2: `label` is no text in UTF-8"),
    ],
)
def test_a_bad_line_of_a_csv_is_named(tmp_path, lines, message):
    text = "".join(f"{line}\n" for line in lines)
    (tmp_path / "list.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match=re.escape(f"list.csv, {message}")):
        load(tmp_path / "list.csv")


def test_unlabelled_takes_every_video_below_the_folder(tmp_path):
    root = tmp_path / "found"
    touch(root, "a.mp4", "deep/er/b.avi", "deep/notes.txt", ".hidden/c.mp4")
    dataset = load(root, kind="unlabelled")
    assert labelled(dataset) == {"a.mp4": ["unlabelled"], "deep/er/b.avi": ["unlabelled"]}
    assert dataset.splits == {}
    with pytest.raises(ValueError, match="no use for kind unlabelled"):
        load(root, kind="unlabelled", lists=root)


def test_a_folder_of_videos_alone_is_told_of_unlabelled(tmp_path):
    root = tmp_path / "found"
    touch(root, "a.mp4")
    with pytest.raises(ValueError, match="`kind` unlabelled takes them, for networks that"):
        load(root)
    touch(tmp_path / "empty", "readme.txt")
    with pytest.raises(ValueError, match=r"no video in .*empty\. 1 file that is no video"):
        load(tmp_path / "empty", kind="unlabelled")
