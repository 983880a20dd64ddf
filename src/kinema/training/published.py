"""Recipes of the published networks beside C3D, by the names of `kinema.models.MODELS`.

Schedules keep their shape in a run of any length. What a paper does not state is said to be ours.
`short` makes of each the recipe of a run of minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from kinema.training.heads import CLIPS, Head
from kinema.training.recipe import Recipe


def _recipe(what: str, network: str, **settings: Any) -> Recipe:
    return Recipe(what, network=network, arguments={}, clips="whole", **settings)


def _two_stream(what: str, network: str, **settings: Any) -> Recipe:
    """Simonyan and Zisserman, section 5: batch 256, momentum 0.9; the decay is not stated."""
    return _recipe(what, network, batch=256, weight_decay=0.0005, **settings)


def _lrcn(network: str, what: str, **settings: Any) -> Recipe:
    """LRCN's solvers (lisa-caffe-public): 24 clips of 16 frames; the last layer at ten times the
    rate."""
    return _recipe(
        what, network, batch=24, learning_rate=0.001, weight_decay=0.005, class_rate=10, **settings
    )


def _long(network: str, what: str) -> Recipe:
    """Ng et al.; the paper's rates are of asynchronous SGD on a cluster, so these are ours."""
    return _recipe(what, network, batch=32, learning_rate=0.001, epochs=60)


_SPATIAL = {"learning_rate": 0.01, "iterations": 20_000, "rate_shares": (0.7,)}
"""Fine-tuning: divided by 10 at 14,000 of 20,000 steps."""

_RGB = {"iterations": 30_000, "rate_periods": Fraction(3), "clip_gradients": 5.0}
_FLOW = {"iterations": 50_000, "rate_shares": (0.4, 0.8), "clip_gradients": 15.0}
"""Rate divided by 10 every 10,000 steps, and every 20,000; their snapshots at 30,000 and 50,000."""

_FRAMES = "LRCN on frames (Donahue et al. 2015)"

PUBLISHED: Mapping[str, Recipe] = MappingProxyType(
    {
        # Karpathy et al. 2014: momentum 0.9, decay 0.0005, rate 0.001, batches of 32; the length is
        # ours: they stop when the validation error stalls.
        **{
            name: _recipe(
                f"slow fusion{more} (Karpathy et al. 2014)",
                name,
                batch=32,
                learning_rate=0.001,
                epochs=60,
            )
            for name, more in (("slow-fusion", ""), ("slow-fusion-fovea", ", fovea and context"))
        },
        "two-stream-spatial": _two_stream(
            "the spatial stream (Simonyan and Zisserman 2014)", "two-stream-spatial", **_SPATIAL
        ),
        "two-stream-spatial-imagenet": _two_stream(
            "the spatial stream's last layer, on ImageNet features (Simonyan and Zisserman 2014)",
            "two-stream-spatial-imagenet",
            **_SPATIAL,
        ),
        # Divided by 10 at 50,000 and 70,000 of 80,000 steps.
        "two-stream-temporal": _two_stream(
            "the temporal stream (Simonyan and Zisserman 2014)",
            "two-stream-temporal",
            learning_rate=0.01,
            iterations=80_000,
            rate_shares=(0.625, 0.875),
        ),
        "lrcn": _lrcn("lrcn", _FRAMES, **_RGB),
        "lrcn-imagenet": _lrcn("lrcn-imagenet", f"{_FRAMES}, on ImageNet features", **_RGB),
        "lrcn-flow": _lrcn("lrcn-flow", "LRCN on flow (Donahue et al. 2015)", **_FLOW),
        # mansimov/unsupervised-videos: rate 0.0001, x 0.9 every 10,000 steps, decay 0.0001, 128
        # clips; ten of these periods are ours.
        "lstm-composite": _recipe(
            "the LSTM composite model, without labels (Srivastava et al. 2015)",
            "lstm-composite",
            batch=128,
            learning_rate=0.0001,
            iterations=100_000,
            learning_rate_factor=0.9,
            rate_periods=Fraction(10),
            weight_decay=0.0001,
            heads=(Head(CLIPS, loss="own"),),
        ),
        "lstm-classifier": _recipe(
            "the classifier on the composite model's encoder (Srivastava et al. 2015)",
            "lstm-classifier",
            batch=128,
            learning_rate=0.0001,
            iterations=100_000,
            learning_rate_factor=0.9,
            rate_periods=Fraction(10),
            weight_decay=0.0001,
        ),
        "conv-pooling": _long("conv-pooling", "conv pooling on long clips (Ng et al. 2015)"),
        "conv-pooling-imagenet": _long(
            "conv-pooling-imagenet",
            "conv pooling on long clips, on ImageNet features (Ng et al. 2015)",
        ),
        "lstm-long": _long("lstm-long", "five-layer LSTM on long clips (Ng et al. 2015)"),
        "lstm-long-imagenet": _long(
            "lstm-long-imagenet",
            "five-layer LSTM on long clips, on ImageNet features (Ng et al. 2015)",
        ),
        # Its authors' SLOWFAST_4x16_R50.yaml: 0.1 for 64 clips, half a wave of cosine over 196
        # epochs, of which 34 warm up, decay 0.0001.
        "slowfast": _recipe(
            "SlowFast (Feichtenhofer et al. 2019)",
            "slowfast",
            batch=64,
            learning_rate=0.1,
            epochs=196,
            schedule="cosine",
            warm_up=34 / 196,
            weight_decay=0.0001,
        ),
    }
)


NARROW_DROPOUT = 0.5
"""For a published 0.9: of a quarter of the units a tenth is too few to learn from."""

_DROPS_MUCH = (
    *("slow-fusion", "slow-fusion-fovea", "two-stream-spatial", "two-stream-temporal"),
    *("lrcn", "lrcn-imagenet", "lrcn-flow"),
)

_WIDE_MAPS = ("conv-pooling", "conv-pooling-imagenet")
"""Their fc6 sees tens of thousands of values of one sign, which a step moves all together: at 0.001
the loss jumps between 0 and 8."""


def short(recipe: Recipe) -> Recipe:
    """The recipe of a run of some hundred steps of a narrow network: AdamW, whose rate rises and
    falls again.

    SGD from the published rates moves little in so few. The batch is 16 clips, whatever was
    published, gradients are clipped at a length of 5, and a dropout of 0.9 becomes
    `NARROW_DROPOUT`; all else stays.
    """
    arguments = {**recipe.arguments}
    if recipe.network in _DROPS_MUCH:
        arguments["dropout"] = NARROW_DROPOUT
    return dataclasses.replace(
        recipe,
        arguments=arguments,
        batch=16,
        learning_rate=0.0001 if recipe.network in _WIDE_MAPS else 0.001,
        optimiser="adamw",
        schedule="cosine",
        warm_up=0.1,
        weight_decay=0.01,
        rate_shares=(),
        class_rate=1.0,
        clip_gradients=5.0,
    )
