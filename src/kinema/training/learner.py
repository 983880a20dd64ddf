"""A network that is being learned: its parameters, SGD's momentum, and the step from one batch.

Note [Caffe's SGD]
    C3D was learned with v = momentum * v + rate * (gradient + decay * w); w = w - v. PyTorch has
    v = momentum * v + gradient + decay * w; w = w - rate * v. They differ where the rate changes:
    in the first, what v has gathered keeps its old rate. So at a change of rate v is multiplied by
    old / new. (C3D v1.0, `solver.cpp`.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from kinema.engine.torch_network import module_of
from kinema.model import Model, UserModel
from kinema.training.processes import Processes

BIAS_RATE = 2.0
"""Biases learn at twice the rate of weights, and without decay (C3D v1.0 prototxts)."""


class Learner:
    """A network, and how it learns from one batch.

    Args:
        model: what to learn, a network or another model.
        processes: where it is learned.
        momentum, weight_decay: of SGD.
        pixel_scale: what pixels are divided by; the parameters that come and go take pixels as they
            are.
        dropout: None for each layer's own probability, or one for all.
        accumulate: parts that a batch is computed in.
        compile: let PyTorch compile the network.
    """

    def __init__(
        self,
        model: Model,
        processes: Processes,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        pixel_scale: int = 1,
        dropout: float | None = None,
        accumulate: int = 1,
        compile: bool = False,
    ) -> None:
        self._processes = processes
        self._accumulate = accumulate
        # A class of one's own takes pixels as they are: its first layer, it alone knows.
        self._pixel_scale = np.float32(1 if isinstance(model, UserModel) else pixel_scale)
        self._first = next(iter(model.parameter_shapes()))
        self._rate: float | None = None
        part = module_of(model, dropout=dropout, native=processes.native)
        if processes.kind == "cuda":
            part = part.to(processes.device, memory_format=torch.channels_last_3d)
        self._model = part
        self._learned = part.learned()
        self._sgd = torch.optim.SGD(
            [
                {"params": self._parameters(biases=False), "weight_decay": weight_decay},
                {"params": self._parameters(biases=True), "weight_decay": 0.0},
            ],
            momentum=momentum,
        )
        module: torch.nn.Module = torch.compile(part) if compile else part
        self._module = DistributedDataParallel(module) if processes.size > 1 else module
        self._module.train()

    def _parameters(self, *, biases: bool) -> list[torch.nn.Parameter]:
        return [p for name, p in self._learned.items() if name.endswith("bias") == biases]

    def step(
        self,
        clips: np.ndarray | torch.Tensor,
        labels: np.ndarray | torch.Tensor,
        *,
        rate: float,
        seed: int = 0,
    ) -> torch.Tensor:
        """Learn from this process's part of a batch.

        Args:
            clips: (N, 3, T, H, W) float32.
            labels: (N,) class indices.
            rate: of learning.
            seed: which outputs are dropped is a function of it.

        Returns:
            The mean loss of this process's part, on its device.
        """
        torch.manual_seed(seed)
        loss = torch.zeros((), device=self._processes.device)
        parts = zip(
            torch.as_tensor(clips).chunk(self._accumulate),
            torch.as_tensor(labels).chunk(self._accumulate),
            strict=True,
        )
        for index, (x, y) in enumerate(parts):
            with self._sharing(index == self._accumulate - 1):
                part = self.loss(x, y) / self._accumulate
                part.backward()
            loss += part.detach()
        self.descend(rate)
        return loss

    def loss(self, clips: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of clips."""
        processes = self._processes
        x = clips.to(processes.device, non_blocking=True)
        if processes.kind == "cuda":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        if self._pixel_scale != 1:
            x = x / float(self._pixel_scale)
        with torch.autocast(processes.kind, torch.bfloat16, enabled=processes.precision == "bf16"):
            scores = self._module(x)
        return functional.cross_entropy(scores.float(), labels.to(processes.device))

    def descend(self, rate: float) -> None:
        """SGD's step along the gradients that `loss` left, which are cleared."""
        if self._rate is not None and rate != self._rate:  # see Note [Caffe's SGD]
            for buffer in self._buffers().values():
                buffer *= self._rate / rate
        self._rate = rate
        for group, factor in zip(self._sgd.param_groups, (1.0, BIAS_RATE), strict=True):
            group["lr"] = rate * factor
        self._sgd.step()
        self._sgd.zero_grad(set_to_none=True)

    def _sharing(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are shared among processes once a batch, not once a part."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return contextlib.nullcontext()

    # --- its state --------------------------------------------------------------------------------

    @property
    def rate(self) -> float | None:
        """Of the last step; None before the first."""
        return self._rate

    def parameters(self) -> dict[str, np.ndarray]:
        """A copy of the parameters by name, float32."""
        arrays = self._model.arrays()
        if self._pixel_scale != 1:
            arrays[self._first] /= self._pixel_scale
        return arrays

    def momentum(self) -> dict[str, np.ndarray]:
        """A copy of each parameter's velocity, in PyTorch's scale; empty before the first step."""
        return {
            name: buffer.to("cpu", copy=True).contiguous().numpy()
            for name, buffer in self._buffers().items()
        }

    def load(
        self,
        parameters: Mapping[str, np.ndarray],
        momentum: Mapping[str, np.ndarray] | None = None,
        rate: float | None = None,
    ) -> None:
        """Go on from parameters, and from velocities that were gathered at a rate."""
        if self._pixel_scale != 1:
            first = parameters[self._first] * self._pixel_scale
            parameters = {**parameters, self._first: first}
        self._model.load_arrays(parameters)
        self._rate = rate
        named = self._learned
        for name, array in (momentum or {}).items():
            buffer = torch.empty_like(named[name])
            buffer.copy_(torch.from_numpy(np.array(array)))
            self._sgd.state[named[name]]["momentum_buffer"] = buffer

    def _buffers(self) -> dict[str, torch.Tensor]:
        state = self._sgd.state
        return {
            name: state[parameter]["momentum_buffer"]
            for name, parameter in self._learned.items()
            if state[parameter].get("momentum_buffer") is not None
        }
