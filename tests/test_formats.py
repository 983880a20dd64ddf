"""Every format that was ever written is read, with the values that were put in.

The files are in `formats/`, with the script that makes them. What they hold is told here a second
time, by formulas of its own, which know nothing of how Kinema computes.
"""

from __future__ import annotations

import csv
import json
import lzma
import math
import re
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema.cli.app import main
from kinema.engine import Engine
from kinema.estimators import C3DFeatures
from kinema.weights import Weights

from small_videos import draw

FILES = Path(__file__).parent / "formats"

MEAN = np.array([96, 104, 112], np.float32)  # B, G, R


def unpacked(name: str, folder: Path) -> Path:
    """A file that is kept as .xz, as it was written."""
    path = folder / Path(name).name
    path.write_bytes(lzma.decompress((FILES / f"{name}.xz").read_bytes()))
    return path


def copied(name: str, folder: Path) -> Path:
    """A copy of a file or folder, so that nothing writes to the kept one."""
    source, path = FILES / name, folder / name
    if source.is_dir():
        return Path(shutil.copytree(source, path))
    return Path(shutil.copy(source, path))


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """The command line: its exit code, output and errors."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


# --- what the network of the files computes, in closed form ---------------------------------------


def bias(outputs: np.ndarray) -> np.ndarray:
    """0, 1/8, 2/8, 3/8, 0, ..."""
    return (outputs % 4) / 8


def of_greys(greys: list[float]) -> dict[str, np.ndarray]:
    """Outputs for a clip whose frames are each of one grey.

    Each output of a layer copies one input and adds its bias; the first two convolutions look one
    frame back, where before the first frame there is nothing. No place differs from another but for
    the right edge, where a copy is of nothing, too, so that a maximum never takes it.
    """
    x = np.array(greys)[None, :] - MEAN[:, None]  # (channels, frames)
    for layer, channels in enumerate((16, 32, 64, 128, 128)):
        outputs = np.arange(channels)
        copied = x[outputs % len(x)]
        if layer < 2:
            copied = np.hstack([np.zeros((channels, 1)), copied[:, :-1]])
        x = np.maximum(copied + bias(outputs)[:, None], 0)
        if layer == 0:  # its pooling is over space alone
            x = np.maximum(x, bias(outputs)[:, None])  # the right edge
        else:
            edge = bias(outputs)[:, None] if layer == 1 else 0
            x = np.maximum(x.reshape(channels, -1, 2).max(axis=2), edge)
    x, found = x[:, 0], {}
    for name, size in (("fc6", 512), ("fc7", 512), ("fc8", 2)):
        outputs = np.arange(size)
        x = x[3 * outputs % len(x)] * (1 + outputs % 3) / 2 + bias(outputs)
        found[name] = x = x if name == "fc8" else np.maximum(x, 0)
    return found


def assert_parameters(weights: Weights, *, atol: float = 0) -> None:
    """Each output copies the input of the same number (three times it in fc layers)."""
    for name in weights:
        array = weights[name]
        expected = np.zeros(array.shape, np.float32)
        for output in range(len(array)):
            if name.endswith(".bias"):
                expected[output] = output % 4 / 8
            elif array.ndim == 5:
                middle = array.shape[2] // 2
                back = (max(middle - 1, 0), 1, 2)
                where = back if name[:5] in ("conv1", "conv2") else (middle, 1, 1)
                expected[(output, output % array.shape[1], *where)] = 1
            else:
                expected[output, 3 * output % array.shape[1]] = (1 + output % 3) / 2
        np.testing.assert_allclose(array, expected, rtol=0, atol=atol, err_msg=name)


# --- weights --------------------------------------------------------------------------------------


def test_weights_1_of_c3d_mini_and_what_an_engine_makes_of_them(tmp_path):
    weights = Weights.load(unpacked("weights-1.safetensors", tmp_path))
    assert_parameters(weights)
    assert len(weights) == 16
    assert weights.network.recipe == {
        "name": "c3d_mini", "num_classes": 2, "input_shape": [3, 16, 16, 16],
    }  # fmt: skip
    assert (weights.name, weights.source, weights.source_sha256) == (
        "golden",
        "a formula",
        "0" * 64,
    )
    assert (weights.labels, weights.trained) == (("fall", "rise"), True)
    assert weights.trained_on == ("fall0", "rise2")
    np.testing.assert_array_equal(weights.mean, MEAN)

    greys = [90 + 7 * frame % 60 for frame in range(16)]
    clip = np.array(greys, np.float32)[None, :, None, None] - MEAN[:, None, None, None]
    clips = np.broadcast_to(clip, (1, 3, 16, 16, 16)).astype(np.float32)
    found = Engine(weights.network, weights).run(clips, ("fc6", "fc7", "fc8"))
    for name, expected in of_greys(greys).items():
        np.testing.assert_allclose(found[name][0], expected, atol=1e-3, err_msg=name)


def test_weights_1_with_a_mean_volume_and_little_else(tmp_path):
    weights = Weights.load(unpacked("weights-1-kernel_depth.safetensors", tmp_path))
    assert_parameters(weights)
    assert weights["conv3a.weight"].shape == (256, 128, 5, 3, 3)
    assert weights.network.recipe["depths"] == [1, 3, 5, 3, 1]
    np.testing.assert_array_equal(weights.mean.ravel(), np.arange(3 * 2 * 8 * 8))
    assert (weights.labels, weights.trained, weights.trained_on) == (None, False, None)


def test_weights_1_of_c3d_without_fc8_and_with_symmetric_padding(tmp_path):
    weights = Weights.load(unpacked("weights-1-c3d.safetensors", tmp_path))
    assert weights.network.recipe == {
        "name": "c3d", "num_classes": None, "pool5": "symmetric", "input_shape": [3, 1, 8, 8],
    }  # fmt: skip
    assert list(weights)[-2:] == ["fc7.weight", "fc7.bias"]
    assert weights["fc7.weight"].shape == (4096, 4096)
    assert weights["fc7.weight"][2, 6] == 1.5  # (1 + 2 % 3) / 2 of the input 3 * 2
    assert weights["conv5b.weight"][300, 300, 1, 1, 1] == 1
    assert np.count_nonzero(weights["conv5b.weight"]) == 512
    np.testing.assert_array_equal(weights["fc6.bias"], bias(np.arange(4096)))
    assert (weights.mean, weights.trained) == (None, True)


# --- feature tables -------------------------------------------------------------------------------


ABOUT = {
    "video": "grey",
    "layer": "conv5b",
    "layer_shape": [2, 1, 2, 2],
    "settings": {"layer": "conv5b", "stride": 8},
    "partial": {"frame": 30, "reason": "a formula"},
}


def needs(name: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    elif name.endswith(".hdf5"):
        pytest.importorskip("h5py")


NAMED = [
    "features-1.safetensors", "features-1-named.npy", "features-1-named.parquet",
    "features-1-named.hdf5", "features-1-named-c3d",
]  # fmt: skip

FEATURES_1 = [
    *NAMED, "features-1.npy", "features-1.parquet", "features-1.hdf5", "features-1-c3d",
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *FEATURES_1,
        "features-0.safetensors",
    ],
)
def test_feature_tables(name):
    needs(name)
    table = kinema.FeatureTable.load(FILES / name)
    for row in range(3):  # -1, -7/8, -6/8, ... row by row
        assert table.features[row].tolist() == [(8 * row + i) / 8 - 1 for i in range(8)]
    assert table.start_frame.tolist() == [0, 8, 16]
    assert table.stop_frame.tolist() == [16, 24, 30]
    assert table.start_seconds[:2].tolist() == [0.0, 0.5]
    assert table.stop_seconds[:2].tolist() == [1.0, 1.5]
    assert math.isnan(table.start_seconds[2])
    assert math.isnan(table.stop_seconds[2])
    assert table.num_padded_frames.tolist() == [0, 0, 2]
    assert dict(table.about) == ABOUT
    # The mean of rows i, i + 8 and i + 16, over 8, minus 1, is i / 8.
    expected = np.arange(8) / math.sqrt(sum(i * i for i in range(8)))
    np.testing.assert_allclose(table.video_vector(), expected, atol=1e-7)


def test_original_files_are_named_by_the_frame_and_may_serve_two_clips():
    table = kinema.FeatureTable.load(FILES / "features-1-c3d-twice")
    assert sorted(path.name for path in (FILES / "features-1-c3d-twice").iterdir()) == [
        "000000.fc6-1", "000008.fc6-1", "rows.json",
    ]  # fmt: skip
    assert table.start_frame.tolist() == [0, 8, 8]
    assert table.features[:, 0].tolist() == [-1.0, 0.0, 0.0]


def test_what_c3d_v1_itself_wrote():
    table = kinema.FeatureTable.load(FILES / "original")
    assert table.features.tolist() == [
        [-1.0, -0.875, -0.75, -0.625, -0.5, -0.375, -0.25, -0.125],
        [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875],
    ]
    assert table.start_frame.tolist() == [0, 16]
    assert table.stop_frame.tolist() == [16, 32]
    assert np.isnan(table.start_seconds).all()
    assert np.isnan(table.stop_seconds).all()
    assert table.about["layer"] == "fc6"
    # Byte by byte, without Kinema: five int32 and the values.
    data = (FILES / "original" / "000016.fc6-1").read_bytes()
    assert struct.unpack("<5i", data[:20]) == (1, 8, 1, 1, 1)
    assert struct.unpack("<8f", data[20:]) == tuple(i / 8 for i in range(8))


# --- a folder that `extract` wrote ----------------------------------------------------------------


GREYS = [100 + 4 * frame for frame in range(18)]


def grey_features() -> list[np.ndarray]:
    """Of the two clips of 16 frames, stride 2, of the pictures in grey.zip."""
    return [of_greys(GREYS[start : start + 16])["fc6"] for start in (0, 2)]


@pytest.fixture
def grey(tmp_path, monkeypatch):
    """A folder with the weights, the video, and nothing else; it is the current one."""
    folder = tmp_path / "grey"
    folder.mkdir()
    unpacked("weights-1.safetensors", folder).rename(folder / "weights.safetensors")
    shutil.unpack_archive(FILES / "grey.zip", folder)
    monkeypatch.chdir(folder)
    return folder


EXTRACT = ("extract", "grey", "--weights", "weights.safetensors", "--stride", "2")


def test_the_grey_video_is_what_the_formula_takes_it_for(grey):
    import cv2

    for frame, level in enumerate(GREYS, start=1):
        assert (cv2.imread(f"grey/{frame:06d}.jpg") == level).all()


@pytest.mark.parametrize(
    ("name", "engine"),
    [("extraction-1", "native"), ("extraction", "native"), ("extraction-3a55533", "torch")],
)
def test_an_extraction_goes_on_in_its_folder(grey, capsys, name, engine):
    if engine == "torch":
        pytest.importorskip("torch")
    out = copied(name, grey)
    before = (out / "grey.safetensors").read_bytes()
    code, told, err = run(capsys, *EXTRACT, "--engine", engine, "--out", out)
    assert code == 0, err
    assert "0 of 1 videos extracted, 1 were there" in told
    assert (out / "grey.safetensors").read_bytes() == before
    # The line of a video that was not asked for stays.
    assert json.loads((out / "skipped.jsonl").read_text()) == {
        "path": "elsewhere/broken.avi", "reason": "a formula",
    }  # fmt: skip
    table = kinema.FeatureTable.load(out / "grey.safetensors")
    np.testing.assert_allclose(table.features, grey_features(), atol=1e-3)
    assert table.start_frame.tolist() == [1, 3]  # pictures are counted from 1
    assert table.stop_frame.tolist() == [17, 19]
    # Nothing else is taken for the same.
    code, _, err = run(capsys, *EXTRACT[:-1], "4", "--engine", engine, "--out", out)
    assert code == 2
    assert "was made with stride 2, now it is 4" in err


def test_a_shared_run_is_read():
    """Video i of twenty has i rows; each seventh was skipped; chunks have 16 and 4 videos."""
    pytest.importorskip("pyarrow")
    from kinema.sharing import chunks
    from kinema.store import LocalStore

    told = kinema.status(FILES / "shared-1")
    assert (told.num_videos, told.num_done, told.num_chunks_done) == (20, 20, 2)
    assert told.num_clips == sum(number for number in range(20) if number % 7)
    assert [row.name for row in told.skipped] == [f"folder/{n:02d}.mp4" for n in (0, 7, 14)]
    assert {row.reason for row in told.skipped} == {"a formula"}
    parts = chunks.load(LocalStore(FILES / "shared-1"))
    assert (parts.borders, parts.sizes) == ((0, 16, 20), (16000, 4000))
    assert parts.sources == {"folder/03.mp4": [8, 0]}


def test_clips_that_are_shared_are_put_together(tmp_path, capsys):
    """All is done there, so that nobody looks into the videos."""
    pytest.importorskip("pyarrow")
    from kinema.training.clip_store import ClipStore

    place, out = copied("prepared-1", tmp_path), tmp_path / "x.clips"
    held = {"blue/a.mp4": (0.0, 4), "red/b.mp4": (0.5, 3)}
    for name in [*held, "red/c.mp4"]:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    command = ["prepare", tmp_path / "videos", "--size", "18x24", "--out", out, "--shared", place]
    code, told, err = run(capsys, *command, "--max-skipped", "1")
    assert code == 0, err
    assert "0 of 3 videos prepared, 2 by others or before" in told
    assert "was begun with kinema a formula" in err
    store = ClipStore(out)
    assert store.skipped == ({"path": "red/c.mp4", "reason": "a formula"},)
    assert [video.name for video in store.videos] == [*held]
    for number, video in enumerate(store.videos):
        (segment,) = video.segments
        assert (segment.start_seconds, segment.num_frames) == held[video.name]
        drawn = draw(video.name.split("/")[0], number, segment.num_frames)[:, :18, :24]
        difference = store.frames(segment).astype(int) - drawn
        assert np.abs(difference).mean() < 4  # JPEG's losses
    code, _, err = run(capsys, *command[:3], "36x48", "--out", f"{out}2", "--shared", place)
    assert code == 2
    assert "was made with size [18, 24], now it is [36, 48]" in err
    run_json = place / "run.json"
    run_json.write_text(run_json.read_text().replace("preparation-1", "preparation-9"))
    code, _, err = run(capsys, *command[:5], f"{out}2", "--shared", place)
    assert code == 2
    assert "kinema-preparation-9" in err
    assert len(err.splitlines()) == 1


def test_a_shard_is_read():
    """Two rows of one video and one of another; what stands between them was skipped."""
    pytest.importorskip("pyarrow")
    features = (np.arange(24).reshape(3, 8) / 8 - 1).astype(np.float32)
    for name, some in (("folder/0.mp4", slice(2)), ("folder/2.mp4", slice(2, None))):
        table = kinema.FeatureTable.load(FILES / "shard-1.parquet", video=name)
        np.testing.assert_array_equal(table.features, features[some])
        assert table.start_frame.tolist() == [0, 8, 16][some]
        assert table.stop_frame.tolist() == [16, 24, 30][some]
        np.testing.assert_array_equal(table.start_seconds, np.array([0.0, 0.5, np.nan])[some])
        np.testing.assert_array_equal(table.stop_seconds, np.array([1.0, 1.5, np.nan])[some])
        assert table.num_padded_frames.tolist() == [0, 0, 2][some]
        assert table.about == {
            "video": name, "layer": "conv5b", "layer_shape": [2, 1, 2, 2], "partial": None,
        }  # fmt: skip
    with pytest.raises(ValueError, match=r"shard-1\.parquet: folder/1\.mp4 was skipped: a formula"):
        kinema.FeatureTable.load(FILES / "shard-1.parquet", video="folder/1.mp4")


def test_an_extraction_that_kept_no_engine_was_of_torch(grey, capsys, monkeypatch):
    """run.json of before 3a55533 does not say which engine made the rows: there was one."""
    out = copied("extraction-80234fe", grey)
    pytest.importorskip("torch")
    code, told, err = run(capsys, *EXTRACT, "--engine", "torch", "--out", out)
    assert code == 0, err
    assert "0 of 1 videos extracted, 1 were there" in told
    with monkeypatch.context() as patch:  # nor on which device
        patch.setattr(Engine, "__repr__", lambda engine: "Engine(kind='torch', device='cuda')")
        code, told, err = run(capsys, *EXTRACT, "--engine", "torch", "--out", out)
    assert code == 0, err
    assert "0 of 1 videos extracted, 1 were there" in told
    code, _, err = run(capsys, *EXTRACT, "--engine", "native", "--out", out)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "was made with engine Engine(kind='torch', device='cpu') or Engine(kind=" in err


# --- classifiers ----------------------------------------------------------------------------------


def assert_told(scores: dict[str, float], expected: list[float]) -> None:
    assert [scores["fall"], scores["rise"]] == pytest.approx(expected, abs=1e-4)


def svm_scores(features: np.ndarray) -> list[float]:
    """Features of even number count for "fall" (+ 1/4), those of odd for "rise" (- 1/4)."""
    return [features[0::2].sum() + 0.25, features[1::2].sum() - 0.25]


CLASSIFIERS = [
    "classifier-1",
    "classifier-2-62dd296",
    "classifier-2",
]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_predicts_by_the_features_that_it_remembers(grey, capsys, name):
    file = copied(f"{name}.safetensors", grey)
    command = ("predict", "grey", "--weights", "weights.safetensors", "--classifier", file)
    code, out, err = run(capsys, *command, "--json")
    assert code == 0, err
    told = json.loads(out)
    mean = np.mean(grey_features(), axis=0)
    expected = svm_scores(mean / np.linalg.norm(mean))
    assert_told({one["class"]: one["score"] for one in told["top"]}, expected)
    assert len(told["clips"]) == 2  # its stride of 2, not the command's of 8
    for clip, features in zip(told["clips"], grey_features(), strict=True):
        scores = svm_scores(features / np.linalg.norm(features))
        assert clip["score"] == pytest.approx(max(scores), abs=1e-4)
        assert clip["class"] == ("fall", "rise")[int(np.argmax(scores))]


def test_a_classifier_of_two_nets_without_l2(grey, capsys):
    file = copied("classifier-2-two-nets.safetensors", grey)
    command = ("predict", "grey", "--weights", "weights.safetensors", "--classifier", file)
    code, out, err = run(capsys, *command, "--json")
    assert code == 0, err
    mean = np.mean(grey_features(), axis=0)
    # The second net counts for both classes alike.
    expected = np.array(svm_scores(mean)) + mean.sum()
    told = {one["class"]: one["score"] for one in json.loads(out)["top"]}
    assert [told["fall"], told["rise"]] == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_classifier_with_probabilities_and_what_it_has_seen(grey, capsys):
    file = copied("classifier-3.safetensors", grey)
    command = ("predict", "grey", "--weights", "weights.safetensors", "--classifier", file)
    code, out, err = run(capsys, *command, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["score_kind"] == "probability"
    mean = np.mean(grey_features(), axis=0)
    rows = [mean, *grey_features()]
    seen = (np.arange(512) % 2 == 0) / 16  # of length 1
    for found, features in zip([told, *told["clips"]], rows, strict=True):
        unit = features / np.linalg.norm(features)
        fall, rise = (1 / (1 + np.exp(-k * (score - 0.5)))
                      for k, score in zip((2, 4), svm_scores(unit), strict=True))  # fmt: skip
        best = max(fall, rise) / (fall + rise)
        if found is told:
            assert_told(
                {one["class"]: one["score"] for one in told["top"]},
                [fall / (fall + rise), rise / (fall + rise)],
            )
        else:
            assert found["score"] == pytest.approx(best, abs=1e-4)
        assert found["none_of_these"] == (np.linalg.norm(unit - seen) > 0.5)


# --- prepared clips -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clips-1", "clips-1-5059b99"])
def test_prepared_clips(tmp_path, name):
    from kinema.training.clip_store import ClipStore

    store = ClipStore(unpacked(f"{name}.clips", tmp_path))
    assert (store.classes, store.size) == (("fall", "rise"), (18, 24))
    assert store.splits == {
        "given": {"train": ["broken.avi", "fall0", "rise2"], "test": ["fall1", "rise3"]}
    }
    assert {key: store.about[key] for key in ("kind", "clips", "quality", "seed")} == {
        "kind": "csv", "clips": "whole", "quality": 95, "seed": 0,
    }  # fmt: skip
    names = ["fall0", "fall1", "rise2", "rise3"]
    assert [video.name for video in store.videos] == names
    assert [video.labels for video in store.videos] == [(0,), (0,), (1,), (1,)]
    assert [video.group for video in store.videos] == names
    for number, video in enumerate(store.videos):
        (segment,) = video.segments
        greys = [128 + number + (4 if number > 1 else -4) * frame for frame in range(18)]
        frames = store.frames(segment)
        np.testing.assert_array_equal(
            frames, np.broadcast_to(np.array(greys)[:, None, None, None], (18, 18, 24, 3))
        )
        assert (store.frames(segment, 5, 2)[:, 0, 0, 0] == greys[5:7]).all()
    (skipped,) = store.skipped
    assert skipped["path"] == "broken.avi"
    assert "cannot be read as a video" in skipped["reason"]


# --- training runs --------------------------------------------------------------------------------


def possible_losses() -> list[float]:
    """Cross-entropies of the clips that can be drawn: two training videos, three starts each."""
    losses = []
    for label, (first, step) in enumerate(((128, -4), (130, 4))):
        greys = [first + step * frame for frame in range(18)]
        for start in range(3):
            scores = of_greys(greys[start : start + 16])["fc8"]
            losses.append(float(np.logaddexp(*scores) - scores[label]))
    return losses


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


RUNS = [("training-1", 2), ("training-1-62dd296", 1), ("training-1-5059b99", 1)]


def momentum_of(checkpoint) -> dict[str, np.ndarray]:
    return {name.removeprefix("momentum."): array for name, array in checkpoint.state.items()}


@pytest.mark.parametrize(("name", "iteration"), RUNS)
def test_a_checkpoint(tmp_path, name, iteration):
    from kinema.training.checkpoint import Checkpoint

    found = Checkpoint.load(unpacked(f"{name}/checkpoint.safetensors", tmp_path))
    weights = Weights.load(unpacked("weights-1.safetensors", tmp_path))
    assert found.iteration == iteration
    assert found.learning_rate == pytest.approx(1e-30 * 0.1 ** (iteration - 1))
    np.testing.assert_array_equal(found.mean, MEAN)
    assert found.log == {"losses": []}
    raised = [(each.iteration, each.before, each.after) for each in found.raised]
    assert raised == ([(1, 1, 2)] if name == "training-1" else [])
    # A rate of 1e-30 changed as good as nothing.
    assert found.parameters.keys() == momentum_of(found).keys() == set(weights)
    assert_parameters(Weights(found.parameters, weights.network), atol=1e-25)
    assert found.settings["classes"] == ["fall", "rise"]
    assert found.settings["network"] == dict(weights.network.recipe)
    assert found.settings["dropout"] == 0
    if iteration == 1:
        # After one clip the velocity of fc8's bias is the gradient, p - y, which the loss tells.
        (row,) = rows_of(FILES / name / "log.csv")
        gradient = momentum_of(found)["fc8.bias"]
        assert gradient.sum() == pytest.approx(0, abs=1e-6)
        assert gradient.min() == pytest.approx(math.exp(-float(row["loss"])) - 1, abs=1e-5)


@pytest.mark.parametrize(("name", "iteration"), RUNS)
def test_a_log_tells_losses_that_its_clips_can_have(name, iteration):
    rows = rows_of(FILES / name / "log.csv")
    assert [(row["iteration"], row["epoch"]) for row in rows] == [
        ("1", "0.5"), ("2", "1.0"),
    ][:iteration]  # fmt: skip
    for row in rows:
        assert min(abs(float(row["loss"]) - one) for one in possible_losses()) < 1e-4
        assert (row["clip_hit1"], row["video_hit1"]) == ("0.5", "0.5")


def training_folder(folder: Path, name: str) -> tuple[object, ...]:
    """A stopped run, its clips and weights beside it, and the command that it was begun with."""
    pytest.importorskip("torch")
    unpacked("weights-1.safetensors", folder)
    unpacked("clips-1.clips", folder)
    (folder / "out").mkdir()
    unpacked(f"{name}/checkpoint.safetensors", folder / "out")
    shutil.copy(FILES / name / "log.csv", folder / "out")
    return (
        "train", folder / "clips-1.clips", "--out", folder / "out",
        "--weights", folder / "weights-1.safetensors", "--batch", "1",
        "--learning-rate", "1e-30", "--dropout", "0", "--engine", "torch", "--resume",
    )  # fmt: skip


def test_a_run_of_an_older_version_goes_on_as_one_of_the_present(tmp_path, capsys):
    from kinema.training.checkpoint import Checkpoint

    command = training_folder(tmp_path, "training-1-62dd296")
    code, _, err = run(capsys, *command, "--iterations", "2")
    assert code == 0, err
    assert "raised from 1 iteration to 2 iterations at iteration 1" in err
    first, second = rows_of(tmp_path / "out" / "log.csv")
    (kept,) = rows_of(FILES / "training-1-62dd296" / "log.csv")
    for column in ("iteration", "epoch", "loss", "learning_rate", "clip_hit1", "video_hit1"):
        assert float(first[column]) == float(kept[column])
    assert (first["run_iterations"], second["run_iterations"]) == ("1", "2")
    (_, expected) = rows_of(FILES / "training-1" / "log.csv")
    assert float(second["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-3)
    # It is where the present version's run of the same two steps is.
    found = Checkpoint.load(tmp_path / "out" / "checkpoint.safetensors")
    kept_run = Checkpoint.load(unpacked("training-1/checkpoint.safetensors", tmp_path))
    assert (found.iteration, found.raised) == (2, kept_run.raised)
    for name, velocity in momentum_of(kept_run).items():
        scale = np.abs(velocity).max() + 1e-6
        np.testing.assert_allclose(
            momentum_of(found)[name] / scale, velocity / scale, atol=1e-3, err_msg=name
        )
    assert_parameters(Weights.load(tmp_path / "out" / "weights.safetensors"), atol=1e-25)


def test_a_run_that_kept_no_flip_mirrored_clips(tmp_path, capsys):
    """Checkpoints of before 94d8cb7 do not say whether clips were mirrored: they were."""
    command = training_folder(tmp_path, "training-1-5059b99")
    code, _, err = run(capsys, *command, "--iterations", "2", "--no-flip")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "was begun with recipe's flip True, now it is False" in err
    code, _, err = run(capsys, *command, "--iterations", "2")
    assert code == 0, err


def test_targets():
    from kinema.training.targets import Targets

    found = Targets.load(FILES / "targets-1.safetensors")
    np.testing.assert_array_equal(found.vectors, [[0, 0, 0], [1, 0.5, -1], [2, 1, -2]])
    assert found.videos == ("a/1.mp4", "b/2.mp4")
    np.testing.assert_array_equal(found.of("a/1.mp4", 0, 8), [1, 0.5, -1])
    np.testing.assert_array_equal(found.of("b/2.mp4", 0, 24), [2, 1, -2])  # the whole video's


# --- results of comparisons -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["result", "result-6c7b272"])
def test_a_result_can_be_counted_again(name):
    """No part of Kinema reads it; who does finds these values at these places."""
    told = json.loads((FILES / f"{name}.json").read_text())
    assert told["classes"] == ["fall", "rise"]
    assert told["videos"] == ["fall0", "fall1", "rise2", "rise3"]
    assert (told["splits"], told["skipped"]) == (["given"], [])
    assert told["settings"]["kind"] == "csv"
    (row,) = told["rows"]
    assert (row["name"], row["title"]) == ("chance", "largest training class")
    assert (row["difference"], row["num_dimensions"], row["leaked_videos"]) == (None, None, 0)
    # Of each class one video is for training: the first class is said of both test videos.
    (split,) = row["splits"]
    assert (split["split"], split["test"], split["num_test"]) == ("given", [1, 3], 2)
    assert (split["predicted"], split["scores"]) == ([0, 0], [[0.5, 0.5], [0.5, 0.5]])
    assert row["confusion"] == [[1, 0], [1, 0]]
    assert row["accuracy"] == split["accuracy"] == 0.5
    assert (row["spread"], row["interval"]) == (0.0, [0.0, 1.0])
    assert row["misses"] == [
        {"video": "rise3", "split": "given", "class": "rise", "predicted": "fall", "margin": 0.0}
    ]


# --- means and pickles ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npy", ".npz", ".binaryproto"])
def test_means(ending):
    from kinema.weights.means import load_mean

    mean = load_mean(FILES / f"mean{ending}")
    assert (mean.shape, mean.dtype) == ((3, 2, 3, 4), np.float32)
    assert mean.ravel().tolist() == [number / 4 for number in range(72)]


def unpickled(path: Path):
    import joblib

    with warnings.catch_warnings():
        # Of scikit-learn, which does not know whether its own classes are as they were.
        warnings.filterwarnings("ignore", message="Trying to unpickle estimator")
        return joblib.load(path)


def test_a_pipeline_of_scikit_learn(grey):
    line = unpickled(FILES / "pipeline.joblib")
    features = line[0]
    assert isinstance(features, C3DFeatures)
    assert (
        features.get_params()
        == C3DFeatures("weights.safetensors", stride=2, l2=False, threads=1).get_params()
    )
    expected = np.sqrt(np.mean(grey_features(), axis=0))
    np.testing.assert_allclose(line.fit_transform(["grey"])[0], expected, atol=1e-3)


def test_pickled_weights(grey):
    features = unpickled(FILES / "weights.joblib.xz")
    assert isinstance(features.weights, Weights)
    assert_parameters(features.weights)
    np.testing.assert_array_equal(features.weights.mean, MEAN)
    assert features.weights.labels == ("fall", "rise")
    assert features.weights.sha256 == Weights.load(grey / "weights.safetensors").sha256
    # fc7 of the one clip that a stride of 4 leaves.
    expected = of_greys(GREYS[:16])["fc7"]
    found = features.fit_transform(["grey"])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


# --- formats that are not there yet ---------------------------------------------------------------


def of_version(source: Path, path: Path, version: int) -> Path:
    """A file of ours that says that it is of another version; its length does not change."""
    data = source.read_bytes()
    changed = re.sub(rb"(kinema-[a-z]+-)\d", rb"\g<1>%d" % version, data)
    assert changed != data
    assert len(changed) == len(data)
    path.write_bytes(changed)
    return path


def assert_one_clear_line(error: Exception, path: Path, kind: str) -> None:
    assert "\n" not in str(error)
    assert str(path) in str(error)
    assert kind in str(error)


def test_newer_weights_are_refused_by_their_version(tmp_path):
    file = of_version(unpacked("weights-1.safetensors", tmp_path), tmp_path / "new.safetensors", 9)
    with pytest.raises(ValueError, match="holds no weights") as error:
        Weights.load(file)
    assert_one_clear_line(error.value, file, "kinema-weights-9")


@pytest.mark.parametrize("name", NAMED)
def test_a_newer_table_is_refused_by_its_version(tmp_path, name):
    needs(name)
    file = tmp_path / name
    if (FILES / name).is_dir():
        shutil.copytree(FILES / name, file)
    else:
        shutil.copy(FILES / name, file)
    about = file
    if name.endswith("-c3d"):
        about = file / "rows.json"
    elif name.endswith(".npy"):
        about = Path(shutil.copy((FILES / name).with_suffix(".json"), tmp_path))
    if name.endswith(".parquet"):  # it keeps its metadata twice, once as base64
        from pyarrow import parquet

        table = parquet.read_table(file)
        newer = table.schema.metadata[b"kinema"].replace(b"kinema-features-1", b"kinema-features-9")
        parquet.write_table(table.replace_schema_metadata({"kinema": newer}), file)
    else:
        of_version(about, about, 9)
    with pytest.raises(ValueError, match="is not a feature table") as error:
        kinema.FeatureTable.load(file)
    assert_one_clear_line(error.value, file, "kinema-features-9")


def test_a_newer_shard_is_refused_by_its_version(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(FILES / "shard-1.parquet")
    newer = table.schema.metadata[b"kinema"].replace(b"kinema-shard-1", b"kinema-shard-9")
    parquet.write_table(table.replace_schema_metadata({"kinema": newer}), tmp_path / "new.parquet")
    with pytest.raises(ValueError, match="no shard that this version reads") as error:
        kinema.FeatureTable.load(tmp_path / "new.parquet", video="folder/0.mp4")
    assert_one_clear_line(error.value, tmp_path / "new.parquet", "kinema-shard-9")


@pytest.mark.parametrize("name", ["run.json", "grey.safetensors"])
def test_a_folder_of_a_newer_extraction_is_left_as_it_is(grey, capsys, name):
    out = copied("extraction-1", grey)
    of_version(out / name, out / name, 9)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    code, _, err = run(capsys, *EXTRACT, "--engine", "native", "--out", out)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert f"--out {out} cannot be gone on with (" in err
    assert "a newer version of Kinema wrote it" in err
    assert "update Kinema, or choose another folder" in err
    for path, content in before.items():
        assert (out / path).read_bytes() == content


def test_one_newer_table_among_others_costs_its_video_and_is_left(grey, capsys):
    shutil.copytree("grey", "grey2")
    out = copied("extraction-1", grey)
    code, _, err = run(capsys, *EXTRACT, "grey2", "--engine", "native", "--out", out)
    assert code == 0, err
    file = of_version(out / "grey2.safetensors", out / "grey2.safetensors", 9)
    content = file.read_bytes()
    code, _, err = run(capsys, *EXTRACT, "grey2", "--engine", "native", "--out", out)
    assert code == 1
    assert "kinema-features-9" in (out / "skipped.jsonl").read_text()
    assert file.read_bytes() == content


def test_a_newer_classifier_is_refused_by_its_version(grey, capsys):
    file = of_version(FILES / "classifier-2.safetensors", grey / "new.safetensors", 9)
    code, _, err = run(capsys, "predict", "grey", "--classifier", file)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "kinema-classifier-9" in err


def test_a_newer_checkpoint_is_refused_by_its_version(tmp_path, capsys):
    command = training_folder(tmp_path, "training-1")
    file = tmp_path / "out" / "checkpoint.safetensors"
    of_version(file, file, 9)
    code, _, err = run(capsys, *command, "--iterations", "2")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "kinema-checkpoint-9" in err


def test_newer_clips_are_refused(tmp_path):
    from kinema.training.clip_store import ClipStore
    from kinema.training.clip_writer import ClipWriter

    file = of_version(unpacked("clips-1.clips", tmp_path), tmp_path / "new.clips", 9)
    for opened in (lambda: ClipStore(file), lambda: ClipWriter(file, {})):
        with pytest.raises(ValueError, match=r"newer version of .*kinema-clips-9\)") as error:
            opened()
        assert_one_clear_line(error.value, file, "prepared clips")


def test_a_network_that_is_not_known_yet_is_named(tmp_path):
    file = unpacked("weights-1.safetensors", tmp_path)
    file.write_bytes(file.read_bytes().replace(b"c3d_mini", b"c3d_maxi"))
    with pytest.raises(ValueError, match="unknown network 'c3d_maxi'") as error:
        Weights.load(file)
    assert_one_clear_line(error.value, file, "known: c3d, c3d_half, c3d_mini")
