"""C3D's rows: one net, several, and rivals that lack its weights, its motion or its frames.

Two of them are of the first net's network with random weights (He's, seed 0): "c3d-random" as it
is, "depth-1" with every kernel's depth made 1, as in the kernel-depth study (`network.flattened`).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from kinema.features.clip_features import meant_for_each, with_mean
from kinema.features.estimators import C3DFeatures
from kinema.features.extractor import still
from kinema.methods.options import Options
from kinema.methods.svm import SUFFIX, FeatureSVM, feature_svm
from kinema.model import Model
from kinema.network import flattened
from kinema.video.clips import ClipPlan
from kinema.weights.file import Weights, random_weights


class StillFeatures(C3DFeatures):
    """`C3DFeatures` of clips that stand still on their middle frame."""

    _key = MappingProxyType({"still": True})
    _rearrange = staticmethod(still)


# --- the rows -------------------------------------------------------------------------------------


def one_net(options: Options) -> FeatureSVM:
    """The first of the nets."""
    net = options.weights[0]
    return _row(options, [net], net_title(net))


def all_nets(options: Options) -> FeatureSVM:
    """The features of several nets side by side, each of length 1: 12,288-D for three."""
    return _row(options, options.weights, nets_title(options.weights))


def random_net(options: Options) -> FeatureSVM:
    """The first net's network before it learned anything."""
    network = options.weights[0].network
    if network.sees != "frames":
        raise ValueError(
            f"the method c3d-random: {options.weights[0].name} sees single frames, and random "
            "weights of it say nothing: name other `methods`, or other weights first."
        )
    _check(options, network, options.layer)
    return _row(options, [random_weights(network)], f"{network_title(network)}, random weights")


def random_2d_net(options: Options) -> FeatureSVM:
    """The same with kernels of one frame."""
    network = options.weights[0].network
    _check(options, network, options.layer)
    title = f"2-D {network_title(network)} (kernels of one frame), random weights"
    return _row(options, [random_weights(flattened(network))], title)


def one_frame(options: Options) -> FeatureSVM:
    """The first net, which sees clips that stand still."""
    net = options.weights[0]
    return _row(options, [net], f"{net_title(net)} on one frame, repeated", kind=StillFeatures)


def features(
    options: Options, weights: Weights, kind: type[C3DFeatures] = C3DFeatures
) -> C3DFeatures:
    """The describer of one net.

    Raises:
        ValueError: the network has no such layer, the stride is none, or the weights carry no mean.
    """
    with_mean(weights, None)
    asked = {"layer": options.layer, "precision": options.precision}
    mine = meant_for_each((*options.weights, weights), asked)[-1]
    _check(options, weights.network, mine["layer"])
    return kind(
        weights=weights,
        **mine,
        stride=options.stride,
        cache=options.cache,
        l2=options.l2,
        threads=options.threads,
        colours=options.reading.colours,
        video_seconds=options.reading.video_seconds,
    )


def _check(options: Options, network: Model, layer: str) -> None:
    network.feature_shape(layer)
    ClipPlan(length=network.input_shape[1], stride=options.stride)


def _row(
    options: Options,
    nets: Sequence[Weights],
    title: str,
    kind: type[C3DFeatures] = C3DFeatures,
) -> FeatureSVM:
    return feature_svm(options, [features(options, net, kind) for net in nets], title + SUFFIX)


# --- what they are called -------------------------------------------------------------------------


def network_title(network: Model) -> str:
    """What a network is called where its weights have no name of their own: "C3D", "c3d-mini"."""
    kind = str(network.architecture.get("name", "a network"))
    return "C3D" if kind == "c3d" else kind.replace("_", "-")


def net_title(weights: Weights) -> str:
    """The name of weights, behind that of their network, and whether they learned anything."""
    network = network_title(weights.network)
    untrained = _untrained(weights)
    if not weights.trained and weights.name == "random":
        return f"{network} (random)"
    if weights.name.lower().startswith(network.lower()):
        return f"{weights.name}{untrained}"
    return f"{network}, {weights.name}{untrained}"


def _untrained(weights: Weights) -> str:
    """What a title says behind a name that does not say it itself."""
    return "" if weights.trained or "random" in weights.name else " (random)"


def nets_title(nets: Sequence[Weights]) -> str:
    """The names of all nets; one that is alone goes by its own."""
    if len(nets) == 1:
        return net_title(nets[0])
    if any(net.trained for net in nets):
        names = ", ".join(net.name + _untrained(net) for net in nets)
    else:
        names = ", ".join(net.name for net in nets) + "; random"
    return f"{len(nets)} nets ({names})"
