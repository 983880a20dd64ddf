"""Writes the files of this folder: `python tests/formats/make.py NAME...`, `all` for the present.

What is called `..._old` runs with the code of an older commit; README.md names it.

    git worktree add --detach OLD COMMIT
    PYTHONPATH=OLD/src:SITE_PACKAGES python -S tests/formats/make.py NAME

(-S, because an editable installation would win over PYTHONPATH.) Every value comes from a formula,
which `test_formats.py` states again in its own words.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent

CLIP = (3, 16, 16, 16)
"""Clips of the small network: frames of 18x24 pixels, of which 16x16 go in."""

MEAN = (96, 104, 112)
"""B, G, R."""


# --- what is in the files -------------------------------------------------------------------------


def parameters(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """One weight per output is not zero: the outputs are known without a convolution.

    The first two convolutions look one frame back and one pixel to the right, so that swapped axes
    are seen; behind them so few are left that all would be padding.
    """
    arrays = {}
    for name, shape in shapes.items():
        out = np.arange(shape[0])
        arrays[name] = array = np.zeros(shape, np.float32)
        if name.endswith(".bias"):
            array[:] = out % 4 / 8
        elif len(shape) == 5:
            aside = name in ("conv1a.weight", "conv2a.weight")
            array[out, out % shape[1], max(shape[2] // 2 - aside, 0), 1, 1 + aside] = 1
        else:
            array[out, 3 * out % shape[1]] = (1 + out % 3) / 2
    return arrays


def grey_video(folder: Path, *, first: int = 100, step: int = 4, num_frames: int = 18) -> Path:
    """A folder of pictures, each of one grey, which JPEG keeps exactly."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        grey = first + step * index
        path = str(folder / f"{index + 1:06d}.jpg")
        cv2.imwrite(path, np.full((18, 24, 3), grey, np.uint8), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])
        assert (cv2.imread(path) == grey).all()
    return folder


def grey_dataset(folder: Path) -> Path:
    """Two videos of each of two classes, one for training and one for the test."""
    lines = ["path,label,split"]
    for number, (label, split) in enumerate(
        (label, split) for label in ("fall", "rise") for split in ("train", "test")
    ):
        step = 4 if label == "rise" else -4
        video = grey_video(folder / f"{label}{number}", first=128 + number, step=step)
        lines.append(f"{video.name},{label},{split}")
    (folder / "grey.csv").write_text("\n".join(lines) + "\n")
    return folder / "grey.csv"


def table_columns() -> dict[str, np.ndarray]:
    """Three clips of a layer with axes (C, T, H, W) = (2, 1, 2, 2)."""
    return {
        "features": (np.arange(24).reshape(3, 8) / 8 - 1).astype(np.float32),
        "start_frame": np.array([0, 8, 16]),
        "stop_frame": np.array([16, 24, 30]),
        "start_seconds": np.array([0.0, 0.5, np.nan]),
        "stop_seconds": np.array([1.0, 1.5, np.nan]),
        "num_padded_frames": np.array([0, 0, 2]),
    }


# --- weights --------------------------------------------------------------------------------------


def small_weights() -> Any:
    from kinema import network
    from kinema.weights import Weights

    net = network.c3d_mini(2, input_shape=CLIP)
    return Weights(
        parameters(net.parameter_shapes()),
        net,
        name="golden",
        source="a formula",
        source_sha256="0" * 64,
        mean=np.array(MEAN, np.float32),
        labels=("fall", "rise"),
        trained=True,
        trained_on=("fall0", "rise2"),
    )


def weights() -> None:
    """Of each of the three networks; two of them carry nothing that can be left out."""
    from kinema import network
    from kinema.weights import Weights

    with packed("weights-1.safetensors") as path:
        small_weights().save(path)
    net = network.kernel_depth((1, 3, 5, 3, 1), 2, input_shape=(3, 2, 8, 8))
    with packed("weights-1-kernel_depth.safetensors") as path:
        volume = np.arange(3 * 2 * 8 * 8, dtype=np.float32).reshape(3, 2, 8, 8)
        Weights(parameters(net.parameter_shapes()), net, mean=volume, trained=False).save(path)
    net = network.c3d(None, pool5="symmetric", input_shape=(3, 1, 8, 8))
    with packed("weights-1-c3d.safetensors") as path:
        Weights(parameters(net.parameter_shapes()), net).save(path)


# --- features -------------------------------------------------------------------------------------


