"""
A convolution by hand
=====================

A kernel of three frames is laid on a small video of two moving dots. It answers to the dot that
goes to the right.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

from kinema.views.convolution_steps import steps_of
from kinema.views.convolution_text import lines
from kinema.views.convolve import convolve

folder = TemporaryDirectory()
picture = Path(folder.name) / "motion.png"
made = convolve("motion", steps=[2, 24], out=picture)
print(made.grid.shape, "->", made.output.shape, "(frames, rows, columns)")

# %%
# One place, number by number:

print("\n".join(lines(made, steps_of(made, [24]))))

# %%
# And as a picture.

pixels = plt.imread(picture)
figure = plt.figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100), dpi=100)
figure.add_axes((0, 0, 1, 1)).imshow(pixels)
plt.axis("off")
