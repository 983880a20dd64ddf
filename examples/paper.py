# %% [markdown]
# # Learning spatiotemporal features, on drawn videos
#
# The story of Tran, Bourdev, Fergus, Torresani and Paluri, *Learning Spatiotemporal Features with
# 3D Convolutional Networks* (ICCV 2015), told with Kinema. It needs no network, no data and no GPU:
# it draws its videos. Every number below a cell is computed by that cell.
#
# Run it from top to bottom; it takes a few minutes on two cores. What it writes goes to the folder
# `paper`.

# %%
import time
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import kinema
from kinema.engine import Engine
from kinema.evaluation.compactness import compactness
from kinema.evaluation.embedding import embed
from kinema.network import KERNEL_DEPTHS, c3d, kernel_depth
from kinema.video.reader import VideoReader
from kinema.video.synthetic import CLASSES, draw_video, write_dataset
from kinema.views.convolution_steps import steps_of
from kinema.views.convolution_text import lines
from kinema.views.convolve import convolve
from kinema.views.excitation import excite
from kinema.views.filters import kernels
from kinema.weights.file import random_weights, resolve

OUT = Path("paper")
OUT.mkdir(exist_ok=True)


def show(picture):
    """A picture file below the cell, pixel by pixel."""
    pixels = plt.imread(picture)
    figure = plt.figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100), dpi=100)
    figure.add_axes((0, 0, 1, 1)).imshow(pixels, interpolation="nearest")
    plt.axis("off")


# %% [markdown]
# ## What a convolution is
#
# A small grid of weights, the *kernel*, is laid on a larger grid. What lies on each other is
# multiplied, the products are added, and that gives one number. Then the kernel moves on.

# %%
edge = convolve("edge", steps=[2], out=OUT / "edge.png")
show(OUT / "edge.png")

# %% [markdown]
# The kernel has nothing to say where all is the same, and much where the picture becomes lighter. A
# network has many such kernels. Nobody draws them: they are learned.
#
# ## What it does to time
#
# A video is a pile of frames. Figure 1 of the paper has three ways to convolve it. The first is
# what we just saw: one frame in, one picture out.
#
# The second takes several frames at once. The kernel has weights for each of them, so it does see
# how things move. But it is as deep as there are frames, so it cannot move in time: one picture
# comes out, and from there on nothing in the network knows of time.

# %%
frames = convolve("frames", steps=[2], out=OUT / "frames.png")
show(OUT / "frames.png")

# %% [markdown]
# The third is the paper's. The kernel is less deep than the video and moves in time as it moves
# over rows and columns. What comes out is again a pile of frames, so the next layer can look for
# motion of what this layer found. Below are two dots; this kernel answers to the one that goes to
# the right.

# %%
motion = convolve("motion", steps=[2, 24], out=OUT / "motion.png")
show(OUT / "motion.png")

# %%
for name, made in (("edge", edge), ("frames", frames), ("motion", motion)):
    print(f"{name}: {made.grid.shape} -> {made.output.shape} (frames, rows, columns)")
print()
print("\n".join(lines(motion, steps_of(motion, [2]))))

# %% [markdown]
# ## The network
#
# C3D is eight such convolutions, all with kernels of 3x3x3, and five poolings. Pooling keeps the
# largest number of a small box. The first one does not pool over time, so that frames are not mixed
# too early. In Kinema a network is data: a list of layers that can be printed and counted.

# %%
network = c3d()
print(network)

# %%
rows = [
    (layer.name, sum(int(np.prod(s)) for s in layer.parameter_shapes(shape).values()))
    for layer, shape in zip(
        network.layers, [network.input_shape, *network.shapes().values()], strict=False
    )
]
for name, count in rows:
    if count:
        print(f"{name:<7} {count:>11,}  {100 * count / network.num_parameters:5.1f} %")
print(f"{'all':<7} {network.num_parameters:>11,}")

# %% [markdown]
# Most parameters are in fc6 and fc7, most of the work is in the convolutions.
#
# ## Why 3x3x3?
#
# The paper tries six networks that differ in how many frames a kernel sees. Depth 1 is a 2-D
# network that looks at 16 frames one by one. The paper says that they differ by less than 0.3 % of
# 17.5 million parameters, so that a difference is not one of size. Counted as it describes them:

# %%
for name, depths in KERNEL_DEPTHS.items():
    one = kernel_depth(depths)
    print(
        f"{name:<11} {depths}  {one.num_parameters / 1e6:6.2f} million parameters, "
        f"{one.num_multiply_adds / 1e9:5.2f} billion multiply-adds a clip"
    )

