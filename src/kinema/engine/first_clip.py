"""A check at the start of a run on a CUDA device: its first clip, computed by the native engine.

Releases of PyTorch and cuDNN have computed 3-D convolutions wrong without a word, so no run on a
GPU goes on without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from kinema.skipped import EngineError

ERRORS: Mapping[str, float] = MappingProxyType(
    {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2, "fp16": 2e-3}
)
"""What a layer's relative L2 error is in each precision, at most (docs/results/precision.md).

fp32 was measured on an H200 against the native engine: 3e-6.
"""

WRONG_CUDNN = ((9, 8), (9, 13))
"""From this one on, before that one: bf16 convolutions of large clips are wrong. Reported for 9.8
and 9.10.2, and gone in 9.13: https://github.com/pytorch/pytorch/issues/163539."""

SLOW_TORCH = (2, 9)
"""Its 3-D convolutions in bf16 and fp16 bypass cuDNN because of that, which takes 4 times as long
(https://github.com/pytorch/pytorch/issues/166122, 174051) and more memory (166643); from 2.9.1 on,
not beside cuDNN 9.15 or newer."""

SOUND_CUDNN = (9, 15)


def known_faults(precision: str, torch_version: str, cudnn_version: int | None) -> list[str]:
    """What is known to be wrong or slow in these releases, a sentence each.

    Args:
        precision: one of `precision.PRECISIONS`.
        torch_version: as "2.9.0+cu128".
        cudnn_version: as 91002 for 9.10.2; None where there is none.
    """
    if precision not in ("bf16", "fp16"):
        return []
    found = []
    cudnn = None if cudnn_version is None else (cudnn_version // 10000, cudnn_version // 100 % 100)
    if precision == "bf16" and cudnn is not None and WRONG_CUDNN[0] <= cudnn < WRONG_CUDNN[1]:
        found.append(
            f"cuDNN {cudnn[0]}.{cudnn[1]} is known to compute wrong 3-D convolutions in bf16 "
            "(pytorch/pytorch#163539): install 9.15 or newer."
        )
    release = tuple(map(int, re.findall(r"\d+", torch_version)[:3]))
    mended = release[2:] != (0,) and cudnn is not None and cudnn >= SOUND_CUDNN
    if release[:2] == SLOW_TORCH and not mended:
        found.append(
            f"PyTorch {torch_version} is known to be 4 times slower in 3-D convolutions in "
            f"{precision} (pytorch/pytorch#166122): install 2.10 or newer, or 2.9.1 with cuDNN "
            "9.15."
        )
    return found


def check_first_clip(
    got: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    precision: str,
    *,
    torch_version: str,
    cudnn_version: int | None,
) -> None:
    """Refuse to go on with what differs by more than twice the precision's error.

    Args:
        got: the device's outputs by layer, (N, ...) float32 of N clips.
        expected: the native engine's of the same.
        precision, torch_version, cudnn_version: see `known_faults`.

    Raises:
        EngineError: a layer differs, or holds what is no number; it is named, and so are the
            releases' known faults.
    """
    allowed = 2 * ERRORS[precision]
    for layer, right in expected.items():
        difference = np.linalg.norm((got[layer] - right).reshape(len(right), -1), axis=1)
        sizes = np.linalg.norm(right.reshape(len(right), -1), axis=1)
        error = float((difference / np.maximum(sizes, np.finfo(np.float32).tiny)).max())
        if not error <= allowed:  # so that what is no number is refused, too
            faults = known_faults(precision, torch_version, cudnn_version)
            advice = " ".join(faults) or "Take another `precision`, or another release of PyTorch."
            raise EngineError(
                f"the GPU computes {layer} of the first clips wrong in {precision}: it differs "
                f"from the native engine's by {error:.2g} of its length, and may by {allowed:.2g} "
                f"(PyTorch {torch_version}, cuDNN {cudnn_version}). {advice}"
            )