FORMATS = {
    "safetensors": ".safetensors", "npy": ".npy", "parquet": ".parquet", "hdf5": ".hdf5",
    "c3d": "-c3d",
}  # fmt: skip


def features() -> None:
    tables("features-1", "safetensors")
    tables("features-1-named", "npy", "parquet", "hdf5", "c3d")


def features_33ec907() -> None:
    tables("features-1", *FORMATS)


def features_80234fe() -> None:
    tables("features-0", "safetensors")


def tables(name: str, *formats: str) -> None:
    from kinema.features.table import FeatureTable

    about = {
        "video": "grey",
        "layer": "conv5b",
        "layer_shape": [2, 1, 2, 2],
        "settings": {"layer": "conv5b", "stride": 8},
        "partial": {"frame": 30, "reason": "a formula"},
    }
    table = FeatureTable(**table_columns(), about=about)
    for format in formats:
        remove(HERE / f"{name}{FORMATS[format]}")
        table.save(HERE / f"{name}{FORMATS[format]}", format)


def shard() -> None:
    """Of two videos, with the table's first two rows and its last one; one between was skipped."""
    from kinema.features.shards import write_shard
    from kinema.features.table import FeatureTable
    from kinema.sharing.manifests import Row

    about = {"layer": "conv5b", "layer_shape": [2, 1, 2, 2], "partial": None}
    with tempfile.TemporaryDirectory() as folder:
        rows, files = [], {}
        for number, some in ((0, slice(2)), (2, slice(2, None))):
            columns = {key: column[some] for key, column in table_columns().items()}
            name, mark = f"folder/{number}.mp4", f"{number:064x}"
            table = FeatureTable(**columns, about={**about, "video": name})
            table.save(Path(folder, f"{number}.safetensors"))
            files[name] = Path(folder, f"{number}.safetensors")
            rows.append(Row(name, mark, len(table), mark[::-1]))
        rows.insert(1, Row("folder/1.mp4", reason="a formula"))
        write_shard(HERE / "shard-1.parquet", rows, files)


def features_twice_33ec907() -> None:
    """Since 3a55533 clips of a list may start at the same frame: they share an original file."""
    from kinema.features.table import FeatureTable

    columns = {key: column[[0, 1, 1]] for key, column in table_columns().items()}
    remove(HERE / "features-1-c3d-twice")
    table = FeatureTable(**columns, about={"layer": "fc6", "layer_shape": [8]})
    table.save(HERE / "features-1-c3d-twice", "c3d")


def original() -> None:
    """As C3D v1.0 wrote them (`extract_image_features.cpp`), byte by byte and not by Kinema."""
    folder = HERE / "original"
    remove(folder)
    folder.mkdir()
    for row, start in enumerate((0, 16)):
        values = [(8 * row + index) / 8 - 1 for index in range(8)]
        data = struct.pack("<5i", 1, 8, 1, 1, 1) + struct.pack("<8f", *values)
        (folder / f"{start:06d}.fc6-1").write_bytes(data)


# --- a folder that `extract` wrote ----------------------------------------------------------------


def extraction() -> None:
    extracted("extraction-1", engine="native")


def extraction_33ec907() -> None:
    extracted("extraction", engine="native")


def extraction_3a55533() -> None:
    extracted("extraction-3a55533", engine="torch")


def extraction_80234fe() -> None:
    extracted("extraction-80234fe", engine="auto")


def extracted(name: str, *, engine: str) -> None:
    """Of the pictures in grey.zip, which are made once: a fingerprint goes by their bytes."""
    from kinema.features.extraction import extract

    with tempfile.TemporaryDirectory() as folder:
        if not (HERE / "grey.zip").exists():
            grey_video(Path(folder, "made", "grey"))
            shutil.make_archive(str(HERE / "grey"), "zip", Path(folder, "made"), "grey")
        shutil.unpack_archive(HERE / "grey.zip", folder)
        small_weights().save(Path(folder, "weights.safetensors"))
        out = Path(folder, "out")
        with contextlib.chdir(folder):
            extract(["grey"], out=out, weights="weights.safetensors", engine=engine, stride=2)
            line = {"path": "elsewhere/broken.avi", "reason": "a formula"}
            (out / "skipped.jsonl").write_text(json.dumps(line) + "\n")
        remove(HERE / name)
        shutil.copytree(out, HERE / name, ignore=shutil.ignore_patterns(".*"))


