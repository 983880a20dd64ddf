"""Kinema's networks in each engine that engines.py compares: a file and settings -> a function.

Every peer runs the same network data and weights: PyTorch modules built here, and the ONNX file
that `kinema.engine.export` writes. That they are right shows against a float64 reference
(engines.py).

Each engine works in a process of its own, for its threads, memory and start to be its own. `Worker`
is that process as seen from outside; `python peers.py ENGINE` is it from within.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from kinema.network import Conv3d, Linear, MaxPool3d, Network

Setting = dict[str, Any]
Run = Callable[[np.ndarray], np.ndarray]

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
NATIVE = "native"
SCORES = "fc8"
"""What the peers compute; softmax is left out."""

SLOT_SECONDS = 1.0
"""How long a quick cell is repeated for one measurement."""

PAUSE_SECONDS = 0.1
"""Time for the threads of the engine before to stop waiting actively for more work."""


@dataclass(frozen=True)
class Job:
    """What one cell of the comparison runs.

    Attributes:
        network: up to fc8.
        weights: its parameters as a Kinema weight file.
        onnx: the same network and parameters as `write_onnx` writes them.
        batch: clips that are given at once.
        setting: one of those that `ENGINES` has for the engine and batch.
    """

    network: Network
    weights: Path
    onnx: Path
    batch: int
    setting: Mapping[str, Any]

    @property
    def clips_a_run(self) -> int:
        """Into what pieces the batch is cut; the whole of it unless the setting says otherwise."""
        clips_a_run = self.setting.get("clips_a_run", "all")
        return self.batch if clips_a_run == "all" else min(clips_a_run, self.batch)


# --- Kinema ---------------------------------------------------------------------------------------


@functools.cache
def native_engine(network: Network, weights: Path, threads: int) -> Any:
    """Kinema's own engine; one for all batch sizes."""
    from kinema.engine.engine import Engine
    from kinema.weights.file import Weights

    return Engine(network, Weights.load(weights), engine=NATIVE, threads=threads)


def native(job: Job) -> Run:
    engine = native_engine(job.network, job.weights, job.setting["threads"])
    return lambda clips: engine.run(clips, (SCORES,))[SCORES]


# --- PyTorch --------------------------------------------------------------------------------------


@functools.cache
def torch_module(network: Network, weights: Path, layout: str) -> Any:
    """The network as a plain `nn.Sequential` with the weights in the asked layout."""
    import torch
    from safetensors.torch import load_file
    from torch import nn

    shape: tuple[int, ...] = network.input_shape
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.device("meta"):  # no time is lost on first values
        for layer in network.layers:
            match layer:
                case Conv3d():
                    modules[layer.name] = nn.Conv3d(
                        shape[0], layer.out_channels, layer.kernel, padding=layer.padding
                    )
                    modules[f"{layer.name}_relu"] = nn.ReLU(inplace=True)
                case MaxPool3d():
                    modules[layer.name] = nn.MaxPool3d(
                        layer.kernel, padding=layer.padding, ceil_mode=True
                    )
                case Linear():
                    if len(shape) > 1:
                        modules["flatten"] = nn.Flatten()
                    modules[layer.name] = nn.Linear(int(np.prod(shape)), layer.out_features)
                    if layer.relu:
                        modules[f"{layer.name}_relu"] = nn.ReLU(inplace=True)
            shape = layer.output_shape(shape)
        module = nn.Sequential(modules)
    parameters = load_file(weights)
    parameters.pop("mean", None)
    module.load_state_dict(parameters, assign=True)
    module.eval().requires_grad_(False)
    return module.to(memory_format=_memory_format(layout))


def _memory_format(layout: str) -> Any:
    import torch

    return torch.channels_last_3d if layout == "channels_last_3d" else torch.contiguous_format


def _torch_input(clips: np.ndarray, layout: str) -> Any:
    import torch

    return torch.from_numpy(clips).contiguous(memory_format=_memory_format(layout))


