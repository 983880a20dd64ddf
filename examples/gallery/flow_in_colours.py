"""
Optical flow in colours
=======================

Flow says for each pixel where it goes in the next frame. The colour is the direction, its strength
the length.
"""

import matplotlib.pyplot as plt
import numpy as np

from kinema.flow.colours import with_legend
from kinema.flow.flows import flow
from kinema.video.synthetic import draw_video

frames = draw_video("clockwise", seed=5, num_frames=2)
found = flow(frames, method="brox")[0]
lengths = np.linalg.norm(found, axis=-1)
print(f"{lengths.mean():.2f} px on average, {lengths.max():.1f} px at most")

# %%
# Each wheel has all colours, since its rim goes in all directions. The wheel on the right says
# which colour is which direction.

figure, axes = plt.subplots(
    1, 2, figsize=(9, 3), layout="constrained", width_ratios=(frames.shape[2], 312)
)
axes[0].imshow(frames[0])
axes[1].imshow(with_legend(found, longest_px=4))
for axis in axes:
    axis.set_axis_off()
