"""The default weights, made again: from video, two teachers and a seed.

    python experiments/default_weights.py OUT --corpus FOLDER [FOLDER ...]

Each step keeps a file below OUT and is not done twice:

    material.clips        the frames, as `kinema prepare` keeps them
    motion.safetensors    how the picture moves: optical flow, by place and half of the clip
    mc3_18.safetensors    what a video network says of each clip (see teachers.py)
    imagenet.safetensors  what an image network says of its frames
    tries/NAME            students of a few clips each, which tell what is worth teaching
    students/NAME         the students, and in judged.json what they came to on what was held out
    NAME.safetensors      as they are shipped

A folder of video holds files of 172 x 128 pixels and a table `segments.tsv`: shard, first_frame,
num_frames, repository, path. Every folder's frames are learned from without labels.

The students learn by `kinema.train`; what is theirs is the recipe.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from needed import needs

needs("torch")

import cv2
import numpy as np
import torch
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.svm import LinearSVC
from teachers import MC3, EfficientNetLite2

from kinema.engine.engine import Engine
from kinema.files import write_tensors
from kinema.threads import mapped, num_usable_cores
from kinema.training.checkpoint import Checkpoint
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.clip_writer import ClipWriter
from kinema.training.heads import Head
from kinema.training.learner import head_loss
from kinema.training.pictures import encode
from kinema.training.prepare import split_videos
from kinema.training.recipe import Recipe
from kinema.training.sampling import Sampler, read_clip
from kinema.training.targets import Targets, variant_of
from kinema.training.train import train
from kinema.weights.file import Weights

SIZE = (128, 171)
CROP = 112
LENGTH = 16
STRIDE = 8
"""Frames from one clip that teachers look at to the next."""

HELD_OUT = (
    "Yaman2000/Sign_2",
    "mmuno/gymnai-exercise-images",
    "NGUYEN11235/Video_data",
    "intel-iot-devkit/sample-videos",
    "HimanchalChandra/HumanActivityRecognition",
)
"""Repositories that no student learns from."""

LEARNED_FROM = ("ImageNet", "Kinetics-400", "surveillance fights")
"""What the teachers had learned from."""

MEAN = np.array([90, 98, 102], np.float32)  # B, G, R
GRID, FINE = 3, 27
"""Cells of the motion, to each side, and those whose flow goes into them."""

PLAYED = [(False, False), (True, False), (False, True), (True, True)]
"""Reversed and fast."""

KINETICS = (Head("mc3_18", "fc6", "mse"), Head("mc3_18", "fc6", "similarity", 4.0))
IMAGENET = (Head("imagenet", "fc6", "mse"),)
MOTION = (Head("motion", "fc6", "mse", 0.5),)
ORDER = (Head("reversed", "fc6", weight=1.0), Head("speed", "fc6", weight=0.2))
SECOND = (
    Head("mc3_18", "fc7", "mse", 0.5),
    Head("imagenet", "fc7", "mse", 0.5),
    Head("reversed", "fc7", weight=0.25),
)
ALL = (*KINETICS, *IMAGENET, *MOTION, *ORDER)

TRIES: dict[str, tuple[Head, ...]] = {
    "everything": ALL,
    "kinetics": KINETICS,
    "imagenet": IMAGENET,
    "order": ORDER,
    "no-similarity": (KINETICS[0], *IMAGENET, *MOTION, *ORDER),
    "no-motion": (*KINETICS, *IMAGENET, *ORDER),
    "order-four-times": (
        *(*KINETICS, *IMAGENET, *MOTION),
        *(Head("reversed", "fc6", weight=4.0), ORDER[1]),
    ),
}
STUDENTS = {"c3d-half": "c3d_half", "c3d-mini": "c3d_mini"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, nargs="+", default=[], help="folders of video")
    parser.add_argument("--only", choices=[*STEPS], nargs="+", default=[*STEPS], help="which steps")
    parser.add_argument("--try-clips", type=int, default=50_000, help="of each try")
    parser.add_argument("--tries", nargs="*", default=[*TRIES], help="which of them")
    parser.add_argument("--half-clips", type=int, default=700_000, help="of c3d-half")
    parser.add_argument("--mini-clips", type=int, default=700_000, help="of c3d-mini")
    parser.add_argument("--heads", choices=[*TRIES], default="everything", help="of the students")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile the students")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.run:
        learn(options.out, *options.run, compile=options.compile)
        return
    for name in options.only:
        begun = time.monotonic()
        STEPS[name](options)
        print(f"{name}: {time.monotonic() - begun:.1f} s", flush=True)


# --- the frames -----------------------------------------------------------------------------------


def make_material(options: argparse.Namespace) -> None:
    """Keep all frames as prepared clips; segments of one video belong together."""
    path = options.out / "material.clips"
    if path.is_file():
        return
    rows = []
    for folder in options.corpus:
        with open(folder / "segments.tsv", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows += [{**row, "folder": folder} for row in table]
    shards = list(dict.fromkeys((row["folder"], row["shard"]) for row in rows))
    pictures: dict[tuple[Path, str], list[bytes]] = {}
    with ThreadPoolExecutor(num_usable_cores()) as pool:
        for shard, jpegs in zip(
            shards, pool.map(lambda s: jpegs_of(s[0] / s[1]), shards), strict=True
        ):
            pictures[shard] = jpegs
    videos: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        videos.setdefault((row["repository"], row["path"]), []).append(row)
    names = {key: key[1] if key[0] == "UCF101" else "/".join(key) for key in videos}
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for key, name in names.items():
        sides["test" if key[0] in HELD_OUT else "train"].append(name)
    about = {
        "size": list(SIZE),
        "clips": "whole",
        "quality": 95,
        "seed": 0,
        "kind": "folder",
        "classes": ["video"],
        "splits": {"held-out": sides},
    }
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with ClipWriter(partial, about) as writer:
        for key, parts in videos.items():
            segments = []
            for row in parts:
                first, count = int(row["first_frame"]), int(row["num_frames"])
                frames = pictures[row["folder"], row["shard"]][first : first + count]
                if len(frames) != count:
                    raise SystemExit(f"{row['shard']} has no {first + count} frames.")
                segments.append((first / 25, frames))
            writer.add(names[key], (0,), key[0], "", segments)
        writer.finish()
    partial.rename(path)


def jpegs_of(path: Path) -> list[bytes]:
    """All frames of a file as pictures of `SIZE`: of 172 columns the last is left out."""
    capture, jpegs = cv2.VideoCapture(str(path)), []
    while True:
        done, frame = capture.read()
        if not done:
            return jpegs
        jpegs.append(encode(cv2.cvtColor(frame[:, : SIZE[1]], cv2.COLOR_BGR2RGB), 95))


def segments_of(store: ClipStore) -> Iterator[tuple[int, int, np.ndarray]]:
    """Number of the video, of its segment, and the frames (n, H, W, 3) R, G, B."""
    places = [(v, s) for v, video in enumerate(store.videos) for s in range(len(video.segments))]
    read = mapped(
        lambda place: store.frames(store.videos[place[0]].segments[place[1]]),
        places,
        threads=num_usable_cores(),
    )
    for (video, segment), frames in zip(places, read, strict=True):
        yield video, segment, frames


def clips_in(num_frames: int) -> list[tuple[int, bool, bool]]:
    """First frame, reversed, fast, of all clips of a segment that have targets."""
    return [
        (start, backwards, fast)
        for backwards, fast in PLAYED
        for start in range(0, max(num_frames - span(fast), 0) + 1, STRIDE)
        if num_frames >= span(fast) or (not fast and start == 0)
    ]


def span(fast: bool) -> int:
    """Frames from the first to the last of a clip."""
    return 2 * (LENGTH - 1) + 1 if fast else LENGTH


def times_of(start: int, backwards: bool, fast: bool, num_frames: int) -> np.ndarray:
    """The frames of a clip; the last one stands for what is missing."""
    times = np.minimum(start + (2 if fast else 1) * np.arange(LENGTH), num_frames - 1)
    return times[::-1] if backwards else times


class Rows:
    """Rows of `Targets`, as they are made."""

    def __init__(self, store: ClipStore) -> None:
        self._names = [video.name for video in store.videos]
        self._keys: list[tuple[int, int, int, int]] = []
        self._vectors: list[np.ndarray] = []

    def add(self, video: int, segment: int, start: int, variant: int, vector: np.ndarray) -> None:
        self._keys.append((video, segment, start, variant))
        self._vectors.append(vector)

    def save(self, path: Path, change: Any) -> None:
        video, segment, start, variant = np.array(self._keys).T
        vectors = change(np.stack(self._vectors).astype(np.float32))
        Targets(self._names, vectors, video, start, segment, variant).save(path)


# --- what is to be told ---------------------------------------------------------------------------


def make_motion(options: argparse.Namespace) -> None:
    """Optical flow: by cell and half of the clip its mean, divergence, rotation and strength.

    Mirrored and reversed clips' are those of the clip itself, with other signs, so that a video's
    flow is computed once. At double speed it is twice as large.
    """
    path = options.out / "motion.safetensors"
    if path.is_file():
        return
    store = ClipStore(options.out / "material.clips")
    rows = Rows(store)
    parts = mapped(
        lambda part: (*part[:2], len(part[2]), pair_motion(part[2])),
        segments_of(store),
        threads=num_usable_cores(),
    )
    for video, segment, count, pairs in parts:
        for start, backwards, fast in clips_in(count):
            times = np.sort(times_of(start, False, fast, count))
            halves = np.stack(
                [
                    pairs[times[0] : max(times[7], times[0] + 1)].mean(0),
                    pairs[times[8] : max(times[15], times[8] + 1)].mean(0)
                    if times[8] < len(pairs)
                    else np.zeros_like(pairs[0]),
                ]
            ) * np.sqrt(2 if fast else 1)
            if backwards:
                halves = halves[::-1] * np.array([-1, -1, -1, -1, 1])
            for mirrored in (False, True):
                values = halves
                if mirrored:
                    values = halves[:, :, ::-1] * np.array([-1, 1, 1, -1, 1])
                variant = variant_of(mirrored=mirrored, reversed=backwards, fast=fast)
                rows.add(video, segment, start, variant, values.ravel())

    def scaled(vectors: np.ndarray) -> np.ndarray:
        kinds = vectors.reshape(len(vectors), -1, 5)
        kinds[..., 4] -= kinds[..., 4].mean()  # the others' signs tell directions
        return (kinds / kinds.std((0, 1))).reshape(len(vectors), -1)

    rows.save(path, scaled)


def pair_motion(frames: np.ndarray) -> np.ndarray:
    """From each frame to the next: (n - 1, GRID, GRID, 5), roots of pixels a frame.

    To the right, down, divergence, rotation, and the length of the flow. The roots are taken before
    the mean over a cell: of a turning disc the rotation of its rim takes away that of its inside.
    """
    cv2.setNumThreads(1)
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    top, left = (SIZE[0] - CROP) // 2, (SIZE[1] - CROP) // 2
    flow = np.zeros((max(len(frames) - 1, 1), FINE, FINE, 2), np.float32)
    for index, (one, two) in enumerate(itertools.pairwise(grey)):
        whole = method.calc(one, two, None)[top : top + CROP, left : left + CROP]
        flow[index] = cv2.resize(whole, (FINE, FINE), interpolation=cv2.INTER_AREA)
    down, right = np.gradient(flow, axis=(1, 2))
    divergence = right[..., 0] + down[..., 1]
    rotation = right[..., 1] - down[..., 0]
    length = np.hypot(flow[..., 0], flow[..., 1])
    values = np.stack([flow[..., 0], flow[..., 1], divergence, rotation, length], axis=-1)
    roots = np.sign(values) * np.sqrt(np.abs(values))
    cells: np.ndarray = roots.reshape(len(flow), GRID, FINE // GRID, GRID, FINE // GRID, 5).mean(
        (2, 4)
    )
    return cells


def make_kinetics(options: argparse.Namespace) -> None:
    """mc3_18 of the centre crop of each clip, both halves: roots, then mean 0 and deviation 1."""
    path = options.out / "mc3_18.safetensors"
    if path.is_file():
        return
    store = ClipStore(options.out / "material.clips")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = MC3(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    rows = Rows(store)
    top, left = (SIZE[0] - CROP) // 2, (SIZE[1] - CROP) // 2
    keys: list[tuple[int, int, int, int]] = []
    clips: list[torch.Tensor] = []

    def flush() -> None:
        halves = teacher.halves(torch.cat(clips).permute(0, 4, 1, 2, 3)).cpu().numpy()
        for key, vector in zip(keys, halves, strict=True):
            rows.add(*key, vector.ravel())
        keys.clear()
        clips.clear()

    for video, segment, frames in segments_of(store):
        crops = torch.from_numpy(frames[:, top : top + CROP, left : left + CROP]).to(device)
        for start, backwards, fast in clips_in(len(frames)):
            times = times_of(start, backwards, fast, len(frames))
            clips.append(crops[torch.from_numpy(times.copy()).to(device)][None])
            variant = variant_of(mirrored=False, reversed=backwards, fast=fast)
            keys.append((video, segment, start, variant))
            if len(keys) == 128:
                flush()
    if keys:
        flush()

    def standard(vectors: np.ndarray) -> np.ndarray:
        roots = np.sqrt(np.maximum(vectors, 0))
        return (roots - roots.mean(0)) / (roots.std(0) + 1e-3)

    rows.save(path, standard)


def make_imagenet(options: argparse.Namespace) -> None:
    """EfficientNet-Lite2 of a clip's frames, one of eight; 256 principal directions, whitened."""
    path = options.out / "imagenet.safetensors"
    if path.is_file():
        return
    store = ClipStore(options.out / "material.clips")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = EfficientNetLite2(device)
    rows = Rows(store)
    chosen: list[np.ndarray] = []
    counts: list[tuple[int, int, int]] = []
    images: list[np.ndarray] = []
    for video, segment, frames in segments_of(store):
        chosen.append(np.arange(min(4, len(frames) - 1), len(frames), STRIDE))
        counts.append((video, segment, len(frames)))
        images.append(frames[chosen[-1]])
    whole = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        parts = [teacher.vectors(part.to(device)).cpu() for part in whole.split(128)]
    told = np.split(torch.cat(parts).numpy(), np.cumsum([len(each) for each in chosen])[:-1])
    for (video, segment, count), times, vectors in zip(counts, chosen, told, strict=True):
        for start, backwards, fast in clips_in(count):
            inside = (times >= start) & (times < start + span(fast))
            mean = vectors[inside].mean(0) if inside.any() else vectors[-1]
            variant = variant_of(mirrored=False, reversed=backwards, fast=fast)
            rows.add(video, segment, start, variant, mean)

    def whitened(vectors: np.ndarray) -> np.ndarray:
        centred = vectors - vectors.mean(0)
        values, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        values, directions = values[::-1][:256], directions[:, ::-1][:, :256]
        # Softly: the last directions count half as much as the first.
        scores = centred @ directions / values**0.4
        return scores / scores.std()

    rows.save(path, whitened)


