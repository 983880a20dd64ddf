"""How large the published networks are: docs/results/model-sizes.json and model-sizes.md.

    python experiments/model_sizes.py            # or some names, to see their rows alone

Parameters and multiply-adds of one clip, at full width, of 101 classes. Nothing is allocated and
nothing runs: PyTorch counts on its device "meta". Multiply-adds are those of convolutions and
matrices; what LSTMs do cell by cell, normalisations and poolings are none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from needed import needs

needs("torch")

import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.files import atomic_path, write_json
from kinema.models import MODELS, load

OUT = Path(__file__).parent.parent / "docs" / "results"
CLASSES = 101

# Millions, of how many such networks together, for how many classes, who says so.
PUBLISHED = {
    "two-stream-temporal": (
        181.42,
        2,
        101,
        "two streams of VGG-M-2048: Feichtenhofer et al., CVPR 2016, table 1, as notes quote it",
    ),
    "slowfast": (34.48, 1, 400, "4x16, R50, Kinetics-400: pytorchvideo, docs/source/model_zoo.md"),
}


def main() -> None:
    rows = {name: sizes(name) for name in sys.argv[1:] or MODELS}
    write_json(OUT / "model-sizes.json", {"num_classes": CLASSES, "rows": rows})
    with atomic_path(OUT / "model-sizes.md") as partial:
        partial.write_text(as_markdown(rows), encoding="utf-8")
    print(as_markdown(rows))


def parameters(name: str, num_classes: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in load(name)(num_classes).parameters())


def sizes(name: str) -> dict[str, Any]:
    """All that the table tells of a network."""
    made = load(name)
    with torch.device("meta"):
        module = made(CLASSES).eval()
        clips = torch.zeros(1, *made.input_shape)
        labels = torch.zeros(1, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # What learns without labels tells no classes: its loss is what it computes.
        if getattr(made, "learns_labels", True):
            module(clips)
        else:
            module.loss(clips, labels)
    row: dict[str, Any] = {
        "stream": made.stream,
        "input_shape": list(made.input_shape),
        "parameters": parameters(name, CLASSES),
        "multiply_adds": counter.get_total_flops() // 2,
    }
    if name in PUBLISHED:
        millions, copies, num_classes, source = PUBLISHED[name]
        row["published"] = {
            "millions": millions,
            "source": source,
            "num_classes": num_classes,
            "ours": copies * parameters(name, num_classes),
        }
    return row


def as_markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table, and a line for each count that a source states."""
    lines = [
        "# Sizes of the published networks",
        "",
        f"At full width, of {CLASSES} classes; multiply-adds of one clip's convolutions and "
        "matrices. Tests hold the parameters to counts worked by hand from the layers.",
        "",
        "| network | goes in | parameters | multiply-adds, 10^9 | published, 10^6 | ours, 10^6 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for name, row in rows.items():
        shape = "x".join(map(str, row["input_shape"]))
        cells = [name, f"{row['stream']}, {shape}", f"{row['parameters']:,}"]
        cells.append(f"{row['multiply_adds'] / 1e9:.3g}")
        if "published" in row:
            published = row["published"]
            cells += [f"{published['millions']:.2f}", f"{published['ours'] / 1e6:.2f}"]
            notes.append(f"{name}, {published['num_classes']} classes: {published['source']}.  ")
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes]) + "\n"


if __name__ == "__main__":
    main()
