"""The LSTM composite model, learned without labels, and the classifier that starts from it.

Note [The composite model]
    Srivastava, Mansimov, Salakhutdinov, ICML 2015. An encoder reads the percepts of a clip's first
    frames. Its state is handed to two decoders, which have no input at their first step: one tells
    those frames again, the last one first; the other tells the frames that follow. Unconditioned
    decoders never have an input; conditioned ones have the frame that they should have told last,
    and where nothing is learned what they did tell.

    What is learned to be least, of a clip of T = A + P frames with percepts v_1 ... v_T, is

          1/2 sum_{t=1..A} |reconstruction_t - v_{A+1-t}|^2
        + 1/2 sum_{t=1..P} |future_t - v_{A+t}|^2,

    summed over the values of a percept and the steps of both decoders, each squared error with the
    same weight (mansimov/unsupervised-videos, lstm_combo.py), and the mean over clips is taken (its
    authors sum over the clips of a batch, and bound each weight's step by 0.0001).

    The authors' percepts are 4096 outputs of fc6 of VGG-16. Here they are the means over the places
    of a picture network's last maps, and their number is `input_shape`'s number of channels;
    (4096, 29, 1, 1) is the published shape. Recalled, not checked against the paper: 2 layers of
    2048 cells, A = 16, P = 13, unconditioned. From the code: Note [Peepholes] of `lstm`, which also
    says where weights begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.models.lstm import WEIGHTS, PeepholeLSTM, State
from kinema.models.sizes import clip_shape, scaled
from kinema.models.step_scores import log_mean_softmax, loss_at_steps

CELLS = 2048
"""Of each layer (models/lstm_combo_2layer_mnist.pbtxt; recalled for percepts)."""

LAYERS = 2
"""Recalled."""

AUTOENCODE, PREDICT = 16, 13
"""Frames that are told again, frames that are foretold. Recalled."""


def _percepts(clips: Tensor) -> Tensor:
    """(N, T, channels): the means over places of (N, channels, T, H, W)."""
    return clips.mean((3, 4)).transpose(1, 2)


class LSTMComposite(nn.Module):
    """The LSTM composite model, learned without labels. See Note [The composite model].

    Input (N, 1280, 29, 7, 7): EfficientNet-Lite0's last maps, the stand-in for VGG-16's fc6 of
    4096. Layers: "percepts" (N, 29, 1280), "encoder" (N, 2048), the encoder's last output,
    "reconstruction" (N, 16, 1280), the last frame first, and "future" (N, 13, 1280). It tells no
    classes: `forward` gives zeros (N, num_classes), every class as probable.

    Args:
        num_classes: for `forward` alone.
        width: scales the cells of every layer.
        input_shape: (channels, frames, height, width); other numbers of frames are parted as
            16 : 13.
        conditional: whether the decoders see the frame before.

    Raises:
        ValueError: a shape of fewer than 2 frames, a width that is not above 0.
    """

    input_shape = (1280, AUTOENCODE + PREDICT, 7, 7)
    stream = "imagenet"
    layers = ("percepts", "encoder", "reconstruction", "future")
    learns_labels = False

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        channels, frames, _, _ = clip_shape(
            input_shape, self.input_shape, frames=2, any_channels=True
        )
        self.num_classes = num_classes
        self.autoencode = min(
            max(1, round(frames * AUTOENCODE / (AUTOENCODE + PREDICT))), frames - 1
        )
        self.predict = frames - self.autoencode
        cells = scaled(CELLS, width)
        self.encoder = PeepholeLSTM(channels, cells, layers=LAYERS)
        self.reconstruction = _Decoder(channels, cells, conditional)
        self.future = _Decoder(channels, cells, conditional)

    def forward(self, clips: Tensor) -> Tensor:
        """Zeros, (N, num_classes): it tells no classes."""
        return clips.new_zeros(len(clips), self.num_classes)

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """What one of `layers` gives."""
        percepts = _percepts(clips)
        if layer == "percepts":
            return percepts
        outputs, state = self.encoder(percepts[:, : self.autoencode])
        if layer == "encoder":
            return outputs[:, -1]
        targets = self.targets(percepts)[layer]
        return self.get_submodule(layer)(state, targets)

    def loss(self, clips: Tensor, labels: Tensor | None = None) -> Tensor:
        """Half the squared errors of both decoders, summed, the mean over clips; no label is read.

        See Note [The composite model] for what is summed.
        """
        percepts = _percepts(clips)
        _, state = self.encoder(percepts[:, : self.autoencode])
        targets = self.targets(percepts)
        told = {name: self.get_submodule(name)(state, target) for name, target in targets.items()}
        return sum(
            (0.5 * (told[name] - targets[name]).square().sum((1, 2)).mean() for name in targets),
            start=percepts.new_zeros(()),
        )

    def targets(self, percepts: Tensor) -> dict[str, Tensor]:
        """What each decoder should tell of (N, T, channels): the frames reversed, those after."""
        return {
            "reconstruction": percepts[:, : self.autoencode].flip(1),
            "future": percepts[:, self.autoencode :],
        }


class _Decoder(nn.Module):
    """Layers of LSTMs that tell percepts from the encoder's state."""

    def __init__(self, channels: int, cells: int, conditional: bool) -> None:
        super().__init__()
        self.conditional = conditional
        self.lstm = PeepholeLSTM(channels if conditional else 0, cells, layers=LAYERS)
        self.output = nn.Linear(cells, channels)
        nn.init.uniform_(self.output.weight, -WEIGHTS, WEIGHTS)
        nn.init.zeros_(self.output.bias)

    def forward(self, state: State, targets: Tensor) -> Tensor:
        """(N, T, channels) as `targets`, which only a conditioned decoder reads, in training."""
        steps = targets.shape[1]
        if not self.conditional:
            outputs, _ = self.lstm(None, state, steps=steps)
            return self.output(outputs)
        outputs, state = self.lstm(None, state, steps=1)
        told = self.output(outputs)
        if self.training and steps > 1:
            outputs, _ = self.lstm(targets[:, :-1], state)
            return torch.cat([told, self.output(outputs)], dim=1)
        for _ in range(steps - 1):
            outputs, state = self.lstm(told[:, -1:], state)
            told = torch.cat([told, self.output(outputs)], dim=1)
        return told


