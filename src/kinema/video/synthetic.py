"""Drawn actions: labelled videos in which only motion tells the classes apart.

A scene is 16 pictures of turning wheels, one for each sixteenth of a turn. A video shows these
pictures, over and over, and its class is how many are stepped on from one frame to the next:

    clockwise               + 1      0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 | 0 ...
    counterclockwise        - 1      0 15 14 13 12 11 10  9  8  7  6  5  4  3  2  1 | 0 ...
    fast_clockwise          + 3      0  3  6  9 12 15  2  5  8 11 14  1  4  7 10 13 | 0 ...
    fast_counterclockwise   - 3      0 13 10  7  4  1 14 11  8  5  2 15 12  9  6  3 | 0 ...

Note [Only motion]
    No step has a factor in common with 16, so every 16 frames in a row show each picture once: the
    four videos of one scene hold the same frames in every clip of C3D. First angles are uniform
    over the turn, so no picture is more likely than another to stand at any one place. One frame, a
    mean of frames, or a clip's frames in shuffled order thus say nothing of the class, not even to
    a perfect observer. Files keep this to the last bit: each frame is coded by itself at a constant
    quantiser, so a picture decodes to the same pixels wherever it stands, and shows no trail of the
    frame before.
"""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import cv2
import numpy as np

from kinema.files import atomic_path, write_json

NUM_PICTURES = 16
"""Pictures of a turn; C3D's clip length, see Note [Only motion]."""

STEPS: Mapping[str, int] = MappingProxyType(
    {
        "clockwise": 1,
        "counterclockwise": -1,
        "fast_clockwise": 3,
        "fast_counterclockwise": -3,
    }
)
"""Pictures stepped on from one frame to the next, by class."""

CLASSES: tuple[str, ...] = tuple(STEPS)

SPLITS: tuple[str, ...] = ("train", "test")

FPS = 25

_GRID = (3, 4)  # rows and columns of wheels: square cells at 4:3

_X264 = {
    "preset": "veryfast",
    # Nothing may carry over from one frame to the next; see Note [Only motion].
    "qp": "23",
    "x264-params": "keyint=1:bframes=0:scenecut=0:rc-lookahead=0:mbtree=0:aq-mode=0:threads=1",
}
"""Options of libx264: every frame an IDR picture, the quantiser constant, one thread."""


@dataclass(frozen=True)
class DrawnVideo:
    """A video file, its class, and whether it is for training or testing."""

    path: Path
    label: str
    split: str


def picture_indices(label: str, num_frames: int) -> np.ndarray:
    """Which of the 16 pictures each frame of a class shows: (num_frames,) int64, 0 ... 15."""
    if label not in STEPS:
        raise ValueError(f"`label` must be one of {', '.join(CLASSES)}; got {label!r}.")
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1, got {num_frames}.")
    return STEPS[label] * np.arange(num_frames) % NUM_PICTURES


def draw_pictures(seed: int | Sequence[int], *, width: int = 240, height: int = 180) -> np.ndarray:
    """The 16 pictures of a scene: 3 x 4 two-coloured wheels, each a sixteenth of a turn further.

    Colours, sizes, places and first angles are random, and so is the camera's noise, anew in each
    picture.

    Args:
        seed: one scene each; any number or numbers that `numpy.random.default_rng` takes.
        width: pixels.
        height: pixels.

    Returns:
        (16, height, width, 3) uint8 RGB.
    """
    if min(width, height) < 16:
        raise ValueError(f"`width` and `height` must be at least 16, got {width} and {height}.")
    generator = np.random.default_rng(seed)
    hue = generator.uniform()
    pictures = np.repeat(_background(generator, hue, width, height)[None], NUM_PICTURES, axis=0)
    rows, columns = _GRID
    cell = min(width / columns, height / rows)
    for row in range(rows):
        for column in range(columns):
            center = (
                (column + 0.5) * width / columns + generator.uniform(-0.04, 0.04) * cell,
                (row + 0.5) * height / rows + generator.uniform(-0.04, 0.04) * cell,
            )
            _add_wheel(pictures, generator, center, generator.uniform(0.37, 0.45) * cell, hue)
    noise = generator.standard_normal((NUM_PICTURES, height, width, 1), np.float32)
    pictures += 2 * noise
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def _background(generator: np.random.Generator, hue: float, width: int, height: int) -> np.ndarray:
    """Soft clouds of two related colours: (height, width, 3) float32, 0 ... 255."""
    first, second = (
        _colour(generator, hue + generator.uniform(-0.08, 0.08), (0.4, 0.7), (0.25, 0.45))
        for _ in range(2)
    )
    coarse = generator.uniform(0, 1, (4, 5)).astype(np.float32)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return first + (second - first) * clouds


def _add_wheel(
    pictures: np.ndarray,
    generator: np.random.Generator,
    center: tuple[float, float],
    radius: float,
    hue: float,
) -> None:
    """Draw one wheel, a light and a dark half, into all pictures, edges one pixel soft."""
    light = _colour(generator, hue + 0.5 + generator.uniform(-0.2, 0.2), (0.15, 0.6), (0.85, 1.0))
    dark = _colour(generator, hue + generator.uniform(-0.1, 0.1), (0.4, 0.8), (0.05, 0.15))
    first_angle = generator.uniform(0, 2 * np.pi)
    left, top = (max(int(c - radius) - 1, 0) for c in center)
    right, bottom = (int(c + radius) + 3 for c in center)
    patch = pictures[:, top:bottom, left:right]  # (16, h, w, 3)
    y, x = np.mgrid[top : top + patch.shape[1], left : left + patch.shape[2]].astype(np.float32)
    x, y = x + 0.5 - center[0], y + 0.5 - center[1]  # from the centre to the middles of pixels
    disc = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)[..., None]
    for index in range(NUM_PICTURES):
        # y points down, so angles grow clockwise.
        angle = first_angle + 2 * np.pi * index / NUM_PICTURES
        half = np.clip(x * np.cos(angle) + y * np.sin(angle) + 0.5, 0, 1)[..., None]
        patch[index] += disc * (dark + (light - dark) * half - patch[index])


