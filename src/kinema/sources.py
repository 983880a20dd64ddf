"""Which videos: paths, folders and lists to `Source`s, each named below a common root."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.video import FRAME_NAME, path_kind

_VIDEO_ENDINGS = """
    3g2 3gp asf avi dv f4v flv gif h264 h265 hevc ivf m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg
    mpg mts mxf nut obu ogm ogv rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO_ENDINGS.split())
"""What counts as a video inside a folder; a file that is named itself may end in anything."""


@dataclass(frozen=True)
class Source:
    """One video that is asked for.

    Attributes:
        path: the video file or folder of pictures.
        name: its path below the common root of the run, with "/".
        starts: first frames of the wanted clips, in the order of the rows; None for the plan's.
        start_seconds, stop_seconds: the part of the file that counts; None is its end.
    """

    path: Path
    name: str
    starts: tuple[int, ...] | None = None
    start_seconds: float = 0.0
    stop_seconds: float | None = None

    @property
    def is_part(self) -> bool:
        """Whether it is less than the whole file."""
        return self.start_seconds > 0 or self.stop_seconds is not None

    def content_key(self, mark: str) -> dict[str, Any]:
        """What tells what it shows, for caches: the file's `fingerprint` and the part of it."""
        key: dict[str, Any] = {"video": mark}
        if self.is_part:
            key["part"] = [self.start_seconds, self.stop_seconds]
        return key

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        if not self.is_part:
            return str(self.path)
        stop = "" if self.stop_seconds is None else f"{self.stop_seconds:g}"
        return f"{self.path}#t={self.start_seconds:g},{stop}"


def as_source(video: str | os.PathLike[str]) -> Source:
    """A video by its path, named as its file; a `Source` stays what it is."""
    return video if isinstance(video, Source) else Source(Path(video), Path(video).name)


def find_videos(
    paths: Iterable[str | os.PathLike[str]], list_file: str | os.PathLike[str] | None = None
) -> list[Source]:
    """The videos that `extract` is asked for, each once.

    Args:
        paths: video files, folders of pictures, and folders that are searched for videos.
        list_file: a text file with one path a line (a label behind it is passed over), or C3D's
            `path start label` lines, one clip a line; relative paths start at the current folder,
            or else at the list's own.

    Raises:
        ValueError: no video is named or found, or the list cannot be understood.
        FileNotFoundError: the list is missing.
    """
    starts: dict[Path, list[int] | None] = {}
    roots: list[Path] = []
    for given in paths:
        path = _absolute(given)
        if os.path.isdir(path) and not is_frame_folder(path):
            roots.append(path)
            starts |= dict.fromkeys(videos_below(path))
        else:
            roots.append(path.parent)
            starts[path] = None
    if list_file is not None:
        for path, start in _read_list(_absolute(list_file)):
            roots.append(path.parent)
            if start is None:
                starts[path] = None
            elif (clips := starts.setdefault(path, [])) is not None:
                clips.append(start)
    if not starts:
        raise ValueError(f"no video found in {', '.join(map(str, roots)) or 'an empty `paths`'}.")
    root = Path(os.path.commonpath(roots))
    return [
        Source(path, path.relative_to(root).as_posix(), None if clips is None else tuple(clips))
        for path, clips in starts.items()
    ]


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Absolute, without "..", symbolic links kept."""
    return Path(os.path.abspath(path))


def videos_below(folder: Path) -> Iterator[Path]:
    """Videos in a folder and its subfolders, sorted; folders of pictures count as one."""
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(real)
        found = [name for name in files if _is_video_name(name)]
        folders.sort()
        for name in list(folders):
            try:
                if is_frame_folder(Path(here, name)):
                    found.append(name)
                    folders.remove(name)
            except OSError:  # recorded as a video that cannot be read, so that it is not lost
                found.append(name)
                folders.remove(name)
        yield from (Path(here, name) for name in sorted(found))  # names sort faster than paths


def _is_video_name(name: str) -> bool:
    """Whether a file in a folder counts as a video; hidden ones (._x.mp4) do not."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds the pictures of one video rather than videos."""
    names = os.listdir(path)
    if "000001.jpg" in names:
        return True
    return any(map(FRAME_NAME.fullmatch, names)) and not any(map(_is_video_name, names))


def _read_list(path: Path) -> Iterator[tuple[Path, int | None]]:
    try:
        # Names may be in any encoding; a mark at the start of the file is no part of the first.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise FileNotFoundError(f"`list` {path}: no such file.") from None
    except OSError as error:
        raise ValueError(f"`list` {path} cannot be read ({error.strerror}).") from None
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        if "\0" in line:
            raise ValueError(f"`list` {path}, line {number}: not a text file.")
        whole = _listed(line, path.parent)
        if os.path.lexists(whole):
            yield whole, None
        elif columns := re.fullmatch(r"(.*\S)\s+(\d+)\s+(-?\d+)", line):  # path start label
            yield _listed(columns[1], path.parent), int(columns[2])
        elif columns := re.fullmatch(r"(.*\S)\s+(-?\d+)", line):  # path label
            named = _listed(columns[1], path.parent)
            yield (named if os.path.lexists(named) else whole), None
        else:
            yield whole, None


def _listed(text: str, list_folder: Path) -> Path:
    beside_list = list_folder / text
    if not os.path.lexists(text) and os.path.lexists(beside_list):
        return _absolute(beside_list)
    return _absolute(text)


def fingerprint(path: Path) -> str:
    """Tells whether a video is still the same without reading all of it.

    sha256 of the size and of the first and last 64 KiB; of a folder, of its pictures' names and
    sizes and the first and last picture.
    """
    if path_kind(path) == "folder":
        files = sorted(file for file in path.iterdir() if FRAME_NAME.fullmatch(file.name))
        digest = hashlib.sha256(repr([(f.name, f.stat().st_size) for f in files]).encode())
        for file in files[:1] + files[-1:]:
            digest.update(file.read_bytes())
        return digest.hexdigest()
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as video:
        digest.update(video.read(1 << 16))
        video.seek(max(size - (1 << 16), 0))
        digest.update(video.read(1 << 16))
    return digest.hexdigest()


def size_in_bytes(path: Path) -> int:
    """Bytes of a video, for the time left; 0 if that cannot be told."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path))
        return path.stat().st_size
    except OSError:
        return 0
