"""Networks that are learned for each split, and what is fused of them.

    videos --KeptClips--> prepared clips --learn, a run a split--> weights --clips--> their mean

A run's folder goes by all that decides over it, so that a stopped comparison goes on within it, and
rows that need the same network learn it once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from kinema.engine.engine import Engine
from kinema.features.table import normalized
from kinema.files import read_kept_tensors, write_json, write_tensors
from kinema.methods.svm import FeatureSVM
from kinema.model import Model
from kinema.progress import Counted
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.kept_clips import KeptClips
from kinema.training.log import read_rows
from kinema.training.material import Material
from kinema.training.plan import Options as RunOptions
from kinema.training.plan import Plan
from kinema.training.recipe import Recipe
from kinema.training.sampling import span_of
from kinema.training.scoring import clip_scores, video_means
from kinema.video.sources import as_source
from kinema.weights.file import Weights
from kinema.words import number_of

FORMAT = "kinema-scores-1"

AT_ONCE = 16
"""Videos whose scores are computed, and then kept."""

CHECKPOINT_SECONDS = 30.0
"""Most of a run that is lost where it is killed."""


class LearnedNet(ClassifierMixin, BaseEstimator):
    """A network that learns the training videos' classes, or just their clips.

    Args:
        recipe: what is learned and how; with `seconds` its length is not asked.
        clips: what prepares the videos.
        runs: a folder for the runs, one each.
        start: another one that is learned first, from the same videos, or its weights; the network
            takes from them what fits.
        seconds: about how long the steps may take.
        seed: see `train`.
        views: crops of each clip that is scored: 1, its centre, or 10, that and the corners, each
            mirrored, too; of maps the mirror alone.
        device, threads, progress: see `train`.
        title, stands_in: see Note [Method] in `kinema.methods`.

    Attributes:
        classes_: (K,) the labels, sorted.
        weights_: what was learned.
        iterations_: in how many steps.
        seconds_: that these took, reading included, and those of `start` if it was learned, too.
    """

    def __init__(
        self,
        recipe: Recipe,
        clips: KeptClips,
        runs: Path,
        *,
        start: LearnedNet | Weights | None = None,
        seconds: float | None = None,
        seed: int = 0,
        views: int = 1,
        device: str = "auto",
        threads: int | None = None,
        progress: bool = False,
        title: str = "",
        stands_in: str = "",
    ) -> None:
        self.recipe = recipe
        self.clips = clips
        self.runs = runs
        self.start = start
        self.seconds = seconds
        self.seed = seed
        self.views = views
        self.device = device
        self.threads = threads
        self.progress = progress
        self.title = title
        self.stands_in = stands_in

    @property
    def describers(self) -> Sequence[Any]:
        """What prepares the videos, each once."""
        return [self.clips]

    @property
    def seen(self) -> set[str]:
        """Names of the videos that its first weights learned from."""
        return set(self.start.trained_on or ()) if isinstance(self.start, Weights) else set()

    def fit(self, X: Any, y: Any) -> LearnedNet:
        """Learn from videos, or go on with it, or find that it is done.

        Raises:
            ValueError: all videos are of one class.
        """
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2 and self.recipe.learns_labels:
            raise ValueError(f"`y` must hold at least two classes, got {self.classes_.tolist()}.")
        store, videos = self._stored(X)
        numbers = np.searchsorted(self.classes_, labels)
        train = [
            dataclasses.replace(video, labels=(int(number),))
            for video, number in zip(videos, numbers, strict=True)
        ]
        start, seconds = self.start, 0.0
        if isinstance(start, LearnedNet):
            first = clone(start).fit(X, y)
            start, seconds = first.weights_, first.seconds_
        plan = Plan(
            self.recipe, self.recipe.network, start=start, seed=self.seed, renews=start is not None
        )
        self._out = self.runs / self._key(plan, train)
        done = self._out / "done.json"
        if not done.is_file():
            write_json(done, self._learn(store, train, plan))
        self.weights_ = Weights.load(self._out / "weights.safetensors")
        self.iterations_ = int(json.loads(done.read_text(encoding="utf-8"))["iterations"])
        self.seconds_ = seconds + self._seconds()
        return self

    def _seconds(self) -> float:
        """By the run's log, whose rows tell clips a second since the row before."""
        seconds, before = 0.0, 0.0
        for row in read_rows(self._out / "log.csv"):
            if row["clips_per_second"] > 0:
                num_clips = (row["iteration"] - before) * self.recipe.batch
                seconds += num_clips / row["clips_per_second"]
            before = row["iteration"]
        return seconds

    def _learn(
        self, store: ClipStore, train: Sequence[StoredVideo], plan: Plan
    ) -> Mapping[str, Any]:
        """Carry out the run, and tell what is kept of it."""
        from kinema.training.train import learn

        report = learn(
            Material(store, train, [], tuple(map(str, self.classes_))),
            self._out,
            plan,
            RunOptions(
                device=self.device,
                threads=self.threads,
                checkpoint_seconds=CHECKPOINT_SECONDS,
                progress=self.progress,
            ),
            seconds=self.seconds,
        )
        return {"iterations": report.iterations, "num_clips": report.num_clips}

    def _key(self, plan: Plan, train: Sequence[StoredVideo]) -> str:
        """The name of a run's folder: what is learned, and a checksum of all that decides."""
        content = {
            **plan.settings(),
            "seconds": self.seconds,
            "seed": self.seed,
            "start": plan.start and plan.start.sha256,
            "clips": self.clips.file.name,
            "videos": [[video.group, video.labels] for video in train],
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return f"{self.recipe.network}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, K) means of the probabilities of the videos' clips; they are kept beside the run."""
        store, videos = self._stored(X)
        assert self.weights_.mean is not None
        path = self._out / f"scores-{self.views}.safetensors"
        kept = read_kept_tensors(path, format=FORMAT) or {}
        todo = list({v.group: v for v in videos if v.group not in kept}.values())
        if not todo:  # no engine is made for nothing
            return np.stack([kept[video.group] for video in videos])
        engine = Engine(
            self.weights_.network, self.weights_, device=self.device, threads=self.threads
        )
        shown = self.progress and len(todo) > AT_ONCE
        with Counted(f"videos told by {self.recipe.network}", len(todo), enabled=shown) as bar:
            for first in range(0, len(todo), AT_ONCE):
                part = todo[first : first + AT_ONCE]
                scores, owner = clip_scores(
                    engine, store, part, mean=self.weights_.mean, views=self.views
                )
                means = video_means(scores, owner)
                kept |= {video.group: row for video, row in zip(part, means, strict=True)}
                write_tensors(path, kept, {"format": FORMAT})
                for _ in part:
                    bar.advance()
        return np.stack([kept[video.group] for video in videos])

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def notes(self, X: Any) -> list[str]:
        """How it was learned, and what of these test videos was filled up."""
        recipe, model = self.recipe, self.weights_.network
        width = recipe.arguments.get("width", 1.0)
        dropout = recipe.arguments.get("dropout")
        dropped = "" if dropout is None else f", dropout {dropout:g}"
        mirrored = "" if recipe.flip else ", not mirrored"
        views = "" if self.views == 1 else f"{self.views} views of "
        lines = [
            f"width {width:g}, clips of {'x'.join(map(str, model.input_shape))}, "
            f"{self.iterations_} steps of {recipe.batch} clips in {self.seconds_ / 60:.1f} "
            f"minutes ({recipe.optimiser}, "
            f"{recipe.schedule}{dropped}{mirrored}), scored by {views}{_test_clips(model)}"
        ]
        need = span_of(model.input_shape[1], model.frame_step)
        num = sum(max(s.num_frames for s in v.segments) < need for v in self._stored(X)[1])
        if num:
            how = "begun again" if model.short == "wrap" else "filled up with the last frame"
            lines.append(
                f"{number_of(num, 'test video')} shorter than a clip of {need} frames: {how}"
            )
        return lines

    def _stored(self, X: Any) -> tuple[ClipStore, list[StoredVideo]]:
        return self.clips.stored([as_source(video) for video in X])


class Fused(ClassifierMixin, BaseEstimator):
    """Several nets' decisions together: their weighted mean, or a linear SVM on them.

    The SVM sees each net's probabilities brought to length 1, side by side, and learns from those
    of the training videos (Simonyan and Zisserman 2014, section 5).

    Args:
        parts: of `LearnedNet`.
        shares: of the mean, one a part; None for equal ones.
        svm: whether it is the SVM.
        cost: its C; None for cross-validation.
        title, stands_in: see Note [Method] in `kinema.methods`.

    Attributes:
        classes_: (K,) the labels, sorted.
        parts_: fitted.
    """

    def __init__(
        self,
        parts: Sequence[LearnedNet],
        *,
        shares: Sequence[float] | None = None,
        svm: bool = False,
        cost: float | None = None,
        title: str = "",
        stands_in: str = "",
    ) -> None:
        self.parts = parts
        self.shares = shares
        self.svm = svm
        self.cost = cost
        self.title = title
        self.stands_in = stands_in

    @property
    def describers(self) -> Sequence[Any]:
        """What prepares the videos for any of the parts."""
        return [each for part in self.parts for each in part.describers]

    @property
    def seen(self) -> set[str]:
        """Names of the videos that the first weights of any part learned from."""
        return set().union(*(part.seen for part in self.parts))

    def fit(self, X: Any, y: Any, groups: Any = None) -> Fused:
        """Learn the parts, or find them learned by another row, and what fuses them."""
        self.parts_ = [clone(part).fit(X, y) for part in self.parts]
        self.classes_ = self.parts_[0].classes_
        if self.svm:
            self.svm_ = FeatureSVM([], self.cost).fit_vectors(self._vectors(X), y, groups)
            self.chosen_, self.sweep_ = self.svm_.chosen_, self.svm_.sweep_
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, K) the SVM's distances, or mean probabilities."""
        if self.svm:
            return self.svm_.decide(self._vectors(X))
        found = [part.predict_proba(X) for part in self.parts_]
        mean: np.ndarray = np.average(found, axis=0, weights=self.shares)
        return mean

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def notes(self, X: Any) -> list[str]:
        """Those of its parts, by their names."""
        return [f"{part.recipe.network}: {note}" for part in self.parts_ for note in part.notes(X)]

    def _vectors(self, X: Any) -> np.ndarray:
        return np.hstack([normalized(part.predict_proba(X)) for part in self.parts_])


def _test_clips(model: Model) -> str:
    """Which clips of a video are scored, in words."""
    if model.test_stride is not None:
        return f"clips every {model.test_stride} frames"
    return f"{model.test_clips} clips a video" if model.test_clips != 1 else "one clip a video"
