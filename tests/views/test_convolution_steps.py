"""`kinema convolve`: numbers worked by hand, sizes, text, pictures, bad input."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.views import convolution_text as text
from kinema.views.convolution_pictures import WINDOW
from kinema.views.convolution_steps import EXAMPLES, read_numbers, sizes_of, steps_of
from kinema.views.convolve import convolve

GRID = "1 2 3; 4 5 6; 7 8 9"


def by_definition(grid, kernel, padding, stride):
    """Nothing but the sum, one number after the other, in Python's own arithmetic."""
    (T, H, W), (depth, height, width) = grid.shape, kernel.shape

    def at(t, h, w):
        inside = 0 <= t < T and 0 <= h < H and 0 <= w < W
        return float(grid[t, h, w]) if inside else 0.0

    def starts(axis):
        last = grid.shape[axis] + padding[axis] - kernel.shape[axis]
        return range(-padding[axis], last + 1, stride[axis])

    return np.array(
        [
            [
                [
                    sum(
                        float(kernel[i, j, k]) * at(t + i, h + j, w + k)
                        for i, j, k in itertools.product(range(depth), range(height), range(width))
                    )
                    for w in starts(2)
                ]
                for h in starts(1)
            ]
            for t in starts(0)
        ]
    )


def test_an_even_kernel_by_hand():
    """1 - 5 = 2 - 6 = 4 - 8 = 5 - 9 = -4."""
    made = convolve(grid=GRID, kernel="1 0; 0 -1")
    assert made.output.tolist() == [[[-4, -4], [-4, -4]]]
    assert made.places == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert made.products((0, 0, 1)).tolist() == [[[2, 0], [0, -6]]]


def test_turned_around_padded_and_with_a_stride_by_hand():
    assert convolve(grid=GRID, kernel="1 0; 0 -1", turned=True).output.tolist() == [
        [[4, 4], [4, 4]]
    ]
    # With zeros around, the corner sees 1 alone, under the kernel's last weight.
    padded = convolve(grid=GRID, kernel="1 0; 0 -1", padding=1).output[0]
    assert padded.tolist() == [[-1, -2, -3, 0], [-4, -4, -4, 3], [-7, -4, -4, 6], [0, 7, 8, 9]]
    strided = convolve(grid=GRID, kernel="1 0; 0 -1", padding=1, stride="2,3").output[0]
    assert strided.tolist() == [[-1, 0], [-7, 6]]


def test_the_examples_by_hand():
    assert convolve("edge").output.tolist() == [[[0, 12, 12, 0], [0, 12, 12, 0]]]
    blurred = convolve("blur").output[0]
    np.testing.assert_allclose(blurred[2], [1, 4, 5, 4, 1])
    np.testing.assert_allclose(blurred[0], [0, 1, 1, 1, 0])
    # The upper dot meets all three weights of the kernel, the lower one a single one at a time.
    first, second = [[0, 3, 0, 0], [0] * 4, [1, 0, 1, 0]], [[0, 0, 3, 0], [0] * 4, [0, 1, 0, 1]]
    assert convolve("motion").output.tolist() == [first, second]
    assert convolve("frames").output.tolist() == [first]


@pytest.mark.parametrize("seed", range(8))
def test_any_sizes_against_the_definition(seed):
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 5, 3)
    grid = generator.integers(-9, 10, sizes + generator.integers(0, 4, 3))
    kernel = generator.integers(-9, 10, sizes)
    padding = [int(generator.integers(0, size)) for size in sizes]
    stride = generator.integers(1, 4, 3).tolist()
    made = convolve(grid=grid, kernel=kernel, padding=padding, stride=stride)
    np.testing.assert_array_equal(made.output, by_definition(grid, kernel, padding, stride))
    assert made.output.shape == made.output_sizes
    for place in made.places:
        assert made.products(place).sum() == made.output[place]


def test_what_becomes_of_time():
    """The three of the paper's Figure 1, and a 2-D kernel on each frame."""
    assert "Figure 1a" in convolve("edge").over_time
    assert "one picture comes out and time is lost" in convolve("frames").over_time
    assert "2 frames come out, a volume" in convolve("motion").over_time
    single = convolve("motion", kernel="1 1; 1 1", padding=1, stride=2)
    assert (single.padding, single.stride) == ((0, 1, 1), (1, 2, 2))  # time is left alone
    assert "4 frames come out, and none knows of another" in single.over_time
    # Padded in time as C3D does it, as many frames come out as go in.
    assert convolve("motion", padding=1).output_sizes == (4, 5, 6)
    assert text.sizes(convolve("motion", padding=1, stride=2))[0] == (
        " frames: (4 + 2·1 - 3) / 2, rounded down, + 1 = 2"
    )


