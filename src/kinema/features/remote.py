"""Videos behind URLs: which there are, and how one comes to this machine."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.store import IS_NO_PASSING_FAULT, WAIT_SECONDS, StoreError, file_system, is_url
from kinema.video.folders import has_video_ending
from kinema.video.sources import Source, check_there

_NUM_ASKED = 32
"""Sizes that are asked for at once."""


@dataclass(frozen=True)
class RemoteVideo:
    """A video behind a URL.

    Attributes:
        url: of the file.
        name: below the common root, as that of a `Source`.
    """

    url: str
    name: str

    def size(self) -> int:
        """Its bytes; 0 if that is not told."""
        try:
            files, path = file_system(self.url)
            return int(files.size(path) or 0)
        except Exception:  # it is told when it is brought
            return 0

    def bring(self, folder: Path) -> Source:
        """Copy it into a folder; once, unless the copy fails for a reason that may pass.

        Raises:
            FileNotFoundError, PermissionError: it is not there, or may not be read.
            OSError: the store does not answer, or the disk here is full.
        """
        files, path = file_system(self.url)
        target = folder / self.url.rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)
        for wait in (*WAIT_SECONDS, None):
            try:
                files.get_file(path, str(target))
                return Source(target, self.name)
            except IS_NO_PASSING_FAULT:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            except Exception as error:
                target.unlink(missing_ok=True)
                number = error.errno if isinstance(error, OSError) else None
                if wait is None or shutil.disk_usage(folder).free == 0:
                    raise StoreError(number, f"cannot be fetched ({error})", self.url) from None
                time.sleep(wait)
        raise AssertionError("unreachable")


def sizes(videos: Iterable[RemoteVideo]) -> dict[str, int]:
    """Bytes of videos, by name."""
    videos = [*videos]
    with ThreadPoolExecutor(_NUM_ASKED) as pool:
        found = pool.map(RemoteVideo.size, videos)
        return {video.name: size for video, size in zip(videos, found, strict=True)}


def find_remote(
    paths: Iterable[str | os.PathLike[str]],
    list_file: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> list[RemoteVideo]:
    """The videos of URLs; a URL that does not end as a video does is a folder to search.

    Args:
        paths: URLs.
        list_file: a text file, or its URL, with one URL a line; numbers behind it play no part.
        root: the URL that names start from; None for the deepest one above all videos.

    Raises:
        ValueError: some are URLs and some are not, one lies outside `root`, or none is found.
        FileNotFoundError: one of `paths` or the list is missing.
    """
    urls: dict[str, None] = {}
    named = [os.fspath(path) for path in paths]
    with ThreadPoolExecutor(_NUM_ASKED) as pool:
        there = pool.map(_is_there, named)
        check_there([url for url, found in zip(named, there, strict=True) if not found])
    for url in named:
        urls |= dict.fromkeys([url] if has_video_ending(url) else _below(url))
    if list_file is not None:
        lines = filter(None, map(str.strip, _text(os.fspath(list_file)).splitlines()))
        urls |= dict.fromkeys(re.sub(r"(\s+-?\d+)+$", "", line) for line in lines)
    if other := next((url for url in urls if not is_url(url)), None):
        raise ValueError(f"{other} is no URL, others are: give all videos by URLs, or none.")
    if not urls:
        raise ValueError("no video found at these URLs.")
    if root is None:
        folders = [url.rpartition("/")[0] + "/" for url in urls]
        top = os.path.commonprefix(folders)  # noqa: RUF071 (commonpath makes s3:/ of s3://)
        top = top.rpartition("/")[0] + "/"
    else:
        top = os.fspath(root).rstrip("/") + "/"
    if not is_url(top.rstrip("/")) or top.endswith("://"):
        raise ValueError("`root` must be a URL above all videos; these have none in common.")
    if out := next((url for url in urls if not url.startswith(top)), None):
        raise ValueError(f"`root` {top} is no folder above {out}; name one above all videos.")
    return [RemoteVideo(url, url.removeprefix(top)) for url in urls]


def has_urls(
    paths: Iterable[str | os.PathLike[str]], list_file: str | os.PathLike[str] | None
) -> bool:
    """Whether videos are named by URLs."""
    if any(is_url(path) for path in paths):
        return True
    if list_file is None or not (is_url(list_file) or os.path.isfile(list_file)):
        return False
    first = next(filter(str.strip, _text(os.fspath(list_file)).splitlines()), "")
    return is_url(first)


def _text(list_file: str) -> str:
    if not is_url(list_file):
        return Path(list_file).read_text(encoding="utf-8-sig", errors="surrogateescape")
    files, path = file_system(list_file, "list")
    try:
        content: bytes = files.cat_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"`list` {list_file}: no such file.") from None
    return content.decode("utf-8-sig", errors="surrogateescape")


def _is_there(url: str) -> bool:
    """Whether a video is behind a URL; of what is no URL, and of folders, others tell."""
    if not (is_url(url) and has_video_ending(url)):
        return True
    files, path = file_system(url, "paths")
    try:
        files.info(path)
    except FileNotFoundError:
        return False
    except Exception:  # it is told when it is brought
        pass
    return True


def _below(url: str) -> list[str]:
    """The videos in a folder behind a URL, by their endings."""
    files, path = file_system(url, "paths")
    found: Any = files.find(path)
    if not found:
        raise FileNotFoundError(f"{url}: nothing is there.")
    named = (str(files.unstrip_protocol(each)) for each in found)
    return sorted(each for each in named if has_video_ending(each))
