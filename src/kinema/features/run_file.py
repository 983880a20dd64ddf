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
) -> list[str]:
    """Refuse a folder of other settings.

    Args:
        out: the folder or URL, for messages.
        there: its run.json.
        content: of this run.
        check_not_newer_beside: raises `NewerFormat` for what lies beside run.json.

    Returns:
        Notes: which versions are others now.

    Raises:
        ValueError: it was made with other settings, or is no folder of features.
    """
    try:
        found = json.loads(there.decode())
        check_not_newer(dict(found).get("format"), FORMAT)
        check_not_newer_beside()
        before, used = dict(found["settings"]), dict(found["versions"])
    except NewerFormat as error:
        raise NewerFormat(
            f"`out` {out} cannot be gone on with ({error}): update Kinema, or choose another "
            "folder."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{out}/run.json is not of an extraction; choose another `out`.") from None
    settings = content["settings"]
    for name in dict.fromkeys([*settings, *before]):  # what is recorded where it is given
        value = settings.get(name)
        may_be = [before[name]] if name in before else _DEFAULTS_SINCE.get(name, [None])
        if value not in may_be:
            was, now = " or ".join(map(_told, may_be)), _told(value)
            raise ValueError(
                f"`out` {out} was made with {name} {was}{_renamed(name, found)}, now it is {now}: "
                "choose another folder, or the same settings."
            )
    return [
        f"{out} was begun with {name} {used.get(name)}, now it is {version}: new rows may differ "
        "from the older ones in rounding."
        for name, version in content["versions"].items()
        if used.get(name) != version
    ]


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
