"""The methods of the comparison, one file a row: scikit-learn estimators over videos.

Note [Method]
    A method is anything with scikit-learn's face over videos: its constructor only stores, and
    `compare` clones it for each split. A video is path-like, and carries the seconds where a sample
    is a part of a file (`video.sources.Source`).

        fit(videos, y)               sets `classes_`, the sorted labels; `groups=` is given where
                                     its signature names it
        decision_function(videos)    (n,) or (n, K); else predict_proba; else predict

    What else it has is used, and nothing asks for its class. A row of ours has a title.

        title, stands_in, seen       before the fit: its name in tables; what of a published method
                                     it approximates; names of the videos that its weights saw
        describers                   what turns videos into vectors, with a `cache` each: filled
                                     for all methods together, so that a video is decoded once
        describe(videos)             (n, D), what no fit changes: maps, purity, compactness
        describe_anew(videos)        the same without a cache: its speed is measured by it
        timeline(video)              start, stop (m,), scores (m, K) of its clips, or None
        chosen_, sweep_              after the fit: what a search chose, {"C": 1.0}, and accuracy
                                     by value
        notes(videos)                after the fit: what the reader should know of it and of these
                                     test videos, a line each

    One whose features are fitted, as those of codebooks, has no `describe`, and so no map.

To add a row, write its file and name it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from kinema.methods import c3d, chance, imagenet, learned_rows, trajectories
from kinema.methods.options import Options

METHODS: Mapping[str, Callable[[Options], Any]] = MappingProxyType(
    {
        "c3d": c3d.one_net,
        "c3d-nets": c3d.all_nets,
        "imagenet": imagenet.alone,
        "c3d+imagenet": imagenet.with_c3d,
        "c3d-random": c3d.random_net,
        "depth-1": c3d.random_2d_net,
        "one-frame": c3d.one_frame,
        "idt-bow": trajectories.words,
        "idt-fisher": trajectories.fisher,
        "mifs": trajectories.stacked,
        "c3d+idt-bow": trajectories.words_with_net,
        "c3d+idt-fisher": trajectories.fisher_with_net,
        "c3d-nets+idt-bow": trajectories.words_with_nets,
        "c3d-nets+idt-fisher": trajectories.fisher_with_nets,
        "slow-fusion": learned_rows.slow_fusion,
        "spatial": learned_rows.spatial,
        "temporal": learned_rows.temporal,
        "two-stream": learned_rows.two_stream,
        "two-stream-svm": learned_rows.two_stream_svm,
        "lrcn": learned_rows.lrcn,
        "lrcn-flow": learned_rows.lrcn_flow,
        "lrcn-both": learned_rows.lrcn_both,
        "lstm-composite": learned_rows.lstm_composite,
        "lstm-composite-both": learned_rows.lstm_composite_both,
        "conv-pooling": learned_rows.conv_pooling,
        "conv-pooling-both": learned_rows.conv_pooling_both,
        "lstm-long": learned_rows.lstm_long,
        "lstm-long-both": learned_rows.lstm_long_both,
        "slowfast": learned_rows.slowfast,
        "chance": chance.largest_class,
    }
)
"""The rows by the name that the command line has for them; each is built from `Options`, which
refuses at no cost what would fail once videos are decoded."""
