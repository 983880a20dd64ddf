"""
What features are worth
=======================

The paper's protocol: features, a linear SVM, and the accuracy on videos that it has not seen. Other
methods stand beside it, on the same splits. All videos of a scene show the same frames in another
order, so that a single frame cannot tell the classes apart.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import kinema
from kinema.video.synthetic import write_dataset

folder = TemporaryDirectory()
videos = Path(folder.name) / "videos"
write_dataset(videos, num_train=6, num_test=5, num_frames=16, width=160, height=120)

result = kinema.compare(videos, methods=["c3d", "one-frame", "chance"], cost=1.0, timed=False)
for row in result.rows:
    print(f"{100 * row.accuracy:5.1f} %  {row.title}")

# %%
# 95 % intervals: groups of videos are drawn again, since videos of a group are right or wrong
# together.

figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
for place, row in enumerate(reversed(result.rows)):
    low, high = row.interval.low, row.interval.high
    axis.plot([100 * low, 100 * high], [place, place], color="0.5", linewidth=3)
    axis.plot(100 * row.accuracy, place, "o", color="C0", markersize=9)
axis.set_yticks(range(len(result.rows)), [row.title for row in reversed(result.rows)])
axis.set(xlim=(0, 102), ylim=(-0.5, len(result.rows) - 0.5), xlabel="accuracy, %")
