"""The examples of the gallery run, and each draws something."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

GALLERY = Path(__file__).parent.parent / "examples" / "gallery"
# What each prints that was worked out another way: what was drawn, and what was asked for.
PRINTS = {
    "compare_methods": "25.0 %  largest training class",  # four classes of as many videos
    "convolution_by_hand": "(4, 5, 6) -> (2, 3, 4)",
    "features_of_a_folder": "2 videos, 18 clips",  # (80 - 16) / 8 + 1 each
    "few_labels": "of 12 are right",
    "flow_in_colours": "px on average",
    "own_method_beside_ours": "(chance: 25 %)",
    "search_a_moment": "s  long.mp4",
}


def test_all_examples_are_named():
    assert sorted(path.stem for path in GALLERY.glob("*.py")) == sorted(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_draws_a_picture(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    plt.close("all")
    runpy.run_path(str(GALLERY / f"{name}.py"))
    assert PRINTS[name] in capsys.readouterr().out
    figure = plt.figure(plt.get_fignums()[-1])
    figure.canvas.draw()
    assert np.asarray(figure.canvas.buffer_rgba())[..., :3].std() > 10
    plt.close("all")
    assert not [*tmp_path.iterdir()]
