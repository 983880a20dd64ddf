"""The step down the gradient: Caffe's SGD or AdamW, and the running mean of the weights.

Note [Caffe's SGD]
    C3D was learned with v = momentum * v + rate * (gradient + decay * w); w = w - v. PyTorch has
    v = momentum * v + gradient + decay * w; w = w - rate * v. They differ where the rate changes:
    in the first, what v has gathered keeps its old rate. So at a change of rate v is multiplied by
    old / new. (C3D v1.0, `solver.cpp`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BIAS_RATE = 2.0
"""Of Caffe's SGD: biases learn at twice the rate, and without decay (C3D v1.0 prototxts)."""

_STEPS = "adamw:steps"


@dataclass(frozen=True)
class Optimiser:
    """How the weights follow the gradient.

    Attributes:
        kind: "sgd" for Caffe's, see Note [Caffe's SGD], in which biases learn at twice the rate and
            without decay; "adamw" (Loshchilov, Hutter, ICLR 2019), in which whatever is a vector
            (biases, gains of norms) learns without decay.
        momentum: of SGD.
        weight_decay: of both.
        betas: of AdamW.
    """

    kind: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0005
    betas: tuple[float, float] = (0.9, 0.999)


class Descent:
    """Steps down the gradients of some parameters.

    Args:
        learned: the parameters by name.
        optimiser: how.
        rates: what the rate of single ones is multiplied by, by name.
    """

    def __init__(
        self,
        learned: Mapping[str, nn.Parameter],
        optimiser: Optimiser,
        *,
        rates: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._learned = dict(learned)
        self._is_sgd = optimiser.kind == "sgd"
        self.rate: float | None = None
        """Of the last step; None before the first."""
        decaying = {
            name: not name.endswith("bias") if self._is_sgd else parameter.ndim > 1
            for name, parameter in learned.items()
        }
        groups: list[dict[str, Any]] = []
        self._factors: list[float] = []
        for factor in sorted({1.0, *(rates.get(name, 1.0) for name in learned)}):
            for decays in (True, False):
                chosen = [
                    p
                    for name, p in learned.items()
                    if decaying[name] == decays and rates.get(name, 1.0) == factor
                ]
                decay = optimiser.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay})
                bias_rate = BIAS_RATE if self._is_sgd and not decays else 1.0
                self._factors.append(factor * bias_rate)
        if self._is_sgd:
            self._optimiser = torch.optim.SGD(groups, momentum=optimiser.momentum)
        else:
            self._optimiser = torch.optim.AdamW(groups, betas=optimiser.betas)

    def step(self, rate: float) -> None:
        """One step along the gradients, which are cleared."""
        if self._is_sgd and self.rate is not None and rate != self.rate:
            for buffer in self._of_state("momentum_buffer").values():  # see Note [Caffe's SGD]
                buffer *= self.rate / rate
        self.rate = rate
        for group, factor in zip(self._optimiser.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _of_state(self, key: str) -> dict[str, Tensor]:
        state = self._optimiser.state
        return {
            name: state[parameter][key]
            for name, parameter in self._learned.items()
            if state[parameter].get(key) is not None
        }

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what a checkpoint keeps; empty before the first step.

        "momentum.NAME" is SGD's velocity in PyTorch's scale, or AdamW's first moment.
        """
        if self._is_sgd:
            return named_arrays("momentum.", self._of_state("momentum_buffer"))
        steps = [int(step) for step in self._of_state("step").values()]
        if not steps:
            return {}
        return {
            **named_arrays("momentum.", self._of_state("exp_avg")),
            **named_arrays("second:", self._of_state("exp_avg_sq")),
            _STEPS: np.array(max(steps)),
        }

    def load(self, state: Mapping[str, np.ndarray], rate: float | None) -> None:
        """Go on from what `state` gave, after a step at a rate."""
        self.rate = rate
        for name, parameter in self._learned.items():
            if f"momentum.{name}" not in state:
                continue
            own = self._optimiser.state[parameter]
            if self._is_sgd:
                own["momentum_buffer"] = _like(parameter, state[f"momentum.{name}"])
            else:
                own["step"] = torch.tensor(float(state[_STEPS]))
                own["exp_avg"] = _like(parameter, state[f"momentum.{name}"])
                own["exp_avg_sq"] = _like(parameter, state[f"second:{name}"])


class RunningMean:
    """The exponential mean of a module's state: mean = decay * mean + (1 - decay) * state.

    Args:
        module: whose state; it begins where that is now.
        decay: what is kept of the mean at each step, as 0.999.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._mean = {name: value.clone() for name, value in module.state_dict().items()}

    def update(self) -> None:
        """Take in the state of now; whole numbers (counts) are taken as they are."""
        with torch.no_grad():
            for name, value in self._module.state_dict().items():
                mean = self._mean[name]
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - self._decay)
                else:
                    mean.copy_(value)

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the mean by name."""
        return named_arrays("", self._mean)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave."""
        for name, mean in self._mean.items():
            mean.copy_(torch.from_numpy(np.array(arrays[name])))


def named_arrays(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Copies of tensors as arrays, their names behind a prefix."""
    return {
        f"{prefix}{name}": value.detach().to("cpu", copy=True).contiguous().numpy()
        for name, value in tensors.items()
    }


def _like(parameter: Tensor, array: np.ndarray) -> Tensor:
    """An array as a tensor on a parameter's device and in its memory format."""
    tensor = torch.empty_like(parameter, requires_grad=False)
    tensor.copy_(torch.from_numpy(np.array(array)))
    return tensor
