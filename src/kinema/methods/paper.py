"""The table of Tran et al. 2015 on all 101 classes of UCF101, and which rows here are of it."""

from __future__ import annotations

from collections.abc import Sequence

PAPER: tuple[tuple[str, str, float], ...] = (
    ("imagenet", "ImageNet + linear SVM", 68.8),
    ("idt-bow", "iDT with bag of words + linear SVM", 76.2),
    ("slow-fusion", "Deep networks (slow fusion)", 65.4),
    ("spatial", "Spatial stream network", 72.6),
    ("lrcn", "LRCN, frames", 71.1),
    ("lstm-composite", "LSTM composite model, frames", 75.8),
    ("c3d", "C3D (1 net) + linear SVM", 82.3),
    ("c3d-nets", "C3D (3 nets) + linear SVM", 85.2),
    ("idt-fisher", "iDT with Fisher vectors", 87.9),
    ("temporal", "Temporal stream network", 83.7),
    ("two-stream-svm", "Two-stream networks", 88.0),
    ("lrcn-both", "LRCN, frames and flow", 82.9),
    ("lstm-composite-both", "LSTM composite model, frames and flow", 84.3),
    ("conv-pooling-both", "Conv pooling on long clips", 88.2),
    ("lstm-long-both", "LSTM on long clips", 88.6),
    ("mifs", "Multi-skip feature stacking", 89.1),
    ("c3d-nets+idt-fisher", "C3D (3 nets) + iDT + linear SVM", 90.4),
)
"""Row, what the paper calls it, accuracy in % (not measured here)."""

ACCURACY = {row: accuracy for row, _, accuracy in PAPER}
"""By row."""

_OF_ONE_NET = {"c3d-nets": "c3d", "c3d-nets+idt-fisher": "c3d+idt-fisher"}


def rows(num_nets: int) -> Sequence[str]:
    """The paper's rows for so many nets of C3D, C3D first: differences are to it."""
    names = [row if num_nets > 1 else _OF_ONE_NET.get(row, row) for row, *_ in PAPER]
    return tuple(dict.fromkeys(["c3d", *names]))
