"""The clips of a stream of frames, and how they become the input of a network.

`stream_clips` carries a `ClipPlan` out on a stream of frames, holding no more than one clip's worth
of them. `preprocess` is the original's input pipeline; it alone changes order, type and channel
order of frames.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.skipped import VideoError
from kinema.video.plan import ClipPlan
from kinema.video.reader import Frame
from kinema.video.timeline import Moment, due_every

__all__ = [
    "C3D_CROP",
    "C3D_RESIZE",
    "NO_FRAME",
    "Clip",
    "ClipPlan",
    "Mean",
    "preprocess",
    "resize",
    "resize_frame",
    "resizing",
    "stream_clips",
]

C3D_RESIZE = (128, 171)
"""Height and width that frames are resized to (Tran et al., section 3.1; C3D v1.0 prototxts)."""

C3D_CROP = (112, 112)
"""Height and width of the crop that goes into C3D (Tran et al., section 3.1)."""

NO_FRAME = "it holds no frame."
"""Why a video, or a part of one, gives no clip."""

Mean = np.ndarray | tuple[float, float, float]
"""What is subtracted: a volume (3, T, H, W) or one constant a channel, B, G, R for C3D."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Some frames of a video, in order, and where they stand in it.

    Attributes:
        images: `length` arrays (H, W, 3) uint8 RGB.
        start_frame: number of the first frame.
        stop_frame: number behind the last frame of the video that was used.
        start_seconds: when the first frame is shown.
        stop_seconds: when the last frame stops being shown, on the clock of the first one.
        num_padded_frames: how many images at the end repeat the last frame of a short video.
    """

    images: list[np.ndarray]
    start_frame: int
    stop_frame: int
    start_seconds: float
    stop_seconds: float
    num_padded_frames: int = 0


def stream_clips(
    frames: Iterable[Frame],
    plan: ClipPlan,
    *,
    starts: Sequence[int] | None = None,
    num_frames: int | None = None,
) -> Iterator[Clip]:
    """The clips of a stream of frames, each as soon as its last frame has come.

    Args:
        frames: in order, numbered without a gap.
        plan: which frames make which clip.
        starts: first frames of the wanted clips in ascending order, instead of the plan's stride.
            Each of them must fit into the video whole.
        num_frames: what `plan.count` gave of the same frames; needed with `plan.clips` alone.

    Raises:
        VideoError: the video has no frame, is shorter than a clip and `plan.short` is "skip", ends
            before a clip of `starts` does, has no times that the plan needs, or has not
            `num_frames`.
    """
    found = plan.moments(frames)
    first = next(found, None)
    if first is None:
        raise VideoError(NO_FRAME)
    offset = first.frame.index
    if starts is not None:
        plan.check_listed()
        if len(starts) and starts[0] < offset:
            raise VideoError(f"its frames are numbered from {offset}, not {starts[0]}.")
    held: deque[Moment] = deque()
    waiting: deque[int] = deque()  # places of the first frames of clips that are not over
    num_clips = place = 0
    listed = None if starts is None else [start - offset for start in starts]
    stream = _beginning(itertools.chain([first], found), plan, listed, num_frames)
    for place, (moment, num_begin) in enumerate(stream):
        held.append(moment)
        waiting.extend([place] * num_begin)
        while waiting and place == waiting[0] + plan.span - 1:
            yield _make_clip(held, plan)
            num_clips += 1
            waiting.popleft()
        while held and (not waiting or place + 1 - len(held) < waiting[0]):
            held.popleft()
    if starts is not None:
        if num_clips < len(starts):
            start = starts[num_clips]
            raise VideoError(
                f"a clip from frame {start} needs frames up to {start + plan.span - 1}, "
                f"but the last frame is {place + offset}."
            )
    elif plan.clips is not None and num_frames != place + 1:
        raise VideoError(f"it has {place + 1} frames, but had {num_frames} when they were counted.")
    elif num_clips == 0:
        if plan.short == "skip":
            at = "" if plan.fps is None else f" at {plan.fps:g} a second"
            raise VideoError(
                f"it has {place + 1} frame{'s'[: place != 0]}{at}, a clip needs {plan.span}."
            )
        yield _make_clip(held, plan)


def _beginning(
    found: Iterable[Moment],
    plan: ClipPlan,
    listed: Sequence[int] | None,
    num_frames: int | None,
) -> Iterator[tuple[Moment, int]]:
    """Each moment, and how many clips begin with it."""
    if plan.every is not None:
        yield from due_every(found, plan.every)
        return
    if listed is not None:
        places = iter(listed)
    elif plan.clips is not None:
        if num_frames is None:
            raise ValueError("`num_frames` must be told where `plan.clips` are asked for.")
        places = iter(plan.starts(num_frames) or [0])  # that of a short video is padded
    else:
        places = itertools.count(0, plan.stride)
    following = next(places, None)
    for place, moment in enumerate(found):
        num_begin = 0
        while following == place:
            num_begin += 1
            following = next(places, None)
        yield moment, num_begin


def _make_clip(held: Sequence[Moment], plan: ClipPlan) -> Clip:
    """One clip from moments that begin with its first frame; what is missing is padded."""
    places = plan.frame_indices(0)
    last = min(places[-1], len(held) - 1)
    chosen = [held[min(place, last)].frame for place in places]
    # Where a file's clock begins anew within the clip (joined transport streams), it goes on from
    # the stop of the frame before.
    ahead = 0.0
    for moment in itertools.islice(held, 1, last + 1):
        ahead += moment.jump
    return Clip(
        images=[frame.image for frame in chosen],
        start_frame=chosen[0].index,
        stop_frame=chosen[-1].index + 1,
        start_seconds=chosen[0].start_seconds,
        stop_seconds=chosen[-1].stop_seconds + ahead,
        num_padded_frames=sum(place > last for place in places),
    )


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8 to `size` = (height, width), aspect not kept.

    OpenCV's bilinear without antialiasing and rounded to uint8, as C3D v1.0 (`image_io.cpp`).
    """
    height, width = size
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def resize_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame with its image resized, so that a clip that waits for its end takes little room."""
    return dataclasses.replace(frame, image=resize(frame.image, size))


@functools.cache
def resizing(size: tuple[int, int]) -> Callable[[Frame], Frame]:
    """`resize_frame` to a size, (height, width); the same function whenever it is asked for."""
    return lambda frame: resize_frame(frame, size)


def preprocess(
    frames: np.ndarray | Sequence[np.ndarray],
    *,
    mean: Mean,
    resize_to: tuple[int, int] | None = C3D_RESIZE,
    crop: tuple[int, int] = C3D_CROP,
    offset: tuple[int, int] | None = None,
    channels: str = "BGR",
    scale: float | tuple[float, float, float] = 1.0,
) -> np.ndarray:
    """Frames of one clip as the input of a network; the defaults are C3D's, exactly.

    C3D v1.0 (`image_io.cpp`, `video_data_layer.cpp`): resize each frame, subtract the mean at the
    same place of the *uncropped* frame, crop the centre; channels in the order B, G, R.

        171 x 128:  29 columns | 112 | 30 columns,  8 rows | 112 | 8 rows

    Args:
        frames: (T, H, W, 3) uint8 RGB, or T arrays (H, W, 3).
        mean: (3, T, h, w) float32 of the resized size, or of the crop's own size, or (3,)
            constants; in the order of `channels`.
        resize_to: (height, width) to resize to; None if frames have their size already.
        crop: (height, width) of the crop.
        offset: (top, left) of the crop; None for the centre, (8, 29) for C3D.
        channels: "BGR" or "RGB".
        scale: what each value is multiplied by after the mean is subtracted; one number, or one a
            channel (for networks that divide by a standard deviation).

    Returns:
        (3, T, crop height, crop width) float32.
    """
    images = [_check_image(image) for image in frames]
    if not images:
        raise ValueError("`frames` must hold at least one frame, got none.")
    if channels not in ("BGR", "RGB"):
        raise ValueError(f'`channels` must be "BGR" or "RGB", got {channels!r}.')
    if resize_to is not None:
        images = [resize(image, resize_to) for image in images]
    height, width = images[0].shape[:2]
    top, left = offset if offset is not None else ((height - crop[0]) // 2, (width - crop[1]) // 2)
    if min(top, left) < 0 or top + crop[0] > height or left + crop[1] > width:
        raise ValueError(
            f"`crop` {crop} at offset {(top, left)} does not fit into frames of "
            f"{height}x{width} (height x width)."
        )
    rows, columns = slice(top, top + crop[0]), slice(left, left + crop[1])
    clip = np.stack([image[rows, columns] for image in images])  # (T, h, w, 3) RGB
    if channels == "BGR":
        clip = clip[..., ::-1]
    values = clip.transpose(3, 0, 1, 2).astype(np.float32, order="C")  # (3, T, h, w)
    values -= _cropped_mean(mean, len(images), (height, width), rows, columns, values.shape)
    if np.any(np.asarray(scale) != 1):
        values *= np.asarray(scale, np.float32).reshape(-1, 1, 1, 1)
    return values


def _check_image(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`frames` must be (height, width, 3) each, got shape {np.shape(image)}.")
    if image.dtype != np.uint8:
        raise TypeError(f"`frames` must be uint8 RGB, got {image.dtype}.")
    return image


def _cropped_mean(
    mean: Mean,
    num_frames: int,
    size: tuple[int, int],
    rows: slice,
    columns: slice,
    shape: tuple[int, ...],
) -> np.ndarray:
    """The part of `mean` that lies under the crop, in a shape that broadcasts to the clip's."""
    array = np.asarray(mean, np.float32)
    if array.shape == (3,):
        return array.reshape(3, 1, 1, 1)
    if array.shape == (3, num_frames, *size):
        return array[:, :, rows, columns]
    if array.shape == shape:
        return array
    raise ValueError(
        f"`mean` must be three constants, a volume {(3, num_frames, *size)} or one of the crop's "
        f"own size {shape}; got shape {array.shape}."
    )