class LSTMClassifier(nn.Module):
    """The composite model's encoder with a softmax at every step.

    The encoder's parameters have the names and shapes of `LSTMComposite`'s, so its weights carry
    over. Input (N, 1280, 16, 7, 7), as there. Layers: "percepts" (N, 16, 1280) and "lstm"
    (N, 2048), the last step's output. The label is learned at every step; the class probabilities
    of a clip are the mean of the steps' (lstm_classifier.py, `GetPrediction`). Recalled: clips
    every 8 frames, and dropout between layers and before the softmax, not through time; its rate
    of 0.5 is a choice of ours (the authors' stored configuration of one layer drops nothing).

    Args:
        num_classes: how many.
        width: scales the cells of every layer.
        input_shape: (channels, frames, height, width).
        dropout: probability that an output is dropped on its way up.

    Raises:
        ValueError: no such shape, a width that is not above 0.
    """

    input_shape = (1280, AUTOENCODE, 7, 7)
    stream = "imagenet"
    layers = ("percepts", "lstm")
    test_stride = 8

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels = clip_shape(input_shape, self.input_shape, any_channels=True)[0]
        cells = scaled(CELLS, width)
        self.encoder = PeepholeLSTM(channels, cells, layers=LAYERS, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(cells, num_classes)
        # lstm_classifier_1layer_ucf101_features.pbtxt: Gaussian of 0.001, bias 0.
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, num_classes): the log of the steps' mean probability."""
        return log_mean_softmax(self.step_logits(clips))

    def loss(self, clips: Tensor, labels: Tensor) -> Tensor:
        """The mean over steps and clips of the cross-entropy, the clip's label at every step."""
        return loss_at_steps(self.step_logits(clips), labels)

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """What one of `layers` gives."""
        percepts = _percepts(clips)
        return percepts if layer == "percepts" else self.encoder(percepts)[0][:, -1]

    def step_logits(self, clips: Tensor) -> Tensor:
        """(N, T, num_classes)."""
        outputs, _ = self.encoder(_percepts(clips))
        return self.classifier(self.dropout(outputs))