def _torch_run(module: Any, job: Job) -> Run:
    """One call a piece, all cores in each; or a piece a thread, one core in each."""
    import torch

    layout, at_once = job.setting["layout"], job.setting.get("at_once", 1)

    def run(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(_torch_input(clips, layout)).numpy()

    pieces = in_pieces(
        run, job.clips_a_run, at_once, prepare=functools.partial(torch.set_num_threads, 1)
    )

    def run_all(clips: np.ndarray) -> np.ndarray:
        torch.set_num_threads(1 if at_once > 1 else CORES)
        return pieces(clips)

    return run_all


def torch_eager(job: Job) -> Run:
    return _torch_run(torch_module(job.network, job.weights, job.setting["layout"]), job)


def torch_traced(job: Job) -> Run:
    """Traced, frozen and optimized for inference: oneDNN's layouts and fused ReLUs."""
    import torch

    layout = job.setting["layout"]
    module = torch_module(job.network, job.weights, layout)
    example = _torch_input(
        np.zeros((job.clips_a_run, *job.network.input_shape), np.float32), layout
    )
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but it is what users have
        traced = torch.jit.freeze(torch.jit.trace(module, example))
        return _torch_run(torch.jit.optimize_for_inference(traced), job)


def torch_compiled(job: Job) -> Run:
    """torch.compile (inductor) for the exact shape."""
    import torch

    # The code of `nn.Sequential` is compiled once for each network, layout and batch here.
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    module = torch_module(job.network, job.weights, job.setting["layout"])
    options = {"freezing": job.setting["freezing"]}
    return _torch_run(torch.compile(module, dynamic=False, options=options), job)


# --- ONNX -----------------------------------------------------------------------------------------


def onnx_runtime(job: Job) -> Run:
    import onnxruntime

    at_once = job.setting["at_once"]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{job.setting['graph'].upper()}"
    )
    options.enable_cpu_mem_arena = job.setting["arena"]
    options.intra_op_num_threads = 1 if at_once > 1 else CORES
    options.add_free_dimension_override_by_name("N", job.clips_a_run)
    session = onnxruntime.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
    return in_pieces(
        lambda clips: session.run([SCORES], {"clips": clips})[0], job.clips_a_run, at_once
    )


def openvino(job: Job) -> Run:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job.onnx)
    model.reshape([job.clips_a_run, *job.network.input_shape])
    # Without the hint, processors that have bf16 instructions would compute in bf16.
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": CORES,
        **job.setting["config"],
    }
    compiled = core.compile_model(model, "CPU", config)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT")
    if precision != ov.Type.f32:
        raise RuntimeError(f"OpenVINO would compute in {precision}, not in f32.")
    requests = ov.AsyncInferQueue(
        compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    )
    size = job.clips_a_run
    features = model.output(0).shape[1:]

    def run(clips: np.ndarray) -> np.ndarray:
        scores = np.empty((len(clips), *features), np.float32)

        def keep(request: Any, start: int) -> None:
            scores[start : start + size] = request.get_output_tensor().data

        requests.set_callback(keep)
        for start in range(0, len(clips), size):
            requests.start_async({0: clips[start : start + size]}, start, share_inputs=True)
        requests.wait_all()
        return scores

    return run


# --- settings -------------------------------------------------------------------------------------


def in_pieces(
    run: Run, size: int, at_once: int, *, prepare: Callable[[], None] | None = None
) -> Run:
    """`run` on `size` clips at a time, `at_once` of these in threads of their own."""
    if at_once == 1:
        every: Any = map
    else:
        every = ThreadPoolExecutor(at_once, initializer=prepare).map

    def run_pieces(clips: np.ndarray) -> np.ndarray:
        pieces = [clips[start : start + size] for start in range(0, len(clips), size)]
        return np.concatenate(list(every(run, pieces)))

    return run_pieces


def _ways(batch: int) -> list[Setting]:
    """The batch in one call, clip by clip, and as many clips side by side as there are cores."""
    ways: list[Setting] = [{"clips_a_run": "all", "at_once": 1}]
    if batch > 1:
        ways.append({"clips_a_run": 1, "at_once": 1})
        if CORES > 1:
            ways.append({"clips_a_run": 1, "at_once": CORES})
    return ways


def _torch_settings(batch: int) -> list[Setting]:
    layouts = ("contiguous", "channels_last_3d")
    return [{"layout": layout, **way} for layout in layouts for way in _ways(batch)]


def _torch_compiled_settings(batch: int) -> list[Setting]:
    return [
        {"freezing": freezing, **setting}
        for freezing in (True, False)
        for setting in _torch_settings(batch)
        if setting["at_once"] == 1
    ]


def _onnx_runtime_settings(batch: int) -> list[Setting]:
    settings: list[Setting] = [
        {"graph": "all", "arena": arena, **way} for arena in (True, False) for way in _ways(batch)
    ]
    return [*settings, {**settings[0], "graph": "extended"}]


def _openvino_settings(batch: int) -> list[Setting]:
    latency = {"PERFORMANCE_HINT": "LATENCY"}
    configs: list[Setting] = [latency, {**latency, "ENABLE_CPU_PINNING": False}]
    settings: list[Setting] = [{"clips_a_run": "all", "config": config} for config in configs]
    if batch > 1:
        configs = [
            latency,
            {"PERFORMANCE_HINT": "THROUGHPUT"},
            {"NUM_STREAMS": CORES},
            {"NUM_STREAMS": CORES, "ENABLE_CPU_PINNING": False},
        ]
        settings += [{"clips_a_run": 1, "config": config} for config in configs]
    return settings


class Peer(NamedTuple):
    """An engine: what to call it, how it is built, and what settings are worth a trial."""

    label: str
    build: Callable[[Job], Run]
    settings: Callable[[int], list[Setting]]
    modules: tuple[str, ...]


