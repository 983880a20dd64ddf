"""Whose colours frames have: docs/results/colours.json, and the table of docs/fidelity.md.

    python experiments/colours.py

Draws a short video of each kind and compares Kinema's frames, with `colours="file"` and with
"original", with those of the OpenCV that is installed and of the program ffmpeg, if there is one.
Each run replaces the part of its own OpenCV and keeps those of others: with an older one in a
folder of its own (`pip install --no-deps --target old opencv-python-headless==4.11.0.86`),

    PYTHONPATH=old python experiments/colours.py
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from kinema.files import write_json
from kinema.video.reader import COLOURS, VideoReader

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results" / "colours.json"
BEGIN, END = "<!-- colours: begin -->\n", "<!-- colours: end -->\n"
WIDTH, HEIGHT, NUM_FRAMES = 160, 128, 4


@dataclass(frozen=True)
class Kind:
    """How a video is written; `colour`: numbers of H.273, of the codec context."""

    file_name: str
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    colour: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    mirrored: bool = False


def named(matrix: int, primaries: int, curve: int) -> dict[str, int]:
    return {"colorspace": matrix, "color_primaries": primaries, "color_trc": curve}


def hevc(x265: str) -> dict[str, Any]:
    options = {"preset": "ultrafast"}
    options["x265-params"] = f"log-level=none:pools=none:frame-threads=1{x265}"
    return {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": options}


def bt2020(curve: str) -> dict[str, Any]:
    return hevc(f":colormatrix=bt2020nc:colorprim=bt2020:transfer={curve}")


FULL_RANGE = {"color_range": 2}
KINDS = {
    "8-bit, names no colours": Kind("plain.mp4"),
    "MPEG-4 in AVI, as UCF101": Kind("mpeg4.avi", codec="mpeg4"),
    "full range, `yuvj420p`": Kind("full.mp4", pix_fmt="yuvj420p"),
    "full range, `yuv420p`": Kind("full.webm", codec="libvpx-vp9", colour=FULL_RANGE),
    "BT.709": Kind("bt709.mp4", colour=named(1, 1, 1)),
    "10-bit 4:2:2, ProRes": Kind("prores.mov", codec="prores", pix_fmt="yuv422p10le"),
    "10-bit": Kind("ten.mp4", **hevc("")),
    "10-bit, BT.709": Kind("ten709.mp4", **hevc(":colormatrix=bt709")),
    "BT.2020": Kind("bt2020.mp4", **bt2020("bt2020-10")),
    "BT.2020, PQ": Kind("pq.mp4", **bt2020("smpte2084")),
    "BT.2020, HLG": Kind("hlg.mp4", **bt2020("arib-std-b67")),
    "Display P3": Kind("p3.mp4", colour=named(1, 12, 1)),
    "interlaced": Kind("interlaced.mkv", codec="mpeg2video", options={"flags": "+ildct+ilme"}),
    "mirrored by its display matrix": Kind("mirrored.mp4", mirrored=True),
}


def picture(index: int) -> np.ndarray:
    """Saturated colours that change slowly, and edges: (H, W, 3) uint8 RGB."""
    y, x = np.mgrid[0:1:128j, 0:1:160j] * 2 * np.pi
    waves = [np.sin(x + index), np.sin(y - index), np.cos(x + y)]
    image = (127.5 + 127 * np.stack(waves, axis=-1)).astype(np.uint8)
    image[40:80, 20 + 10 * index : 60 + 10 * index] = (192, 48, 32)
    return image


def write(path: Path, kind: Kind) -> None:
    """Draw a video of a kind."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(kind.codec, rate=25, options=dict(kind.options))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, kind.pix_fmt
        stream.thread_count = 1
        stream.bit_rate = 4_000_000
        for name, value in kind.colour.items():
            setattr(stream.codec_context, name, value)
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if kind.mirrored:
        data = bytearray(path.read_bytes())
        start = data.index(b"tkhd") + 4 + 40
        data[start : start + 4] = (-65536).to_bytes(4, "big", signed=True)
        path.write_bytes(data)


def opencv_frames(path: Path) -> np.ndarray:
    capture, images = cv2.VideoCapture(str(path)), []
    while True:
        there, image = capture.read()
        if not there:
            return np.array(images)
        images.append(image[..., ::-1])


def ffmpeg_frames(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-sws_flags", "bicubic"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)[..., ::-1]


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float] | None:
    """The largest and the mean, of 255; None if there are no frames to compare with."""
    if ours.shape != theirs.shape:
        return None
    apart = np.abs(ours.astype(int) - theirs)
    return {"largest": int(apart.max()), "mean": round(float(apart.mean()), 2)}


def compared(path: Path, kind: str) -> dict[str, dict[str, dict[str, float] | None]]:
    """Differences of a video's frames from OpenCV's and ffmpeg's, for each of `COLOURS`."""
    theirs = {"opencv": opencv_frames(path)}
    if kind == "interlaced" and int(cv2.__version__.partition(".")[0]) >= 5:
        theirs["opencv"] = np.array([])  # its converter refuses: what comes is not initialised
    if shutil.which("ffmpeg"):
        theirs["ffmpeg"] = ffmpeg_frames(path)
    found: dict[str, dict[str, dict[str, float] | None]] = {name: {} for name in theirs}
    for colours in COLOURS:
        ours = np.array([frame.image for frame in VideoReader(path, colours=colours)])
        for name, frames in theirs.items():
            found[name][colours] = difference(ours, frames)
    return found


def measured() -> dict[str, dict[str, Any]]:
    """The differences of all kinds: of OpenCV and, if it is there, of ffmpeg."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            path = Path(folder) / kind.file_name
            write(path, kind)
            for whose, differences in compared(path, name).items():
                found.setdefault(whose, {})[name] = differences
    return found


def table(results: dict[str, Any]) -> str:
    """The table of docs/fidelity.md."""
    columns = [
        ("file", version, f'"file" and OpenCV {version}')
        for version in sorted(results["opencv"], reverse=True)[:1]
    ]
    columns += [
        ("original", version, f'"original" and OpenCV {version}')
        for version in sorted(results["opencv"])[:1]
    ]
    lines = [
        f"| kind of file | {' | '.join(title for *_, title in columns)} "
        f'| "file" and ffmpeg {results["ffmpeg"]["version"]} | "file" and "original" |',
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        cells = [results["opencv"][version][kind][colours] for colours, version, _ in columns]
        cells += [results["ffmpeg"]["kinds"][kind]["file"], results["settings"][kind]]
        lines.append(f"| {kind} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return "no picture to compare"
    return f"{found['largest']} ({found['mean']:.2f})" if found["largest"] else "0"


def between_settings() -> dict[str, dict[str, float] | None]:
    """How far the two settings are apart, for each kind."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            path = Path(folder) / kind.file_name
            write(path, kind)
            images = [
                np.array([frame.image for frame in VideoReader(path, colours=colours)])
                for colours in COLOURS
            ]
            found[name] = difference(*images)
    return found


def main() -> None:
    results: dict[str, Any] = {"opencv": {}}
    if RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    found = measured()
    results["command"] = "python experiments/colours.py"
    results["pyav"] = av.__version__
    results["opencv"][cv2.__version__] = found["opencv"]
    results["settings"] = between_settings()
    if "ffmpeg" in found:
        said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
        version = re.search(r"version (\d+(\.\d+)+)", said.stdout)
        results["ffmpeg"] = {"version": version[1] if version else "?", "kinds": found["ffmpeg"]}
    write_json(RESULTS, results)
    page = DOCS / "fidelity.md"
    text = page.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(before + BEGIN + table(results) + END + after)
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
