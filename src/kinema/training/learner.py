"""A model that is being learned: its parameters, its heads, and the step from one batch."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from kinema.engine.first_clip import known_faults
from kinema.engine.torch_network import TorchNetwork, UserModule, folded, module_of
from kinema.model import Model, UserModel
from kinema.training.compiled import Compiled, Difference
from kinema.training.descent import Descent, Optimiser, RunningMean, named_arrays
from kinema.training.heads import CLIPS, Head
from kinema.training.processes import Processes

NO_VECTORS: Mapping[str, Any] = MappingProxyType({})


class Learner:
    """A model, and how it learns from one batch.

    Args:
        model: what to learn, a network or another model.
        processes: where it is learned.
        optimiser: how its weights follow the gradient.
        average: what the running mean of the weights keeps at each step, as 0.999; None for none.
        heads: what it learns to tell.
        sizes: lengths of the heads' vectors by target.
        pixel_scale: what pixels are divided by; the parameters that come and go take pixels as they
            are. A class of one's own takes pixels as they are.
        dropout: None for each layer's own probability, or one for all.
        accumulate: parts that a batch is computed in.
        compile: whether PyTorch compiles the network; None where it pays, in bf16 and tf32 on a
            CUDA device. Where it cannot, or computes another step, see Note [The first compiled
            step] in `compiled`, it goes on without, and says so once.
        norm: learn with batch normalisation, see Note [Batch normalisation] in `torch_network`.
        class_rate, clip_gradients: see `Recipe`.
    """

    def __init__(
        self,
        model: Model,
        processes: Processes,
        *,
        optimiser: Optimiser = Optimiser(),  # noqa: B008  (a frozen value)
        average: float | None = None,
        heads: Sequence[Head] = (Head(),),
        sizes: Mapping[str, int] = NO_VECTORS,
        pixel_scale: int = 1,
        dropout: float | None = None,
        accumulate: int = 1,
        compile: bool | None = None,
        norm: bool = False,
        class_rate: float = 1.0,
        clip_gradients: float | None = None,
    ) -> None:
        self._clip = clip_gradients
        self._processes = processes
        self._accumulate = accumulate
        self._pixel_scale = np.float32(1 if isinstance(model, UserModel) else pixel_scale)
        self._first = next(iter(model.parameter_shapes()))
        self._heads = tuple(heads)
        self._model = module_of(model, dropout=dropout, native=processes.native, norm=norm)
        self._fold = dict if isinstance(model, UserModel) else folded
        whole = _WithHeads(model, self._model, heads, sizes)
        if processes.kind == "cuda":
            whole = whole.to(processes.device, memory_format=torch.channels_last_3d)
        self._projections, self._own = whole.projections, whole.own
        own = dict(self._projections.named_parameters())
        self._descent = Descent(
            {**self._model.learned(), **{f"head:{name}": p for name, p in own.items()}},
            optimiser,
            rates=dict.fromkeys(model.class_parameters, class_rate) if class_rate != 1 else {},
        )
        self._average = None if average is None else RunningMean(self._state_module, average)
        if compile is None:
            pays = processes.kind == "cuda" and processes.precision != "fp32"
            compile = pays and not isinstance(model, UserModel)
        self._compiled = Compiled(whole) if compile else None
        module: nn.Module = self._compiled or whole
        if processes.kind == "cuda":
            versions: Any = {"cudnn_version": torch.backends.cudnn.version()}
            for fault in known_faults(processes.precision, torch.__version__, **versions):
                warnings.warn(fault, stacklevel=2)
        if processes.size > 1:
            # A class of one's own may have parameters that a head has no use for.
            unused = isinstance(model, UserModel)
            module = DistributedDataParallel(module, find_unused_parameters=unused)
        self._module = module
        self._module.train()

    @property
    def _state_module(self) -> nn.Module:
        """The module whose state dict has the model's names."""
        model = self._model
        return model.module if isinstance(model, UserModule) else model

    def step(
        self,
        clips: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        *,
        rate: float,
        seed: int = 0,
        vectors: Mapping[str, np.ndarray | Tensor] = NO_VECTORS,
    ) -> Tensor:
        """Learn from this process's part of a batch.

        Args:
            clips: (N, C, T, H, W) float32.
            labels: (N,) class indices.
            rate: of learning.
            seed: which outputs are dropped is a function of it.
            vectors: other targets than labels by name: (N, D) float32, or (N,) classes.

        Returns:
            The mean loss of this process's part, on its device.
        """
        if self._compiled is not None and not self._compiled.is_checked:
            self._check(seed, *next(self._parts(clips, labels, vectors)))
        torch.manual_seed(seed)
        loss = torch.zeros((), device=self._processes.device)
        for index, (x, y, v) in enumerate(self._parts(clips, labels, vectors)):
            with self._sharing(index == self._accumulate - 1):
                part = self.loss(x, y, v) / self._accumulate
                part.backward()
            loss += part.detach()
        self.descend(rate)
        return loss

    def _check(
        self, seed: int, clips: Tensor, labels: Tensor, vectors: Mapping[str, Tensor]
    ) -> None:
        """Hold the compiled step to the uncompiled one, on a part of the first batch."""
        assert self._compiled is not None

        def walk() -> Tensor:
            torch.manual_seed(seed)
            with self._sharing(False):  # each process has its own verdict
                loss = self.loss(clips, labels, vectors)
                loss.backward()
            return loss.detach()

        self._compiled.check(walk, self._processes)

    def _parts(self, clips: Any, labels: Any, vectors: Mapping[str, Any]) -> Any:
        number = self._accumulate
        of_vectors = {name: torch.as_tensor(array).chunk(number) for name, array in vectors.items()}
        return zip(
            torch.as_tensor(clips).chunk(number),
            torch.as_tensor(labels).chunk(number),
            [{name: parts[n] for name, parts in of_vectors.items()} for n in range(number)],
            strict=True,
        )

    def loss(
        self, clips: Tensor, labels: Tensor, vectors: Mapping[str, Tensor] = NO_VECTORS
    ) -> Tensor:
        """The sum of the heads' mean losses, each times its weight."""
        processes = self._processes
        x = clips.to(processes.device, non_blocking=True)
        if processes.kind == "cuda":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        if self._pixel_scale != 1:
            x = x / float(self._pixel_scale)
        labels = labels.to(processes.device)
        with torch.autocast(processes.kind, torch.bfloat16, enabled=processes.precision == "bf16"):
            outputs = self._module(x, labels)
        losses = [
            output * head.weight
            if head.target in self._own
            else head_loss(
                head,
                output.float(),
                (labels if head.target == "labels" else vectors[head.target]).to(processes.device),
            )
            for head, output in zip(self._heads, outputs, strict=True)
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def descend(self, rate: float) -> None:
        """The optimiser's step along the gradients that `loss` left, which are cleared."""
        if self._clip is not None:
            parameters = [p for p in self._module.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(parameters, self._clip)
        self._descent.step(rate)
        if self._average is not None:
            self._average.update()

    def _sharing(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are shared among processes once a batch, not once a part."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return contextlib.nullcontext()

    @property
    def is_compiled(self) -> bool:
        """Whether PyTorch compiles it, as far as is known yet."""
        return self._compiled is not None and self._compiled.is_compiled

    @property
    def compiled_difference(self) -> Difference | None:
        """How far the first compiled step was off the uncompiled one; None if none was compared."""
        return None if self._compiled is None else self._compiled.difference

    # --- its state --------------------------------------------------------------------------------

    @property
    def rate(self) -> float | None:
        """Of the last step; None before the first."""
        return self._descent.rate

    def parameters(self) -> dict[str, np.ndarray]:
        """A copy of all that the model holds by name, float32; with norms, these beside it."""
        return self._for_plain_pixels(self._model.arrays())

    def averaged(self) -> dict[str, np.ndarray]:
        """The running mean of the parameters, norms folded; without one the parameters of now."""
        return self._fold(self._averaged())

    def _averaged(self) -> dict[str, np.ndarray]:
        if self._average is None:
            return self.parameters()
        return self._for_plain_pixels(self._average.arrays())

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what it needs besides the parameters to go on, by name."""
        state = {**self._descent.state(), **named_arrays("head:", self._projections.state_dict())}
        if self._average is not None:
            state |= {f"average:{name}": array for name, array in self._averaged().items()}
        return state

    def load(
        self,
        parameters: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray] = NO_VECTORS,
        rate: float | None = None,
    ) -> None:
        """Go on from parameters, and from the state after a step at a rate."""
        if self._average is not None:
            now = {**self.parameters(), **parameters}
            mean = {name: state.get(f"average:{name}", array) for name, array in now.items()}
            self._average.load(self._for_own_pixels(mean))
        self._model.load_arrays(self._for_own_pixels(parameters))
        with torch.no_grad():
            for name, value in self._projections.state_dict().items():
                if f"head:{name}" in state:
                    value.copy_(torch.from_numpy(np.array(state[f"head:{name}"])))
        self._descent.load(state, rate)

    def _for_plain_pixels(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._pixel_scale != 1:
            arrays[self._first] = arrays[self._first] / self._pixel_scale
        return arrays

    def _for_own_pixels(self, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if self._pixel_scale == 1:
            return arrays
        return {**arrays, self._first: arrays[self._first] * self._pixel_scale}


class _WithHeads(nn.Module):
    """A model with its heads: clips in, one output for each head out, or a loss of its own."""

    def __init__(
        self,
        model: Model,
        module: TorchNetwork | UserModule,
        heads: Sequence[Head],
        sizes: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.module = module
        self.heads = tuple(heads)
        self.layers = [head.layer or model.logits for head in heads]
        self.projections = nn.ModuleDict()
        # What the model's class learns by a `loss` of its own.
        has_loss = isinstance(module, UserModule) and hasattr(module.module, "loss")
        self.own = frozenset(("labels", CLIPS) if has_loss else ())
        for number, (head, layer) in enumerate(zip(heads, self.layers, strict=True)):
            if head.is_linear:
                width = math.prod(model.feature_shape(layer))
                self.projections[str(number)] = nn.Linear(width, head.size(sizes))

    def forward(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        asked = zip(self.heads, self.layers, strict=True)
        layers = dict.fromkeys(layer for head, layer in asked if head.target not in self.own)
        outputs = self.module.outputs(clips, tuple(layers)) if layers else {}
        results = []
        for number, (head, layer) in enumerate(zip(self.heads, self.layers, strict=True)):
            if head.target in self.own:
                own: Any = self.module.module
                results.append(own.loss(clips, None if head.target == CLIPS else labels))
                continue
            output, key = outputs[layer], str(number)
            if self.heads[number].target != "labels":
                output = output.flatten(1)
            if key in self.projections:
                output = self.projections[key](output)
            results.append(output)
        return tuple(results)


def head_loss(head: Head, output: Tensor, target: Tensor) -> Tensor:
    """The mean loss of a head, times its weight.

    Args:
        head: which loss.
        output: (N, K) class scores, or (N, D) vectors.
        target: (N,) class indices, or (N, D) vectors.

    Returns:
        Its mean over the clips.
    """
    if head.loss == "cross-entropy":
        loss = functional.cross_entropy(output, target)
    elif head.loss == "mse":
        loss = functional.mse_loss(output, target)
    elif head.loss == "similarity":
        ours, theirs = _similarities(output), _similarities(target)
        pairs = ~torch.eye(len(ours), dtype=torch.bool, device=ours.device)
        loss = (ours - theirs)[pairs].square().mean()
    else:
        loss = (1 - functional.cosine_similarity(output, target, dim=1)).mean()
    return loss if head.weight == 1 else loss * head.weight


def _similarities(vectors: Tensor) -> Tensor:
    """(N, N) cosines between the rows of a batch, less their mean."""
    centred = functional.normalize(vectors - vectors.mean(0), dim=1)
    return centred @ centred.T