# --- students -------------------------------------------------------------------------------------


def recipe_of(network: str, heads: Sequence[Head], clips: int) -> Recipe:
    """How a student learns: AdamW, a cosine, norms that are folded, the mean of its weights."""
    return Recipe(
        "taught by mc3_18 and EfficientNet-Lite2 (experiments/default_weights.py)",
        network=network,
        arguments={},
        clips="whole",
        batch=256,
        learning_rate=0.002,
        iterations=max(clips // 256, 1),
        optimiser="adamw",
        weight_decay=0.03,
        schedule="cosine",
        warm_up=0.06,
        average=0.998 if clips > 200_000 else 0.99,
        pixel_scale=64,
        initial="he",
        norm="batch",
        paired=True,
        fast=0.2,
        brightness=0.15,
        heads=tuple(heads),
    )


def learn(
    out: Path, folder: str, network: str, heads: str, clips: str, *, compile: bool = False
) -> None:
    """One run, in its folder."""
    chosen = (*TRIES[heads], *SECOND) if folder.startswith("students") else TRIES[heads]
    recipe = recipe_of(network, chosen, int(clips))
    begun = time.monotonic()
    train(
        out / "material.clips",
        out=out / folder,
        recipe=recipe,
        split="held-out",
        dropout=0.0,
        mean=MEAN,
        targets={name: out / f"{name}.safetensors" for name in recipe.vectors},
        precision="bf16" if torch.cuda.is_available() else "fp32",
        checkpoint_seconds=100,
        seed=1,
        compile=compile,
    )
    seconds = time.monotonic() - begun
    judged = {"clips": int(clips), "seconds": round(seconds, 1), **judge(out, out / folder, recipe)}
    (out / folder / "judged.json").write_text(json.dumps(judged, indent=1))
    print(folder, json.dumps(judged), flush=True)


def run_all(options: argparse.Namespace, runs: Sequence[Sequence[str]]) -> None:
    """Runs in processes of their own, some side by side; those that are done are left out."""
    todo = [run for run in runs if not (options.out / run[0] / "judged.json").is_file()]

    def start(run: Sequence[str]) -> None:
        print(f"{run[0]}: {int(run[3]):,} clips", flush=True)
        command = [sys.executable, __file__, str(options.out), "--run", *run]
        subprocess.run(command + ["--compile"] * options.compile, check=True)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(start, todo))