def test_the_terminal_shows_what_is_done():
    made = convolve(grid=GRID, kernel="1 0; 0 -1")
    printed = text.lines(made, [2])
    assert printed[-11:] == [
        "Step 2 of 4: row 1, column 2 of the output",
        "  grid, 3x3     kernel, 2x2     products     output so far",
        "   1 [2][3]       1   0           2   0       -4 [-4]",
        "   4 [5][6]       0  -1           0  -6        .   .",
        "   7  8  9",
        "",
        "  2·1 + 3·0 + 5·0 + 6·(-1) = -4",
        "",
        "  output, 2x2",
        "   -4  -4",
        "   -4  -4",
    ]


def test_over_frames_each_has_its_sum():
    made = convolve("motion")
    assert text.sums(made, (1, 2, 1)) == [
        "frame 2: 0·1 = 0",
        "frame 3: 1·1 = 1",
        "frame 4: 0·1 = 0",
        "together: 0 + 1 + 0 = 1",
    ]
    padded = text.sums(convolve("motion", padding=1), (0, 1, 1))
    assert padded == ["padding: 0·1 = 0", "frame 1: 1·1 = 1", "frame 2: 1·1 = 1",
                      "together: 0 + 1 + 1 = 2"]  # fmt: skip
    assert "Products with weights of 0 are not written out." in text.lines(made, [1])


def test_numbers_are_short_and_as_exact_as_they_are_added():
    values = (
        0.0,
        -0.0,
        1 / 9,
        9 * (1 / 9),
        -2.5,
        1234.5,
        -2000001.25,
        255.0,
        1.9999,
        0.00012,
        -3e12,
    )
    assert [*map(text.number, values)] == [
        "0", "0", "0.111", "1", "-2.5", "1234.5", "-2000001.25", "255", "2", "0.00012", "-3e+12",
    ]  # fmt: skip


def test_which_places_are_worked():
    made = convolve("motion")
    assert steps_of(made) == [1, 2, 24]  # the strongest answer, 3, is the second
    assert steps_of(convolve(grid=GRID, kernel=[[1, 0], [0, -1]])) == [1, 2, 4]
    assert steps_of(convolve(grid="5", kernel="2")) == [1]
    assert steps_of(convolve(grid="5 6", kernel="2")) == [1, 2]
    assert steps_of(made, "all") == [*range(1, 25)]
    assert steps_of(made, "7, 3,7") == [3, 7]