ENGINES: Mapping[str, Peer] = MappingProxyType(
    {
        NATIVE: Peer("Kinema", native, lambda batch: [{"threads": CORES}], ()),
        "torch": Peer("PyTorch", torch_eager, _torch_settings, ("torch",)),
        "torch-traced": Peer("PyTorch, traced", torch_traced, _torch_settings, ("torch",)),
        "torch-compiled": Peer(
            "PyTorch, compiled", torch_compiled, _torch_compiled_settings, ("torch",)
        ),
        "onnxruntime": Peer(
            "ONNX Runtime", onnx_runtime, _onnx_runtime_settings, ("onnx", "onnxruntime")
        ),
        "openvino": Peer("OpenVINO", openvino, _openvino_settings, ("onnx", "openvino")),
    }
)


def missing(engine: str) -> str | None:
    """Why an engine cannot take part, or None."""
    from kinema.engine.engine import KINDS

    if engine == NATIVE and NATIVE not in KINDS:
        return f"this Kinema has no native engine, only {', '.join(KINDS)}"
    for module in ENGINES[engine].modules:
        if importlib.util.find_spec(module) is None:
            return "not installed: pip install -r benchmarks/requirements.txt (and kinema[torch])"
    if engine == "torch-compiled" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "torch.compile needs a C++ compiler: apt-get install g++"
    return None


# --- a process for each engine --------------------------------------------------------------------

MALLOCS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "default": {},
        "keep": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)},
    }
)
"""Environments. By default glibc gives large arrays back to the system when they are freed, and has
them cleared page by page when they are wanted again; "keep" is what its users set against that."""


class Worker:
    """One engine in a process of its own; it does one thing at a time, when asked.

    Requests and answers are pickles through pipes. Use it as a context manager.

    Args:
        engine: one of `ENGINES`.
        malloc: one of `MALLOCS`.
        environment: more variables for the process.
    """

    def __init__(
        self, engine: str, *, malloc: str = "default", environment: Mapping[str, str] | None = None
    ) -> None:
        self.engine = engine
        self._process = subprocess.Popen(
            [sys.executable, __file__, engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **MALLOCS[malloc], **(environment or {})},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def build(self, name: str, job: Job, clips: np.ndarray) -> np.ndarray:
        """Make a cell ready, warm, under a name; its result on the first `job.batch` clips."""
        return self._ask("build", name, job, clips[: job.batch])

    def time(self, name: str) -> float:
        """Seconds for one batch: the median of as many as fit into `SLOT_SECONDS`."""
        return self._ask("time", name)

    def layers(self, job: Job, clips: np.ndarray) -> dict[str, np.ndarray]:
        """All layers' outputs; of Kinema's engine alone."""
        return self._ask("layers", job, clips)

    def first(self, job: Job, clips: np.ndarray) -> None:
        """One run, of what was not built before."""
        self._ask("first", job, clips[: job.batch])

    def peak_mib(self) -> float | None:
        """Largest resident memory of the process so far, where the system tells."""
        return self._ask("peak_mib")

    def _ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            error, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"{self.engine}: its process ended.") from None
        if error is not None:
            raise RuntimeError(f"{self.engine}: {error}")
        return answer


WARM_RUNS = 3
"""PyTorch's traced networks are optimized in their second run."""


class _Cells:
    """The inner side of `Worker`: what it is asked for, by name."""

    def __init__(self, engine: str) -> None:
        self._build = ENGINES[engine].build
        self._cells: dict[str, tuple[Run, np.ndarray]] = {}

    def build(self, name: str, job: Job, clips: np.ndarray) -> np.ndarray:
        run = self._build(job)
        for _ in range(WARM_RUNS):
            scores = run(clips)
        self._cells[name] = run, clips
        return scores

    def time(self, name: str) -> float:
        run, clips = self._cells[name]
        time.sleep(PAUSE_SECONDS)
        seconds: list[float] = []
        while sum(seconds) < SLOT_SECONDS:
            begun = time.perf_counter()
            run(clips)
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds)

    def layers(self, job: Job, clips: np.ndarray) -> dict[str, np.ndarray]:
        engine = native_engine(job.network, job.weights, job.setting["threads"])
        return engine.run(clips, job.network.layer_names)

    def first(self, job: Job, clips: np.ndarray) -> None:
        self._build(job)(clips)

    def peak_mib(self) -> float | None:
        status = Path("/proc/self/status")
        if not status.is_file():
            return None
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


def work(engine: str) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    cells = _Cells(engine)
    while True:
        try:
            what, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        error, answer = None, None
        try:
            answer = getattr(cells, what)(*arguments)
        except Exception as caught:
            traceback.print_exc()
            error = f"{type(caught).__name__}: {caught}"
        pickle.dump((error, answer), answers)
        answers.flush()


if __name__ == "__main__":
    work(sys.argv[1])
