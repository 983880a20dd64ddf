"""Writes what benchmarks/*.json hold into README.md and pages of docs/.

Text between `<!-- name -->` and `<!-- end -->`, or after `<!-- name: -->` to the end of its
paragraph, is made here; tests/test_readme.py sees to it that it is up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md", "docs/speed.md", "docs/engine.md", "docs/training.md", "docs/worth.md",
    "docs/many-machines.md",
)  # fmt: skip


def load(name: str) -> dict[str, Any]:
    """One benchmark's result."""
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def engines() -> str:
    """C3D at each batch size: clips a second, how many times Kinema's time, error and memory."""
    result = load("engines")
    speed, error, memory = result["speed"], result["error"], result["memory"]
    batches = ("c3d x1", "c3d x4", "c3d x8")
    lines = [
        "| C3D, clips a second | 1 clip at once | 4 | 8 | best, Kinema's over it | error of fc8 | "
        "start to first result | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    best = {
        engine: max(speed[batch][engine]["clips_per_second"] for batch in batches)
        for engine in speed[batches[0]]
    }
    for engine in sorted(best, key=best.__getitem__, reverse=True):
        rates = [f"{speed[batch][engine]['clips_per_second']:.1f}" for batch in batches]
        cells = [
            result["labels"][engine],
            *rates,
            "" if engine == "native" else f"{best['native'] / best[engine]:.1f}x",
            f"{_fc8(error['c3d'][engine]):.1e}",
            f"{memory[engine]['cold_start_median_seconds']:.1f} s",
            f"{memory[engine]['peak_mib']:.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machine = result["machine"]
    lines += [
        "",
        f"{machine['cpu']}, {machine['cores']} cores, fp32, medians of {speed['num_rounds']} "
        "interleaved rounds on real clips. Error: relative L2 against float64. Peak memory: 4 "
        f"clips at once. Two threads are {result['threads']['2']['speedup']:.2f} times as "
        "fast as one.",
    ]
    return "\n".join(lines)


def _fc8(error: Any) -> float:
    return error["fc8"] if isinstance(error, Mapping) else error


def speed() -> str:
    """The engines in a sentence."""
    result = load("engines")
    rows = [result["speed"][batch] for batch in ("c3d x1", "c3d x4", "c3d x8")]
    best = {name: max(row[name]["clips_per_second"] for row in rows) for name in rows[0]}
    times = {name: best["native"] / value for name, value in best.items() if name != "native"}
    return (
        f"On {result['machine']['cores']} cores the native engine computes {best['native']:.1f} "
        f"clips of C3D a second, {times['openvino']:.1f} times as many as OpenVINO and "
        f"{times['torch']:.1f} times as many as PyTorch, and is installed without them "
        "([how it was measured](docs/speed.md))."
    )


def extraction() -> str:
    """End to end, in a sentence."""
    result = load("extraction")
    seconds, rates = result["median_seconds"], result["clips_per_second"]
    share = 1 / (1 + result["percent_over_engine_run"] / 100)
    return (
        f"End to end, `kinema extract` took {seconds['extract']:.0f} s for the "
        f"{result['num_clips']} clips of {result['num_videos']} real videos with the full C3D "
        f"({rates['extract']:.1f} clips a second, the engine alone being {100 * share:.0f} % of "
        f"it), a plain script of PyAV, OpenCV and PyTorch {seconds['plain']:.0f} s: "
        f"{result['plain_over_extract']:.1f} times as long "
        "([benchmarks/extraction.json](../benchmarks/extraction.json))."
    )


def install() -> str:
    """Time and size of an installation, in a sentence."""
    result = load("install")
    return (
        f"takes {result['seconds']:.0f} s in a fresh environment, most of it compiling, and "
        f"{result['mib']:.0f} MiB, of which Kinema is {result['kinema_mib']:.0f} "
        "([benchmarks/install.json](../benchmarks/install.json)); PyTorch is not among it."
    )


def error() -> str:
    """The worst layer of the native engine."""
    layers = load("engines")["error"]["c3d"]["native"]
    worst = max(layers, key=layers.__getitem__)
    return (
        f"On real video, no layer of the full C3D from conv1a to fc8 differs from a float64 "
        f"reference by more than {layers[worst]:.1e} (relative L2, {worst}); fc6 by "
        f"{layers['fc6']:.1e}, fc8 by {layers['fc8']:.1e}."
    )


def layers() -> str:
    """Where the time goes, for each build."""
    result = load("layers")
    lines = []
    for target, build in result["builds"].items():
        lines += [
            f"| {target} | how | transform | multiply | back | GMAC | direct |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, row in build["layers"].items():
            if row["gmac"] > 0:
                times = " | ".join(f"{row[f'{what}_ms']:.2f}" for what in TIMES)
                numbers = f"{row['gmac']:.3f} | {row['direct_gmac']:.3f}"
                lines.append(f"| {name} | {row['how']} | {times} | {numbers} |")
        times = " | ".join(f"{build[f'{what}_ms']:.2f}" for what in TIMES)
        lines += [
            f"| all | {build['clip_ms']:.1f} ms a clip | {times} | | |",
            f"| bound | {build['bound_ms']:.1f} ms | | | | | {build['direct_bound_ms']:.0f} ms |",
            "",
        ]
    return "\n".join(lines).rstrip()


TIMES = ("input", "multiply", "output")


def packed() -> str:
    """What weights take once they are transformed."""
    result = load("layers")
    return (
        f"the full C3D takes {result['seconds_to_pack']:.1f} s and {result['packed_mib']:.0f} MiB "
        f"instead of {result['weights_mib']:.0f}."
    )


def overlap() -> str:
    """What sharing the input transforms could save."""
    build = next(iter(load("layers")["builds"].values()))
    rows = build["layers"]
    share = 8 / 16 * rows["conv1a"]["input_ms"] + 6 / 16 * rows["conv2a"]["input_ms"]
    return (
        f"With all of conv1a's for the shared frames and conv2a's for six of sixteen, that would "
        f"be at most {share:.1f} of {build['clip_ms']:.0f} ms a clip, "
        f"{100 * share / build['clip_ms']:.0f} %."
    )


def prepared() -> str:
    """Ways to keep frames."""
    result = load("prepare")
    lines = [
        "| frames of 128x171 as | bytes a frame | PSNR, dB | ms to read 16 anywhere, one core |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in result["ways"].items():
        psnr = "" if row["psnr_db"] is None else row["psnr_db"]
        lines.append(f"| {name} | {row['bytes_a_frame']:,} | {psnr} | {row['read_clip_ms']} |")
    kinema = result["kinema"]
    lines += [
        "",
        f"`kinema prepare` (the second line) made {kinema['num_frames']:,} frames of "
        f"{kinema['num_videos']} real videos at {kinema['frames_per_second']:,} frames a second. "
        f"At {kinema['bytes_a_frame']:,} bytes a frame, UCF101 would take {kinema['ucf101_gb']} "
        f"GB, a million videos in five clips each {kinema['million_videos_tb']} TB "
        "([prepare.json](../benchmarks/prepare.json)).",
    ]
    return "\n".join(lines)


CASES = {
    "c3d": "C3D",
    "depth-3": "five convolutions (`ucf101-scratch`)",
    "mini": "`mini`, 64 pixels",
}


def training() -> str:
    """Learning beside a plain PyTorch loop."""
    result = load("training")
    lines = [
        "| network | batch | Kinema, clips/s | plain PyTorch loop | | forward, backward, step: ms "
        "a clip | reading beside it |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, row in result["networks"].items():
        rates, parts = row["clips_per_second"], row["milliseconds_a_clip"]
        read = row.get("reading", {}).get("percent_longer_than_from_memory")
        lines.append(
            f"| {CASES[case]} | {row['batch']} | {rates['kinema']:.2f} | "
            f"{rates[row['best_plain']]:.2f} | {row['times_as_fast']:.1f}x | "
            f"{parts['forward']:.0f}, {parts['backward']:.0f}, {parts['step']:.0f} | "
            f"{'' if read is None else f'{read:+.0f} % time'} |"
        )
    machine = result["machine"]
    lines += [
        "",
        f"{machine['cpu']}, {machine['cores']} cores, fp32, medians of interleaved rounds from "
        "clips in memory, the plain loop at its better memory layout "
        "([training.json](../benchmarks/training.json)). The last column: the same steps with real "
        "prepared clips that are read, cropped and mirrored meanwhile.",
    ]
    return "\n".join(lines)


def report() -> str:
    """How the HTML report behaves with many videos, in a sentence."""
    result = load("report")
    return (
        f"With as many videos as UCF101 has, 13,320 (here synthetic), `report.html` takes "
        f"{result['size_mb']:.0f} MB, opens in {result['open_seconds']:.1f} s in Chromium and "
        f"shows a filmstrip {result['hover_ms']:.0f} ms after one points at a video "
        "([benchmarks/report.json](../benchmarks/report.json))."
    )


def million() -> str:
    """What sharing a list of a million videos costs one process, in two sentences."""
    result = load("shared")
    sizes, percent = result["sizes"], result["percent_of_the_time"]
    slow, fast = percent.values()
    return (
        f"For {result['videos']:,} videos of UCF101's size in {result['chunks']:,} chunks, with "
        "work that does nothing, claims, heartbeats and manifests took "
        f"{result['run']['seconds']:.0f} s ({result['run']['processor_seconds']:.0f} s of the "
        "processor) on a local disk, beside "
        f"other work on both cores: {slow:.2g} % of the time at 2,000 videos an hour, {fast:.2g} % "
        f"at ten times as many. A process that comes when all is done reads every manifest and "
        f"knows it after {result['resume']['seconds']:.0f} s "
        f"({result['resume']['processor_seconds']:.0f} s of the processor). The list takes "
        f"{sizes['list'] / 1e6:.1f} MB, the manifests {sizes['manifests']['bytes'] / 1e6:.0f} MB, "
        f"the claims {sizes['claims']['bytes'] / 1e6:.1f} MB, a process "
        f"{result['peak_memory_bytes'] / 1e6:.0f} MB of memory "
        "([benchmarks/shared.json](../benchmarks/shared.json))."
    )


TABLES = (
    engines,
    speed,
    extraction,
    install,
    error,
    layers,
    packed,
    overlap,
    prepared,
    training,
    report,
    million,
)
MADE: Mapping[str, Callable[[], str]] = {made.__name__: made for made in TABLES}


def filled(page: str, tables: Mapping[str, Callable[[], str]] = MADE) -> str:
    """A page's text with everything between the marks made anew."""
    for name, made in tables.items():
        block = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page = re.sub(block, lambda m, t=made: f"{m[1]}{t()}\n{m[2]}", page, flags=re.DOTALL)
        inline = rf"(<!-- {name}: -->).*?(?=\n\n|\n?\Z)"
        page = re.sub(inline, lambda m, t=made: f"{m[1]} {t()}", page, flags=re.DOTALL)
    return page


def main() -> None:
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
