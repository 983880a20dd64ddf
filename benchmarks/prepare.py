"""Ways to keep frames for training: size, loss, and time to read 16 of them at random.

Writes benchmarks/prepare.json; takes real videos of UCF101 from KINEMA_DATA. Every way holds the
same frames of 128x171. `kinema prepare` keeps the JPEG of quality 95 without chroma subsampling.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from machine import write

from kinema.training.clip_store import ClipStore
from kinema.training.prepare import prepare
from kinema.video.clips import C3D_RESIZE, resize
from kinema.video.reader import VideoReader

LENGTH, NUM_DRAWS = 16, 60
Frames = np.ndarray
SUBSAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


def jpeg(quality: int, sampling: str) -> tuple[Callable, Callable]:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLING[sampling]]

    def write_frames(frames: Frames) -> list[bytes]:
        return [cv2.imencode(".jpg", frame[..., ::-1], flags)[1].tobytes() for frame in frames]

    def read(stored: Sequence[bytes], start: int) -> Frames:
        pictures = stored[start : start + LENGTH]
        return np.stack(
            [
                cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
                for p in pictures
            ]
        )

    return write_frames, read


def h264(crf: int, group: int) -> tuple[Callable, Callable]:
    def write_frames(frames: Frames) -> list[bytes]:
        file = io.BytesIO()
        options = {"crf": str(crf), "preset": "veryfast"}
        options["x264-params"] = f"keyint={group}:scenecut=0:bframes=0:threads=1"
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25, options=options)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv444p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return [file.getvalue()]

    def read(stored: Sequence[bytes], start: int) -> Frames:
        with av.open(io.BytesIO(stored[0])) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            seconds = start / 25
            container.seek(int(seconds / stream.time_base), stream=stream)
            images: list[Frames] = []
            for frame in container.decode(stream):
                if frame.time >= seconds - 1e-3:
                    images.append(frame.to_ndarray(format="rgb24"))
                if len(images) == LENGTH:
                    break
        return np.stack(images)

    return write_frames, read


def raw() -> tuple[Callable, Callable]:
    return (
        lambda frames: [frames.tobytes()],
        lambda stored, start: (
            np.frombuffer(stored[0], np.uint8)
            .reshape(-1, *C3D_RESIZE, 3)[start : start + LENGTH]
            .copy()
        ),
    )


WAYS: dict[str, tuple[Callable, Callable]] = {
    "raw": raw(),
    "JPEG 95, 4:4:4": jpeg(95, "4:4:4"),
    "JPEG 95, 4:2:0": jpeg(95, "4:2:0"),
    "JPEG 90, 4:4:4": jpeg(90, "4:4:4"),
    "H.264 crf 12, groups of 8": h264(12, 8),
    "H.264 crf 18, groups of 16": h264(18, 16),
}


def compare(videos: Sequence[Frames]) -> dict[str, dict[str, float]]:
    generator = np.random.default_rng(0)
    draws = [
        (index, int(generator.integers(0, len(videos[index]) - LENGTH + 1)))
        for index in generator.integers(0, len(videos), NUM_DRAWS).tolist()
    ]
    table = {}
    num_frames = sum(map(len, videos))
    for name, (write_frames, read) in WAYS.items():
        stored = [write_frames(frames) for frames in videos]
        seconds, errors = [], []
        for index, start in draws:
            begun = time.process_time()
            frames = read(stored[index], start)
            seconds.append(time.process_time() - begun)
            errors.append(
                np.mean((frames - videos[index][start : start + LENGTH].astype(float)) ** 2)
            )
        num_bytes = sum(len(part) for parts in stored for part in parts)
        error = float(np.mean(errors))
        table[name] = {
            "bytes_a_frame": round(num_bytes / num_frames),
            "psnr_db": None if not error else round(float(10 * np.log10(255**2 / error)), 1),
            "read_clip_ms": round(1e3 * statistics.median(seconds), 2),
        }
        print(name, table[name], flush=True)
    return table


def whole_dataset(root: Path) -> dict[str, float]:
    """What `kinema prepare` makes of all real videos, and what that is for larger datasets."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        report = prepare(root, out=Path(folder, "x.clips"))
        seconds = time.perf_counter() - begun
        store = ClipStore(Path(folder, "x.clips"))
        segments = [segment for video in store.videos for segment in video.segments]
        generator = np.random.default_rng(0)
        chosen = [segments[i] for i in generator.integers(0, len(segments), 300)]
        times = []
        for segment in chosen:
            start = int(generator.integers(0, segment.num_frames - LENGTH + 1))
            begun = time.process_time()
            store.frames(segment, start, LENGTH)
            times.append(time.process_time() - begun)
    bytes_a_frame = report.num_bytes / report.num_frames
    return {
        "num_videos": report.num_done,
        "num_frames": report.num_frames,
        "bytes_a_frame": round(bytes_a_frame),
        "frames_per_second": round(report.num_frames / seconds),
        "read_clip_ms": round(1e3 * statistics.median(times), 2),
        # As these three classes go; UCF101 has 13,320 videos.
        "ucf101_gb": round(13_320 * report.num_bytes / report.num_done / 1e9, 1),
        # Five clips of two seconds at 25 frames a second.
        "million_videos_tb": round(1e6 * 5 * 50 * bytes_a_frame / 1e12, 2),
    }


def main() -> None:
    root = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    videos = [
        np.stack([resize(frame.image, C3D_RESIZE) for frame in VideoReader(path)])
        for path in sorted(root.rglob("*.avi"))[::40]
    ]
    write("prepare", {"ways": compare(videos), "kinema": whole_dataset(root)})


if __name__ == "__main__":
    main()
