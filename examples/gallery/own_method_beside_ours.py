"""
A method of your own
====================

Anything with scikit-learn's ``fit`` and ``predict`` over videos is a row of a comparison. This one
describes a video by one number: how much a frame differs from the next one, as a share of how much
it differs from the fourth one after it. So it sees how fast things move.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import kinema
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_dataset


class Speed(TransformerMixin, BaseEstimator):
    """Of each video, how soon its frames change: (n, 1)."""

    def fit(self, videos, y=None):
        return self

    def transform(self, videos):
        return np.stack([self.describe(video) for video in videos])

    def describe(self, video):
        frames = np.stack([frame.image.mean(axis=2) for frame in VideoReader(video)])
        return [abs(frames[1:] - frames[:-1]).mean() / abs(frames[4:] - frames[:-4]).mean()]


folder = TemporaryDirectory()
videos = Path(folder.name) / "videos"
write_dataset(videos, num_train=4, num_test=4, num_frames=16, width=160, height=120)
mine = make_pipeline(Speed(), KNeighborsClassifier(3))
result = kinema.compare(videos, methods={"mine": mine}, timed=False)
print(f"{100 * result.rows[0].accuracy:.0f} % (chance: 25 %)")

# %%
# It tells slow from fast. It cannot know which way a wheel turns, so about half is right.

figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
counts = result.confusion(result.rows[0])
axis.imshow(counts, cmap="Blues")
for (row, column), count in np.ndenumerate(counts):
    axis.text(column, row, count, ha="center", va="center", color="0.2")
names = [name.replace("_", "\n") for name in result.classes]
axis.set_xticks(range(4), names, fontsize=7)
axis.set_yticks(range(4), names, fontsize=7)
axis.set(xlabel="predicted", ylabel="true")
