"""Which videos: paths, folders and lists to `Source`s, each named below a common root.

Note [What is searched for]
    In a folder, a file is a video by its ending: those of `VIDEO_SUFFIXES`, which hold moving
    pictures nearly always. `.ts` and `.mts` are TypeScript too, `.mod` and `.dat` many other
    things, so these must also begin as a video does. Sound (.m4a, .ogg, .mka), pictures (.jpg,
    .avif), scripts (.avs), playlists (.m3u8) and the small doubles that cameras keep beside their
    videos (.lrv) are passed over. So is what is hidden: names that begin with a dot, and the
    folders of `_SYSTEM_FOLDERS`. What was passed over is told. A path that is named itself is
    always taken.

Note [Lines of a list]
    The numbers at the end of a line are columns, unless a file has the whole line as its name. In
    C3D's lists (C3D v1.0, `video_data_layer`) they are two on every line, `path start label`; other
    lists have labels behind the path, one or several. Two labels on every line look like the
    original's columns, and are read as those; how a list was read is told.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from kinema.video.reader import FRAME_NAME, path_kind

_VIDEO_ENDINGS = """
    264 265 266 3g2 3gp 3gp2 3gpp 3gpp2 amv apng asf av1 avc avchd avi avs2 avs3 bik cavs dat dav
    dif divx dv dvr-ms dvx evc evo f4p f4v flc fli flv gif gvi gxf h261 h263 h264 h265 h266 h26l
    h26x hdmov hevc insv ismv ivf k3g kux lxf m1v m2p m2t m2ts m2v m4v mj2 mjp2 mjpeg mjpg mk3d mkv
    mod moov mov movie mp2v mp4 mp4v mpe mpeg mpeg1 mpeg2 mpeg4 mpg mpg2 mpg4 mps mpv mpv2 mqv mts
    mxf nsv nut nuv obu ogm ogv pva qt r3d rcv rm rmvb roq rv smk tod tp trp ts ty vc1 vdr viv vivo
    vob vro vvc webm wm wmv wtv xvid y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO_ENDINGS.split())
"""What counts as a video inside a folder; a file that is named itself may end in anything."""

_TEXT_TOO = {".ts", ".mts"}
_RARELY_VIDEO = {".mod", ".dat"}

_SYSTEM_FOLDERS = frozenset(
    ("@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found", "system volume information")
)
"""What network disks, Windows and archives of macOS keep beside the user's files, lower case."""

_PICTURE = re.compile(r".*\d.*\.(?:jpe?g|png|bmp|tiff?|webp|ppm)", re.IGNORECASE)
"""Names of numbered pictures, of which some program may have made a folder per video."""

PICTURES_RULE = "pictures of a video must be named 000001.jpg, 000002.jpg, ..."


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


@dataclass(frozen=True)
class Sources(Sequence[Source]):
    """Videos that are asked for, each once, and a line for each thing that the user should know.

    Attributes:
        sources: in the order in which they were named; those of a folder by their names.
        notes: what was passed over in folders, and how a list was read.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Source]: ...
    def __getitem__(self, index: int | slice) -> Source | Sequence[Source]:
        return self.sources[index]


def find_videos(
    paths: Iterable[str | os.PathLike[str]],
    list_file: str | os.PathLike[str] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> Sources:
    """The videos that `extract` is asked for, each once.

    Args:
        paths: video files, folders of pictures, and folders that are searched for videos; see
            Note [What is searched for].
        list_file: a text file with one path a line (labels behind it are passed over), or C3D's
            `path start label` lines, one clip a line; relative paths start at the current folder,
            or else at the list's own. See Note [Lines of a list].
        root: the folder that names start from; None for the deepest one that holds all that is
            named. With it, parts of a list give the same names as the whole.

    Raises:
        ValueError: no video is named or found, one lies outside `root`, or the list cannot be
            understood.
        FileNotFoundError: the list or `root` is missing.
    """
    top = None if root is None else _checked_root(root)
    starts: dict[Path, list[int] | None] = {}
    roots: list[Path] = []
    passed = PassedOver()
    empty: list[str] = []
    for given in paths:
        path = _absolute(given)
        if os.path.isdir(path) and not is_frame_folder(path):
            roots.append(path)
            below = dict.fromkeys(videos_below(path, passed))
            starts |= below
            if not below:
                empty.append(f"{path}: no video in this folder.")
        else:
            roots.append(path.parent)
            starts[path] = None
    notes: list[str] = []
    if list_file is not None:
        listed, notes = _read_list(_absolute(list_file))
        both = set()
        for path, start in listed:
            roots.append(path.parent)
            if start is None:
                both.update([path] if starts.get(path) is not None else [])
                starts[path] = None
            elif (clips := starts.setdefault(path, [])) is not None:
                clips.append(start)
            else:
                both.add(path)
        if both:
            notes.append(
                f"{os.fspath(list_file)}: {_number(len(both), 'video')} of which it names clips "
                "is named as a whole too; all clips are taken."
            )
    if not starts:
        raise ValueError(_nothing_found(roots, list_file, passed))
    if top is None:
        top = Path(os.path.commonpath(roots))
    sources = []
    for path, clips in starts.items():
        try:
            name = path.relative_to(top).as_posix()
        except ValueError:
            name = "."
        if name == ".":
            raise ValueError(f"`root` {top} is no folder above {path}; name one above all videos.")
        sources.append(Source(path, name, None if clips is None else tuple(clips)))
    return Sources(tuple(sources), (*empty, *passed.notes(), *notes))


def _checked_root(root: str | os.PathLike[str]) -> Path:
    path = _absolute(root)
    if not path.exists():
        raise FileNotFoundError(f"`root` {path}: no such folder.")
    if not path.is_dir():
        raise ValueError(f"`root` {path} must be a folder, but it is a file.")
    return path


def _nothing_found(
    folders: Sequence[Path], list_file: str | os.PathLike[str] | None, passed: PassedOver
) -> str:
    """That there is no video, and what there is instead."""
    where = [*map(str, folders), *([] if list_file is None else [os.fspath(list_file)])]
    notes = passed.notes()
    return f"no video found in {', '.join(where) or 'an empty `paths`'}" + (
        f": {' '.join(notes)}" if notes else "."
    )


def _number(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def _first(things: Sequence[object], count: int) -> str:
    return ", ".join(map(str, things[:count])) + ", ..." * (len(things) > count)


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Absolute, without "..", symbolic links kept."""
    return Path(os.path.abspath(path))