def shared() -> None:
    """Of twenty videos, number i with i rows; each seventh was skipped."""
    from kinema.sharing import chunks, manifests
    from kinema.sharing.manifests import Row
    from kinema.store import LocalStore

    remove(HERE / "shared-1")
    store = LocalStore(HERE / "shared-1")
    names = [f"folder/{number:02d}.mp4" for number in range(20)]
    parts = chunks.begin(store, names, lambda name: 1000, {"folder/03.mp4": [8, 0]})
    for chunk in range(len(parts)):
        rows = []
        for name in parts[chunk]:
            number = int(name[-6:-4])
            mark = f"{number:064x}"
            done = Row(name, mark, number, mark[::-1])
            rows.append(Row(name, reason="a formula") if number % 7 == 0 else done)
        store.settle(manifests.path_of(chunk), manifests.write(rows))


def shared_clips() -> None:
    """Two videos of `clips`, frame by frame as there, and one that was skipped."""
    import hashlib

    import clips

    from kinema.features import run_file
    from kinema.sharing import chunks, manifests
    from kinema.sharing.manifests import Row
    from kinema.store import LocalStore
    from kinema.training import clip_part
    from kinema.training.pictures import encode

    remove(HERE / "prepared-1")
    store = LocalStore(HERE / "prepared-1")
    settings = {name: clips.ABOUT[name] for name in ("size", "clips", "quality", "seed")}
    content = {
        "format": "kinema-preparation-1",
        "settings": {**settings, "streams": {"rgb": {"channels": 3}}, "colours": "file"},
        "versions": {"kinema": "a formula"},
    }
    store.settle("run.json", run_file.to_bytes(content))
    rows = []
    for name, label, _, start, count in clips.VIDEOS:
        frames = [encode(frame, 95) for frame in clips.rgb(label, count)]
        data = clip_part.to_bytes([(start, {"rgb": frames})])
        store.settle(f"{name}{clip_part.ENDING}", data)
        rows.append(Row(name, name, 0, hashlib.sha256(data).hexdigest()))
    rows.append(Row("red/c.mp4", reason="a formula"))
    chunks.begin(store, [row.name for row in rows], lambda name: 1000)
    store.settle(manifests.path_of(0), manifests.write(rows))


# --- classifiers ----------------------------------------------------------------------------------


def svm() -> dict[str, Any]:
    """Of two classes: one adds the features of even number, the other those of odd."""
    even = (np.arange(512) % 2 == 0).astype(np.float64)
    return {
        "classes": ("fall", "rise"),
        "coefficients": np.stack([even, 1 - even]),
        "intercepts": np.array([0.25, -0.25]),
    }


def svm_settings() -> dict[str, Any]:
    from kinema.features.extractor import Extractor
    from kinema.video.clips import ClipPlan

    settings: dict[str, Any] = Extractor(small_weights(), plan=ClipPlan(stride=2)).settings()
    return settings


def classifier_6da2e4b() -> None:
    from kinema.methods.classifier import Classifier

    made = Classifier(**svm(), weights="weights.safetensors", settings=svm_settings())
    made.save(HERE / "classifier-1.safetensors")


def classifier_62dd296() -> None:
    classified("classifier-2-62dd296")


def classifier_b5cb328() -> None:
    classified("classifier-2")


def classifier() -> None:
    """Of one net: probabilities are expit(k (distance - 1/2)), k = 2 for "fall" and 4 for "rise".

    What was seen are the features of even number, all alike; what is farther than 1/2 is none.
    """
    from kinema.methods.calibration import Sigmoids
    from kinema.methods.classifier import Classifier, Net
    from kinema.methods.seen import Seen

    slopes = np.array([2.0, 4.0])
    even = svm()["coefficients"][:1] / 16
    Classifier(
        **svm(),
        nets=(Net("weights.safetensors", svm_settings()),),
        sigmoids=Sigmoids(slopes, -slopes / 2),
        seen=Seen(even.astype(np.float16), 0.5),
    ).save(HERE / "classifier-3.safetensors")


def classified(name: str) -> None:
    """Of one net, and of two whose features are not normalised."""
    from kinema.methods.classifier import Classifier, Net

    net = Net("weights.safetensors", svm_settings())
    Classifier(**svm(), nets=(net,)).save(HERE / f"{name}.safetensors")
    both = {**svm(), "coefficients": np.hstack([svm()["coefficients"], np.ones((2, 512))])}
    two = Classifier(**both, nets=(net, net), l2=False)
    two.save(HERE / f"{name}-two-nets.safetensors")


# --- prepared clips, training, comparison ---------------------------------------------------------


def clips_5059b99() -> None:
    prepared("clips-1-5059b99")


