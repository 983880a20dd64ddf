"""Improved dense trajectories (Wang and Schmid, ICCV 2013): tracks of points and what is near them.

Points are sampled densely at up to eight scales and follow Farneback's flow for 15 frames. The
camera's motion is found as a homography between frames; of it are cleaned: the flow that is
described, and tracks that only the camera moved. What is computed stands in
`native/trajectories`; the program of October 2013 took SURF where this takes SIFT, which OpenCV's
packages hold.

Note [Frames in flight]
    A job takes one frame: it makes the frame's pyramid and keypoints, which need nothing else; the
    flow from the frame before, which needs that frame's; and moves the tracks, which needs the job
    before to have ended. Jobs start in order, each on a thread of its own, so none waits for one
    that has not begun, and each number is computed from the same numbers whatever the threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

import cv2
import numpy as np

from kinema.native import processor
from kinema.native import trajectories as kernels
from kinema.skipped import VideoError
from kinema.threads import num_usable_cores

T = TypeVar("T")

LENGTH = 15
"""Steps of a track."""
PATCH = 32
"""Side of the block that a descriptor sees, in pixels."""
COLUMNS = {
    "info": slice(0, 10),
    "trajectory": slice(10, 40),
    "hog": slice(40, 136),
    "hof": slice(136, 244),
    "mbhx": slice(244, 340),
    "mbhy": slice(340, 436),
}
"""Which columns of a row are which channel."""
INFO = (
    "frame",
    "mean_x",
    "mean_y",
    "std_x",
    "std_y",
    "length",
    "scale",
    "x",
    "y",
    "t",
)
"""The first columns: the frame in which the track ends, counted from 0; its mean place, spread and
length in pixels; its scale; and its place in the video, each from 0 to 0.999."""
NUM_COLUMNS = 436

WINDOW_PIXELS = 25
MOST_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PIXELS = 1000, 0.001, 3
INLIER_PIXELS = 1.0
LEAST_MATCHES, LEAST_INLIERS = 50, 25

Boxes = Mapping[int, np.ndarray]
"""Human boxes by frame, each (n, 4) as x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True, eq=False)
class Ended:
    """Tracks that ended in one frame.

    Attributes:
        frame: its number, from 0.
        rows: (n, 436) float32, see `COLUMNS`.
        points: (n, 16, 2) float32, the tracks' x, y in pixels of the frame.
        removed: (m, 16, 2) float32, those of tracks that only the camera moved.
    """

    frame: int
    rows: np.ndarray
    points: np.ndarray
    removed: np.ndarray


def track(
    frames: Iterable[np.ndarray],
    *,
    threads: int | None = None,
    boxes: Boxes | None = None,
    num_frames: int | None = None,
) -> Iterator[np.ndarray]:
    """Improved dense trajectories of a video: rows as tracks end, in constant memory.

    Args:
        frames: (H, W) uint8 each, grey, all of one size, sides of at least 32 pixels.
        threads: CPU threads; all by default. Rows are the same bits for any number.
        boxes: where humans are, which the camera's motion is not read from, see `read_boxes`.
        num_frames: of the video, for the column t; NaN stands there without it.

    Yields:
        (n, 436) float32, n > 0, see `COLUMNS`.

    Raises:
        ValueError: not such frames or threads; the frame is named.
    """
    for ended in tracks(frames, threads=threads, boxes=boxes, num_frames=num_frames):
        if len(ended.rows):
            yield ended.rows


def tracks(
    frames: Iterable[np.ndarray],
    *,
    threads: int | None = None,
    boxes: Boxes | None = None,
    num_frames: int | None = None,
) -> Iterator[Ended]:
    """As `track`, with the tracks' points, and those of tracks that only the camera moved.

    Yields:
        What ended in each frame from the second one on, in order.
    """
    threads = num_usable_cores() if threads is None else threads
    if threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1, got {num_frames}.")
    return _tracked(frames, threads, boxes or {}, num_frames)


