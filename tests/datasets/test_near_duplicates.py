"""Near-duplicates: drawn scenes and what becomes of videos, found; other scenes, not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.datasets import near_duplicates as copies
from kinema.datasets.folds import make_folds, plan_folds
from kinema.datasets.loaders import load
from kinema.datasets.near_duplicates import (
    find_near_duplicates,
    group_near_duplicates,
    similar_pairs,
)
from kinema.datasets.types import Dataset, Sample, Split
from kinema.evaluation.compare import compare
from kinema.video.synthetic import write_video
from kinema.weights.file import random_weights

NET = random_weights(networks.c3d_mini(2, input_shape=(3, 16, 16, 16)), name="small")


def scene(seed: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """(H, W, 3) uint8: what stands in a picture, other for each seed."""
    coarse = np.random.default_rng(seed).integers(30, 226, (9, 12, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def film(seed: int, start: int = 0, stop: int = 40) -> np.ndarray:
    """(T, H, W, 3): a fixed camera, and something that walks by."""
    frames = np.repeat(scene(seed)[None], stop - start, axis=0)
    for frame, time in zip(frames, range(start, stop), strict=True):
        cv2.circle(frame, (4 * time % 160, 70), 12, (240, 200, 180), -1)
    return frames


def coarsely(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 1)


CHANGES = {
    "same": lambda image: image,
    "coarse": coarsely,
    "small": lambda image: cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA),
    "wide": lambda image: cv2.resize(image, (216, 120)),
    "bright": lambda image: np.clip(image * 1.2 + 25, 0, 255).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "bordered": lambda image: cv2.copyMakeBorder(image, 10, 10, 40, 40, cv2.BORDER_CONSTANT),
    "cropped": lambda image: image[6:-6, 8:-8],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six scenes in `first`; in `second` copies of scene 0, and seven others."""
    root = tmp_path_factory.mktemp("copies") / "scenes"
    for seed in range(6):
        write_video(root / "first" / f"scene{seed}.mp4", film(seed))
    for name, change in CHANGES.items():
        write_video(root / "second" / f"{name}.mp4", [change(image) for image in film(0)])
    write_video(root / "second" / "later.mp4", film(0, 25, 60))
    for seed in range(6, 13):
        write_video(root / "second" / f"scene{seed}.mp4", film(seed))
    return root


def test_copies_are_found_and_other_scenes_are_not(folder):
    dataset = load(folder)
    found = find_near_duplicates(dataset)
    groups = dict(zip(found.names, found.groups, strict=True))
    for name in (*CHANGES, "later"):
        assert groups[f"second/{name}.mp4"] == "first/scene0.mp4", name
    alone = [name for name in groups if "scene" in name and "scene0" not in name]
    assert len(alone) == 12
    assert all(groups[name] == name for name in alone)
    assert found.summary() == (
        "10 of 22 videos look like another one (same recording or scene); 13 groups, the largest "
        "of 10."
    )


def test_a_moving_camera_is_found_where_it_shows_the_same(tmp_path):
    wide = scene(1, (120, 640))
    for name, start in (("a", 0), ("b", 60), ("c", 400)):
        frames = [wide[:, start + 3 * time : start + 3 * time + 160] for time in range(25)]
        write_video(tmp_path / "v" / "x" / f"{name}.mp4", frames)
    assert find_near_duplicates(load(tmp_path / "v")).groups == ("x/a.mp4", "x/a.mp4", "x/c.mp4")


