"""Brox et al. 2004 in PyTorch on a GPU: pairs a second by batch, error, agreement with the CPU.

    python benchmarks/brox_gpu.py --out benchmarks/brox_gpu.json

Needs numpy and torch alone, and src/ beside it: neither an installation nor a compiler. Each way to
run the sweeps is a row of its own (a CUDA graph of PyTorch's own operations; the same, fused by
torch.compile, which needs Triton; one operation after the other); one that fails says why. On a
machine without a GPU it measures the CPU with a batch of 1. What is timed is the call with arrays
in the computer's memory: the way to the GPU and back counts, reading of files does not. Takes about
a minute on a GPU; compiling comes last, and what was measured before is in the file by then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import torch

from kinema.flow.brox import SWEEPS_A_CHECK, Brox
from kinema.flow.known import MOTIONS, KnownPair, end_point_error, known_pair
from kinema.flow.torch_brox import brox_flow

HEIGHT, WIDTH = 240, 320
BATCHES = (1, 8, 32, 128)


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def machine(device: str) -> dict[str, Any]:
    """What the measurement was taken on and with."""
    facts = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        memory = round(about.total_memory / 2**30, 1)
        facts |= {"gpu": about.name, "gpu_gib": memory, "cuda": torch.version.cuda}
    return facts


def timed(pairs: list[KnownPair], batch: int, device: str, way: dict[str, bool]) -> dict[str, Any]:
    """Pairs a second, the mean end-point error by motion, and what it took."""
    chosen = [pairs[i % len(pairs)] for i in range(batch)]
    first = np.stack([pair.first for pair in chosen])
    second = np.stack([pair.second for pair in chosen])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    flow = brox_flow(first, second, device=device, **way)
    first_call = time.perf_counter() - began
    seconds = []
    while len(seconds) < 3 and sum(seconds) < 3:
        began = time.perf_counter()
        flow = brox_flow(first, second, device=device, **way)
        seconds.append(time.perf_counter() - began)
    row = {
        "batch": batch,
        "pairs_per_second": round(batch / min(seconds), 2),
        "seconds": [round(one, 4) for one in seconds],
        "first_call_seconds": round(first_call, 3),
        "end_point_error_px": {
            MOTIONS[i]: round(end_point_error(flow[i], chosen[i].flow), 5)
            for i in range(min(batch, len(MOTIONS)))
        },
    }
    if device == "cuda":
        row["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return row


def against_cpu(pairs: list[KnownPair], device: str) -> dict[str, Any]:
    """How far the flow of the device is from that of the CPU, by motion."""
    found = {}
    for motion, pair in zip(MOTIONS, pairs, strict=True):
        here = brox_flow(pair.first, pair.second)
        there = brox_flow(pair.first, pair.second, device=device)
        distance = np.hypot(*np.moveaxis(here - there, -1, 0))
        found[motion] = {
            "mean_px": float(distance.mean()),
            "most_px": float(distance.max()),
            "cpu_end_point_error_px": round(end_point_error(here, pair.flow), 5),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--device", help="PyTorch's name; cuda where there is one, else cpu")
    parser.add_argument(
        "--seconds", type=float, default=45.0, help="no new measurement is begun after so many"
    )
    given = parser.parse_args()
    began = time.perf_counter()
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device == "cuda"
    torch.set_num_threads(1)  # of the CPU
    pairs = [known_pair(motion, height=HEIGHT, width=WIDTH) for motion in MOTIONS]
    result: dict[str, Any] = {
        "what": f"Brox et al. 2004 in PyTorch, {WIDTH}x{HEIGHT}, the best of three calls",
        "device": device,
        "settings": {**asdict(Brox()), "sweeps_a_check": SWEEPS_A_CHECK},
        "machine": machine(device),
        "rows": [],
        "failed": [],
    }

    def save() -> None:  # after each step, so that a machine that is taken away leaves something
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def attempt(name: str, work: Any) -> Any:
        if time.perf_counter() - began > given.seconds:
            result["failed"].append({"what": name, "why": f"{given.seconds:g} s were over"})
            return None
        try:
            return work()
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:300]
            result["failed"].append({"what": name, "why": f"{type(error).__name__}: {reason}"})
            return None
        finally:
            save()

    ways = [
        ("graph", {}, BATCHES),
        ("eager", {"graph": False}, (1, 32)),
        # The largest first, which are compiled as one; a batch of 1 is compiled by itself.
        ("compiled and graph", {"compiled": True}, BATCHES[::-1]),
    ]
    if on_gpu:
        result["against_cpu"] = attempt("against the CPU", lambda: against_cpu(pairs, device))
    for way, keywords, batches in ways if on_gpu else [("eager", {}, (1,))]:
        for batch in batches:
            name = f"{way}, batch {batch}"
            row = attempt(name, lambda b=batch, k=keywords: timed(pairs, b, device, k))
            if row:
                result["rows"].append({"way": way, **row})
                print(f"{name}: {row['pairs_per_second']} pairs/s", flush=True)
                save()
    result["seconds_in_all"] = round(time.perf_counter() - began, 1)
    save()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
