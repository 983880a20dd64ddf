"""A linear SVM on video vectors that remembers which features it was trained on.

The paper's protocol (Tran et al., section 3.3): fc6 of every clip, the mean over a video's clips,
L2-normalised, a multi-class linear SVM. Its cost C is stated nowhere; 1 is the neutral choice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.svm import LinearSVC

from kinema.feature_table import FeatureTable, normalized
from kinema.files import read_tensors, write_tensors

FORMAT = "kinema-classifier-1"


@dataclass(frozen=True, eq=False)
class Classifier:
    """One-vs-rest linear SVMs on L2-normalised features.

    Attributes:
        classes: K names.
        coefficients: (K, D) float64.
        intercepts: (K,) float64.
        weights: the name or file of the network's weights.
        settings: what decided over the features, see `Extractor.settings`.
    """

    classes: tuple[str, ...]
    coefficients: np.ndarray
    intercepts: np.ndarray
    weights: str
    settings: Mapping[str, Any]

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
        return cls(
            classes=tuple(map(str, svm.classes_)),
            coefficients=coefficients,
            intercepts=intercepts,
            weights=about["weights"],
            settings=about["settings"],
        )

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Signed distances (n, K) of features (n, D), which are L2-normalised first."""
        return normalized(features).astype(np.float64) @ self.coefficients.T + self.intercepts

    def predict(self, table: FeatureTable) -> str:
        """The class of a video."""
        return self.classes[int(self.scores(table.video_vector()[None])[0].argmax())]

    def check_made_for(self, settings: Mapping[str, Any]) -> None:
        """Refuse features that were made in another way than those of the training."""
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise ValueError(
                    f"the classifier was trained on features with {name} {value}, "
                    f"these have {settings.get(name)}."
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as safetensors, atomically."""
        story = {
            "format": FORMAT,
            "classes": list(self.classes),
            "weights": self.weights,
            "settings": dict(self.settings),
        }
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        write_tensors(path, tensors, story)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Read what `save` wrote; anything else is a ValueError that names the file."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"classifier {path}: no such file.")
        try:
            tensors, story = read_tensors(Path(path), format=FORMAT)
            for name in ("layer", "length", "stride", "sampling_rate", "short"):
                story["settings"][name]  # all are needed to make the features again
            return cls(
                classes=tuple(story["classes"]),
                coefficients=tensors["coefficients"],
                intercepts=tensors["intercepts"],
                weights=story["weights"],
                settings=story["settings"],
            )
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path} is not a classifier of Kinema ({error}).") from None
