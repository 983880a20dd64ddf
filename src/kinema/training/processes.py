"""The processes that share a training run, what they compute on, and how they are stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import torch
from torch import distributed

from kinema.threads import num_usable_cores

PRECISIONS = ("fp32", "tf32", "bf16")
"""Those of `engine.precision` but fp16, whose gradients vanish unless losses are scaled."""


class Processes:
    """This process among those that torchrun started; the only one, without it.

    Args:
        device: "cpu", "cuda", or "auto".
        engine: what computes convolutions: "native", "torch", or "auto": native on a CPU in fp32.
        precision: "fp32", which is strict; "tf32" on a CUDA device; or "bf16" for automatic mixed
            precision.
        threads: CPU threads; None shares the cores among the processes of this machine.

    Attributes:
        rank, size: its number, and how many there are.
        kind: "cpu" or "cuda".
        device: torch's.
        native: whether convolutions run on the native engine.
    """

    def __init__(
        self,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        for what, value, known in (
            ("device", device, ("auto", "cpu", "cuda")),
            ("engine", engine, ("auto", "native", "torch")),
            ("precision", precision, PRECISIONS),
        ):
            if value not in known:
                why = " fp16 is for extraction: its gradients vanish." if value == "fp16" else ""
                raise ValueError(f"`{what}` must be one of {', '.join(known)}; got {value!r}.{why}")
        if threads is not None and threads < 1:
            raise ValueError(f"`threads` must be at least 1, got {threads}.")
        if engine == "native" and (device == "cuda" or precision != "fp32"):
            raise ValueError('the engine "native" learns on a CPU and in fp32.')
        sees_cuda = torch.cuda.is_available()
        if device == "cuda" and not sees_cuda:
            raise ValueError('`device` is "cuda", but PyTorch sees no CUDA device.')
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.precision = precision
        self.kind = "cuda" if sees_cuda and device != "cpu" and engine != "native" else "cpu"
        if precision == "tf32" and self.kind == "cpu":
            raise ValueError('`precision` "tf32" is for a CUDA device, and there is none.')
        self.native = engine == "native" or (
            engine == "auto" and self.kind == "cpu" and precision == "fp32"
        )
        local = int(os.environ.get("LOCAL_RANK", 0))
        self.device = torch.device("cuda", local) if self.kind == "cuda" else torch.device("cpu")
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self.threads = threads or max(num_usable_cores() // beside, 1)

    @property
    def is_first(self) -> bool:
        """Whether it is this one that writes and tells."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def mean(self, *values: torch.Tensor | float) -> list[float]:
        """The mean of each number over all processes."""
        numbers = torch.stack([torch.as_tensor(v, device=self.device).float() for v in values])
        if self.size > 1:
            distributed.all_reduce(numbers)
            numbers /= self.size
        means: list[float] = numbers.tolist()
        return means

    def __enter__(self) -> Self:
        self._threads_before = torch.get_num_threads()  # a setting of the whole process
        products = torch.backends.cuda.matmul
        torch.set_num_threads(self.threads)
        if self.kind == "cuda":
            torch.cuda.set_device(self.device)
            # In fp32 the search for the fastest algorithm takes minutes; in bf16 a second.
            torch.backends.cudnn.benchmark = self.precision == "bf16"
            # PyTorch's default is TF32 in convolutions alone.
            self._tf32_before = torch.backends.cudnn.allow_tf32, products.allow_tf32
            torch.backends.cudnn.allow_tf32 = products.allow_tf32 = self.precision == "tf32"
        if self.size > 1:
            # The others wait while the first one prepares or evaluates, which may take days; if one
            # fails, it is torchrun that ends the others.
            distributed.init_process_group(
                "nccl" if self.kind == "cuda" else "gloo", timeout=timedelta(days=30)
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.size > 1 and kind is None:  # after an error, others would be waited for in vain
            distributed.destroy_process_group()
        torch.set_num_threads(self._threads_before)
        if self.kind == "cuda":
            products = torch.backends.cuda.matmul
            torch.backends.cudnn.allow_tf32, products.allow_tf32 = self._tf32_before


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or SIGTERM came, so that no step is torn; a second one ends at once."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield came.is_set
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: object) -> None:
        came.set()
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number in numbers:
            signal.signal(number, before[number])
