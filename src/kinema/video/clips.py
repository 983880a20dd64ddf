"""Which frames make which clip, and how frames become the input of a network.

`ClipPlan` is arithmetic on frame numbers alone. `stream_clips` carries it out on a stream of
frames, holding no more than one clip's worth of them. `preprocess` is the original's input
pipeline; it alone changes order, type and channel order of frames.

Note [Tail and short videos]
    Clips are whole: a video of n frames gives the clips that start at 0, stride, 2 stride, ... and
    end at or before n, as in C3D v1.0. Frames behind the last whole clip are used by no clip.

        length 16, stride 8, 43 frames:
        0       8       16      24      32      40
        |===============|                              0..16
                |===============|                      8..24
                        |===============|              16..32
                                |===============|      24..40, and frames 40, 41, 42 are left out

    A video shorter than one clip gives one clip whose missing frames repeat the last frame; its
    row says how many in `num_padded_frames`. `short="skip"` refuses such videos instead (C3D v1.0
    fails on them).
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
from kinema.video.reader import Frame

C3D_RESIZE = (128, 171)
"""Height and width that frames are resized to (Tran et al., section 3.1; C3D v1.0 prototxts)."""

C3D_CROP = (112, 112)
"""Height and width of the crop that goes into C3D (Tran et al., section 3.1)."""

NO_FRAME = "it holds no frame."
"""Why a video, or a part of one, gives no clip."""

Mean = np.ndarray | tuple[float, float, float]
"""What is subtracted: a volume (3, T, H, W) or one constant a channel, B, G, R for C3D."""


@dataclass(frozen=True)
class ClipPlan:
    """Which frames of a video make which clip. See Note [Tail and short videos].

    Attributes:
        length: frames in a clip.
        stride: frames from the start of one clip to the start of the next.
        sampling_rate: every how many-th frame is taken; a clip needs `length * sampling_rate`
            frames of video, as in C3D v1.0 (`image_io.cpp`).
        short: "pad" or "skip", for videos that have no whole clip.
    """

    length: int = 16
    stride: int = 8
    sampling_rate: int = 1
    short: str = "pad"

    def __post_init__(self) -> None:
        for name in ("length", "stride", "sampling_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"`{name}` must be a whole number of frames, got {value!r}.")
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1 frame, got {value}.")
            object.__setattr__(self, name, int(value))
        if self.short not in ("pad", "skip"):
            raise ValueError(f'`short` must be "pad" or "skip", got {self.short!r}.')

    @property
    def span(self) -> int:
        """Frames of video that a whole clip needs."""
        return self.length * self.sampling_rate

    def starts(self, num_frames: int) -> range:
        """First frame of every whole clip of a video with `num_frames` frames."""
        return range(0, max(num_frames - self.span + 1, 0), self.stride)

    def num_clips(self, num_frames: int) -> int:
        """Clips that a video of `num_frames` frames gives; a short video's padded one counts."""
        if num_frames < 0:
            raise ValueError(f"`num_frames` must not be negative, got {num_frames}.")
        if 0 < num_frames < self.span and self.short == "pad":
            return 1
        return len(self.starts(num_frames))

    def frame_indices(self, start: int) -> range:
        """The frames of the clip that starts at frame `start`."""
        return range(start, start + self.span, self.sampling_rate)


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
    frames: Iterable[Frame], plan: ClipPlan, *, starts: Sequence[int] | None = None
) -> Iterator[Clip]:
    """The clips of a stream of frames, each as soon as its last frame has come.

    Args:
        frames: in order, numbered without a gap.
        plan: which frames make which clip.
        starts: first frames of the wanted clips in ascending order, instead of the plan's stride.
            Each of them must fit into the video whole.

    Raises:
        VideoError: the video has no frame, is shorter than a clip and `plan.short` is "skip", or
            ends before a clip of `starts` does.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(NO_FRAME)
    if starts is not None and len(starts) and starts[0] < first.index:
        raise VideoError(f"its frames are numbered from {first.index}, not {starts[0]}.")
    wanted = iter(starts) if starts is not None else itertools.count(first.index, plan.stride)
    pending = next(wanted, None)
    held: deque[Frame] = deque()
    num_clips = 0
    last = first
    for frame in itertools.chain([first], frames):
        last = frame
        held.append(frame)
        while pending is not None and frame.index == plan.frame_indices(pending)[-1] + (
            plan.sampling_rate - 1
        ):
            yield _make_clip(held, plan.frame_indices(pending))
            num_clips += 1
            pending = next(wanted, None)
        while held and (pending is None or held[0].index < pending):
            held.popleft()
    num_frames = last.index + 1 - first.index
    if starts is not None:
        if pending is not None:
            raise VideoError(
                f"a clip from frame {pending} needs frames up to {pending + plan.span - 1}, "
                f"but the last frame is {last.index}."
            )
    elif num_clips == 0:
        if plan.short == "skip":
            raise VideoError(
                f"it has {num_frames} frame{'s'[: num_frames != 1]}, a clip needs {plan.span}."
            )
        yield _make_clip(held, plan.frame_indices(first.index))


def _make_clip(held: Sequence[Frame], indices: range) -> Clip:
    """One clip from frames that start at the clip's first frame; what is missing is padded."""
    chosen = [held[min(index - indices[0], len(held) - 1)] for index in indices]
    last = chosen[-1]
    return Clip(
        images=[frame.image for frame in chosen],
        start_frame=chosen[0].index,
        stop_frame=last.index + 1,
        start_seconds=chosen[0].start_seconds,
        stop_seconds=_stop_seconds(held, last),
        num_padded_frames=sum(index > held[-1].index for index in indices),
    )


def _stop_seconds(held: Sequence[Frame], last: Frame) -> float:
    """When `last` stops being shown, on the clock of the first frame.

    Where a file's clock begins anew within the clip (joined transport streams), it goes on from
    the stop of the frame before.
    """
    ahead = 0.0
    for before, frame in itertools.pairwise(held):
        if frame.index > last.index:
            break
        if frame.start_seconds != before.stop_seconds:
            ahead += before.stop_seconds - frame.start_seconds
    return last.stop_seconds + ahead


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
