"""C3D's rows: one net, several, and rivals that lack its weights, its motion or its frames."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

from kinema.estimators import C3DFeatures
from kinema.features import still
from kinema.methods import svm
from kinema.methods.svm import FeatureSVM
from kinema.network import Conv3d, Network
from kinema.weights import Weights, random_weights


class StillFeatures(C3DFeatures):
    """`C3DFeatures` of clips that stand still on their middle frame."""

    _key = MappingProxyType({"still": True})
    _rearrange = staticmethod(still)


def flattened(network: Network) -> Network:
    """The same network with kernels of one frame: motion is seen by the poolings alone."""
    layers = tuple(
        dataclasses.replace(layer, kernel=(1, *layer.kernel[1:]))
        if isinstance(layer, Conv3d)
        else layer
        for layer in network.layers
    )
    return Network(network.input_shape, layers, network.recipe)


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
