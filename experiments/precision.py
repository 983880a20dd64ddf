"""What short numbers cost: docs/results/precision.json and precision.md.

    python experiments/precision.py

Relative L2 errors of layers against the float64 reference, of the worst of some real clips: of the
whole C3D with random weights, and of c3d-mini. Then the SVM on fc6 of c3d-mini for the three
classes of UCF101, on its official splits. All of it on a CPU: tf32, bf16 and fp16 are imitated, see
Note [In which precision] of `engine.torch_forward`. Real videos come from KINEMA_DATA; features are
kept in experiments/.cache, so a stopped run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compare import CACHE, ucf101_3
from needed import needs

from kinema.datasets import load
from kinema.engine import reference
from kinema.engine.engine import Engine
from kinema.engine.first_clip import ERRORS
from kinema.engine.precision import PRECISIONS
from kinema.features.extractor import Extractor
from kinema.features.kept import TableCache, kept_step
from kinema.files import atomic_path, write_json
from kinema.methods.svm import FeatureSVM
from kinema.network import c3d
from kinema.skipped import Skipped
from kinema.video.clips import ClipPlan, preprocess
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.steps import walk
from kinema.weights.file import Weights, random_weights, resolve

OUT = Path(__file__).parent.parent / "docs" / "results"

OF_C3D = ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b", "fc6", "fc7", "fc8")

STRIDE = 64
"""Frames from clip to clip for the SVM: about three clips a video."""

COST = 1.0


def main() -> None:
    needs("torch")
    dataset = load(ucf101_3()["dataset"], lists=ucf101_3()["lists"])
    # One video of each class in turn.
    by_class = {sample.labels: sample for sample in reversed(dataset.samples)}
    files = [sample.path for sample in by_class.values()]
    mini = resolve("c3d-mini")
    content = {
        "videos": [path.name for path in files],
        "layers": {
            "c3d, random weights": errors(random_weights(c3d()), files, OF_C3D),
            "c3d-mini": errors(mini, files, mini.network.layer_names),
        },
        "bounds": dict(ERRORS),
        "svm": accuracies(dataset, mini),
    }
    write_json(OUT / "precision.json", content)
    with atomic_path(OUT / "precision.md") as partial:
        partial.write_text(as_markdown(content), encoding="utf-8")
    print(as_markdown(content))


def errors(
    weights: Weights, files: Sequence[Path], layers: Sequence[str]
) -> dict[str, dict[str, float]]:
    """By layer and precision, the worst clip's relative L2 error against float64."""
    network = weights.network
    crop = network.input_shape[2:]
    clips = np.stack(
        [
            preprocess(
                [frame.image for frame, _ in zip(VideoReader(path), range(16), strict=False)],
                mean=weights.mean,
                resize_to=network.frame_size,
                crop=crop,
            )
            for path in files
        ]
    )
    right = [reference.run(network, weights, clip[None], layers) for clip in clips]
    found: dict[str, dict[str, float]] = {layer: {} for layer in layers}
    for precision in PRECISIONS:
        engine = Engine(network, weights, engine="torch", device="cpu", precision=precision)
        for layer, output in engine.run(clips, layers).items():
            found[layer][precision] = max(
                float(np.linalg.norm(got - exact[layer][0]) / np.linalg.norm(exact[layer][0]))
                for got, exact in zip(output, right, strict=True)
            )
    return found


def accuracies(dataset: Any, weights: Weights) -> dict[str, Any]:
    """The SVM's hits on the official splits by precision, and how far the video vectors move."""
    vectors = video_vectors([sample.path for sample in dataset.samples], weights)
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    rows = {}
    for precision, of_videos in vectors.items():
        correct = {}
        for name, split in dataset.splits.items():
            train, test = list(split.train), list(split.test)
            svm = FeatureSVM([], cost=COST).fit_vectors(of_videos[train], labels[train])
            told = svm.classes_[svm.decide(of_videos[test]).argmax(axis=1)]
            correct[name] = {"correct": int((told == labels[test]).sum()), "videos": len(test)}
        rows[precision] = {
            "splits": correct,
            "largest distance": float(np.linalg.norm(of_videos - vectors["fp32"], axis=1).max()),
        }
    return {"weights": weights.name, "layer": "fc6", "stride": STRIDE, "C": COST, "rows": rows}


def video_vectors(files: Sequence[Path], weights: Weights) -> dict[str, np.ndarray]:
    """(n, D) mean features of length 1 by precision; a video is decoded once for all of them."""
    how: Mapping[str, Any] = {"engine": "torch", "device": "cpu"}
    extractors = [
        Extractor(weights, plan=ClipPlan(stride=STRIDE), precision=precision, **how)
        for precision in PRECISIONS
    ]
    steps = [kept_step(one, TableCache(CACHE / "precision", one)) for one in extractors]
    rows: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}
    for number, (source, made) in enumerate(walk(map(as_source, files), steps), 1):
        for precision, one in zip(PRECISIONS, made, strict=True):
            if isinstance(one, Skipped):
                raise SystemExit(str(one))
            rows[precision].append(one.value.video_vector())
        if number % 50 == 0:
            print(f"{number} of {len(files)} videos, {source.name}", flush=True)
    return {precision: np.stack(each) for precision, each in rows.items()}


def as_markdown(content: Mapping[str, Any]) -> str:
    lines = [
        "# What short numbers cost",
        "",
        "`python experiments/precision.py`, on a CPU: tf32, bf16 and fp16 are imitated",
        "([gpu.md](../gpu.md)). Relative L2 error against the float64 reference, of the worst of "
        f"{len(content['videos'])} real clips.",
    ]
    for title, layers in content["layers"].items():
        lines += ["", f"## {title}", "", _row(["layer", *PRECISIONS]), _row(["---"] * 5)]
        lines += [
            _row([layer, *(f"{found[precision]:.1e}" for precision in PRECISIONS)])
            for layer, found in layers.items()
        ]
    bounds = [f"{content['bounds'][precision]:.0e}" for precision in PRECISIONS]
    svm = content["svm"]
    lines += [
        "",
        "A run on a GPU stops where its first clip differs from the native engine's by more than "
        "twice",
        "",
        _row(["", *PRECISIONS]),
        _row(["---"] * 5),
        _row(["bound", *bounds]),
        "",
        "## The SVM on three classes of UCF101",
        "",
        f"{svm['layer']} of {svm['weights']}, a clip every {svm['stride']} frames, "
        f"C = {svm['C']:g}: test videos told right on the official splits, and how far the vector "
        "of a video (length 1) moves from that of fp32, at most.",
        "",
        _row(["precision", *(f"split {name}" for name in svm["rows"]["fp32"]["splits"]), "moves"]),
        _row(["---"] * (2 + len(svm["rows"]["fp32"]["splits"]))),
    ]
    for precision, row in svm["rows"].items():
        told = [f"{one['correct']} of {one['videos']}" for one in row["splits"].values()]
        lines.append(_row([precision, *told, f"{row['largest distance']:.1e}"]))
    return "\n".join([*lines, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