def test_frames_without_contrast_link_nothing(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(3):
        black = generator.integers(0, 12, (10, 120, 160, 3), np.uint8)
        grey = np.full((10, 120, 160, 3), 90, np.uint8)
        write_video(tmp_path / "v" / "x" / f"dark{index}.mp4", black)
        write_video(tmp_path / "v" / "x" / f"opens{index}.mp4", [*black, *film(index), *grey])
    found = find_near_duplicates(load(tmp_path / "v"))
    assert found.groups == found.names


def test_pairs_are_those_of_the_definition(monkeypatch):
    """In blocks, against correlations of gradients frame by frame."""
    generator = np.random.default_rng(3)
    small = generator.integers(0, 256, (11, copies.NUM_FRAMES, 5, 6), np.uint8)
    big = [[cv2.resize(image, (24, 18)) for image in video] for video in small]
    sketches = np.array(big, np.uint8)
    sketches[7, 2] = sketches[3, 5][:, ::-1]  # mirrored, at another time
    sketches[8, 0] = sketches[1, 6]

    def edges(image):
        across = cv2.Sobel(image.astype(float), cv2.CV_64F, 1, 0)
        down = cv2.Sobel(image.astype(float), cv2.CV_64F, 0, 1)
        length = np.sqrt(np.sqrt(across**2 + down**2)) + 1e-3
        maps = [part / length - (part / length).mean() for part in (across, down)]
        return np.ravel(maps)

    def similarity(one, other):
        return max(
            np.corrcoef(edges(a), edges(b))[0, 1] for a in (*one, *one[:, :, ::-1]) for b in other
        )

    expected = {(i, j): similarity(sketches[i], sketches[j]) for j in range(11) for i in range(j)}
    monkeypatch.setattr(copies, "_BLOCK", 4)
    pairs, values = similar_pairs(sketches, 0.3)
    got = dict(zip(map(tuple, pairs.tolist()), values, strict=True))
    assert got == pytest.approx({p: v for p, v in expected.items() if v >= 0.3}, abs=1e-4)
    assert {(3, 7), (1, 8)} == set(list(got)[:2])
    assert list(values) == sorted(values, reverse=True)


def test_the_same_whatever_the_threads_and_the_cache(folder, tmp_path):
    dataset = load(folder)
    one = find_near_duplicates(dataset, threads=1)
    filled = find_near_duplicates(dataset, threads=4, cache=tmp_path)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 21  # `same` has the bytes of scene 0
    before = kept[0].read_bytes()
    kept[0].write_bytes(b"damaged")
    for other in (filled, find_near_duplicates(dataset, threads=2, cache=tmp_path)):
        assert other.groups == one.groups
        np.testing.assert_array_equal(other.similarities, one.similarities)
    assert kept[0].read_bytes() == before


def test_videos_that_cannot_be_read_stand_alone(folder, tmp_path):
    for name in ("a", "b"):
        path = tmp_path / "v" / "x" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no video")
    (tmp_path / "v" / "x" / "c.mp4").write_bytes((folder / "first/scene0.mp4").read_bytes())
    found = find_near_duplicates(load(tmp_path / "v"))
    assert found.groups == found.names
    assert list(found.unreadable) == ["x/a.mp4", "x/b.mp4"]
    assert found.summary().endswith("; 2 could not be read and stand alone.")


def test_folds_do_not_tear_near_duplicates_apart(folder, tmp_path):
    """In two classes, as a camera before and during a fight."""
    result = compare(
        folder, methods=["c3d", "chance"], weights=[NET], folds=3, cost=1.0, cache=tmp_path,
        timed=False,
    )  # fmt: skip
    assert any(
        note.startswith("groups by near-duplicates: 10 of 22 videos") for note in result.notes
    )
    alike = {"first/scene0.mp4", *(f"second/{name}.mp4" for name in (*CHANGES, "later"))}
    tested = [{result.videos[index] for index in o.test} for o in result.rows[0].outcomes]
    assert sorted(name for fold in tested for name in fold) == list(result.videos)
    assert [len(alike & fold) for fold in tested if alike & fold] == [10]


def test_groups_and_splits_of_its_own_are_kept(folder, tmp_path):
    listed = tmp_path / "videos.csv"
    rows = [f"{folder}/first/scene{i}.mp4,a,{'one' if i < 3 else 'two'}" for i in range(6)]
    listed.write_text("\n".join(["path,label,group", *rows]))
    dataset = load(listed)
    assert group_near_duplicates(dataset) is dataset
    plain = load(folder)
    given = Dataset("folder", plain.root, plain.classes, plain.samples, {"1": Split((0, 1), (7,))})
    assert group_near_duplicates(given) is given
    assert {s.group for s in group_near_duplicates(plain).samples} == set(
        find_near_duplicates(plain).groups
    )


def test_one_scene_in_all_videos_is_told_and_taken_apart(tmp_path):
    for index in range(12):
        video = tmp_path / "v" / "ab"[index % 2] / f"{index:02d}.mp4"
        write_video(video, film(0, index, index + 9))
    dataset = group_near_duplicates(load(tmp_path / "v"))
    assert any(note.startswith("12 of 12 videos hang together") for note in dataset.notes)
    assert dataset.notes[-1].endswith("so this measures scenes.")
    assert len(make_folds(dataset)) == 5


def test_a_class_of_one_scene_stays_one_group_also_if_it_is_the_larger_one(tmp_path):
    """Seven of eleven videos: it is folds that part them, and say of which class they are."""
    for index in range(11):
        video = tmp_path / "v" / "ba"[index < 7] / f"{index:02d}.mp4"
        write_video(video, film(int(index >= 7), index, index + 9))
    dataset = group_near_duplicates(load(tmp_path / "v"))
    assert len({sample.group for sample in dataset.samples}) == 2
    assert not any("hang together" in note for note in dataset.notes)
    folds = plan_folds(dataset, 4)
    assert folds.notes[0].startswith("the videos of 2 classes (a, b) are one scene")
    assert sorted(len(split.test) for split in folds.splits) == [2, 3, 3, 3]


def test_fewer_scenes_than_folds(tmp_path):
    for index in range(12):
        video = tmp_path / "v" / "ab"[index // 3 % 2] / f"{index:02d}.mp4"
        write_video(video, film(index % 3, index, index + 9))
    dataset = group_near_duplicates(load(tmp_path / "v"))
    folds = plan_folds(dataset)
    assert [len(split.test) for split in folds.splits] == [4, 4, 4]
    assert folds.notes == ("3 folds in place of 5: 2 classes (a, b) have 3 groups only.",)


def test_near_duplicates_on_both_sides_of_a_split():
    names = ("a", "b", "c", "d")
    pairs = np.array([[0, 2], [1, 2], [0, 3], [0, 1]])
    found = copies.NearDuplicates(names, pairs, np.array([0.9, 0.8, 0.75, 0.6]), {})
    assert found.straddling(Split((0, 1), (2, 3))) == [("c", "a", 0.9), ("d", "a", 0.75)]
    assert found.straddling(Split((0, 2), (1,))) == [("b", "c", 0.8)]
    assert found.straddling(Split((0, 1, 2), ())) == []
    text = found.text({"1": Split((0, 1), (2, 3))}, max_names=1)
    assert "split 1     2 of 2 test videos look like one to train on" in text
    assert "c ~ a (0.90)\n            ... and 1 more" in text
    assert text.splitlines()[1:3] == [
        "            a ~ c (0.90)",
        "            ... and 3 more pairs",
    ]
    everything = found.text({}, max_names=None).splitlines()[1:]
    assert everything == [f"            {p} ({s})" for p, s in (
        ("a ~ c", "0.90"), ("b ~ c", "0.80"), ("a ~ d", "0.75"), ("a ~ b", "0.60"))]  # fmt: skip
    assert found.as_mapping({})["pairs"][1] == ["b", "c", 0.8]


def test_near_duplicates_without_what_cannot_be_read():
    pairs, similarities = np.array([[0, 3], [3, 4]]), np.array([0.9, 0.7])
    found = copies.NearDuplicates(
        ("a", "b", "c", "d", "e"), pairs, similarities, {"b": "torn", "c": "x"}
    )
    left = found.of_readable()
    assert left.names == ("a", "d", "e")
    assert left.pairs.tolist() == [[0, 1], [1, 2]]
    assert left.groups == ("a", "a", "a")


def test_the_command_tells_of_leaks(tmp_path, capsys):
    for side, seeds in (("train", (0, 1)), ("test", (2, 1))):
        for seed in seeds:
            path = tmp_path / "v" / side / "x" / f"{side}{seed}.mp4"
            write_video(path, film(seed, 0 if side == "train" else 11))
    command = ["dataset", "info", str(tmp_path / "v")]
    assert main([*command, "--near-duplicates"]) == 0
    out = capsys.readouterr().out
    assert "near-duplicates 2 of 4 videos look like another one" in out
    assert "split given 1 of 2 test videos look like one to train on" in out
    assert "test/x/test1.mp4 ~ train/x/train1.mp4" in out
    assert main([*command, "--copies", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["copies"]
    assert facts["straddling"]["given"][0][:2] == ["test/x/test1.mp4", "train/x/train1.mp4"]
    assert main(command) == 0
    assert "near-duplicates" not in capsys.readouterr().out


@pytest.mark.parametrize("similarity", [0.0, 1.1, float("nan")])
def test_wrong_similarity(similarity):
    dataset = Dataset("folder", Path(), ("x",), (Sample(Path("a"), "a", (0,), "a"),))
    with pytest.raises(ValueError, match="`similarity` must be more than 0"):
        find_near_duplicates(dataset, similarity=similarity)


def test_on_real_videos_links_stay_within_ucf101s_groups():
    data = Path(os.environ.get("KINEMA_DATA", "")) / "ucf101-3" / "UCF-101"
    if "KINEMA_DATA" not in os.environ or not data.is_dir():
        pytest.skip("KINEMA_DATA names no folder with ucf101-3")
    whole = load(data, kind="folder")
    samples = tuple(s for s in whole.samples if s.name < "BabyCrawling/v_BabyCrawling_g12")
    found = find_near_duplicates(Dataset("folder", data, whole.classes, samples))
    groups = {sample.name: sample.group for sample in samples}
    assert len(found.pairs) > 10
    for pair in found.pairs:
        assert len({groups[found.names[index]] for index in pair}) == 1


def test_groups_of_some_videos_do_not_hide_near_duplicates_of_others(tmp_path):
    """A class whose files are named as UCF101's has groups by these names, the other has none."""
    from kinema.datasets.types import Dataset, Sample

    names = ["a/1", "a/2", "b/v_X_g01_c01", "b/v_X_g01_c02", "b/v_X_g02_c01"]
    own = ["a/1", "a/2", "X/g01", "X/g01", "X/g02"]
    dataset = Dataset(
        "folder", tmp_path, ("a", "b"),
        tuple(Sample(tmp_path / n, n, (int(n[0] == "b"),), g)
              for n, g in zip(names, own, strict=True)),
    )  # fmt: skip
    assert copies.needs_groups(dataset)
    pairs = np.array([[0, 1], [3, 4]])
    found = copies.NearDuplicates(tuple(names), pairs, np.array([0.9, 0.8]), {})
    grouped = group_near_duplicates(dataset, found)
    groups = [sample.group for sample in grouped.samples]
    assert groups == ["a/1", "a/1", "X/g01", "X/g01", "X/g01"]  # g02 looks like one of g01
    apart = group_near_duplicates(
        dataset, copies.NearDuplicates(tuple(names), pairs[:1], np.array([0.9]), {})
    )
    groups = [sample.group for sample in apart.samples]
    assert groups == ["a/1", "a/1", "X/g01", "X/g01", "X/g02"]
