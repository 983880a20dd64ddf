"""Layers of convolutional networks in plain NumPy, one loop a place: what ours are measured by."""

from __future__ import annotations

import math

import numpy as np


def convolve(x, weight, bias, *, stride=1, padding=0, groups=1):
    """(C, H, W) by (D, C / groups, k, k): (D, h, w)."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    depth, channels, size, _ = weight.shape
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:])
    out = np.zeros((depth, rows, columns))
    for d in range(depth):
        first = d // (depth // groups) * channels
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride, j * stride
                patch = x[first : first + channels, top : top + size, left : left + size]
                out[d, i, j] = (patch * weight[d]).sum() + bias[d]
    return out


def pool(x, size, stride):
    """Maxima of (C, H, W), Caffe's number of them: rounded up."""
    rows, columns = (math.ceil((n - size) / stride) + 1 for n in x.shape[1:])
    out = np.zeros((len(x), rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            out[:, i, j] = x[:, top : top + size, left : left + size].max((1, 2))
    return out


def normalise(x, *, k, alpha, beta, size=5):
    """Krizhevsky's formula: each channel of (C, ...) by its neighbours; alpha as in his paper."""
    out = np.zeros_like(x)
    for c in range(len(x)):
        near = x[max(0, c - size // 2) : c + size // 2 + 1]
        out[c] = x[c] / (k + alpha * (near**2).sum(0)) ** beta
    return out


def relu(x):
    return np.maximum(x, 0)


def arrays_of(module):
    """A module's state by name, float64, and its biases made other than zero first."""
    import torch

    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.endswith("bias"):
                value.uniform_(-0.1, 0.1)
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def overfit(module, clips, labels, *, steps, rate=1e-3):
    """Learn a few clips by heart: the loss at the end, and whether each is told right."""
    import torch
    from torch.nn import functional

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny layers: several threads would wait for each other
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        if hasattr(module, "loss"):
            loss = module.loss(clips, labels)
        else:
            loss = functional.cross_entropy(module(clips), labels)
        loss.backward()
        optimiser.step()
    module.eval()
    with torch.no_grad():
        right = bool((module(clips).argmax(1) == labels).all())
    torch.set_num_threads(threads)
    return loss.item(), right