def clips() -> None:
    prepared("clips-1")


def prepared(name: str) -> None:
    from kinema.cli.app import main

    with tempfile.TemporaryDirectory() as folder, packed(f"{name}.clips") as path:
        dataset = grey_dataset(Path(folder, "data"))
        (dataset.parent / "broken.avi").write_bytes(b"no video")
        with open(dataset, "a") as file:
            file.write("broken.avi,rise,train\n")
        run(main, "prepare", dataset, "--out", path, "--size", "18x24", "--max-skipped", "1")


def training_5059b99() -> None:
    trained("training-1-5059b99", "clips-1-5059b99.clips")


def training_62dd296() -> None:
    trained("training-1-62dd296", "clips-1-5059b99.clips")


def training() -> None:
    trained("training-1", "clips-1.clips", raised=True)


def trained(name: str, clips: str, *, raised: bool = False) -> None:
    """A step at a rate that changes nothing, and (raised) one more.

    The clips are known, so that the parameters, which are kept, and the log can be told.
    """
    from kinema.cli.app import main

    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        Path("kept.clips").write_bytes(lzma.decompress((HERE / f"{clips}.xz").read_bytes()))
        small_weights().save("golden.safetensors")
        command = [
            "train", "kept.clips", "--out", "out", "--weights", "golden.safetensors",
            "--batch", "1", "--learning-rate", "1e-30", "--dropout", "0", "--engine", "torch",
        ]  # fmt: skip
        run(main, *command, "--iterations", "1")
        if raised:
            run(main, *command, "--iterations", "2")
        folder = HERE / name
        remove(folder)
        folder.mkdir()
        shutil.copy("out/log.csv", folder)
        data = Path("out/checkpoint.safetensors").read_bytes()
        (folder / "checkpoint.safetensors.xz").write_bytes(lzma.compress(data, preset=9))


def result_6c7b272() -> None:
    compared("result-6c7b272")


def result() -> None:
    compared("result")


def compared(name: str) -> None:
    from kinema.cli.app import main

    with tempfile.TemporaryDirectory() as folder:
        dataset = grey_dataset(Path(folder, "data"))
        out = Path(folder, "out")
        run(main, "compare", dataset, "--out", out, "--methods", "chance")
        shutil.copy(out / "result.json", HERE / f"{name}.json")


# --- means and pickles ----------------------------------------------------------------------------


def mean_volume() -> np.ndarray:
    return (np.arange(3 * 2 * 3 * 4).reshape(3, 2, 3, 4) / 4).astype(np.float32)


def means() -> None:
    from kinema.weights.means import save_mean

    for ending in (".npy", ".npz", ".binaryproto"):
        save_mean(HERE / f"mean{ending}", mean_volume())


def pickles() -> None:
    """What scikit-learn's users keep: references to our classes by their public names."""
    import joblib
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    from kinema import C3DFeatures

    line = make_pipeline(
        C3DFeatures("weights.safetensors", stride=2, l2=False, threads=1),
        FunctionTransformer(np.sqrt),
    )
    joblib.dump(line, HERE / "pipeline.joblib")
    joblib.dump(
        C3DFeatures(small_weights(), "fc7", stride=4), HERE / "weights.joblib.xz", ("xz", 9)
    )


def targets() -> None:
    """Row r of D = 3 holds r, r / 2 and -r: two clips of a video, then a whole one."""
    from kinema.training.targets import Targets

    rows = np.arange(3)[:, None] * np.array([1, 0.5, -1])
    made = Targets(["a/1.mp4", "b/2.mp4"], rows, np.array([0, 0, 1]), np.array([0, 8, -1]))
    made.save(HERE / "targets-1.safetensors")


# --- helpers --------------------------------------------------------------------------------------


def run(main: Callable[..., Any], *arguments: object) -> None:
    with contextlib.suppress(SystemExit):
        main([str(argument) for argument in arguments])


@contextlib.contextmanager
def packed(name: str) -> Iterator[Path]:
    """A file that is kept as .xz: most of a network's values are zeros here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        yield path
        data = lzma.compress(path.read_bytes(), preset=9)
        (HERE / f"{name}.xz").write_bytes(data)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


PRESENT = (
    weights, features, shard, original, extraction, shared, shared_clips, classifier, clips,
    training, result, means, pickles, targets,
)  # fmt: skip

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in [make.__name__ for make in PRESENT] if sys.argv[1:] == ["all"] else sys.argv[1:]:
        globals()[name]()
