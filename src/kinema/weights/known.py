"""Published weight files by name: fetched, converted and kept in the cache."""

from __future__ import annotations

import urllib.parse
from pathlib import Path, PurePosixPath

from kinema.download import fetch
from kinema.weights import file as weight_files
from kinema.weights.convert import convert


def pull(name: str, *, progress: bool = False) -> Path:
    """Fetch and convert a file of `file.KNOWN_FILES`, unless it is in the cache already.

    Several of them were published without a checksum and are taken as they come; the sha256 of
    what came is kept in the weights' metadata, as `source_sha256`.

    Args:
        name: a name of `file.KNOWN_FILES`.
        progress: show the download on standard error.

    Returns:
        The weight file in `file.cache_folder()`, where `file.resolve` looks for it.

    Raises:
        ValueError: the name is not known, or what came has another checksum or cannot be converted.
        DownloadError: see `fetch`.
    """
    if name not in weight_files.KNOWN_FILES:
        known_names = ", ".join(weight_files.KNOWN_FILES)
        raise ValueError(f"`name` {name!r} is not one of the files to pull: {known_names}.")
    path = weight_files.cache_folder() / f"{name}.safetensors"
    if path.is_file():
        return path
    known = weight_files.KNOWN_FILES[name]
    file_name = PurePosixPath(urllib.parse.urlsplit(known.url).path).name
    download = weight_files.cache_folder() / "downloads" / file_name
    if not download.is_file():  # it is there after a conversion that failed
        fetch(known.url, download, sha256=known.sha256, md5=known.md5, progress=progress)
    try:
        weights = convert(download, name=name, **known.convert)
    except ValueError as error:
        raise ValueError(
            f"{error} The download is kept; delete it and pull again to have it anew."
        ) from None
    weights.save(path)
    download.unlink(missing_ok=True)
    return path
