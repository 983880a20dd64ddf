"""run.json of a folder of features: what it was made with; nothing else may be put into it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kinema.features.extractor import Extractor, versions
from kinema.files import NewerFormat, check_not_newer
from kinema.weights.file import draw_once_called

FORMAT = "kinema-extraction-1"
"""Of the folder: what run.json and the files beside it hold."""

_DEFAULTS_SINCE: Mapping[str, Sequence[Any]] = {
    "colours": ["file"],
    "engine": ["Engine(kind='torch', device='cpu')", "Engine(kind='torch', device='cuda')"],
}
"""Settings that runs of earlier versions did not write down, as they were or may have been."""


def content(
    extractor: Extractor, *, format: str, keep_partial: bool, listed: bool, shards: bool = False
) -> dict[str, Any]:
    """What a folder is made with, JSON values; `listed` if a list names the clips.

    Tables of `format` that lie in shards are Parquet there.
    """
    return {
        "format": FORMAT,
        "settings": {
            **extractor.settings(),
            "engine": extractor.engine_name,
            "format": "parquet" if shards else format,
            "keep_partial": keep_partial,
            "clips": "listed" if listed else extractor.plan.clips or "all",
            **({"shards": True} if shards else {}),
        },
        "weights": extractor.weights_metadata(),
        "versions": versions(),
    }


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """The file."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def check(
    out: str | os.PathLike[str],
    there: bytes,
    content: Mapping[str, Any],
    check_not_newer_beside: Callable[[], None] = lambda: None,
    *,
    name: str = "out",
) -> list[str]:
    """Refuse a folder of other settings.

    Args:
        out: the folder or URL, for messages.
        there: its run.json.
        content: of this run.
        check_not_newer_beside: raises `NewerFormat` for what lies beside run.json.
        name: of the argument, for messages.

    Returns:
        Notes: which versions are others now.

    Raises:
        ValueError: it was made with other settings, or is a folder of something else.
    """
    try:
        found = json.loads(there.decode())
        format = dict(found).get("format")
        check_not_newer(format, content["format"])
        if format is not None and _kind(format) != _kind(content["format"]):
            raise ValueError
        check_not_newer_beside()
        before, used = dict(found["settings"]), dict(found["versions"])
    except NewerFormat as error:
        raise NewerFormat(
            f"`{name}` {out} cannot be gone on with ({error}): update Kinema, or choose another "
            "folder."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{out}/run.json is not of a run of this kind; choose another `{name}`."
        ) from None
    settings = content["settings"]
    for key in dict.fromkeys([*settings, *before]):  # what is recorded where it is given
        value = settings.get(key)
        may_be = [before[key]] if key in before else _DEFAULTS_SINCE.get(key, [None])
        if value not in may_be:
            was, now = " or ".join(map(_told, may_be)), _told(value)
            raise ValueError(
                f"`{name}` {out} was made with {key} {was}{_renamed(key, found)}, now it is {now}: "
                "choose another folder, or the same settings."
            )
    return [
        f"{out} was begun with {of} {used.get(of)}, now it is {version}: what is new may differ "
        "from what is older in rounding."
        for of, version in content["versions"].items()
        if used.get(of) != version
    ]


def _kind(format: object) -> str:
    """Of a format, without the number of its version."""
    return str(format).rpartition("-")[0]


def _told(value: Any) -> str:
    """A setting in words."""
    return "not given" if value is None else str(value)


def _renamed(setting: str, content: Mapping[str, Any]) -> str:
    """What the weights of a folder are called now, where that is something else."""
    weights = content.get("weights")
    if setting != "weights_sha256" or not isinstance(weights, Mapping) or weights.get("trained"):
        return ""
    draw = draw_once_called(str(weights.get("name")))
    return "" if draw is None else f" ({draw}, as it is called now)"