# --- folders --------------------------------------------------------------------------------------


@dataclass
class PassedOver:
    """What a search for videos met and did not take.

    Attributes:
        endings: files that are no videos, by ending, lower case.
        hidden: hidden folders and videos.
        pictures: numbers of pictures in folders that could be videos, were they named by the rule.
    """

    endings: Counter[str] = field(default_factory=Counter)
    hidden: list[Path] = field(default_factory=list)
    pictures: dict[Path, int] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """A line for each kind."""
        notes = []
        if count := self.endings.total():
            files = _number(count, "file that is no video was", "files that are no videos were")
            known = [
                f"{ending or 'no ending'} {n}"
                for ending, n in sorted(self.endings.items(), key=lambda one: (-one[1], one[0]))
            ]
            notes.append(f"{files} passed over ({_first(known, 5)}).")
        if self.hidden:
            notes.append(f"hidden, not searched or taken: {_first(sorted(self.hidden), 3)}.")
        if self.pictures:
            folder, count = next(iter(self.pictures.items()))
            rest = len(self.pictures) - 1
            others = f" (and {_number(rest, 'more such folder')})" if rest else ""
            pictures = _number(count, "picture is", "pictures are")
            notes.append(f"{folder}{others}: {pictures} not read as a video: {PICTURES_RULE}")
        return notes


