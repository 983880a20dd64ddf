"""Error of the engine against the float64 reference, on real frames: benchmarks/accuracy.json.

Needs KINEMA_DATA with real videos. Full C3D with seeded random weights.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from machine import write

from kinema import network as networks
from kinema import reference
from kinema.engine import Engine
from kinema.features import Extractor
from kinema.weights import random_weights

NUM_VIDEOS = 3


def main() -> None:
    data = os.environ.get("KINEMA_DATA")
    if not data:
        sys.exit("KINEMA_DATA is not set: accuracy is measured on real videos.")
    videos = sorted(Path(data, "ucf101-3", "UCF-101").rglob("*.avi"))
    network = networks.c3d()
    weights = random_weights(network)
    extractor = Extractor(weights, batch=1)
    step = len(videos) // NUM_VIDEOS
    clips = np.concatenate(
        [next(iter(extractor.batches(video))).inputs for video in videos[::step][:NUM_VIDEOS]]
    )
    layers = tuple(name for name in network.layer_names if name != "prob")
    engine = Engine(network, weights)
    got = engine.run(clips, layers)
    expected = reference.run(network, weights, clips, layers)
    errors = {
        layer: float(np.linalg.norm(got[layer] - expected[layer]) / np.linalg.norm(expected[layer]))
        for layer in layers
    }
    write(
        "accuracy",
        {
            "what": "relative L2 error against float64, full C3D, seeded random weights",
            "engine": repr(engine),
            "num_clips": len(clips),
            "relative_l2_error": errors,
            "largest": max(errors.values()),
        },
    )


if __name__ == "__main__":
    main()
