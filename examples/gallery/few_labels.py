"""
A classifier from few labels
============================

Five labelled videos of each class, and the classes of twelve others.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import kinema
from kinema.video.synthetic import draw_video, write_video

CLASSES = ("clockwise", "fast_clockwise")

folder = TemporaryDirectory()
home = Path(folder.name)
for label in CLASSES:
    for seed in range(11):
        part = f"labelled/{label}" if seed < 5 else "videos"
        video = draw_video(label, seed=seed, num_frames=24, width=160, height=120)
        write_video(home / part / f"{label}_{seed}.mp4", video)

found = kinema.classify(home / "labelled", home / "videos", cache=home / "cache")
right = sum(row.best_class == Path(row.path).stem.rpartition("_")[0] for row in found.rows)
print(f"{right} of {len(found.rows)} are right")

# %%
# The score of a class is the distance to the plane between the two. A video in the middle would be
# the one to label next: ``suggest=5`` tells which.

figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
for column, label in enumerate(CLASSES):
    places = [n for n, row in enumerate(found.rows) if Path(row.path).stem.startswith(label)]
    axis.barh(places, found.scores[places, 1], color=f"C{column}", label=f"true: {label}")
axis.set_yticks(range(len(found.rows)), [Path(row.path).stem for row in found.rows], fontsize=7)
axis.set_xlabel(f"score of {found.classes[1]}")
axis.axvline(0, color="0.3", linewidth=0.8)
axis.legend(frameon=False)
