"""What happens in a video, and when: class scores of the whole and of each clip."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.features.clip_features import meant_for_each
from kinema.features.extractor import Extractor
from kinema.features.kept import TableCache, kept_step
from kinema.features.table import FeatureTable
from kinema.files import atomic_path, locked_folder, write_json
from kinema.methods.classifier import Classifier, Net
from kinema.methods.seen import steady
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.sources import Source, as_source, find_videos
from kinema.video.steps import Made, Step, walk
from kinema.weights import file as weights_room
from kinema.weights.file import Weights
from kinema.weights.several import AnyWeights, resolve_all


@dataclass(frozen=True, eq=False)
class Prediction:
    """Class scores of one video.

    Attributes:
        video: path of the file.
        classes: K names.
        scores: (K,) of the whole video: probabilities averaged over the clips, or the SVM's signed
            distances for the video's mean feature.
        clip_scores: (n, K), of each clip; see `seen.steady`.
        start_seconds, stop_seconds: (n,), of each clip.
        score_kind: "probability" or "distance".
        none_of_these: whether the video is like nothing that the classifier has seen; None where
            that cannot be told.
        clip_none: (n,) bool, the same of each clip; None where that cannot be told.
    """

    video: str
    classes: tuple[str, ...]
    scores: np.ndarray
    clip_scores: np.ndarray
    start_seconds: np.ndarray
    stop_seconds: np.ndarray
    score_kind: str
    none_of_these: bool | None = None
    clip_none: np.ndarray | None = None

    def top(self, num_classes: int = 5) -> list[tuple[str, float]]:
        """The best classes and their scores, best first."""
        return [(self.classes[i], float(self.scores[i])) for i in self._best(num_classes)]

    def _best(self, num_classes: int) -> list[int]:
        return np.argsort(-self.scores, kind="stable")[:num_classes].tolist()

    def runs(self) -> Iterator[tuple[float, float, int, list[int]]]:
        """Runs of clips with the same best class, in order.

        Clips overlap; a run ends where the next one starts.

        Returns:
            Start, stop (seconds), index of the class, -1 for none of these, and those of the clips.
        """
        best = self.clip_scores.argmax(axis=1)
        if self.clip_none is not None:
            best = np.where(self.clip_none, -1, best)
        runs = [list(run) for _, run in itertools.groupby(range(len(best)), key=best.__getitem__)]
        for run, following in itertools.zip_longest(runs, runs[1:]):
            stop = self.start_seconds[following[0]] if following else self.stop_seconds[run[-1]]
            yield float(self.start_seconds[run[0]]), float(stop), int(best[run[0]]), run

    def segments(self) -> Iterator[tuple[float, float, str]]:
        """Start, stop (seconds) and best class of each of `runs`, "" for none of these."""
        for start, stop, best, _ in self.runs():
            yield start, stop, "" if best < 0 else self.classes[best]

    def as_mapping(self, num_classes: int = 5) -> dict[str, Any]:
        """The prediction as JSON values; unknown times are null."""
        mapping: dict[str, Any] = {
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
        if self.none_of_these is not None:
            mapping["none_of_these"] = self.none_of_these
        if self.clip_none is not None:
            for clip, none in zip(mapping["clips"], self.clip_none.tolist(), strict=True):
                clip["none_of_these"] = none
        return mapping

    def timeline(self, num_classes: int = 3, *, width: int = 60) -> str:
        """The best classes with a bar for every clip, then who wins when, as text."""
        names = [name for name, _ in self.top(num_classes)]
        length = max(map(len, names))
        lines = [f"{self.video}: {len(self.clip_scores)} clips, {self.score_kind} by clip"]
        for index in self._best(num_classes):
            name, score = self.classes[index], self.scores[index]
            bars = _bars(self._relative(index), width)
            lines.append(f"  {name:<{length}} {score:7.3f}  {bars}")
        if self.none_of_these:
            lines.append("  none of these: it is far from all that was learned from")
        for start, stop, name in self.segments():
            lines.append(f"  {_clock(start)} to {_clock(stop)}  {name or 'none of these'}")
        return "\n".join(lines)

    def _relative(self, index: int) -> np.ndarray:
        """Scores of one class by clip, 0 ... 1 over the range of all."""
        scores = self.clip_scores
        low, high = (0.0, 1.0) if self.score_kind == "probability" else (scores.min(), scores.max())
        return (scores[:, index] - low) / max(high - low, 1e-12)


class Predictor:
    """What predicts the classes of a video, made once and used for many.

    Args:
        weights: weights with fc8, whose softmax gives probabilities; with `classifier`, one or
            several that it was trained on and that its file does not lead to, in any order.
        classifier: a linear SVM of `compare.fit_classifier`, or its file, in place of fc8.
        stride: frames from clip to clip; a classifier brings its own.
        mean: what to subtract, for weights that carry none.
        device, engine, precision, threads: see `Engine`.
        cache: a folder for features; a stopped run goes on from it.
        colours, video_seconds: see `loop.Reading`; a classifier brings its own colours.

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
        precision: str = "fp32",
        threads: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        colours: str = "file",
        video_seconds: float | None = None,
    ) -> None:
        how = {"mean": mean, "device": device, "engine": engine, "precision": precision}
        how |= {"threads": threads, "reading": Reading(colours, video_seconds)}
        self._cache = cache
        given = resolve_all(weights) if weights else ()
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
        ((_, prediction),) = self.predictions([as_source(video)])
        if isinstance(prediction, Skipped):
            raise VideoError(str(prediction))
        return prediction

    def predictions(
        self, videos: Iterable[Source]
    ) -> Iterator[tuple[Source, Prediction | Skipped]]:
        """Each video and its class scores, or why there are none, in order."""
        steps = [self._step(extractor) for extractor in self._extractors]
        for source, outcomes in walk(videos, steps, **self._extractors[0].walking):
            skipped = [one for one in outcomes if isinstance(one, Skipped)]
            made = [one.value for one in outcomes if isinstance(one, Made)]
            yield source, skipped[0] if skipped else self._prediction(source, made)

    def _step(self, extractor: Extractor) -> Step:
        cache = None if self._cache is None else TableCache(self._cache, extractor)
        return kept_step(extractor, cache)

    def _prediction(self, source: Source, tables: Sequence[FeatureTable]) -> Prediction:
        if self._svm is not None:
            return predicted(self._svm, source, tables)
        (table,) = tables
        return Prediction(
            video=str(source),
            classes=self.classes,
            scores=table.features.mean(axis=0),
            clip_scores=table.features,
            start_seconds=table.start_seconds,
            stop_seconds=table.stop_seconds,
            score_kind="probability",
        )


