"""Whether bytes are missing, by a container's own boxes or a transport stream's own counters.

Only names and lengths of boxes are read, never what is in them. It is asked where a header
promises more than came: a file that was cut off ends inside a box, one of whose bytes were
replaced holds something that is no box, and of a whole file it was the promise that was wrong. A
length that its writer could not fill in (a live recording) reaches to the end of the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_UNFILLED = (0, 0xFFFFFFFF)
"""Lengths that writers of AVI leave where they could not come back."""

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
"""Matroska's elements that hold others which are looked at (RFC 9559, section 5.1)."""

_TOP = {0x1A45DFA3, _SEGMENT}
_IN_SEGMENT = {
    _CLUSTER,
    0x114D9B74,  # SeekHead
    0x1549A966,  # Info
    0x1654AE6B,  # Tracks
    0x1C53BB6B,  # Cues
    0x1941A469,  # Attachments
    0x1043A770,  # Chapters
    0x1254C367,  # Tags
}


TS_LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""Bytes from one packet of a transport stream to the next, and those before its header: plain,
behind a time (M2TS), before a check."""


_BEFORE = 1 << 20
"""Bytes before a suspect in which the tables are found: they come ten times a second."""


class _NoBox(Exception):
    """The file ends inside a box, or there is none where one should be."""


def bytes_are_missing(path: Path, container: str) -> bool:
    """Whether a file is cut off or damaged between its boxes.

    Args:
        container: FFmpeg's name, "avi", "mov" or "matroska".
    """
    walk = _WALKS[container]
    with path.open("rb") as file:
        try:
            walk(file, path.stat().st_size)
        except _NoBox:
            return True
    return False


def breaks_off_in_media(path: Path, container: str) -> bool:
    """Whether a file ends inside a box that holds frames; what stands behind its end is no matter.

    Args:
        container: one of `STRUCTURED`.
    """
    with path.open("rb") as file:
        try:
            return _ENDS_IN_MEDIA[container](file, path.stat().st_size)
        except _NoBox:
            return False


def is_join(path: Path, first: int | None, key: int | None) -> bool:
    """Whether the counter of a transport stream jumps where a key frame begins and nowhere before.

    Each packet of 188 bytes counts on from the one before it that has the same number and carries
    anything (ISO 13818-1, section 2.4.3.3). Of a frame that lost some, the counter jumps within it;
    of one that lost all of them, the counters of the other numbers (tables, sound) go on.

        before  14 15 0 1 | 0 1 2 ...   a join, and the tables count anew
        before  14 15   1 2 | 3 4 ...   a loss
        before  14 15     | 3 4 ...     a loss, and the tables count on

    Args:
        first: where the packets to look at begin, in bytes.
        key: where those of the key frame begin.
    """
    if first is None or key is None or first >= key:
        return False
    begin = max(first - _BEFORE, 0)
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read(key - begin + 8)
    for size, lead in TS_LAYOUTS:
        start = (first - begin) % size + lead
        places = range(start, len(data) - 3, size)
        headers = [data[place : place + 4] for place in places]
        if (key - first) % size == 0 and all(header[0] == 0x47 for header in headers):
            break
    else:
        return False
    number = _ts_number(headers[-1])
    counts: dict[int, list[int]] = {}
    jumps_elsewhere = False
    for place, header in zip(places, headers, strict=True):
        is_near = begin + place >= first
        if is_near and header[1] & 0x80:  # a transmission error
            return False
        if not header[3] & 16:
            continue
        own = counts.setdefault(_ts_number(header), [])
        own.append(header[3] & 15)
        if is_near and _ts_number(header) != number and len(own) > 1:
            jumps_elsewhere |= (own[-1] - own[-2]) % 16 not in (0, 1)
    near = sum(begin + place >= first for place, header in zip(places, headers, strict=True)
               if _ts_number(header) == number and header[3] & 16)  # fmt: skip
    steps = [(after - before) % 16 for before, after in itertools.pairwise(counts[number][-near:])]
    jumps_at_key = len(steps) > 1 and steps[-1] != 1
    return jumps_at_key and jumps_elsewhere and all(step in (0, 1) for step in steps[:-1])


def _ts_number(header: bytes) -> int:
    return (header[1] & 0x1F) << 8 | header[2]


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    data = file.read(size)
    if len(data) < size:
        raise _NoBox
    return data


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in name)


def _walk_avi(file: BinaryIO, size: int) -> None:
    start = 0
    while start + 12 <= size and _read(file, start, 4) == b"RIFF":  # a long file has several
        start = _walk_riff(file, start, size)


def _walk_riff(file: BinaryIO, start: int, stop: int) -> int:
    """Go through the chunks of a list; returns where it ends, with its padding."""
    length = int.from_bytes(_read(file, start + 4, 4), "little")
    end = stop if length in _UNFILLED else start + 8 + length
    if end > stop:
        raise _NoBox
    child = start + 12
    while child + 8 <= end:
        header = _read(file, child, 8)
        if not _is_name(header[:4]):
            raise _NoBox
        if header[:4] == b"LIST" and _read(file, child + 8, 4) in (b"movi", b"rec "):
            child = _walk_riff(file, child, end)
            continue
        length = int.from_bytes(header[4:], "little")
        if child + 8 + length > end:
            raise _NoBox
        child += 8 + length + length % 2
    return end + end % 2


def _walk_mov(file: BinaryIO, size: int) -> None:
    if any(end > size for _, end in _mov_boxes(file, size)):
        raise _NoBox


def _mov_ends_in_media(file: BinaryIO, size: int) -> bool:
    boxes = _mov_boxes(file, size)
    return any(end > size and name in (b"mdat", b"moof") for name, end in boxes)


def _mov_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """What the boxes of a file are called and where they end; the last may end behind the file."""
    start = 0
    while start + 8 <= size:
        header = _read(file, start, 8)
        length, name = int.from_bytes(header[:4], "big"), header[4:]
        if length == 1:
            length = int.from_bytes(_read(file, start + 8, 8), "big")
        elif length == 0 and name == b"mdat":  # the last box, as long as the file
            return
        if length < 8 or not _is_name(name):
            raise _NoBox
        start += length
        yield name, start


def _walk_matroska(file: BinaryIO, size: int) -> None:
    start = 0
    while start < size:
        start = _walk_element(file, start, size)


def _walk_element(file: BinaryIO, start: int, stop: int) -> int:
    """Go through an element and, of a segment or cluster, what is in it; returns where it ends."""
    name, start = _vint(file, start, keep_marker=True)
    length, start = _vint(file, start)
    if name not in (_SEGMENT, _CLUSTER):
        if length is None or start + length > stop:
            raise _NoBox
        return start + length
    end = stop if length is None else start + length
    if end > stop:
        raise _NoBox
    siblings = _TOP if name == _SEGMENT else _TOP | _IN_SEGMENT
    while start < end:
        if length is None and _vint(file, start, keep_marker=True)[0] in siblings:
            return start
        start = _walk_element(file, start, end)
    return end


def _vint(file: BinaryIO, start: int, *, keep_marker: bool = False) -> tuple[int | None, int]:
    """A number of variable length (RFC 8794, section 4), None if unknown, and where it ends."""
    first = _read(file, start, 1)[0]
    width = 9 - first.bit_length()
    if width > (4 if keep_marker else 8):
        raise _NoBox
    value = int.from_bytes(_read(file, start, width), "big")
    if not keep_marker:
        value -= 1 << 7 * width
        if value == (1 << 7 * width) - 1:
            return None, start + width
    return value, start + width


def _avi_ends_in_media(file: BinaryIO, size: int) -> bool:
    start = 0
    while start + 12 <= size and _read(file, start, 4) == b"RIFF":
        child = start + 12
        while child + 12 <= size:
            header = _read(file, child, 12)
            length = int.from_bytes(header[4:8], "little")
            if not _is_name(header[:4]) or length in _UNFILLED:
                return False
            if header[:4] == b"LIST" and header[8:] == b"movi" and child + 8 + length > size:
                return True
            if header[:4] == b"RIFF":
                break
            child += 8 + length + length % 2
        start = child
    return False


def _matroska_ends_in_media(file: BinaryIO, size: int) -> bool:
    start = 0
    while start < size:
        name, body = _vint(file, start, keep_marker=True)
        length, body = _vint(file, body)
        if name == _SEGMENT or (name == _CLUSTER and length is None):
            start = body  # what is in it comes next
        elif length is None:
            return False
        elif body + length > size:
            return name in _WITH_FRAMES
        else:
            start = body + length
    return False


_WITH_FRAMES = {_CLUSTER, 0xA3, 0xA0}
"""Matroska's clusters, and SimpleBlock and BlockGroup in them."""

_ENDS_IN_MEDIA: dict[str, Callable[[BinaryIO, int], bool]] = {
    "avi": _avi_ends_in_media,
    "mov": _mov_ends_in_media,
    "matroska": _matroska_ends_in_media,
}

STRUCTURED = frozenset(_ENDS_IN_MEDIA)
"""FFmpeg's names of the containers whose boxes are known here."""

_WALKS: dict[str, Callable[[BinaryIO, int], None]] = {
    "avi": _walk_avi,
    "mov": _walk_mov,
    "matroska": _walk_matroska,
}