# %% [markdown]
# Depth 3 fits the paper's number. The others do not, and the work grows with the depth.
#
# ## The videos
#
# Wheels that turn, in four classes: clockwise and counterclockwise, slow and fast. The four videos
# of a scene show *the same frames in another order*. One frame says nothing of the class, nor does
# any set of frames without their order: only motion tells.

# %%
videos = write_dataset(OUT / "videos", num_train=16, num_test=10, num_frames=32)
test = [video for video in videos if video.split == "test"]
first = {video.label: video for video in reversed(test)}
figure, axes = plt.subplots(4, 6, figsize=(9, 4.9), layout="constrained")
for row, label in zip(axes, CLASSES, strict=True):
    for index, (axis, frame) in enumerate(zip(row, VideoReader(first[label].path), strict=False)):
        axis.imshow(frame.image)
        axis.set_title(label.replace("_", " ") if index == 0 else f"frame {index + 1}", fontsize=8)
        axis.set_axis_off()
print(f"{len(videos)} videos, {len(test)} of them to test on")

# %% [markdown]
# ## Features
#
# The paper's point is not the network's guess but what it computes on the way: the output of fc6 is
# a description of a clip of 16 frames. Clips overlap by eight frames. The description of a video is
# the mean over its clips, brought to length 1.
#
# We use `c3d-mini`, the small network that comes with Kinema (512 numbers a clip, C3D has 4096). It
# learned from videos without labels. Other drawn wheels were among them (`docs/weights.md`), so a
# network that has seen nothing will stand beside it.

# %%
one_video = first["clockwise"].path
kinema.extract([one_video], out=OUT / "features", weights="c3d-mini")
table = kinema.FeatureTable.load(OUT / "features" / f"{one_video.name}.safetensors")
print(f"features of {len(table.features)} clips: {table.features.shape}")
for start, stop in zip(table.start_seconds, table.stop_seconds, strict=True):
    print(f"  from {start:.2f} to {stop:.2f} s")
vector = table.video_vector()
print(f"of the video: {vector.shape}, length {np.linalg.norm(vector):.3f}")
print(f"{(table.features == 0).mean():.0%} of the numbers are 0, because of the ReLU")

# %% [markdown]
# ## C3D and a linear SVM
#
# A linear classifier learns from the features of the training videos, and tells the classes of
# others. Beside it stand
#
# - `c3d-random`: the same network with random numbers for weights,
# - `depth-1`: random, and with kernels of a single frame: a 2-D network on 16 frames,
# - `one-frame`: the learned network on one frame, repeated 16 times,
# - `chance`: always the same class.

# %%
began = time.perf_counter()
result = kinema.compare(
    OUT / "videos",
    methods=["c3d", "c3d-random", "depth-1", "one-frame", "chance"],
    cost=1.0,
    cache=OUT / "features",
)
for row in result.rows:
    low, high = (100 * value for value in (row.interval.low, row.interval.high))
    print(f"{100 * row.accuracy:5.1f} %  ({low:.0f} to {high:.0f})  {row.title}")
print(f"{time.perf_counter() - began:.0f} seconds")

# %% [markdown]
# In brackets: where the accuracy may lie, 95 %. One frame is no better than guessing, as it must
# be. The 2-D network sees all frames, but each by itself; its poolings see that something changes,
# and how fast, but not which way.
#
# Random 3-D kernels are good here, too: what counts on these videos is that a kernel sees several
# frames at once. That is a statement about these videos. On real ones learning counts, and often
# one frame is enough: a pool gives swimming away. See `docs/results`.

# %%
for row in (result.rows[0], result.rows[2]):
    print(row.title)
    confusion = result.confusion(row)
    for label, counts in zip(result.classes, confusion, strict=True):
        print(f"  {label:<22}", *(f"{count:3d}" for count in counts))

# %% [markdown]
# Rows are true classes, columns what was said, in the same order.
#
# ## A picture of the features
#
# t-SNE lays the 512 numbers of each video out in a plane, so that neighbours stay neighbours. It
# does not know the classes; they only give the colours.

# %%
pictures = embed(OUT / "videos", out=OUT, methods=["c3d", "one-frame"])
show(OUT / "embedding.png")
for one in pictures:
    print(f"{one.title}: {one.purity:.0%} of a video's 10 nearest neighbours are of its class")

# %% [markdown]
# On one frame the four videos of a scene are the same point. With motion they part, first by speed.
# Which way a wheel turns is in the features as well (the SVM finds it), but it is a small part of
# them: scenes differ in colours and places much more.
#
# ## Are they compact?
#
# The paper projects the features to few dimensions by PCA, and learns the SVM there. Good features
# lose little.