def test_grids_are_read_from_text_files_and_arrays(tmp_path):
    frames = np.arange(8.0).reshape(2, 2, 2)
    for given in ("0 1; 2 3 | 4 5; 6 7", "0 1 | 4 5\n2 3 | 6 7", frames, frames.tolist()):
        np.testing.assert_array_equal(read_numbers("grid", given), frames)
    np.save(tmp_path / "a.npy", frames.astype(np.uint8))
    (tmp_path / "a.txt").write_text("0, 1\n2, 3\n|\n4, 5\n6, 7\n")
    for name in ("a.npy", "a.txt"):
        np.testing.assert_array_equal(read_numbers("grid", str(tmp_path / name)), frames)
    assert read_numbers("kernel", "1/4 -1/2 1e1").tolist() == [[[0.25, -0.5, 10]]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grid", "1 2; 3"], "--grid must have rows of one length: row 2 has 1 number,"),
        (["--grid", "1 2 | 3 4; 5 6 | 7"], "row 2 of frame 2 has 1 number"),
        (["--grid", "1 2; 3 4 | 5 6"], "frame 2 has 1 row, the first one has 2"),
        (["--grid", "1 two"], "--grid must be of numbers, got 'two' in row 1."),
        (["--kernel", "1/0"], "--kernel must be of numbers, got '1/0'"),
        (["--grid", "1 inf"], "--grid must have finite numbers"),
        (["--grid", ";"], "--grid must have at least one number, got none."),
        (["--grid", GRID, "--kernel", "1 2 3 4"], "it has 4 columns, the grid 3."),
        (["--kernel", "1|1"], "--kernel is 2x1x1 and does not fit into the grid, 4x6: it has 2"),
        (["--grid", " ".join(["1"] * 401)], "at most 400 numbers, to be legible, got 401."),
        (["--grid", "gone.npy"], "gone.npy: No such file"),
        (["--grid", "bad.npy"], "bad.npy is no array in numpy's .npy format."),
        (["--grid", "words.npy"], "must be of real numbers"),
        (["--grid", "four.npy"], "or frames, rows and columns, got 4 axes."),
        (["--padding", "3"], "--padding of 3 rows must be less than the kernel's 3"),
        (["--padding", "-1"], "--padding must be at least 0, got -1."),
        (["--stride", "0"], "--stride must be at least 1, got 0."),
        (["--stride", "x"], "--stride must be one number, rows,columns or"),
        (["--steps", "9"], "--steps must be all, or numbers from 1 to 8, got 9."),
        (["--out", "a.pdf"], "--out must end in .png or .svg, got a.pdf."),
        (["blur", "--steps", "all", "--out", "a.png"], "at most 12 places, asked for are 25"),
        (["sharpen"], "sharpen"),
    ],
)
def test_bad_input_is_one_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("words.npy", np.array([["a"]]))
    np.save("four.npy", np.ones((1, 1, 1, 1)))
    (tmp_path / "bad.npy").write_bytes(b"")
    assert main(["convolve", *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not [*tmp_path.glob("a.*")]


def test_the_command_names_the_examples_that_there_are(capsys):
    for name, example in EXAMPLES.items():
        assert main(["convolve", name]) == 0
        assert example.about in capsys.readouterr().out
    assert main(["convolve"]) == 0
    assert "·" in capsys.readouterr().out


def test_the_page_shows_what_the_commands_print(tmp_path, monkeypatch, capsys):
    """docs/convolution.md: the block below the first command, the table, the committed picture."""
    docs = Path(__file__).parent.parent.parent / "docs"
    page = (docs / "convolution.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```sh\nkinema (convolve .*)\n```$", page, flags=re.MULTILINE)
    assert main(shlex.split(first)) == 0
    printed = capsys.readouterr().out
    assert textwrap.indent(printed, "    ") in page
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(second)) == 0
    made, kept = (cv2.imread(str(at / "convolve-motion.png")) for at in (tmp_path / "docs", docs))
    assert (
        abs(made.astype(int) - kept).mean() < 6  # other versions of matplotlib set text elsewhere
    )  # another version draws letters a little otherwise
    for name, grid, kernel, output in re.findall(
        r"^\| `kinema convolve (\w+)` \| .*?(\dx[\dx]+) \| (\dx[\dx]+).*? \| .*?(\dx[\dx]+)",
        page,
        flags=re.MULTILINE,
    ):
        example = convolve(name)
        sizes = map(sizes_of, (example.grid, example.kernel, example.output))
        assert [*sizes] == [grid, kernel, output]
    assert page.count("| `kinema convolve ") == 3


def boxes(picture):
    """Outer rectangles in the window's colour, (x, y, width, height) in pixels, left to right."""
    red, green, blue = (int(WINDOW[i : i + 2], 16) for i in (1, 3, 5))
    near = (abs(picture.astype(int) - (blue, green, red)) < 40).all(axis=2).astype(np.uint8)
    found, _ = cv2.findContours(near, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return sorted(map(cv2.boundingRect, found))


def test_the_picture_outlines_the_window_the_kernel_and_the_answer(tmp_path):
    convolve(grid=GRID, kernel="1 0; 0 -1", steps=[4], out=tmp_path / "a.png")
    window, kernel, products, answer = boxes(cv2.imread(str(tmp_path / "a.png")))
    cell = 0.36 * 110
    for box in (window, kernel, products):
        assert box[2:] == pytest.approx((2 * cell, 2 * cell), abs=6)
    assert answer[2:] == pytest.approx((cell, cell), abs=6)
    # The last window lies a cell lower than the kernel is drawn, and so does its answer.
    assert window[1] - kernel[1] == pytest.approx(cell, abs=3)
    assert answer[1] - kernel[1] == pytest.approx(cell, abs=3)


def test_over_frames_the_window_is_in_each_of_its_frames(tmp_path):
    convolve("motion", steps=[24], out=tmp_path / "a.png")
    assert len(boxes(cv2.imread(str(tmp_path / "a.png")))) == 3 + 3 + 3 + 1


def test_a_picture_may_be_svg(tmp_path, capsys):
    assert main(["convolve", "frames", "--out", str(tmp_path / "a.svg")]) == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert capsys.readouterr().out.endswith("a.svg\n")
