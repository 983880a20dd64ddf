"""examples/paper.ipynb: its cells run, say what they said, and are those of the script."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def making():
    path = ROOT / "experiments" / "notebook.py"
    specification = importlib.util.spec_from_file_location("notebook", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed(making):
    return json.loads(making.NOTEBOOK.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ran(making, tmp_path_factory):
    """The cells of the notebook as they are executed here, and what they leave behind."""
    cells = making.cells_of(making.SCRIPT.read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("notebook"))
        namespace = making.execute(cells)
    return cells, namespace


def code(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed(cell):
    texts = [output["text"] for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join(line for text in texts for line in text)


def pictures(cell):
    return [output["data"]["image/png"] for output in cell["outputs"] if "data" in output]


def test_it_is_the_scripts(making, committed):
    """If not: python experiments/notebook.py makes it again."""
    cells = making.cells_of(making.SCRIPT.read_text(encoding="utf-8"))
    assert [cell["source"] for cell in committed["cells"]] == [cell["source"] for cell in cells]
    assert (committed["nbformat"], committed["nbformat_minor"]) == (4, 5)
    assert making.NOTEBOOK.stat().st_size < 1_500_000


def test_cells_are_parted_as_written(making):
    script = "ignored\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\nprint(x)\n"
    text, one = making.cells_of(script)
    assert (text["cell_type"], "".join(text["source"])) == ("markdown", "# Title\n\ntext")
    assert (one["cell_type"], "".join(one["source"])) == ("code", "x = 1\n\nprint(x)")
    making.execute([text, one])
    assert printed(one) == "1\n"
    assert one["execution_count"] == 1


def test_each_cell_says_what_the_committed_one_says(ran, committed):
    """Word for word but for numbers, which may differ in their last place, and times."""
    cells, _ = ran
    number = re.compile(r"[\s\d.,%]+")
    for now, before in zip(code(cells), code(committed["cells"]), strict=True):
        assert number.sub("", printed(now)) == number.sub("", printed(before))
        assert len(pictures(now)) == len(pictures(before))
        for one, other in zip(pictures(now), pictures(before), strict=True):
            here, there = (
                cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_GRAYSCALE)
                for png in (one, other)
            )
            assert (np.ptp(here), np.ptp(there)) > (100, 100)


def test_what_is_said_of_convolutions_and_networks_is_exact(ran, committed):
    cells, namespace = ran
    for now, before in zip(code(cells)[:7], code(committed["cells"])[:7], strict=True):
        assert printed(now) == printed(before)
    assert namespace["motion"].output.max() == 3
    assert "79,991,015" in "".join(map(printed, code(cells)[:7]))  # docs/paper.md


def test_what_the_text_says_of_the_results_holds(ran):
    """Who guesses is right 10 times of 40, give or take 2.7: 20 are 3.6 times as far away."""
    _, namespace = ran
    rows = {row.name: row for row in namespace["result"].rows}
    right = {name: round(40 * row.accuracy) for name, row in rows.items()}
    assert right["c3d"] > 30
    assert right["c3d-random"] > 30
    assert right["one-frame"] < 20
    assert right["depth-1"] < right["c3d"]
    # The 2-D network tells fast from slow, and not which way.
    confusion = namespace["result"].confusion(rows["depth-1"])
    assert confusion[:2, :2].sum() + confusion[2:, 2:].sum() > 30
    # Few dimensions keep most of it.
    curve = namespace["curves"][0].accuracy
    assert 40 * curve[10] > 30
    # Frames in the other direction: nothing to 2-D kernels, more to learned ones than to random.
    apart = {
        title: namespace["apart"](engine, namespace["clip"], "fc6")
        for title, engine in namespace["networks"].items()
    }
    assert apart["2-D kernels, random"] < 0.01 < apart["3-D kernels, random"]
    assert apart["3-D kernels, random"] < apart["3-D kernels, learned"]
