"""Scores at every step of a sequence: what is learned from them, and what they say together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def loss_at_steps(logits: Tensor, labels: Tensor, gains: Tensor | None = None) -> Tensor:
    """The cross-entropy of every step, the clip's label at each.

    Args:
        logits: (N, T, K) float32.
        labels: (N,) int64.
        gains: (T,) float32, what each step weighs; None where they weigh the same.

    Returns:
        The weighted mean over steps and the mean over clips, a scalar: so a learning rate means
        the same for any number of steps.
    """
    steps = logits.shape[1]
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.repeat_interleave(steps), reduction="none"
    ).view(-1, steps)
    return (losses * _weights(logits, gains)).sum(1).mean()


def log_mean_softmax(logits: Tensor, gains: Tensor | None = None) -> Tensor:
    """The log of the steps' mean probability, whose softmax is that mean.

    Args:
        logits: (N, T, K) float32.
        gains: (T,) float32, what each step weighs; None where they weigh the same.

    Returns:
        (N, K) float32; finite however far the logits lie apart.
    """
    log_probabilities = functional.log_softmax(logits, dim=2)
    return torch.logsumexp(log_probabilities + _weights(logits, gains).log()[:, None], dim=1)


def _weights(logits: Tensor, gains: Tensor | None) -> Tensor:
    """(T,), their sum 1."""
    gains = logits.new_ones(logits.shape[1]) if gains is None else gains.to(logits)
    return gains / gains.sum()
