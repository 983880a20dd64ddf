"""A network that PyTorch compiles for training, and the check of its first step.

Note [The first compiled step]
    Releases of PyTorch have computed 3-D convolutions wrong without a word, so the first step of a
    compiled run goes both ways, compiled and not, from the same clips and the same state, before it
    is taken. Outputs are dropped alike, because random numbers are drawn by PyTorch's own kernels
    in both ("fallback_random"); what a way there changes (running means of norms, queues of a
    user's class) is put back. Gradients that are kept to be compared lie in the computer's memory.
    Where the two ways differ, or one process of several cannot compile, all go on uncompiled. Each
    parameter is judged by itself: of the whole gradient the last layer may be nine tenths.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from kinema.engine.first_layers import note
from kinema.engine.torch_forward import allow_shapes
from kinema.training.processes import Processes

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"fp32": (1e-3, 0.02), "tf32": (0.02, 0.2), "bf16": (0.1, 0.5)}
)
"""How far the loss and a parameter's gradient may be off.

Compiled for a CPU, `c3d-mini` does not differ; a net of C3D's depth with batch normalisation does
by 0.15 in bf16 and 0.0013 in fp32, in the gradient that is off most. What the format itself does
to a net without norms is 0.27 in bf16 (conv1a), and 0.13 in fp16, whose numbers are as long as
TF32's. A gradient that is zero is off by 1, an unrelated one by 1.4. Weights were random.
"""

SMALLEST_SHARE = 1e-3
"""Of the whole gradient's length: the error of a shorter one is told as a share of this.

What has no influence, as a bias before a norm, has a gradient of rounding errors alone.
"""


@dataclass(frozen=True)
class Difference:
    """How far a compiled step is off.

    Attributes:
        loss: the difference of the losses, divided by the uncompiled one where that is above 1.
        gradient: of the parameter that is off most, relative L2, see `SMALLEST_SHARE`.
        parameter: its name.
    """

    loss: float
    gradient: float
    parameter: str

    def is_within(self, precision: str) -> bool:
        """Whether it may be rounding; False where it is no number."""
        loss, gradient = LIMITS[precision]
        return self.loss <= loss and self.gradient <= gradient


class Compiled(nn.Module):
    """A module that PyTorch compiles, or the module itself from the moment that it cannot.

    Attributes:
        is_compiled: whether it runs compiled, as far as is known yet.
        is_checked: whether `check` was called.
        difference: what it found; None where there was nothing to compare.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.is_checked = False
        self.difference: Difference | None = None
        self.is_compiled = True
        allow_shapes(128)
        try:
            options: Any = {"fallback_random": True}  # see Note [The first compiled step]
            compiled = torch.compile(module, dynamic=False, options=options)
            self._run: Any = lambda *arguments: compiled(*arguments)  # no second child
        except RuntimeError as error:  # of a Python that it does not know yet
            self.give_up(error)

    def give_up(self, error: Exception) -> bool:
        """Go on uncompiled; False if it does already, and the error is of another kind."""
        if not self.is_compiled:
            return False
        self.is_compiled = False
        note("PyTorch could not compile the network", error)
        return True

    def forward(self, *arguments: Tensor) -> Any:
        if not self.is_compiled:
            return self.module(*arguments)
        try:
            return self._run(*arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # of many kinds, for what is missing is found late
            if not self.give_up(error):
                raise
            return self.module(*arguments)

    def check(self, walk: Callable[[], Tensor], processes: Processes) -> None:
        """Hold the compiled way to the uncompiled one; see Note [The first compiled step].

        Args:
            walk: goes there and back once, adds to the parameters' gradients, which are None, and
                gives the loss. It draws the same random numbers each time.
            processes: all of them are here, or none.
        """
        self.is_checked = True
        named = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        with self._put_back():
            compiled = self._walked(walk, named)
        plain = None
        if compiled is not None and self.is_compiled:
            with self._put_back(), self._uncompiled():
                plain = self._walked_if_it_fits(walk, named)
        if plain is not None:
            self.difference = _difference(compiled, plain)
        if self.difference is not None and not self.difference.is_within(processes.precision):
            self.is_compiled = False
            _tell(self.difference, processes.precision)
        # The mean over all processes: all of them learn compiled, or none.
        if processes.mean(float(not self.is_compiled))[0] > 0:
            self.is_compiled = False

    def _walked(self, walk: Callable[[], Tensor], named: Mapping[str, nn.Parameter]) -> Any:
        """The loss and the gradients by name, in the computer's memory; None after an error."""
        try:
            loss = float(walk())
            gradients = {n: p.grad.cpu() for n, p in named.items() if p.grad is not None}
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # the way back is compiled when it is first gone
            if not self.give_up(error):
                raise
            return None
        finally:
            for parameter in named.values():
                parameter.grad = None
        return loss, gradients

    def _walked_if_it_fits(self, walk: Callable[[], Tensor], named: Any) -> Any:
        """The same of the uncompiled way, which takes more memory than the compiled one."""
        try:
            return self._walked(walk, named)
        except torch.cuda.OutOfMemoryError:
            warnings.warn(
                "the compiled network was not compared with the uncompiled one, which needs more "
                "memory than the GPU has: a smaller batch, or more `accumulate`, leaves some.",
                stacklevel=5,
            )
        return None

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Whatever is held and does not learn is afterwards what it was."""
        still = (p for p in self.module.parameters() if not p.requires_grad)
        held = [(t, t.detach().clone()) for t in chain(self.module.buffers(), still)]
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in held:
                    tensor.copy_(before)

    @contextmanager
    def _uncompiled(self) -> Iterator[None]:
        self.is_compiled = False
        try:
            yield
        finally:
            self.is_compiled = True


def _difference(compiled: Any, plain: Any) -> Difference | None:
    """Between a loss with its gradients and those that are right; None if these are no numbers."""
    (loss, got), (right_loss, right) = compiled, plain
    whole = math.sqrt(sum(_length(g) ** 2 for g in right.values()))
    if not math.isfinite(right_loss + whole):  # learning diverges, however it is computed
        return None
    errors = {}
    for name in right.keys() | got.keys():  # a way may leave one out
        has_both = name in right and name in got
        off = got[name] - right[name] if has_both else right.get(name, got.get(name))
        least = max(_length(right[name]) if name in right else 0.0, SMALLEST_SHARE * whole)
        errors[name] = _length(off) / least if least else _length(off)
    worst = max(errors, key=lambda name: (math.isnan(errors[name]), errors[name]))
    off_by = abs(loss - right_loss) / max(abs(right_loss), 1.0)
    return Difference(off_by, errors[worst], re.sub(r"^(module\.)+", "", worst))


def _length(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _tell(difference: Difference, precision: str) -> None:
    loss, gradient = LIMITS[precision]
    warnings.warn(
        f"PyTorch {torch.__version__} compiles the network wrong, and it learns uncompiled, which "
        f"is slower: in {precision} the loss is off by {difference.loss:.2g}, and may be by "
        f"{loss:g}; the gradient of {difference.parameter} by {difference.gradient:.2g} of its "
        f"length, and may be by {gradient:g}.",
        stacklevel=5,
    )
