"""A method of one's own beside the built-in rows: a video's mean colour, and the nearest class.

kinema compare VIDEOS --methods c3d,chance --method examples/own_method.py:MeanColour --out OUT
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from kinema.video.reader import VideoReader


class MeanColour(ClassifierMixin, BaseEstimator):
    title = "mean colour, nearest class"

    def describe(self, videos):
        return np.stack(
            [np.mean([f.image.mean((0, 1)) for f in VideoReader(v)], axis=0) for v in videos]
        )

    def fit(self, videos, y):
        self.classes_ = np.unique(y)
        self.means_ = [self.describe(videos)[np.equal(y, k)].mean(0) for k in self.classes_]
        return self

    def decision_function(self, videos):
        return -np.linalg.norm(self.describe(videos)[:, None] - self.means_, axis=2)
