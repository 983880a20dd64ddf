"""Rows of networks that are learned for each split: the paper's rivals, and SlowFast.

What their authors took from ImageNet (CaffeNet, CNN-M, VGG-16, GoogLeNet) is EfficientNet-Lite0's
last maps here, and their flow (Brox's, TV-L1) is DIS's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kinema.methods.learned import Fused, LearnedNet
from kinema.methods.options import Learning, Options
from kinema.model import Model
from kinema.models import load as load_model
from kinema.training.kept_clips import KeptClips
from kinema.training.published import PUBLISHED, short
from kinema.training.recipe import Recipe
from kinema.training.recipes import adapted
from kinema.weights.file import resolve

DIS = "DIS for the published flow"

NUM_LONG = 30
"""Frames of the clips of conv pooling here; the paper takes up to 120 of a video."""


def slow_fusion(options: Options) -> LearnedNet:
    """Slow fusion on ten frames (Karpathy et al. 2014), from scratch."""
    return _net(options, "slow-fusion", "deep networks (slow fusion)", "no Sports-1M before it")


def spatial(options: Options) -> LearnedNet:
    """The spatial stream, whose last layer alone is learned (Simonyan and Zisserman 2014)."""
    return _net(options, "two-stream-spatial-imagenet", "spatial stream", _on("CNN-M-2048"))


def temporal(options: Options) -> LearnedNet:
    """The temporal stream, from scratch."""
    return _net(options, "two-stream-temporal", "temporal stream", DIS)


def two_stream(options: Options) -> Fused:
    """Both streams, averaged."""
    return _fused(options, "two-stream (average)", [spatial, temporal])


def two_stream_svm(options: Options) -> Fused:
    """Both streams, fused by an SVM."""
    return _fused(options, "two-stream (SVM)", [spatial, temporal], svm=True)


def lrcn(options: Options) -> LearnedNet:
    """LRCN on frames (Donahue et al. 2015)."""
    return _net(options, "lrcn-imagenet", "LRCN, frames", _on("its frame network"))


def lrcn_flow(options: Options) -> LearnedNet:
    """LRCN on flow."""
    return _net(options, "lrcn-flow", "LRCN, flow", DIS)


def lrcn_both(options: Options) -> Fused:
    """LRCN on frames and flow, 0.33 and 0.67."""
    return _fused(options, "LRCN, frames and flow", [lrcn, lrcn_flow], shares=(0.33, 0.67))


def lstm_composite(options: Options) -> LearnedNet:
    """The classifier on the LSTM composite model's encoder (Srivastava et al. 2015), on frames."""
    told = _on("VGG-16")
    if options.learning.encoder is not None:
        start: Any = resolve(options.learning.encoder)
        _check_encoder(start.network)
    else:
        start = _net(options, "lstm-composite", "LSTM composite model", told)
        told += "; its encoder learned from the training videos alone"
    return _net(options, "lstm-classifier", "LSTM composite model, frames", told, start=start)


def lstm_composite_both(options: Options) -> Fused:
    """The same, averaged with the temporal stream."""
    parts = [lstm_composite, temporal]
    return _fused(options, "LSTM composite model, frames and flow", parts)


def conv_pooling(options: Options) -> LearnedNet:
    """Conv pooling on long clips (Ng et al. 2015), on frames."""
    told = f"{_on('GoogLeNet')}, {NUM_LONG} frames for 120"
    title = "conv pooling on long clips, frames"
    return _net(options, "conv-pooling-imagenet", title, told, num_frames=NUM_LONG)


def conv_pooling_both(options: Options) -> Fused:
    """The same, averaged with the temporal stream."""
    title = "conv pooling on long clips, frames and flow"
    told = "the temporal stream for its own network on flow"
    return _fused(options, title, [conv_pooling, temporal], stands_in=told)


def lstm_long(options: Options) -> LearnedNet:
    """The five-layer LSTM on long clips (Ng et al. 2015), on frames."""
    title = "LSTM on long clips, frames"
    return _net(options, "lstm-long-imagenet", title, _on("GoogLeNet"))


def lstm_long_both(options: Options) -> Fused:
    """The same, averaged with the temporal stream."""
    title = "LSTM on long clips, frames and flow"
    told = "the temporal stream for its own network on flow"
    return _fused(options, title, [lstm_long, temporal], stands_in=told)


def slowfast(options: Options) -> LearnedNet:
    """SlowFast (Feichtenhofer et al. 2019), from scratch; it came after the paper."""
    return _net(options, "slowfast", "SlowFast", "no Kinetics before it")


def _on(what: str) -> str:
    return f"EfficientNet-Lite0 for {what}"


def _net(
    options: Options,
    name: str,
    title: str,
    stands_in: str,
    *,
    start: Any = None,
    num_frames: int | None = None,
) -> LearnedNet:
    learning = options.learning
    recipe = _recipe(name, learning, num_frames)
    model = recipe.make_network(2)
    assert options.cache is not None
    clips = KeptClips(
        (model.stream,),
        model.frame_size,
        options.cache,
        colours=options.reading.colours,
        video_seconds=options.reading.video_seconds,
    )
    return LearnedNet(
        recipe,
        clips,
        options.cache / "runs",
        start=start,
        seconds=None if learning.iterations else learning.seconds,
        seed=learning.seed,
        views=learning.views,
        threads=options.threads,
        progress=options.progress,
        title=title,
        stands_in=stands_in,
    )


def _recipe(name: str, learning: Learning, num_frames: int | None) -> Recipe:
    """A published recipe at the comparison's width, crop and length."""
    recipe = PUBLISHED[name] if learning.published else short(PUBLISHED[name])
    made: Any = load_model(name)
    return adapted(
        recipe,
        width=learning.width,
        num_frames=num_frames,
        crop=None if made.stream == "imagenet" else learning.crop,
        iterations=learning.iterations,
        flip=learning.flip and recipe.flip,
    )


def _fused(options: Options, title: str, rows: Sequence[Any], **settings: Any) -> Fused:
    parts = [row(options) for row in rows]
    told = [part.stands_in for part in parts] + [settings.pop("stands_in", "")]
    stands_in = "; ".join(dict.fromkeys(each for each in told if each))
    if settings.get("svm"):
        settings["cost"] = options.cost
    return Fused(parts, title=title, stands_in=stands_in, **settings)


def _check_encoder(model: Model) -> None:
    """Refuse weights that are no composite model's."""
    if model.architecture.get("name") != "lstm-composite":
        raise ValueError(
            f"`encoder` must be weights of lstm-composite, got {model.architecture.get('name')}."
        )
