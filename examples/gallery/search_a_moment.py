"""
Search a moment
===============

Where in these videos is something like this moment? ``long.mp4`` shows four scenes, one after the
other. The query is a second of the third one, in which the wheels turn the other way.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

import kinema
from kinema.video.reader import VideoReader
from kinema.video.synthetic import draw_video, write_video

folder = TemporaryDirectory()
home = Path(folder.name)
write_video(home / "query.mp4", draw_video("counterclockwise", seed=2, num_frames=32))
scenes = [draw_video("clockwise", seed=seed, num_frames=48) for seed in range(4)]
write_video(home / "videos" / "long.mp4", np.concatenate(scenes))
for seed in (8, 9):
    other = draw_video("clockwise", seed=seed, num_frames=48)
    write_video(home / "videos" / f"other_{seed}.mp4", other)

hits = kinema.search(f"{home / 'query.mp4'}@0-1", home / "videos", cache=home / "cache", top=3)
for hit in hits.rows:
    name, best = Path(hit.path).name, hit.peak_seconds
    print(f"{100 * hit.similarity:6.2f} %  best at {best:.2f} s  {name}")

# %%
# The share says how many pairs of clips of this folder are less alike than the hit and the query.
# The third scene of ``long.mp4`` lasts from 3.84 to 5.76 s. Neighbours that are nearly as much like
# the query belong to the moment, so it may begin before its scene does:

figure, axes = plt.subplots(len(hits), 6, figsize=(8, 3.4), layout="constrained", squeeze=False)
for row, hit in zip(axes, hits.rows, strict=True):
    frames = [frame.image for frame in VideoReader(hit.path)][hit.start_frame : hit.stop_frame]
    for axis, image in zip(row, frames[::3], strict=False):
        axis.imshow(image)
    for axis in row:
        axis.set_axis_off()
    row[0].set_title(Path(hit.path).name, fontsize=8, loc="left")
