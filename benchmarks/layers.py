"""Where the native engine's time goes, layer by layer: benchmarks/layers.json.

For C3D at batch 8 and each build of the kernels: milliseconds a clip for transforming the input,
the matrix products and transforming back, how many multiply-adds the algorithm takes beside those
of direct convolution, and how long they would take if every core did nothing but multiply-adds
(`peak.cpp`). Times are the threads' processor time over their number, so other programs disturb
them less.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import write
from peers import CORES

from kinema import native
from kinema.engine.engine import Engine
from kinema.network import c3d
from kinema.weights.file import random_weights

BATCH = 8
ROUNDS = 7
PARTS = ("input_ms", "multiply_ms", "output_ms", "other_ms")


def peak_multiply_adds() -> float:
    """10^9 multiply-adds a second of all cores together."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "peak")
        source = Path(__file__).with_name("peak.cpp")
        command = ["g++", "-std=c++20", "-O2", "-march=native", "-pthread", source, "-o", program]
        subprocess.run(command, check=True)
        return float(subprocess.run([program], check=True, capture_output=True).stdout)


def profile(target: str, peak: float) -> dict:
    """The table of one build."""
    os.environ["KINEMA_PROCESSOR"] = target
    network = c3d()
    engine = Engine(network, random_weights(network), engine="native")
    clips = np.random.default_rng(0).normal(0, 50, (BATCH, *network.input_shape))
    clips = clips.astype(np.float32)
    engine.run(clips, ("prob",))  # memory is taken
    before = engine.profile()
    for _ in range(ROUNDS):
        engine.run(clips, ("prob",))
    after = engine.profile()
    shape, layers, total, needed = network.input_shape, {}, dict.fromkeys(PARTS, 0.0), 0.0
    for layer in network.layers:
        was, now = before[layer.name], after[layer.name]
        spent = {
            part: (getattr(now, part) - getattr(was, part)) / ROUNDS / BATCH / CORES
            for part in PARTS
        }
        if sum(spent.values()) > 0:
            needed += now.multiply_adds
            layers[layer.name] = {
                "how": now.how,
                "direct_gmac": layer.multiply_adds(shape) / 1e9,
                "gmac": now.multiply_adds / 1e9,
                **{part: round(value, 3) for part, value in spent.items()},
            }
            total = {part: total[part] + value for part, value in spent.items()}
        shape = layer.output_shape(shape)
    bound = needed / 1e6 / peak
    return {
        "clip_ms": round(sum(total.values()), 2),
        "input_ms": round(total["input_ms"], 2),
        "multiply_ms": round(total["multiply_ms"], 2),
        "output_ms": round(total["output_ms"], 2),
        "bound_ms": round(bound, 2),
        "direct_bound_ms": round(network.num_multiply_adds / 1e6 / peak, 2),
        "layers": layers,
    }


def packing() -> dict[str, float]:
    """Seconds to make an engine, and MiB of its weights before and after."""
    os.environ["KINEMA_PROCESSOR"] = native.targets()[0]
    weights = random_weights(c3d())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        engine = Engine(c3d(), weights, engine="native")
        seconds.append(time.perf_counter() - start)
    return {
        "seconds_to_pack": sorted(seconds)[1],
        "packed_mib": engine.packed_bytes / 2**20,
        "weights_mib": 4 * c3d().num_parameters / 2**20,
    }


def main() -> None:
    peak = peak_multiply_adds()
    write(
        "layers",
        {
            "what": "C3D, batch 8, all cores: processor milliseconds a clip over the threads",
            "peak_gmac_per_second": peak,
            **packing(),
            "builds": {target: profile(target, peak) for target in native.targets()},
        },
    )


if __name__ == "__main__":
    main()
