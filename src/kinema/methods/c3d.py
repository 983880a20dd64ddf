"""C3D's rows: one net, several, and rivals that lack its weights, its motion or its frames."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from kinema.features.estimators import C3DFeatures
from kinema.features.extraction import still, with_mean
from kinema.methods import svm
from kinema.methods.svm import FeatureSVM
from kinema.model import Model
from kinema.network import flattened
from kinema.video.clips import ClipPlan
from kinema.weights.file import Weights, random_weights


class StillFeatures(C3DFeatures):
    """`C3DFeatures` of clips that stand still on their middle frame."""

    _key = MappingProxyType({"still": True})
    _rearrange = staticmethod(still)


# --- what rows are called -------------------------------------------------------------------------


def network_title(network: Model) -> str:
    """What a network is called where its weights have no name of their own: "C3D", "c3d-mini"."""
    kind = str(network.architecture.get("name", "a network"))
    return "C3D" if kind == "c3d" else kind.replace("_", "-")


def net_title(weights: Weights) -> str:
    """The name of weights, behind that of their network, and whether they learned anything."""
    network = network_title(weights.network)
    untrained = "" if weights.trained else " (random)"
    if not weights.trained and weights.name == "random":
        return f"{network}{untrained}"
    if weights.name.lower().startswith(network.lower()):
        return f"{weights.name}{untrained}"
    return f"{network}, {weights.name}{untrained}"


def title_of_one(options: Any) -> str:
    """Of the row with the first net."""
    return net_title(options.weights[0]) + svm.SUFFIX


def title_of_all(options: Any) -> str:
    """Of the row with all nets; one that is alone goes by its name."""
    nets = options.weights
    if len(nets) == 1:
        return title_of_one(options)
    if any(net.trained for net in nets):
        names = ", ".join(net.name + ("" if net.trained else " (random)") for net in nets)
    else:
        names = ", ".join(net.name for net in nets) + "; random"
    return f"{len(nets)} nets ({names}){svm.SUFFIX}"


def title_of_random(options: Any) -> str:
    """Of the row with the first net's network before it learned anything."""
    return f"{network_title(options.weights[0].network)}, random weights{svm.SUFFIX}"


def title_of_2d(options: Any) -> str:
    """Of the row with kernels of one frame."""
    network = network_title(options.weights[0].network)
    return f"2-D {network} (kernels of one frame), random weights{svm.SUFFIX}"


def title_of_one_frame(options: Any) -> str:
    """Of the row with clips that stand still."""
    return f"{net_title(options.weights[0])} on one frame, repeated{svm.SUFFIX}"


# --- what can be told before a video is read ------------------------------------------------------


def check_one(options: Any) -> None:
    """Refuse a layer, a stride or a mean that the first net's features could not be made with."""
    _check(options, options.weights[:1])


def check_all(options: Any) -> None:
    """The same of all nets."""
    _check(options, options.weights)


def check_random(options: Any) -> None:
    """The same of random weights, which bring a mean."""
    network = options.weights[0].network
    network.feature_shape(options.layer)
    ClipPlan(length=network.input_shape[1], stride=options.stride)


def _check(options: Any, nets: tuple[Weights, ...]) -> None:
    for weights in nets:
        with_mean(weights, None).network.feature_shape(options.layer)
        ClipPlan(length=weights.network.input_shape[1], stride=options.stride)


# --- estimators -----------------------------------------------------------------------------------


def one_net(options: Any) -> FeatureSVM:
    """The first of the nets."""
    return _machine(options, options.weights[:1])


def all_nets(options: Any) -> FeatureSVM:
    """The features of several nets side by side, each of length 1: 12,288-D for three."""
    return _machine(options, options.weights)


def random_net(options: Any) -> FeatureSVM:
    """The first net's network before it learned anything."""
    return _machine(options, (random_weights(options.weights[0].network),))


def random_2d_net(options: Any) -> FeatureSVM:
    """The same with kernels of one frame."""
    return _machine(options, (random_weights(flattened(options.weights[0].network)),))


def one_frame(options: Any) -> FeatureSVM:
    """The first net, which sees clips that stand still."""
    return _machine(options, options.weights[:1], kind=StillFeatures)


def seen_by_one(options: Any) -> set[str]:
    """Names of the videos that the first net learned from."""
    return set(options.weights[0].trained_on or ())


def seen_by_all(options: Any) -> set[str]:
    """Names of the videos that any net learned from."""
    return {name for weights in options.weights for name in weights.trained_on or ()}


def features(options: Any, weights: Weights, kind: type[C3DFeatures] = C3DFeatures) -> C3DFeatures:
    """The transformer of one net."""
    return kind(
        weights=weights,
        layer=options.layer,
        stride=options.stride,
        cache=options.cache,
        l2=options.l2,
        threads=options.threads,
        colours=options.colours,
        video_seconds=options.video_seconds,
    )


def _machine(
    options: Any, nets: tuple[Weights, ...], kind: type[C3DFeatures] = C3DFeatures
) -> FeatureSVM:
    return svm.make(options, [features(options, net, kind) for net in nets])