def make_tries(options: argparse.Namespace) -> None:
    """c3d-mini with other heads, a few clips each."""
    clips = str(options.try_clips)
    runs = [(f"tries/{name}", "c3d_mini", name, clips) for name in options.tries]
    run_all(options, [("tries/c3d-half", "c3d_half", "everything", clips), *runs])


def make_students(options: argparse.Namespace) -> None:
    """Both students."""
    budgets = {"c3d-half": options.half_clips, "c3d-mini": options.mini_clips}
    run_all(
        options,
        [
            (f"students/{name}", network, options.heads, str(budgets[name]))
            for name, network in STUDENTS.items()
        ],
    )


# --- what they came to ----------------------------------------------------------------------------


def judge(out: Path, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Losses on held-out repositories; classes of UCF101's groups by an SVM, left out in turn."""
    store = ClipStore(out / "material.clips")
    weights = Weights.load(folder / "weights.safetensors")
    found: dict[str, Any] = {"held-out": held_out(out, folder, recipe, store, weights)}
    videos = [video for video in store.videos if video.group == "UCF101"]
    if videos:
        found |= classes_told(store, weights, videos)
    return found


def features_of(
    store: ClipStore,
    weights: Weights,
    clips: Sequence[tuple[Any, int, dict[str, Any]]],
    layers: Any,
) -> dict[str, np.ndarray]:
    """Outputs of layers for clips: segment, first frame, and how it is read."""
    engine = Engine(weights.network, weights, engine="torch")
    read = mapped(
        lambda clip: read_clip(
            store, clip[0], clip[1], length=LENGTH, mean=MEAN, crop=(CROP, CROP), **clip[2]
        ),
        clips,
        threads=num_usable_cores(),
    )
    outputs: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    batch: list[np.ndarray] = []
    for index, clip in enumerate(read, start=1):
        batch.append(clip)
        if len(batch) == 64 or index == len(clips):
            for layer, output in engine.run(np.stack(batch), tuple(layers)).items():
                outputs[layer].append(output)
            batch = []
    return {layer: np.concatenate(parts) for layer, parts in outputs.items()}


def held_out(
    out: Path, folder: Path, recipe: Recipe, store: ClipStore, weights: Weights
) -> dict[str, float]:
    """The mean loss of each head, unweighted, on 1,024 clips that were drawn as in learning."""
    _, videos = split_videos(store, "held-out", labelled=False)
    sampler = Sampler(
        videos,
        length=LENGTH,
        size=store.size,
        crop=(CROP, CROP),
        seed=7,
        fast=recipe.fast,
        paired=recipe.paired,
    )
    draws = [sampler[n] for n in range(1024)]
    clips = [
        (
            draw.segment,
            draw.start,
            {
                "offset": draw.offset,
                "flip": draw.flip,
                "step": draw.step,
                "reversed": draw.reversed,
            },
        )
        for draw in draws
    ]
    layers = tuple(dict.fromkeys(head.layer for head in recipe.heads))
    outputs = features_of(store, weights, clips, layers)
    state = Checkpoint.load(folder / "checkpoint.safetensors").state
    told: dict[str, np.ndarray] = {
        "reversed": np.array([draw.reversed for draw in draws], np.int64),
        "speed": np.array([draw.step > 1 for draw in draws], np.int64),
    }
    for name in recipe.vectors:
        targets = Targets.load(out / f"{name}.safetensors")
        rows = []
        for draw in draws:
            video: StoredVideo = videos[draw.video]
            segment = video.segments.index(draw.segment)
            rows.append(targets.row(video.name, segment, draw.start, draw.variant))
        told[name] = targets.vectors[rows]
    losses = {}
    for number, head in enumerate(recipe.heads):
        output = torch.from_numpy(outputs[head.layer])
        if head.is_linear:
            weight, bias = (
                torch.from_numpy(state[f"head:{number}.{kind}"]) for kind in ("weight", "bias")
            )
            output = torch.nn.functional.linear(output, weight, bias)
        target = torch.from_numpy(told[head.target])
        plain = dataclasses.replace(head, weight=1.0)
        name = f"{head.target} {head.layer} {head.loss}"
        losses[name] = round(float(head_loss(plain, output, target)), 4)
        if head.tells_classes:
            losses[f"{name} right"] = round(float((output.argmax(1) == target).float().mean()), 4)
    return losses


def classes_told(
    store: ClipStore, weights: Weights, videos: Sequence[StoredVideo]
) -> dict[str, Any]:
    """Accuracies by grouped folds: classes, and forward against reversed of BabyCrawling."""
    clips, owner = [], []
    for index, video in enumerate(videos):
        for backwards in (False, True):
            segment = video.segments[0]  # the others are the same
            for start in range(0, max(segment.num_frames - LENGTH, 0) + 1, LENGTH):
                clips.append((segment, start, {"reversed": backwards}))
                owner.append(2 * index + backwards)
    owners = np.array(owner)
    groups = np.array([video.name.partition("_g")[2][:2] for video in videos])
    classes = np.array([video.name.partition("/")[0] for video in videos])
    results: dict[str, Any] = {}
    layers = [layer for layer in ("fc6", "fc7") if layer in weights.network.layer_names]
    for layer, output in features_of(store, weights, clips, layers).items():
        means = np.stack([output[owners == n].mean(0) for n in range(2 * len(videos))])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        forward = means[::2]
        results[f"{layer} classes"] = grouped_accuracy(forward, classes, groups)
        crawling = classes == "BabyCrawling"
        both = np.concatenate([forward[crawling], means[1::2][crawling]])
        direction = np.repeat([0, 1], crawling.sum())
        results[f"{layer} reversed"] = grouped_accuracy(
            both, direction, np.tile(groups[crawling], 2)
        )
    return results


def grouped_accuracy(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """The best of a few C, each group left out in turn."""
    best = 0.0
    for c in (0.1, 1, 10, 100):
        right = 0
        for train_rows, test_rows in LeaveOneGroupOut().split(x, y, groups):
            svm = LinearSVC(C=c, max_iter=5000).fit(x[train_rows], y[train_rows])
            right += int((svm.predict(x[test_rows]) == y[test_rows]).sum())
        best = max(best, right / len(y))
    return round(best, 4)


def make_files(options: argparse.Namespace) -> None:
    """The students as they are shipped: float16, with what they saw and who taught them."""
    store = ClipStore(options.out / "material.clips")
    learned, _ = split_videos(store, "held-out", labelled=False)
    made = ("drawn", "rendered")
    names = [video.name for video in learned if video.group not in made]
    for name in STUDENTS:
        path = options.out / f"{name}.safetensors"
        if path.is_file():
            continue
        run = options.out / "students" / name
        clips = json.loads((run / "judged.json").read_text())["clips"]
        half = Weights.load(run / "weights.safetensors")
        weights = Weights(
            {key: array.astype(np.float16) for key, array in half.items()},
            half.network,
            name=name,
            mean=MEAN,
            source=f"taught by mc3_18 and EfficientNet-Lite2 on {clips:,} clips of {len(names):,} "
            "public videos, rendered people and drawn wheels (experiments/default_weights.py); see "
            "docs/weights.md",
            trained_on=tuple(names),
            learned_from=LEARNED_FROM,
        )
        tensors = {key: array.astype(np.float16) for key, array in weights.items()}
        write_tensors(path, {**tensors, "mean": MEAN}, weights.metadata())


STEPS = {
    "material": make_material,
    "motion": make_motion,
    "mc3_18": make_kinetics,
    "imagenet": make_imagenet,
    "tries": make_tries,
    "students": make_students,
    "files": make_files,
}

if __name__ == "__main__":
    main()
