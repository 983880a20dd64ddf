"""The LSTM with peepholes, which PyTorch's has not: its gates see the cells.

Note [Peepholes]
    Of a step's input x, the former output h and cells c (Graves 2013, equations 7 to 11; the
    authors of the LSTM composite model, mansimov/unsupervised-videos, cell for cell):

        i = sigmoid(Wxi x + Whi h + wi * c + bi)             the input gate sees the old cells,
        f = sigmoid(Wxf x + Whf h + wf * c + bf)             so does the forget gate;
        a = tanh(Wxa x + Wha h + ba)
        c' = f * c + i * a
        o = sigmoid(Wxo x + Who h + wo * c' + bo)            the output gate sees the new ones;
        h' = o * tanh(c').

    The peepholes wi, wf, wo are diagonal: a cell is seen by its own gates alone. A step without an
    input has no Wx x. Rows of the weights lie in the order i, f, a, o, the peepholes' i, f, o.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[tuple[Tensor, Tensor], ...]
"""Of every layer its output h and its cells c, (N, cells) each."""

WEIGHTS = 0.01
"""Weights begin in U(-0.01, 0.01) (mansimov/unsupervised-videos, models/lstm_combo_*.pbtxt)."""

PEEPHOLES = 0.1
"""Peepholes begin in U(-0.1, 0.1); biases at 0 (there)."""


class PeepholeLSTM(nn.Module):
    """Layers of LSTMs with peepholes, one above the other. See Note [Peepholes].

    Args:
        inputs: values of a step's input; 0 for what never has one.
        cells: of every layer.
        layers: how many.
        dropout: probability that an output is dropped on its way to the layer above it, never on
            its way through time.

    Raises:
        ValueError: there is no layer or no cell.
    """

    def __init__(self, inputs: int, cells: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        if min(cells, layers) < 1:
            raise ValueError(f"`cells` and `layers` must be at least 1, got {cells} and {layers}.")
        self.inputs, self.cells, self.dropout = inputs, cells, dropout
        self.layers = nn.ModuleList(
            _Layer(inputs if layer == 0 else cells, cells) for layer in range(layers)
        )

    def forward(
        self, inputs: Tensor | None, state: State | None = None, *, steps: int | None = None
    ) -> tuple[Tensor, State]:
        """The outputs of a sequence of steps.

        Args:
            inputs: (N, T, inputs) float32; None for steps without any, which need a state.
            state: what the steps before have left; None for zeros.
            steps: T of steps without inputs.

        Returns:
            The outputs of the last layer, (N, T, cells), and the state behind the last step.

        Raises:
            ValueError: neither inputs nor a state and a number of steps.
        """
        if inputs is None and (state is None or steps is None):
            raise ValueError("`state` and `steps` must be given for steps without `inputs`.")
        if state is None:
            assert inputs is not None
            zeros = inputs.new_zeros(len(inputs), self.cells)
            state = ((zeros, zeros),) * len(self.layers)
        left = []
        for number, (layer, (h, c)) in enumerate(zip(self.layers, state, strict=True)):
            if number and self.dropout:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            inputs, h, c = layer(inputs, h, c, steps)
            left.append((h, c))
        return inputs, tuple(left)


class _Layer(nn.Module):
    """One layer; `weight_input` is none of what never has an input."""

    def __init__(self, inputs: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        if inputs:
            self.weight_input = nn.Parameter(torch.empty(4 * cells, inputs))
        self.weight_hidden = nn.Parameter(torch.empty(4 * cells, cells))
        self.peepholes = nn.Parameter(torch.empty(3, cells))
        self.bias = nn.Parameter(torch.zeros(4 * cells))
        for name, parameter in self.named_parameters():
            if name != "bias":
                bound = PEEPHOLES if name == "peepholes" else WEIGHTS
                nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, inputs: Tensor | None, h: Tensor, c: Tensor, steps: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        # The inputs of all steps go through their weights at once.
        driven: Sequence[Tensor]
        if inputs is None:
            driven = [self.bias] * (steps or 0)
        else:
            driven = functional.linear(inputs, self.weight_input, self.bias).unbind(1)
        outputs = []
        for drive in driven:
            i, f, a, o = (drive + functional.linear(h, self.weight_hidden)).chunk(4, dim=1)
            i = torch.sigmoid(i + self.peepholes[0] * c)
            f = torch.sigmoid(f + self.peepholes[1] * c)
            c = f * c + i * torch.tanh(a)
            h = torch.sigmoid(o + self.peepholes[2] * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1), h, c
