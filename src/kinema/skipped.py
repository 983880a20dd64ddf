"""`Skipped`: this video could not be used, because. One type for it, in every command."""

from __future__ import annotations

import os
from dataclasses import dataclass


class VideoError(ValueError):
    """A video cannot be used, and why.

    Attributes:
        frame_index: number of the first frame that could not be read, when frames before it could.
    """

    def __init__(self, reason: str, *, frame_index: int | None = None) -> None:
        super().__init__(reason)
        self.frame_index = frame_index


class EngineError(RuntimeError):
    """What computes the features computes wrong ones: no video is at fault, so the run ends."""


class TooLongError(VideoError):
    """A video takes longer than it may; nothing is wrong with it."""


@dataclass(frozen=True)
class Skipped:
    """A video that could not be used.

    Attributes:
        path: the file; the part of it that was asked for stands behind it, "#t=start,stop".
        reason: why, in one line.
    """

    path: str
    reason: str

    @classmethod
    def of(cls, path: str | os.PathLike[str], error: Exception) -> Skipped:
        """A video that an error kept from being used."""
        return cls(str(path), skip_reason(error))

    def __str__(self) -> str:
        path = self.path.replace("\n", "\\n").replace("\r", "\\r")  # one line, whatever its name
        return f"{path}: {self.reason}"

    def as_mapping(self) -> dict[str, str]:
        """Path and reason as JSON values."""
        return {"path": self.path, "reason": self.reason}

    def __getitem__(self, key: str) -> str:
        """Path or reason by name, as in the lines of skipped.jsonl."""
        return self.as_mapping()[key]


def skip_reason(error: Exception) -> str:
    """Why a video was skipped, in one line."""
    if isinstance(error, FileNotFoundError):
        return "no such file."
    if isinstance(error, PermissionError):
        return "it may not be read (no permission)."
    if isinstance(error, MemoryError):
        return "it needs more memory than there is."
    if isinstance(error, OSError) and error.strerror:
        return f"its features cannot be written, or it cannot be read ({error.strerror})."
    if not isinstance(error, VideoError):
        return " ".join(f"unexpected {type(error).__name__}: {error}".split())
    if isinstance(error, TooLongError) and error.frame_index is not None:
        return f"stopped at frame {error.frame_index}: {error}"
    if error.frame_index is not None:
        return f"broken at frame {error.frame_index}: {error}"
    return str(error)
