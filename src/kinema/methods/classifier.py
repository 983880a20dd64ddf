"""A linear SVM on video vectors that remembers which features it was trained on.

The paper's protocol (Tran et al., section 3.3): fc6 of every clip, the mean over a video's clips,
L2-normalised, a multi-class linear SVM. Its cost C is stated nowhere; 1 is the neutral choice. The
features of several nets stand side by side, each normalised by itself.

Note [What a classifier may know besides]
    `classify` adds sigmoids that turn distances into probabilities, and what was seen, which tells
    what is none of the classes. Both are optional. Files of the formats 1 and 2 have neither, and
    are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.svm import LinearSVC

from kinema.features.table import FeatureTable, normalized
from kinema.files import NewerFormat, read_tensors, write_tensors
from kinema.methods.calibration import Sigmoids
from kinema.methods.seen import Seen
from kinema.weights import file as weights_room
from kinema.weights.file import Weights
from kinema.weights.several import AnyWeights

FORMAT = "kinema-classifier-3"

_SECOND_FORMAT = "kinema-classifier-2"
"""Without probabilities and what was seen."""

_FIRST_FORMAT = "kinema-classifier-1"
"""Of one net, whose features were always normalised."""


@dataclass(frozen=True, eq=False)
class Net:
    """A net whose features a classifier takes.

    Attributes:
        weights: name or file.
        settings: what decided over the features, see `Extractor.settings`; the checksum of the
            weights is among it.
    """

    weights: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.weights} (sha256 {str(self.settings.get('weights_sha256'))[:12]})"

    @property
    def clips(self) -> dict[str, Any]:
        """Which frames make which clip: arguments of `ClipPlan`."""
        return {
            name: self.settings[name] for name in ("length", "stride", "sampling_rate", "short")
        }

    def check_made_for(self, settings: Mapping[str, Any]) -> None:
        """Refuse features that were made in another way than those of the training."""
        precision = {"precision": "fp32"}  # stands in settings where it is another
        now = {**precision, **settings}
        for name, value in {**precision, **self.settings}.items():
            if now.get(name) != value:
                raise ValueError(
                    f"{self.weights}: the classifier was trained on features with {name} {value}, "
                    f"these have {now.get(name)}."
                )


def address_of(weights: AnyWeights) -> str:
    """What finds weights again, also from another folder."""
    if isinstance(weights, Weights):
        return weights.name
    name = os.fspath(weights)
    return name if weights_room.is_name(name) else os.path.abspath(name)


@dataclass(frozen=True, eq=False)
class Classifier:
    """One-vs-rest linear SVMs on features of one net, or of several side by side.

    Attributes:
        classes: K names.
        coefficients: (K, D) float64; D is that of all nets together.
        intercepts: (K,) float64.
        nets: one or several, in the order of their features. All see the same clips.
        l2: whether the features of each net are L2-normalised.
        sigmoids: K of them, for probabilities; None where there are none.
        seen: what was learned from; None where that is not kept.
    """

    classes: tuple[str, ...]
    coefficients: np.ndarray
    intercepts: np.ndarray
    nets: tuple[Net, ...]
    l2: bool = True
    sigmoids: Sigmoids | None = None
    seen: Seen | None = None

    def __post_init__(self) -> None:
        size, dimensions = self.coefficients.shape
        if size != len(self.classes) or self.intercepts.shape != (size,):
            raise ValueError(f"`coefficients` are of {size} classes, not of {len(self.classes)}.")
        if self.sigmoids is not None and not (
            self.sigmoids.slopes.shape == self.sigmoids.offsets.shape == (size,)
        ):
            raise ValueError(f"`sigmoids` must be {size}, one a class.")
        if self.seen is not None and self.seen.vectors.shape[1:] != (dimensions,):
            raise ValueError(f"`seen` must have vectors of {dimensions} dimensions.")
        if not self.nets:
            raise ValueError("`nets` must name at least one net.")
        for name in self.nets[0].clips:
            values = [net.clips[name] for net in self.nets]
            if any(value != values[0] for value in values):
                raise ValueError(
                    f"the nets of a classifier must see the same clips, but {name} is "
                    f"{', '.join(f'{v} in {n}' for v, n in zip(values, self.nets, strict=True))}."
                )

    @classmethod
    def train(
        cls, tables: Sequence[FeatureTable], labels: Sequence[str], *, cost: float = 1.0
    ) -> Classifier:
        """Train on videos.

        Args:
            tables: features of the training videos, all made with the same settings.
            labels: the class of each.
            cost: C of the SVM.
        """
        if len(tables) != len(labels):
            raise ValueError(
                f"`labels` must be one a table, got {len(labels)} for {len(tables)} tables."
            )
        if len(set(labels)) < 2:
            raise ValueError(f"`labels` must name at least two classes, got {sorted(set(labels))}.")
        vectors = np.stack([table.video_vector() for table in tables])
        svm = LinearSVC(C=cost, random_state=0, max_iter=10_000).fit(vectors, list(labels))
        coefficients, intercepts = svm.coef_, svm.intercept_
        if len(svm.classes_) == 2:  # scikit-learn keeps one row for the second class
            coefficients = np.concatenate([-coefficients, coefficients])
            intercepts = np.concatenate([-intercepts, intercepts])
        about = tables[0].about
        if "parts" in about["settings"]:
            raise ValueError(
                "`tables` must be of one net each, got rows of several side by side; `transfer` "
                "trains on the features of several nets."
            )
        return cls(
            classes=tuple(map(str, svm.classes_)),
            coefficients=coefficients,
            intercepts=intercepts,
            nets=(Net(about["weights"], about["settings"]),),
        )

    def vectors(self, *features: np.ndarray) -> np.ndarray:
        """(n, D) of features, an array a net, side by side; with `l2` normalised here."""
        return np.hstack([normalized(side) if self.l2 else side for side in features])

    def scores(self, *features: np.ndarray) -> np.ndarray:
        """Signed distances (n, K) of features (n, D), an array a net; with `l2` normalised here."""
        vectors = self.vectors(*features).astype(np.float64)
        return vectors @ self.coefficients.T + self.intercepts

    @property
    def score_kind(self) -> str:
        """What `shown` gives: "probability" or "distance"."""
        return "distance" if self.sigmoids is None else "probability"

    def shown(self, *features: np.ndarray) -> np.ndarray:
        """(n, K) probabilities, where there are sigmoids, or signed distances as `scores`."""
        scores = self.scores(*features)
        return scores if self.sigmoids is None else self.sigmoids.probabilities(scores)

    def is_none(self, *features: np.ndarray) -> np.ndarray | None:
        """(n,) bool: whether each is none of the classes; None where that cannot be told."""
        return None if self.seen is None else self.seen.is_beyond(self.vectors(*features))

    def video_scores(self, *tables: FeatureTable) -> np.ndarray:
        """Signed distances (K,) of a video, by its mean features; a table a net."""
        means = [table.features.mean(axis=0, dtype=np.float64)[None] for table in tables]
        return self.scores(*means)[0]

    def predict(self, *tables: FeatureTable) -> str:
        """The class of a video; a table a net."""
        return self.classes[int(self.video_scores(*tables).argmax())]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as safetensors, atomically."""
        about = {
            "format": FORMAT,
            "classes": list(self.classes),
            "nets": [[net.weights, dict(net.settings)] for net in self.nets],
            "l2": self.l2,
        }
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        if self.sigmoids is not None:
            tensors |= {"slopes": self.sigmoids.slopes, "offsets": self.sigmoids.offsets}
        if self.seen is not None:
            tensors["seen"] = self.seen.vectors
            about["seen_threshold"] = self.seen.threshold
        write_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Read what `save` wrote; anything else is a ValueError that names the file."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"classifier {path}: no such file.")
        try:
            older = [_SECOND_FORMAT, _FIRST_FORMAT]
            tensors, about = read_tensors(Path(path), format=FORMAT, older=older)
            if about["format"] == _FIRST_FORMAT:
                about |= {"nets": [[about["weights"], about["settings"]]], "l2": True}
            return cls(
                classes=tuple(about["classes"]),
                coefficients=tensors["coefficients"],
                intercepts=tensors["intercepts"],
                nets=tuple(Net(weights, settings) for weights, settings in about["nets"]),
                l2=about["l2"],
                sigmoids=Sigmoids(tensors["slopes"], tensors["offsets"])
                if "slopes" in tensors
                else None,
                seen=Seen(tensors["seen"], float(about["seen_threshold"]))
                if "seen" in tensors
                else None,
            )
        except NewerFormat as error:
            raise NewerFormat(
                f"{path} is not a classifier that this version reads ({error})."
            ) from None
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} is not a classifier of Kinema ({error}); `kinema transfer` makes one."
            ) from None