def _tracked(
    frames: Iterable[np.ndarray], threads: int, boxes: Boxes, num_frames: int | None
) -> Iterator[Ended]:
    video: _Video | None = None
    if threads == 1:
        before = None
        for index, frame in enumerate(frames):
            video = video or _Video(_checked(frame, index, None), boxes, num_frames)
            job = _Job(_checked(frame, index, video.shape), index, before)
            ended = video.run(job)
            before = job
            if ended is not None:
                yield ended
        return
    # See Note [Frames in flight].
    pending: deque[Future[Ended | None]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="kinema-tracks") as pool:
        try:
            before = None
            for index, frame in enumerate(frames):
                video = video or _Video(_checked(frame, index, None), boxes, num_frames)
                before = _Job(_checked(frame, index, video.shape), index, before)
                pending.append(pool.submit(video.run, before))
                while len(pending) > threads + 1:
                    ended = pending.popleft().result()
                    if ended is not None:
                        yield ended
            while pending:
                ended = pending.popleft().result()
                if ended is not None:
                    yield ended
        finally:
            for future in pending:
                future.cancel()


class _Job:
    """One frame, what is made of it, and the frame before."""

    def __init__(self, image: np.ndarray, index: int, before: _Job | None) -> None:
        self.image, self.index, self.before = image, index, before
        self.seen: Future[tuple[kernels.Picture, Keypoints]] = Future()
        self.moved: Future[None] = Future()


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Points that can be found again.

    Attributes:
        points: (n, 2) float32, x and y in pixels.
        descriptors: (n, 128) float32.
    """

    points: np.ndarray
    descriptors: np.ndarray


class _Video:
    """What all frames share: the tracks, and memory that is used again."""

    def __init__(self, first: np.ndarray, boxes: Boxes, num_frames: int | None) -> None:
        self.shape = first.shape
        self._boxes, self._num_frames = boxes, num_frames
        self._size = (processor(), first.shape[1], first.shape[0])
        self._tracks = kernels.Tracks(*self._size)
        self._pictures: SimpleQueue[kernels.Picture] = SimpleQueue()
        self._pairs: SimpleQueue[kernels.Pair] = SimpleQueue()

    def run(self, job: _Job) -> Ended | None:
        """All that one frame asks for; None for the first one."""
        before = job.before
        try:
            mask = _mask(self.shape, self._boxes.get(job.index))
            picture = _next(self._pictures) or kernels.Picture(*self._size)
            picture.read(job.image)
            keypoints = keypoints_of(job.image, mask)
            job.seen.set_result((picture, keypoints))
            if before is None:
                self._tracks.begin(picture)
                job.moved.set_result(None)
                return None
            first, known = before.seen.result()
            pair = _next(self._pairs) or kernels.Pair(*self._size)
            pair.solve(first, picture)
            flow = np.empty((2, *self.shape), np.float32)
            pair.flow(0, False, flow)
            homography = _homography(
                _matches(known, keypoints), _flow_matches(before.image, flow, mask)
            )
            pair.solve_warped(first, picture, homography.ravel().tolist())
            before.moved.result()
            ended = self._step(first, picture, pair, job.index)
            self._pictures.put(first)
            self._pairs.put(pair)
            job.moved.set_result(None)
            return ended
        except BaseException as error:
            for future in (job.seen, job.moved):  # the jobs behind end, too
                if not future.done():
                    future.set_exception(error)
            raise
        finally:
            job.before = None

    def _step(
        self, first: kernels.Picture, second: kernels.Picture, pair: kernels.Pair, index: int
    ) -> Ended:
        num_rows, num_removed = self._tracks.step(first, second, pair)
        rows = np.empty((num_rows, NUM_COLUMNS), np.float32)
        points = np.empty((num_rows, LENGTH + 1, 2), np.float32)
        removed = np.empty((num_removed, LENGTH + 1, 2), np.float32)
        self._tracks.ended(rows, points, removed)
        share = (index - LENGTH / 2) / self._num_frames if self._num_frames else np.nan
        rows[:, 9] = np.clip(share, 0, 0.999)
        return Ended(index, rows, points, removed)


def _next(free: SimpleQueue[T]) -> T | None:
    try:
        return free.get_nowait()
    except Empty:
        return None


def _checked(frame: np.ndarray, index: int, shape: tuple[int, ...] | None) -> np.ndarray:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 2:
        kind = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame)
        raise ValueError(f"frame {index} must be a grey picture, (H, W) uint8, got {kind}.")
    height, width = frame.shape
    if min(height, width) < PATCH:
        raise VideoError(
            f"frame {index} is {width}x{height}: each side must be at least {PATCH} pixels, the "
            "side of a descriptor's block."
        )
    if shape is not None and frame.shape != shape:
        raise VideoError(
            f"frame {index} is {width}x{height}, the first one {shape[1]}x{shape[0]}: all must "
            "have one size."
        )
    return np.ascontiguousarray(frame)


def _mask(shape: tuple[int, ...], boxes: np.ndarray | None) -> np.ndarray | None:
    """1 where no human is; None for everywhere."""
    if boxes is None or not len(boxes):
        return None
    mask = np.ones(shape, np.uint8)
    far = max(shape)  # what is beyond is cut off, so that it is a number of pixels
    for x1, y1, x2, y2 in np.rint(np.clip(boxes[:, :4], -far, far)).astype(int):
        mask[max(y1, 0) : max(y2 + 1, 0), max(x1, 0) : max(x2 + 1, 0)] = 0
    return mask


def keypoints_of(image: np.ndarray, mask: np.ndarray | None) -> Keypoints:
    """SIFT of a picture (H, W) uint8, where `mask` (H, W) uint8 is not zero."""
    found, descriptors = cv2.SIFT.create().detectAndCompute(image, mask)
    points = np.array([one.pt for one in found], np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.empty((0, 128), np.float32)
    return Keypoints(points, descriptors)


def _matches(first: Keypoints, second: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    """Places in both frames of each keypoint of `second` and the most alike one near it."""
    nearest = np.empty(len(second.points), np.int32)
    kernels.match(
        processor(),
        (second.points, second.descriptors),
        (first.points, first.descriptors),
        WINDOW_PIXELS,
        nearest,
    )
    found = nearest >= 0
    return first.points[nearest[found]], second.points[found]


def _flow_matches(
    image: np.ndarray, flow: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the first frame, and where the flow takes them."""
    corners = cv2.goodFeaturesToTrack(
        image, MOST_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PIXELS, mask=mask
    )
    if corners is None:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    corners = corners.reshape(-1, 2)
    height, width = image.shape
    x = np.clip(np.rint(corners[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(corners[:, 1]).astype(int), 0, height - 1)
    places = np.stack([x, y], axis=1).astype(np.float32)
    return places, places + flow[:, y, x].T


def _homography(*matches: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """From the first frame to the second, (3, 3); the identity if too few agree on one."""
    first = np.concatenate([one for one, _ in matches])
    second = np.concatenate([two for _, two in matches])
    if len(first) > LEAST_MATCHES:
        cv2.setRNGSeed(0)
        found, inliers = cv2.findHomography(first, second, cv2.RANSAC, INLIER_PIXELS)
        if found is not None and inliers.sum() > LEAST_INLIERS and np.isfinite(found).all():
            return found
    return np.eye(3)


def read_boxes(path: str | os.PathLike[str]) -> dict[int, np.ndarray]:
    """Human boxes from a file: a line a frame, its number and five numbers a box.

    Args:
        path: of a file with lines "frame x1 y1 x2 y2 score x1 y1 x2 y2 score ...".

    Returns:
        By frame, each (n, 4) float64 as x1, y1, x2, y2 in pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file; the line is named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    boxes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        words = line.split()
        if not words:
            continue
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.empty(0)
        if len(values) % 5 != 1 or not np.isfinite(values).all() or values[0] % 1 or values[0] < 0:
            raise ValueError(
                f"{path}, line {number + 1}: must be a frame's number and five numbers a box "
                "(x1 y1 x2 y2 score)."
            )
        found = values[1:].reshape(-1, 5)[:, :4]
        if (found[:, :2] > found[:, 2:]).any():
            raise ValueError(
                f"{path}, line {number + 1}: a box must have its left upper corner first "
                "(x1 y1 x2 y2 score)."
            )
        boxes[int(values[0])] = found
    return boxes
