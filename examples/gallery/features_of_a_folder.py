"""
Features of a folder
====================

Each video becomes a table: a row a clip, with its times.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import kinema
from kinema.video.synthetic import draw_video, write_video

folder = TemporaryDirectory()
videos, features = Path(folder.name) / "videos", Path(folder.name) / "features"
for name, label in (("slow", "clockwise"), ("fast", "fast_clockwise")):
    write_video(videos / f"{name}.mp4", draw_video(label, seed=0, num_frames=80))

report = kinema.extract([videos], out=features)
print(f"{report.num_done} videos, {report.num_clips} clips")

# %%
# Clips are of 16 frames, and one starts every eight. These videos have 25 frames a second.

table = kinema.FeatureTable.load(features / "slow.mp4.safetensors")
print(table)
for start, stop in zip(table.start_seconds[:3], table.stop_seconds[:3], strict=True):
    print(f"from {start:.2f} to {stop:.2f} s")

# %%
# The first hundred of the 512 numbers of each clip. The wheels turn evenly, so that the clips of a
# video are alike; the two videos show the same pictures, and differ.

figure, axes = plt.subplots(2, 1, figsize=(8, 4), layout="constrained", sharex=True)
for axis, name in zip(axes, ("slow", "fast"), strict=True):
    rows = kinema.FeatureTable.load(features / f"{name}.mp4.safetensors").features
    axis.imshow(rows[:, :100], aspect="auto", cmap="magma", interpolation="nearest")
    axis.set(title=f"{name}.mp4", ylabel="clip")
axes[1].set_xlabel("number of the feature")

# %%
# The descriptor of a video is the mean over its clips, of length 1. The product of two is their
# cosine.

slow, fast = (
    kinema.FeatureTable.load(features / f"{name}.mp4.safetensors").video_vector()
    for name in ("slow", "fast")
)
print(f"{slow @ fast:.3f}")
