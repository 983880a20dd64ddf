"""Which videos: paths, folders and lists to `Source`s, each named below a common root.

Note [What is not there]
    A path that is named itself and leads nowhere is a mistake, a misspelt name or a pattern that
    matches nothing, and is refused before anything is done, whatever else is named. A line of a
    list costs a line: the list may be older than what is on the disk, and has millions of lines
    that nobody wants to run again for one. Folders that hold no video are refused if nothing else
    that is named does, and told otherwise: `*` names folders of results, too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from kinema.video.folders import PassedOver, is_frame_folder, videos_below
from kinema.video.list_files import read_list
from kinema.video.reader import FRAME_NAME, path_kind
from kinema.words import number_of


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
    """The videos that are asked for, each once. See Note [What is not there].

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
        FileNotFoundError: one of `paths`, the list or `root` is missing.
    """
    paths = [*paths]
    check_there([os.fspath(given) for given in paths if not _is_there(given)])
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
        listed, notes = read_list(_absolute(list_file))
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
                f"{os.fspath(list_file)}: {number_of(len(both), 'video')} of which it names clips "
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


def check_there(missing: Sequence[str]) -> None:
    """Refuse paths that lead nowhere, if there are any. See Note [What is not there]."""
    if missing:
        more = f" (nor at {number_of(len(missing) - 1, 'more path')})" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}: no such file or folder{more}.")


def _is_there(path: str | os.PathLike[str]) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # what cannot be reached is told in its turn
        pass
    return True


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
    if not where:
        return "`paths` must name at least one video or folder, or `list` a file with some."
    notes = passed.notes()
    return f"no video found in {', '.join(where)}" + (f": {' '.join(notes)}" if notes else ".")


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Absolute, without "..", symbolic links kept."""
    return Path(os.path.abspath(path))


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
