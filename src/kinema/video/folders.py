"""The videos in a folder, and what was met there and not taken.

Note [What is searched for]
    In a folder, a file is a video by its ending: those of `VIDEO_SUFFIXES`, which hold moving
    pictures nearly always. `.ts` and `.mts` are TypeScript too, `.mod` and `.dat` many other
    things, so these must also begin as a video does. Sound (.m4a, .ogg, .mka), pictures (.jpg,
    .avif), scripts (.avs), playlists (.m3u8) and the small doubles that cameras keep beside their
    videos (.lrv) are passed over. So is what is hidden: names that begin with a dot, and the
    folders of `_SYSTEM_FOLDERS`. What was passed over is told. A path that is named itself is
    always taken.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinema.video.reader import FRAME_NAME
from kinema.words import number_of

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

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif"))
"""Of files that are one picture."""

_TEXT_TOO = {".ts", ".mts"}
_RARELY_VIDEO = {".mod", ".dat"}

_SYSTEM_FOLDERS = frozenset(
    ("@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found", "system volume information")
)
"""What network disks, Windows and archives of macOS keep beside the user's files, lower case."""

_PICTURE = re.compile(r".*\d.*\.(?:jpe?g|png|bmp|tiff?|webp|ppm)", re.IGNORECASE)
"""Names of numbered pictures, of which some program may have made a folder per video."""

PICTURES_RULE = "pictures of a video must be named 000001.jpg, 000002.jpg, ..."


def is_picture(path: Path) -> bool:
    """Whether a file is one picture, by its ending."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


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
            files = number_of(count, "file that is no video was", "files that are no videos were")
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
            others = f" (and {number_of(rest, 'more such folder')})" if rest else ""
            pictures = number_of(count, "picture is", "pictures are")
            notes.append(f"{folder}{others}: {pictures} not read as a video: {PICTURES_RULE}")
        return notes


def _first(things: Sequence[object], count: int) -> str:
    return ", ".join(map(str, things[:count])) + ", ..." * (len(things) > count)


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
            if not has_video_ending(name):
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


def has_video_ending(name: str) -> bool:
    """Whether a name ends in one of `VIDEO_SUFFIXES`, in capitals or not."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _is_video_name(name: str) -> bool:
    """Whether a file in a folder counts as a video by its name; hidden ones (._x.mp4) do not."""
    return has_video_ending(name) and not is_hidden(name)


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