def _colour(
    generator: np.random.Generator,
    hue: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> np.ndarray:
    """A random colour of a hue: (3,) float32 RGB, 0 ... 255."""
    rgb = colorsys.hsv_to_rgb(hue % 1, generator.uniform(*saturation), generator.uniform(*value))
    return 255 * np.asarray(rgb, np.float32)


def draw_video(
    label: str,
    *,
    seed: int | Sequence[int],
    num_frames: int = 48,
    width: int = 240,
    height: int = 180,
) -> np.ndarray:
    """One video of a class; the same seed gives each class the same pictures, in its own order.

    Returns:
        (num_frames, height, width, 3) uint8 RGB.

    Example:
        >>> video = draw_video("clockwise", seed=0, num_frames=16)
        >>> back = draw_video("counterclockwise", seed=0, num_frames=16)
        >>> video.shape
        (16, 180, 240, 3)
        >>> bool((video[1:] == back[:0:-1]).all())  # the same pictures in the other order
        True
    """
    indices = picture_indices(label, num_frames)
    return draw_pictures(seed, width=width, height=height)[indices]


def write_video(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], *, fps: int | Fraction = FPS
) -> None:
    """Write frames as an H.264 .mp4 file; the same frames give the same bytes.

    Each frame is coded by itself, so any frame can be read without those before it.

    Args:
        path: the file; it appears when it is whole, and its folder is made.
        frames: (height, width, 3) uint8 RGB each, of one size; both sides even (4:2:0 colour).
        fps: frames a second.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("`frames` must hold at least one frame, got none.")
    size = first.shape
    if len(size) != 3 or size[2] != 3 or size[0] % 2 or size[1] % 2:
        raise ValueError(f"`frames` must be (even height, even width, 3) each, got {size}.")
    with (
        atomic_path(path) as partial,
        av.open(os.fspath(partial), "w", format="mp4", options={"fflags": "+bitexact"}) as file,
    ):
        stream = file.add_stream("libx264", rate=fps, options=_X264)
        stream.height, stream.width = size[:2]
        stream.pix_fmt = "yuv420p"
        image: np.ndarray | None = first
        while image is not None:
            if image.shape != size or image.dtype != np.uint8:
                raise ValueError(f"`frames` must be {size} uint8, got {image.shape} {image.dtype}.")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            file.mux(stream.encode(picture))
            image = next(frames, None)
        file.mux(stream.encode())


def write_dataset(
    folder: str | os.PathLike[str],
    *,
    num_train: int = 24,
    num_test: int = 12,
    seed: int = 0,
    num_frames: int = 48,
    width: int = 240,
    height: int = 180,
) -> list[DrawnVideo]:
    """Draw a dataset: `folder/train/clockwise/v_clockwise_0001.mp4`, and so on.

    Videos of one number and split show the same pictures in every class; no scene is in both
    splits. Files that are there already are not drawn again.

    Args:
        folder: where to write; made if it is not there.
        num_train: training videos of each class.
        num_test: test videos of each class.
        seed: another seed, another dataset.
        num_frames: of each video.
        width: pixels.
        height: pixels.

    Returns:
        The videos by split, class and number.

    Raises:
        ValueError: `folder` holds a dataset that was drawn with other settings.
    """
    for name, count in (("num_train", num_train), ("num_test", num_test)):
        if count < 0:
            raise ValueError(f"`{name}` must not be negative, got {count}.")
    folder = Path(folder)
    _check_settings(
        folder, {"seed": seed, "num_frames": num_frames, "width": width, "height": height}
    )
    scenes = [
        (split, number)
        for split, count in zip(SPLITS, (num_train, num_test), strict=True)
        for number in range(1, count + 1)
    ]

    def path(split: str, label: str, number: int) -> Path:
        return folder / split / label / f"v_{label}_{number:04d}.mp4"

    def write_scene(split: str, number: int) -> None:
        missing = [label for label in CLASSES if not path(split, label, number).exists()]
        if missing:
            scene = (seed, SPLITS.index(split), number)
            pictures = draw_pictures(scene, width=width, height=height)
            for label in missing:
                indices = picture_indices(label, num_frames)
                write_video(path(split, label, number), pictures[indices])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each file by one thread: same bytes anywhere
        list(pool.map(lambda scene: write_scene(*scene), scenes))
    return [
        DrawnVideo(path(split, label, number), label, split)
        for split in SPLITS
        for label in CLASSES
        for scene_split, number in scenes
        if scene_split == split
    ]


def _check_settings(folder: Path, settings: Mapping[str, int]) -> None:
    """Keep the settings in the folder, and refuse to mix videos that were drawn with others."""
    path = folder / "synthetic.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != settings:
            raise ValueError(
                f"`folder` {folder} was drawn with {before}, now it is {dict(settings)}: choose "
                "another folder, or the same settings."
            )
        return
    write_json(path, settings)