def predicted(svm: Classifier, source: Source, tables: Sequence[FeatureTable]) -> Prediction:
    """What a classifier tells of a video, by its tables, one a net."""
    clips = [table.features for table in tables]
    whole = [each.mean(axis=0, dtype=np.float64)[None] for each in clips]
    if svm.seen is not None:  # what was seen are means of videos; a single clip is farther off
        clips = [steady(table) for table in tables]
    none = svm.is_none(*whole)
    return Prediction(
        video=str(source),
        classes=svm.classes,
        scores=svm.shown(*whole)[0],
        clip_scores=svm.shown(*clips),
        start_seconds=tables[0].start_seconds,  # the clips of all nets are the same
        stop_seconds=tables[0].stop_seconds,
        score_kind=svm.score_kind,
        none_of_these=None if none is None else bool(none[0]),
        clip_none=svm.is_none(*clips),
    )


@dataclass
class PredictionReport:
    """What a run of `predict` came to.

    Attributes:
        predictions: one a video, in order.
        skipped: videos that could not be used, and why.
        out: the folder that was written to, if any.
        notes: what else the user should know, a line each.
    """

    predictions: list[Prediction] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    out: Path | None = None
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The report in a line."""
        line = f"{len(self.predictions)} videos classified"
        if self.skipped:
            line += f", {len(self.skipped)} skipped"
        return line if self.out is None else f"{self.out / 'predictions.csv'}: {line}"

    def write(self, out: Path, num_classes: int) -> None:
        """Write predictions.csv, clips.csv and predictions.json."""
        top = range(1, min(num_classes, len(self.predictions[0].classes)) + 1)
        columns = [name for rank in top for name in (f"class_{rank}", f"score_{rank}")]
        told = ["none_of_these"] * (self.predictions[0].none_of_these is not None)
        _write_csv(
            out / "predictions.csv",
            ["video", "num_clips", "score_kind", *told, *columns],
            (
                [one.video, len(one.clip_scores), one.score_kind]
                + [one.none_of_these for _ in told]
                + [value for pair in one.top(num_classes) for value in pair]
                for one in self.predictions
            ),
        )
        clips = [
            (one.video, *clip.values())
            for one in self.predictions
            for clip in one.as_mapping()["clips"]
        ]
        header = ["video", "start_seconds", "stop_seconds", "class", "score", *told]
        _write_csv(out / "clips.csv", header, clips)
        content = {
            "predictions": [one.as_mapping(num_classes) for one in self.predictions],
            "skipped": [one.as_mapping() for one in self.skipped],
        }
        write_json(out / "predictions.json", content)


def predict(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    weights: AnyWeights | Sequence[AnyWeights] | None = None,
    classifier: str | os.PathLike[str] | Classifier | None = None,
    out: str | os.PathLike[str] | None = None,
    list: str | os.PathLike[str] | None = None,
    stride: int = 8,
    mean: Any = None,
    top: int = 5,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    tell: Callable[[Prediction], object] = lambda prediction: None,
) -> PredictionReport:
    """Predict the classes of videos.

    Args:
        videos: video files, folders of pictures, folders to search for videos.
        out: folder to write predictions.csv, clips.csv and predictions.json to. Features are kept
            in `out/features`, so that a stopped run goes on.
        list: a text file with more videos, see `extract`.
        top: classes of each video that are written.
        tell: is given each prediction as soon as it is there.
        weights, classifier, stride, mean, device, engine, precision: see `Predictor`.
        threads, colours, video_seconds: see `Predictor`.

    Raises:
        ValueError: a setting is wrong, or no video was found.
        FileNotFoundError: one of `videos`, the list, the weights or the classifier are missing.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    named = [videos] if isinstance(videos, str | os.PathLike) else [*videos]
    if not named and list is None:
        raise ValueError("`videos` must name at least one video, or `list` a file with some.")
    sources = find_videos(named, list)
    folder = None if out is None else Path(out)
    predictor = Predictor(
        weights=weights,
        classifier=classifier,
        stride=stride,
        mean=mean,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        cache=None if folder is None else folder / "features",
        colours=colours,
        video_seconds=video_seconds,
    )
    report = PredictionReport(out=folder, notes=[*sources.notes])
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(locked_folder(folder))
        for _, prediction in predictor.predictions(sources):
            if isinstance(prediction, Skipped):
                report.skipped.append(prediction)
            else:
                report.predictions.append(prediction)
                tell(prediction)
        if folder is not None and report.predictions:
            report.write(folder, top)
    return report


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with (
        atomic_path(path) as partial,
        open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


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
    nets = []
    for net in svm.nets:
        resolved = by_checksum.get(net.settings["weights_sha256"])
        if resolved is None:
            try:
                resolved = _named(net)
            except FileNotFoundError:
                raise ValueError(
                    f"the classifier was trained on features of {net}, which is not there: name "
                    "its file with `weights`."
                ) from None
        nets.append(resolved)
    extractors = []
    for net, resolved, asked in zip(svm.nets, nets, meant_for_each(nets, how), strict=True):
        asked["reading"] = replace(how["reading"], colours=net.settings.get("colours", "file"))
        plan = ClipPlan(**net.clips)
        extractor = Extractor(resolved, layer=net.settings["layer"], plan=plan, **asked)
        net.check_made_for(extractor.settings())
        extractors.append(extractor)
    return extractors


def _named(net: Net) -> Weights:
    """The weights that a classifier's net has the name of.

    c3d-mini and c3d-mini:SEED were random numbers once: what was trained on them finds them.
    """
    if (draw := weights_room.draw_once_called(net.weights)) is not None:
        random = weights_room.resolve(draw)
        if random.sha256 == net.settings["weights_sha256"]:
            return random
    return weights_room.resolve(net.weights)


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
