"""What happens in a video, and when: class scores of the whole and of each clip."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema import weights as weights_room
from kinema.classifier import Classifier
from kinema.clips import ClipPlan
from kinema.features import Extractor
from kinema.weights import Weights

AnyWeights = str | os.PathLike[str] | Weights


@dataclass(frozen=True, eq=False)
class Prediction:
    """Class scores of one video.

    Attributes:
        video: the file's name.
        classes: K names.
        scores: (K,) of the whole video: probabilities averaged over the clips, or the SVM's signed
            distances for the video's mean feature.
        clip_scores: (n, K), of each clip.
        start_seconds, stop_seconds: (n,), of each clip.
        score_kind: "probability" or "distance".
    """

    video: str
    classes: tuple[str, ...]
    scores: np.ndarray
    clip_scores: np.ndarray
    start_seconds: np.ndarray
    stop_seconds: np.ndarray
    score_kind: str

    def top(self, num_classes: int = 5) -> list[tuple[str, float]]:
        """The best classes and their scores, best first."""
        return [(self.classes[i], float(self.scores[i])) for i in self._best(num_classes)]

    def _best(self, num_classes: int) -> list[int]:
        return np.argsort(-self.scores, kind="stable")[:num_classes].tolist()

    def segments(self) -> Iterator[tuple[float, float, str]]:
        """Start, stop (seconds) and best class of each run of clips with the same best class.

        Clips overlap; a run ends where the next one starts.
        """
        best = self.clip_scores.argmax(axis=1)
        runs = [list(run) for _, run in itertools.groupby(range(len(best)), key=best.__getitem__)]
        for run, following in itertools.zip_longest(runs, runs[1:]):
            stop = self.start_seconds[following[0]] if following else self.stop_seconds[run[-1]]
            yield float(self.start_seconds[run[0]]), float(stop), self.classes[best[run[0]]]

    def as_mapping(self, num_classes: int = 5) -> dict[str, Any]:
        """The prediction as JSON values; unknown times are null."""
        return {
            "video": self.video,
            "score_kind": self.score_kind,
            "top": [{"class": name, "score": score} for name, score in self.top(num_classes)],
            "clips": [
                {
                    "start_seconds": _or_none(start),
                    "stop_seconds": _or_none(stop),
                    "class": self.classes[int(scores.argmax())],
                    "score": float(scores.max()),
                }
                for start, stop, scores in zip(
                    self.start_seconds, self.stop_seconds, self.clip_scores, strict=True
                )
            ],
        }

    def timeline(self, num_classes: int = 3, *, width: int = 60) -> str:
        """The best classes with a bar for every clip, then who wins when, as text."""
        names = [name for name, _ in self.top(num_classes)]
        length = max(map(len, names))
        lines = [f"{self.video}: {len(self.clip_scores)} clips, {self.score_kind} by clip"]
        for index in self._best(num_classes):
            name, score = self.classes[index], self.scores[index]
            bars = _bars(self._relative(index), width)
            lines.append(f"  {name:<{length}} {score:7.3f}  {bars}")
        for start, stop, name in self.segments():
            lines.append(f"  {_clock(start)} to {_clock(stop)}  {name}")
        return "\n".join(lines)

    def _relative(self, index: int) -> np.ndarray:
        """Scores of one class by clip, 0 ... 1 over the range of all."""
        scores = self.clip_scores
        low, high = (0.0, 1.0) if self.score_kind == "probability" else (scores.min(), scores.max())
        return (scores[:, index] - low) / max(high - low, 1e-12)


class Predictor:
    """What tells the classes of a video, made once and used for many.

    Args:
        weights: weights with fc8, whose softmax gives probabilities; with `classifier`, one or
            several that it was trained on and that its file does not lead to, in any order.
        classifier: a linear SVM of `compare.fit_classifier`, or its file, in place of fc8.
        stride: frames from clip to clip; a classifier brings its own.
        mean: what to subtract, for weights that carry none.
        device, engine, threads: see `Engine`.

    Raises:
        ValueError: neither is given, the weights are untrained or have no classes, or they are not
            those of the classifier.
    """

    def __init__(
        self,
        *,
        weights: AnyWeights | Sequence[AnyWeights] | None = None,
        classifier: str | os.PathLike[str] | Classifier | None = None,
        stride: int = 8,
        mean: Any = None,
        device: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        how = {"mean": mean, "device": device, "engine": engine, "threads": threads}
        if weights is None:
            given = []
        elif isinstance(weights, str | os.PathLike | Weights):
            given = [weights_room.resolve(weights)]
        else:
            given = [weights_room.resolve(one) for one in weights]
        self._svm: Classifier | None = None
        if classifier is not None:
            self._svm = (
                classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
            )
            self.classes = self._svm.classes
            self._extractors = _extractors_for(self._svm, given, how)
            return
        if not given:
            raise ValueError(
                "give `weights` that were trained on classes, or a `classifier` "
                "(`kinema demo` makes one)."
            )
        if len(given) > 1:
            raise ValueError(
                f"`weights` must be one net, got {len(given)}; a `classifier` takes several "
                "(`kinema transfer` makes one)."
            )
        (resolved,) = given
        if resolved.num_classes is None:
            raise ValueError(f"weights {resolved.name!r} have no fc8; give a `classifier`.")
        if not resolved.trained:
            raise ValueError(
                f"weights {resolved.name!r} are random: their classes mean nothing. Give trained "
                "weights, or a `classifier` (`kinema demo` makes one)."
            )
        plan = ClipPlan(length=resolved.network.input_shape[1], stride=stride)
        self._extractors = [Extractor(resolved, layer="prob", plan=plan, **how)]
        numbers = range(resolved.num_classes)
        self.classes = resolved.labels or tuple(f"class {number}" for number in numbers)

    def __call__(self, video: str | os.PathLike[str]) -> Prediction:
        """Class scores of one video; one that cannot be read is a `VideoError` that names it."""
        tables = [extractor(video) for extractor in self._extractors]
        table = tables[0]  # of all, the clips are the same
        if self._svm is None:
            scores, clip_scores = table.features.mean(axis=0), table.features
        else:
            scores = self._svm.video_scores(*tables)
            clip_scores = self._svm.scores(*(one.features for one in tables))
        return Prediction(
            video=Path(video).name,
            classes=self.classes,
            scores=scores,
            clip_scores=clip_scores,
            start_seconds=table.start_seconds,
            stop_seconds=table.stop_seconds,
            score_kind="probability" if self._svm is None else "distance",
        )


def _extractors_for(
    svm: Classifier, given: Sequence[Weights], how: dict[str, Any]
) -> list[Extractor]:
    """What makes the features that a classifier was trained on, net by net."""
    by_checksum = {weights.sha256: weights for weights in given}
    wanted = {net.settings["weights_sha256"] for net in svm.nets}
    for checksum, weights in by_checksum.items():
        if checksum not in wanted:
            raise ValueError(
                f"weights {weights.name!r} (sha256 {checksum[:12]}) are none that the classifier "
                f"was trained on: {', '.join(map(str, svm.nets))}."
            )
    extractors = []
    for net in svm.nets:
        resolved = by_checksum.get(net.settings["weights_sha256"])
        if resolved is None:
            try:
                resolved = weights_room.resolve(net.weights)
            except FileNotFoundError:
                raise ValueError(
                    f"the classifier was trained on features of {net}, which is not there: name "
                    "its file with `weights`."
                ) from None
        plan = ClipPlan(**net.clips)
        extractor = Extractor(resolved, layer=net.settings["layer"], plan=plan, **how)
        net.check_made_for(extractor.settings())
        extractors.append(extractor)
    return extractors


def _bars(values: np.ndarray, width: int) -> str:
    """One block a value, higher for more; neighbours share a block if there are too many."""
    groups = np.array_split(values, min(len(values), width))
    return "".join("▁▂▃▄▅▆▇█"[min(int(max(g.mean(), 0.0) * 8), 7)] for g in groups)


def _clock(seconds: float) -> str:
    """Time as minutes and seconds."""
    if np.isnan(seconds):
        return "  ?  "
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