# %%
curves = compactness(
    OUT / "videos", out=OUT, methods=["c3d", "one-frame"], dimensions=(2, 5, 10, 20, 50)
)
show(OUT / "compactness.png")
for one in curves:
    print(one.title, {count: f"{value:.0%}" for count, value in one.accuracy.items()})

# %% [markdown]
# ## What it has learned
#
# The kernels of the first layer, each a strip of its three time steps; grey is no weight. A kernel
# that is the same at all three steps sees a still picture, one that changes sees motion.

# %%
(found,) = kernels("c3d-mini", out=OUT, count=16)
show(OUT / "kernels-conv1a.png")
expected, deviation = found.change_by_chance
print(f"{found.change_over_time:.1%} of the weights' energy changes over time")
print(f"(of random numbers: {expected:.1%}, give or take {deviation:.1%})")

# %% [markdown]
# By eye and by this number they can hardly be told from random numbers: learning left the first
# layer of the small network much as it was. `docs/inside.md` has kernels that learned motion.
#
# Deeper layers are seen best by what excites them. All test videos go through the network; of the
# map of conv3a that stands out we keep the strongest clips, and bring that one activation back to
# pixels (deconvolution, Zeiler and Fergus 2014), as the paper's Figure 4 does.

# %%
report = excite([OUT / "videos" / "test"], out=OUT / "excite", layer="conv3a", count=3)
strongest = report.maps[0]
show(report.picture(strongest.number))
counted = Counter(Path(e.video).parent.name for e in strongest.excitations)
print(f"map {strongest.number}: its strongest clips are of {dict(counted)}")

# %% [markdown]
# How much does a layer care for the order of the frames? We give it a clip, and the same clip
# backwards, and compare what each layer says on average over place and time, a number for each map.


# %%
def apart(engine, clip, layer):
    """How far a layer's answers to a clip and to the same clip backwards are apart, in per cent."""
    answers = engine.run(np.stack([clip, clip[:, ::-1]]), [layer])[layer]
    forwards, backwards = answers.reshape(*answers.shape[:2], -1).mean(axis=2)
    return 100 * np.linalg.norm(forwards - backwards) / np.linalg.norm(forwards)


learned = resolve("c3d-mini")
small, flat = learned.network, learned.network.flattened()
_, _, height, width = small.input_shape
clip = draw_video("clockwise", seed=3, num_frames=16)[:, 20 : 20 + height, 60 : 60 + width, ::-1]
clip = np.ascontiguousarray(clip.transpose(3, 0, 1, 2), np.float32) - 128
layers = ("conv1a", "conv2a", "conv3a", "conv4a", "conv5a", "fc6")
networks = {
    "3-D kernels, learned": Engine(small, learned),
    "3-D kernels, random": Engine(small, random_weights(small)),
    "2-D kernels, random": Engine(flat, random_weights(flat)),
}
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for title, engine in networks.items():
    values = [apart(engine, clip, layer) for layer in layers]
    axes.plot(layers, values, "o-", label=title)
    print(f"{title}:", ", ".join(f"{v:.1f} %" for v in values))
axes.set_ylabel("forwards and backwards\napart, %")
_ = axes.legend(frameon=False)

# %% [markdown]
# Kernels of one frame say the same to both: the boxes of the poolings hold the same frames from
# either end, so nothing in that network knows which came first. 3-D kernels know a little more of
# it in each layer, and those that were learned know most.
#
# ## How fast?
#
# The paper: 313 frames a second on a GPU of 2015. One clip on this processor:

# %%
for title, network in (
    ("c3d-mini", small),
    ("C3D", c3d()),
    *((name, kernel_depth(KERNEL_DEPTHS[name])) for name in ("depth-1", "depth-3")),
):
    engine = Engine(network, random_weights(network))
    clips = np.random.default_rng(0).standard_normal((1, *network.input_shape), np.float32)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        engine.run(clips, ["fc6"])
        seconds.append(time.perf_counter() - began)
    best = min(seconds)
    print(
        f"{title:<9} {1e3 * best:6.0f} ms a clip of 16 frames, "
        f"{network.num_multiply_adds / best / 1e9:6.0f} billion multiply-adds a second"
    )

# %% [markdown]
# Multiply-adds are counted as the formula has them; Kinema's engine needs fewer (`docs/engine.md`).
#
# ## What to take home
#
# - A 2-D convolution gives a picture; what it saw of time is lost. A 3-D one gives a volume.
# - Features of 3-D convolutions see motion that no single frame has.
# - A linear classifier on them is enough, and few dimensions keep most of it.
#
# And what these videos cannot show: how well it does on real ones. `kinema compare` tells for
# yours.