def is_hidden(name: str) -> bool:
    """Whether a name in a folder is left alone: begins with a dot, or is a system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def videos_below(folder: Path, passed: PassedOver | None = None) -> Iterator[Path]:
    """Videos in a folder and its subfolders, sorted; folders of pictures count as one.

    What is not taken is written down in `passed`.
    """
    passed = PassedOver() if passed is None else passed
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(real)
        found = []
        others = []
        for name in files:
            if not _is_video_ending(name):
                others.append(name)
            elif is_hidden(name):
                if not name.startswith("._"):  # macOS leaves one beside each file
                    passed.hidden.append(Path(here, name))
            elif _begins_as_video(os.path.join(here, name)):
                found.append(name)
            else:
                others.append(name)
        others = [name for name in others if not is_hidden(name)]
        pictures = [] if found else [name for name in others if _PICTURE.fullmatch(name)]
        if 2 * len(pictures) > len(others):
            passed.pictures[Path(here)] = len(pictures)
            others = [name for name in others if not _PICTURE.fullmatch(name)]
        passed.endings.update(os.path.splitext(name)[1].lower() for name in others)
        folders.sort()
        for name in list(folders):
            if is_hidden(name):
                passed.hidden.append(Path(here, name))
                folders.remove(name)
                continue
            try:
                if is_frame_folder(Path(here, name)):
                    found.append(name)
                    folders.remove(name)
            except OSError:  # recorded as a video that cannot be read, so that it is not lost
                found.append(name)
                folders.remove(name)
        yield from (Path(here, name) for name in sorted(found))  # names sort faster than paths


def _is_video_ending(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _is_video_name(name: str) -> bool:
    """Whether a file in a folder counts as a video by its name; hidden ones (._x.mp4) do not."""
    return _is_video_ending(name) and not is_hidden(name)


def _begins_as_video(path: str) -> bool:
    """Whether a file whose ending other things have too is a video; True for other endings."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in _TEXT_TOO | _RARELY_VIDEO:
        return True
    try:
        if not os.path.isfile(path):  # a pipe would wait for ever
            return ending in _TEXT_TOO
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:  # told when it is read as a video
        return ending in _TEXT_TOO
    if ending in _TEXT_TOO:  # a recording can begin anywhere, so all that is no text is one
        return not head or not _is_text(head)
    is_transport_stream = head[:1] == head[188:189] == head[376:377] == b"G"
    # The first is a pack of MPEG's program stream, the other a Video CD's file.
    return head[:4] == b"\0\0\1\xba" or head[8:12] == b"CDXA" or is_transport_stream


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that was cut off
            return False
        text = head[: error.start].decode("utf-8-sig")
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds the pictures of one video rather than videos."""
    names = os.listdir(path)
    if "000001.jpg" in names:
        return True
    return any(map(FRAME_NAME.fullmatch, names)) and not any(map(_is_video_name, names))


# --- lists ----------------------------------------------------------------------------------------


def _read_list(path: Path) -> tuple[list[tuple[Path, int | None]], list[str]]:
    """What each line names, a clip by its first frame or a whole video; and how it was read."""
    try:
        # Names may be in any encoding; a mark at the start of the file is no part of the first.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise FileNotFoundError(f"`list` {path}: no such file.") from None
    except OSError as error:
        raise ValueError(f"`list` {path} cannot be read ({error.strerror}).") from None
    lines: list[tuple[Path, list[int]]] = []
    doubtful: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        if "\0" in line:
            raise ValueError(f"`list` {path}, line {number}: not a text file.")
        there = [reading for reading in _readings(line, path.parent) if os.path.lexists(reading[0])]
        if len(there) > 1:
            doubtful.append(f"line {number} as {there[0][0]}, though {there[1][0]} is there too")
        lines.append(there[0] if there else _reading_of_missing(line, path.parent))
    return _clips_or_labels(path, lines, doubtful)


def _readings(line: str, folder: Path) -> Iterator[tuple[Path, list[int]]]:
    """What can be a line's path, and the numbers behind it: the whole line, then ever less."""
    yield _listed(line, folder), []
    numbers: list[int] = []
    while match := re.fullmatch(r"(.*\S)\s+(-?\d+)", line):
        line = match[1]
        numbers.insert(0, int(match[2]))
        yield _listed(line, folder), list(numbers)


def _reading_of_missing(line: str, folder: Path) -> tuple[Path, list[int]]:
    """The path of a line of which no reading is on the disk: by its ending, or C3D's columns."""
    readings = list(_readings(line, folder))
    for path, numbers in readings:
        if _is_video_ending(path.name):
            return path, numbers
    return readings[2] if len(readings) == 3 and readings[2][1][0] >= 0 else readings[0]


def _clips_or_labels(
    path: Path, lines: Sequence[tuple[Path, list[int]]], doubtful: Sequence[str]
) -> tuple[list[tuple[Path, int | None]], list[str]]:
    """Which numbers are first frames. See Note [Lines of a list]."""
    notes = []
    numbered = [(video, numbers) for video, numbers in lines if numbers]
    if numbered and all(len(numbers) == 2 and numbers[0] >= 0 for _, numbers in numbered):
        videos = len({video for video, _ in numbered})
        notes.append(
            f"{path}: read as C3D's `path start label`: it names {_number(len(numbered), 'clip')} "
            f"of {_number(videos, 'video')}. If these numbers are labels, list the paths alone."
        )
        wanted = [(video, numbers[0] if numbers else None) for video, numbers in lines]
    else:
        if numbered:
            several = any(len(numbers) > 1 for _, numbers in numbered)
            notes.append(
                f"{path}: read as `path label{' label ...' * several}`: the numbers behind "
                f"{_number(len(numbered), 'path')} are labels, and play no part."
            )
        wanted = [(video, None) for video, _ in lines]
    if doubtful:
        more = f" (and {_number(len(doubtful) - 1, 'more line')})" if len(doubtful) > 1 else ""
        notes.append(f"{path}: read {doubtful[0]}{more}.")
    return wanted, notes


def _listed(text: str, list_folder: Path) -> Path:
    beside_list = list_folder / text
    if not os.path.lexists(text) and os.path.lexists(beside_list):
        return _absolute(beside_list)
    return _absolute(text)


# --- files ----------------------------------------------------------------------------------------


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
