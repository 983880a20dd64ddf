"""Training from end to end: it learns, it goes on, it says what is wrong."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from matplotlib.figure import Figure

from kinema import network as networks
from kinema import plots
from kinema.cli.app import main
from kinema.engine.engine import Engine
from kinema.files import PARTIAL_SUFFIX, locked_folder, partial_name, read_tensors, write_tensors
from kinema.training import processes as processes_room
from kinema.training import run as run_room
from kinema.training.checkpoint import Checkpoint
from kinema.training.clip_store import ClipStore
from kinema.training.learner import Learner
from kinema.training.prepare import prepare, split_videos
from kinema.training.processes import Processes
from kinema.training.recipes import RECIPES, adapted
from kinema.training.sampling import even_clips, read_clip
from kinema.training.scoring import Evaluation, evaluate, hits
from kinema.training.train import TrainingError, train
from kinema.weights.file import Weights, random_weights
from kinema.weights.initial import carried_over, initial_arrays

from small_videos import write_folder

SIZE = networks.c3d_mini(3, input_shape=(3, 16, 16, 16)).frame_size
QUICK = {"crop": 16, "batch": 6, "iterations": 8, "evaluations": 2, "learning_rate": 0.005}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    prepare(write_folder(folder / "videos"), out=folder / "x.clips", size=SIZE)
    return folder / "x.clips"


def log_of(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def board_of(out):
    """Steps and values of TensorBoard's log, by tag."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = module.EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


# --- recipes --------------------------------------------------------------------------------------


def test_recipes_are_those_of_their_sources():
    """The paper, section 3.2 and 3.3; C3D v1.0's solvers."""
    sports = RECIPES["sports1m"]
    assert (sports.batch, sports.learning_rate, sports.iterations) == (30, 0.003, 1_900_000)
    rates = [sports.learning_rate_at(i, 1_900_000) for i in (0, 149_999, 150_000, 1_899_999)]
    assert rates == [0.003, 0.003, 0.0015, 0.003 / 2**12]
    tuning = RECIPES["ucf101-finetune"]
    rates = [tuning.learning_rate_at(i, 20_000) for i in (0, 4_999, 5_000, 19_999)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-7])
    scratch = RECIPES["ucf101-scratch"]
    assert (scratch.iterations, scratch.weight_decay) == (60_000, 0.005)
    assert scratch.learning_rate_at(20_000, 60_000) == pytest.approx(0.0003)
    depth = RECIPES["kernel-depth"]
    assert (depth.epochs, depth.rate_periods) == (16, 4)
    assert all(r.momentum == 0.9 for r in RECIPES.values())
    assert sports.make_network(487) == networks.c3d(487)
    assert depth.make_network(101) == networks.kernel_depth()


def test_a_run_of_another_length_keeps_its_periods():
    short = adapted(RECIPES["sports1m"], iterations=190)
    assert short.learning_rate_at(14, 190) == 0.003
    assert short.learning_rate_at(15, 190) == 0.0015
    by_epochs = adapted(RECIPES["sports1m"], epochs=3)
    assert (by_epochs.epochs, by_epochs.iterations) == (3, None)
    assert by_epochs.rate_periods == Fraction(38, 3)


def test_other_networks_of_a_recipe():
    recipe = adapted(RECIPES["mini"], model="increasing", crop=32)
    expected = networks.kernel_depth((3, 3, 5, 5, 7), 5, input_shape=(3, 16, 32, 32))
    assert recipe.make_network(5) == expected
    assert adapted(RECIPES["mini"], model="depth-1").make_network(5).input_shape[2] == 64
    with pytest.raises(ValueError, match="`model` must be one of c3d, c3d_half, c3d_mini, depth-1"):
        adapted(RECIPES["mini"], model="resnet")


def test_initial_weights_are_the_originals_fillers():
    network = networks.c3d(487, input_shape=(3, 16, 64, 64))
    arrays = initial_arrays(network, seed=5)
    for name, deviation in [("conv1a", 0.01), ("conv5b", 0.01), ("fc6", 0.005), ("fc8", 0.01)]:
        values = arrays[f"{name}.weight"]
        assert values.std() == pytest.approx(deviation, rel=0.03)
        assert abs(values.mean()) < deviation / 20
    biases = {name: arrays[name] for name in arrays if name.endswith(".bias")}
    zero = [name for name, values in biases.items() if (values == 0).all()]
    assert zero == ["conv1a.bias", "fc8.bias"]
    assert all((v == 1).all() for name, v in biases.items() if name not in zero)


# --- learning -------------------------------------------------------------------------------------


def assert_shows_a_curve(path):
    """The log's loss, in grey, and the two accuracies in their colours."""
    picture = cv2.imread(str(path))[..., ::-1]
    height, width = picture.shape[:2]
    losses = [float(row["loss"]) for row in log_of(path.parent)]
    axes = picture[int(0.1 * height) : int(0.8 * height), int(0.1 * width) : int(0.9 * width)]
    rows, columns = np.nonzero((axes == 0x88).all(axis=2))
    assert np.ptp(columns) > 0.5 * width
    left, right = (rows[abs(columns - end) < 20].mean() for end in (columns.min(), columns.max()))
    # Both are drawn from 0 at the bottom, so the larger one is higher up.
    bottom = 0.85 * height - int(0.1 * height)
    assert (bottom - right) / (bottom - left) == pytest.approx(losses[-1] / losses[0], abs=0.2)
    for colour in (plots.COLOURS[0], plots.COLOURS[2]):
        assert (abs(picture - 255 * np.array(colour)) < 2).all(axis=2).sum() > 50


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_it_learns_and_leaves_what_it_says(clips, tmp_path, engine):
    out = tmp_path / "out"
    report = train(clips, out=out, engine=engine, **{**QUICK, "iterations": 40})
    assert report.evaluation.num_videos == 3
    assert report.evaluation.video_hit1 == 1.0  # by chance 0.33
    rows = log_of(out)
    assert [int(row["iteration"]) for row in rows] == list(range(1, 41))
    assert float(rows[-1]["loss"]) < 0.3 < 0.8 < float(rows[0]["loss"])
    assert [row["iteration"] for row in rows if row["video_hit1"]] == ["20", "40"]
    # Three test videos of 40 frames, ten clips each; a hit at 5 of three classes is none.
    for row in rows:
        told = ["3", "30", ""] if row["iteration"] in ("20", "40") else ["", "", ""]
        assert [row["test_videos"], row["test_clips"], row["video_hit5"]] == told
    assert "3 test videos: hit@1 100.0%; their 30 clips: hit@1 " in report.summary()
    scalars = board_of(out)
    assert [step for step, _ in scalars["video_hit1"]] == [20, 40]
    assert scalars["test_videos"] == [(20, 3.0), (40, 3.0)]
    assert scalars["test_clips"] == [(20, 30.0), (40, 30.0)]
    assert "video_hit5" not in scalars
    assert_shows_a_curve(out / "curve.png")
    weights = Weights.load(out / "weights.safetensors")
    assert weights.labels == ("blue", "green", "red")
    assert weights.trained
    learned, tested = split_videos(ClipStore(clips))
    assert set(weights.trained_on) == {video.name for video in learned}
    assert weights.mean.shape == (3, 16, *SIZE)
    # They are what was evaluated.
    again = evaluate(Engine(weights.network, weights), ClipStore(clips), tested, mean=weights.mean)
    assert again == report.evaluation


def test_evaluation_averages_the_clips_of_each_video(clips):
    network = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))
    engine = Engine(network, random_weights(network, seed=3))
    store = ClipStore(clips)
    mean = np.array([100, 110, 120], np.float32)
    found = evaluate(engine, store, store.videos, mean=mean, num_clips=4, batch=3)
    right = clip_right = num_clips = 0
    for video in store.videos:
        inputs = [
            read_clip(store, segment, start, length=16, mean=mean, crop=(16, 16))
            for segment, start in even_clips(video, length=16, num_clips=4)
        ]
        scores = engine.run(np.stack(inputs), ("prob",))["prob"]
        right += scores.mean(axis=0).argmax() in video.labels
        clip_right += (scores.argmax(axis=1) == video.labels[0]).sum()
        num_clips += len(scores)
    assert (found.num_videos, found.num_clips) == (12, num_clips)
    assert found.video_hit1 == pytest.approx(right / 12)
    assert found.clip_hit1 == pytest.approx(clip_right / num_clips)
    assert found.video_hit5 is None  # of three classes each is among the best five
    with pytest.raises(ValueError, match="at least one video"):
        evaluate(engine, store, [], mean=mean)


def test_an_accuracy_says_of_how_many_and_hit_5_only_where_it_says_something():
    six = Evaluation(40, 400, 6, clip_hit1=0.5, video_hit1=0.75, video_hit5=0.95)
    assert str(six) == (
        "40 test videos: hit@1 75.0%, hit@5 95.0%; their 400 clips: hit@1 50.0%"
    )  # fmt: skip
    five = Evaluation(1, 1, 5, clip_hit1=0.0, video_hit1=1.0, video_hit5=None)
    assert str(five) == "1 test video: hit@1 100.0%; its 1 clip: hit@1 0.0%"
    for num_classes, value in [(5, 1.0), (6, None)]:
        with pytest.raises(ValueError, match="`video_hit5` must be given with 6 classes or more"):
            Evaluation(1, 1, num_classes, clip_hit1=0.0, video_hit1=1.0, video_hit5=value)


def test_hits_with_several_true_classes():
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.6, 0.3, 0.1]])
    assert hits(scores, [(1,), (0, 2), (2,)], 1).tolist() == [True, False, False]
    assert hits(scores, [(1,), (0, 2), (2,)], 2).tolist() == [True, True, False]


@pytest.mark.parametrize("num_classes", [2, 6, 101])
@pytest.mark.parametrize("num_rows", [1, 300])
@pytest.mark.parametrize("tested", [True, False])
def test_the_curves_legend_covers_no_line(tmp_path, monkeypatch, num_classes, num_rows, tested):
    """As it is drawn: no legend within the axes; each accuracy says of how many it is."""
    figures = []
    save = Figure.savefig

    def kept(figure, *arguments, **options):
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    rows = [{"epoch": (n + 1) / 10, "loss": 2.0, "run_iterations": 9} for n in range(num_rows)]
    if tested:
        rows[-1] |= {"clip_hit1": 0.5, "video_hit1": 0.625, "test_videos": 8, "test_clips": 80}
        if num_classes > 5:
            rows[-1]["video_hit5"] = 0.75
    plots.training_curve(
        tmp_path / "x.png", rows, title="long " * 40, chance=1 / num_classes, raised=[0.1, 0.2]
    )
    (figure,) = figures
    figure.canvas.draw()
    (legend,) = figure.legends
    assert not any(axes.get_legend() for axes in figure.axes)
    box = legend.get_window_extent()
    axes_boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(box.overlaps(other) for other in axes_boxes)
    assert all(other.x0 >= 0 and other.x1 <= figure.bbox.width for other in [box, *axes_boxes])
    texts = [text.get_text() for text in legend.get_texts()]
    expected = ["loss", "run made longer"]
    if tested:
        expected += ["test clips, hit@1: 50.0 % of 80", "test videos, hit@1: 62.5 % of 8"]
        expected += ["test videos, hit@5: 75.0 % of 8"] if num_classes > 5 else []
        expected += [f"chance: {100 / num_classes:.2g} %"]
    assert texts == expected


# --- going on -------------------------------------------------------------------------------------


def command(clips, out, *more, iterations=30):
    options = ["--recipe", "mini", "--crop", "16", "--batch", "6", "--iterations", str(iterations)]
    return [sys.executable, "-m", "kinema", "train", str(clips), "--out", str(out), *options, *more]


def weights_of(out):
    return (out / "weights.safetensors").read_bytes()


def test_killed_three_times_it_ends_with_the_same_weights(clips, tmp_path):
    whole, killed = tmp_path / "a" / "run", tmp_path / "b" / "run"
    subprocess.run(command(clips, whole, "--evaluations", "15"), check=True, capture_output=True)
    kills = 0
    for number in (3, 11, 20):
        process = subprocess.Popen(
            command(clips, killed, "--evaluations", "15"), stderr=subprocess.DEVNULL
        )
        while process.poll() is None and _iteration(killed) < number:
            time.sleep(0.005)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    done = subprocess.run(
        command(clips, killed, "--evaluations", "15", "--resume"),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "30 iterations" in done.stdout
    assert weights_of(killed) == weights_of(whole)
    columns = ("iteration", "loss", "learning_rate", "clip_hit1", "video_hit1")
    for row, expected in zip(log_of(killed), log_of(whole), strict=True):
        assert [row[c] for c in columns] == [expected[c] for c in columns]


def _iteration(out):
    path = out / "checkpoint.safetensors"
    return Checkpoint.load(path).iteration if path.is_file() else 0


def test_ctrl_c_keeps_what_was_learned(clips, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(clips, out, "--evaluations", "20000", iterations=100_000),
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while process.poll() is None and _iteration(out) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "kinema: stopped; the same command goes on from here."
    assert _iteration(out) >= 5
    assert len(log_of(out)) == len(log_of(out)[: _iteration(out)])


def test_a_finished_run_is_told_again(clips, tmp_path):
    first = train(clips, out=tmp_path / "run", **QUICK)
    before = weights_of(tmp_path / "run")
    again = train(clips, out=tmp_path / "run", **QUICK)
    assert again.evaluation == first.evaluation
    assert weights_of(tmp_path / "run") == before
    assert len(log_of(tmp_path / "run")) == 8


def test_a_finished_run_without_weights_gets_them(clips, tmp_path):
    """It was killed behind its last checkpoint."""
    out = tmp_path / "run"
    first = train(clips, out=out, **QUICK)
    before = weights_of(out)
    for name in ("weights.safetensors", "curve.png"):
        (out / name).unlink()
    place, _ = partial_name("x").rsplit(".", 3)[:2]
    (out / f"{place}.999999999-1.abc{PARTIAL_SUFFIX}").write_bytes(b"half of one")
    again = train(clips, out=out, **QUICK)
    assert weights_of(out) == before
    assert again.evaluation == first.evaluation
    assert_shows_a_curve(out / "curve.png")
    assert not [path for path in out.iterdir() if path.name.endswith(PARTIAL_SUFFIX)]


def test_a_line_of_the_log_that_was_cut_off_is_forgotten(clips, tmp_path):
    out = tmp_path / "run"
    train(clips, out=out, **QUICK)
    rows = log_of(out)
    with open(out / "log.csv", "a") as file:
        file.write("8,0.9,0")  # of "80,0.9,0.0123,...", say
    train(clips, out=out, **QUICK)
    assert log_of(out) == rows


def test_a_second_run_is_kept_out_of_the_folder(clips, tmp_path):
    with (
        locked_folder(tmp_path / "run"),
        pytest.raises(ValueError, match="`out` .*run is in use by another run"),
    ):
        train(clips, out=tmp_path / "run", **QUICK)


def test_a_run_goes_on_with_the_videos_it_was_begun_with(clips, tmp_path):
    """What becomes readable, is added or goes away later does not end it."""
    folder = shutil.copytree(clips.parent / "videos", tmp_path / "videos")
    (folder / "red" / "late.mp4").write_bytes(b"still being copied")
    out = tmp_path / "run"
    train(folder, out=out, **QUICK)
    before = weights_of(out)
    shutil.copy(folder / "red" / "red_0.mp4", folder / "red" / "late.mp4")
    train(folder, out=out, **QUICK)
    assert weights_of(out) == before
    (folder / "red" / "late.mp4").rename(folder / "red" / "later.mp4")
    message = r"videos has other videos or classes than .*run was begun with: .*prepared\.clips"
    with pytest.raises(ValueError, match=message):
        train(folder, out=out, **QUICK)
    train(out / "prepared.clips", out=out, **QUICK)
    assert weights_of(out) == before
    with pytest.raises(ValueError, match="was begun with recipe 'mini', now it is 'kernel-depth'"):
        train(folder, out=out, recipe="kernel-depth")


def test_other_settings_are_refused(clips, tmp_path, capsys):
    train(clips, out=tmp_path / "run", **QUICK)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    for change, message in [
        ({"seed": 1}, "begun with seed 0, now it is 1"),
        ({"learning_rate": 0.1}, "begun with recipe's learning_rate 0.005, now it is 0.1"),
        ({"crop": 16, "network": "depth-3"}, "begun with recipe's network 'c3d_mini'"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(clips, out=tmp_path / "run", **{**QUICK, **change})
    code = main(
        ["train", str(clips), "--out", str(tmp_path / "run"), "--recipe", "kernel-depth",
         "--crop", "16", "--resume"]
    )  # fmt: skip
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was begun with recipe 'mini', now it is 'kernel-depth'" in line
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_resume_without_a_checkpoint(clips, tmp_path):
    with pytest.raises(ValueError, match="`resume`: .* holds no checkpoint to go on from"):
        train(clips, out=tmp_path / "run", resume=True, **QUICK)


def test_two_processes_learn_what_one_does(clips, tmp_path):
    """DistributedDataParallel over gloo: half of each batch each, dropout off."""

    def learn(name, *options, launcher=()):
        options = ("--dropout", "0", "--engine", "torch", "--threads", "1", *options)
        words = command(clips, tmp_path / name, *options, iterations=6)
        done = subprocess.run(
            [words[0], *launcher, *words[1:]],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("6 iterations") == 1
        weights = Weights.load(tmp_path / name / "weights.safetensors")
        return np.concatenate([array.ravel() for array in weights.values()])

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = learn("two", launcher=torchrun)
    whole = learn("whole")
    halves = learn("halves", "--accumulate", "2")
    # Products of other shapes are rounded otherwise, and a value near zero may pass a ReLU or not.
    assert np.linalg.norm(two - whole) < 1e-5 * np.linalg.norm(whole)
    # One process that takes the batch in the same halves adds up the same numbers.
    np.testing.assert_allclose(two, halves, rtol=1e-6, atol=1e-9)
    for row, expected in zip(log_of(tmp_path / "two"), log_of(tmp_path / "whole"), strict=True):
        assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)


# --- a longer run ---------------------------------------------------------------------------------


def steps_of(monkeypatch):
    """The checksum of the clips, the rate and the seed of each step that is made from now on."""
    made = []
    step = Learner.step

    def noted(self, clips, labels, *, rate, seed, vectors):
        made.append((zlib.crc32(clips.tobytes()), labels.tolist(), rate, seed))
        return step(self, clips, labels, rate=rate, seed=seed, vectors=vectors)

    monkeypatch.setattr(Learner, "step", noted)
    return made


def stopped_at(iteration, monkeypatch, clips, out, **settings):
    """A run that is stopped as by Ctrl-C, after so many steps."""
    with monkeypatch.context() as patch:
        made = []
        step = Learner.step

        def counted(self, *arguments, **options):
            made.append(step(self, *arguments, **options))
            return made[-1]

        patch.setattr(Learner, "step", counted)
        patch.setattr(
            run_room, "stop_signal", lambda: contextlib.nullcontext(lambda: len(made) == after)
        )
        after = iteration - _iteration(out)
        with pytest.raises(KeyboardInterrupt):
            train(clips, out=out, **settings)
    assert _iteration(out) == iteration


def test_a_raised_run_is_the_longer_run_from_there(clips, tmp_path, monkeypatch):
    """By hand: mini's rate falls to a tenth after each third of the run, be it of 6 or 12 steps."""
    out, straight = tmp_path / "run", tmp_path / "straight"
    # 18 training clips an epoch, six a step: three steps an epoch.
    settings = {**QUICK, "iterations": None, "evaluations": 3}
    train(clips, out=out, epochs=2, **settings)
    steps = steps_of(monkeypatch)
    report = train(clips, out=out, epochs=4.0, resume=True, **settings)
    raised = steps.copy()
    train(clips, out=straight, epochs=4, **settings)
    assert len(raised) == 6
    assert raised == steps[6:][6:]  # clips, labels, rates, dropout: what the longer run has there

    rows = log_of(out)
    r = 0.005
    expected = [r, r, r / 10, r / 10, r / 100, r / 100, r / 10, r / 10, *[r / 100] * 4]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(expected)
    assert [int(row["run_iterations"]) for row in rows] == [6] * 6 + [12] * 6
    tested = [int(row["iteration"]) for row in rows if row["video_hit1"]]
    assert tested == [2, 4, 6, 8, 12]  # thirds of six steps, then of twelve
    assert report.iterations == 12
    what = "raised from 2 epochs (6 iterations) to 4 epochs (12 iterations) at iteration 6"
    assert any(what in note for note in report.notes)
    assert f"12 iterations, {what} on" in Weights.load(out / "weights.safetensors").source
    assert "raised" not in Weights.load(straight / "weights.safetensors").source


def test_a_raised_run_that_is_stopped_ends_with_the_same_weights(clips, tmp_path, monkeypatch):
    """Raised twice, the first time in steps, before it was done; stopped or not."""
    settings = {**QUICK, "evaluations": 1}
    for name in ("a", "b"):
        stopped_at(3, monkeypatch, clips, tmp_path / name, **{**settings, "iterations": 6})
    more, most = {"iterations": 9}, {"iterations": None, "epochs": 4}
    for name, stops in (("a", [(5, more)]), ("b", [(4, more), (5, more), (6, most), (9, most)])):
        for stop, length in stops:
            stopped_at(stop, monkeypatch, clips, tmp_path / name, **{**settings, **length})
        train(clips, out=tmp_path / name, **{**settings, **most})
    weights = [Weights.load(tmp_path / name / "weights.safetensors") for name in ("a", "b")]
    assert weights[0].sha256 == weights[1].sha256
    for each in weights:
        assert (
            "raised from 6 iterations to 9 iterations at iteration 3, "
            "raised from 9 iterations to 4 epochs (12 iterations) at iteration 5 on"
        ) in each.source
    lengths = [int(row["run_iterations"]) for row in log_of(tmp_path / "b")]
    assert lengths == [6] * 3 + [9] * 2 + [12] * 7


def test_two_processes_raise_what_one_does(clips, tmp_path):
    """Begun by one process and raised by two: they learn what one does that takes the halves."""
    options = {"engine": "torch", "threads": 1, "accumulate": 2, "dropout": 0.0}
    for iterations in (4, 6):
        if iterations == 6:
            shutil.copytree(tmp_path / "one", tmp_path / "two")
        train(clips, out=tmp_path / "one", crop=16, batch=6, iterations=iterations, **options)
    words = command(clips, tmp_path / "two", "--dropout", "0", "--engine", "torch", iterations=6)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [words[0], *launcher, *words[1:], "--threads", "1"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("raised from 4 iterations to 6 iterations at iteration 4") == 1
    one, two = (Weights.load(tmp_path / n / "weights.safetensors") for n in ("one", "two"))
    assert one.source == two.source
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-5, atol=1e-8)
    columns = ("iteration", "learning_rate", "run_iterations", "test_videos")
    for row, expected in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert [row[c] for c in columns] == [expected[c] for c in columns]


def test_a_run_is_not_shortened(clips, tmp_path, capsys):
    out = tmp_path / "run"
    settings = {**QUICK, "iterations": None, "evaluations": 1}
    train(clips, out=out, epochs=2, **settings)
    before = (out / "checkpoint.safetensors").read_bytes()
    for change, message in [
        ({"epochs": 1}, "run is a run of 2 epochs, and cannot be shortened to 1 epoch: it has"),
        ({"iterations": 5}, r"run of 2 epochs \(6 iterations\), and .* to 5 iterations: it has le"),
        ({}, r"begun with a length of 2 epochs, the recipe's is 12 epochs: name `epochs` or"),
        ({"epochs": 4, "seed": 1}, "begun with seed 0, now it is 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(clips, out=out, **{**settings, **change})
    words = ["--crop", "16", "--batch", "6", "--learning-rate", "0.005", "--epochs", "1"]
    assert main(["train", str(clips), "--out", str(out), *words, "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Go on with 2 epochs or more, or choose another --out.")
    assert (out / "checkpoint.safetensors").read_bytes() == before
    # The same length in other words is the same run.
    report = train(clips, out=out, **{**settings, "iterations": 6})
    assert not any("raised" in note for note in report.notes)


def as_an_older_version_left_it(out):
    """Without what newer versions add: columns of the log, and entries of the checkpoint."""
    path = out / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path, format="kinema-checkpoint-1")
    metadata.pop("raised", None)
    write_tensors(path, tensors, metadata)
    columns = [
        "iteration",
        "epoch",
        "loss",
        "learning_rate",
        "clips_per_second",
        "clip_hit1",
        "video_hit1",
        "video_hit5",
    ]
    rows = [{**row, "video_hit5": row["video_hit1"] and "1.0"} for row in log_of(out)]
    with open(out / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_a_run_of_an_older_version_goes_on_and_is_raised(clips, tmp_path, monkeypatch):
    out = tmp_path / "run"
    settings = {**QUICK, "iterations": 4, "evaluations": 2}
    train(clips, out=out, **settings)
    before = weights_of(out)
    as_an_older_version_left_it(out)
    train(clips, out=out, **settings)
    assert weights_of(out) == before
    # It was evaluated again: now the last row says of how many; 3 videos of 40 frames, ten clips.
    rows = log_of(out)
    assert [row["test_videos"] for row in rows] == ["", "", "", "3"]
    assert [row["test_clips"] for row in rows] == ["", "", "", "30"]
    as_an_older_version_left_it(out)
    train(clips, out=out, **{**settings, "iterations": 6})
    rows = log_of(out)
    assert [row["run_iterations"] for row in rows] == ["4"] * 4 + ["6"] * 2
    assert [row["test_videos"] for row in rows] == ["", "", "", "", "", "3"]
    assert all(row["video_hit5"] == "" for row in rows)  # of three classes


# --- from weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    train(clips, out=out, **QUICK)
    return Weights.load(out / "weights.safetensors")


def two_classes(clips, tmp_path):
    shutil.copytree(clips.parent / "videos", tmp_path / "videos")
    shutil.rmtree(tmp_path / "videos" / "green")
    return tmp_path / "videos"


def test_fine_tuning_to_other_classes(clips, trained, tmp_path):
    """A folder that is not prepared, with another number of classes."""
    folder = two_classes(clips, tmp_path)
    options = {"iterations": 1, "batch": 2, "learning_rate": 1e-9, "evaluations": 1}
    report = train(
        folder, out=tmp_path / "run", recipe="ucf101-finetune", weights=trained, **options
    )
    tuned = Weights.load(tmp_path / "run" / "weights.safetensors")
    assert tuned.labels == ("blue", "red")
    assert tuned["fc8.weight"].shape == (2, 512)
    np.testing.assert_allclose(tuned["conv1a.weight"], trained["conv1a.weight"], atol=1e-6)
    np.testing.assert_allclose(tuned["fc7.weight"], trained["fc7.weight"], atol=1e-6)
    np.testing.assert_array_equal(tuned.mean, trained.mean)
    assert set(trained.trained_on) <= set(tuned.trained_on)
    assert any("fc8 start anew, all others are carried over" in note for note in report.notes)
    assert (tmp_path / "run" / "prepared.clips").is_file()


def test_which_layers_carry_over(trained):
    other = networks.c3d_mini(3, input_shape=(3, 16, 64, 64))  # fc6 has another shape
    names = carried_over(trained, other, labels=("a", "b", "c"))
    assert {name.partition(".")[0] for name in names} == {
        "conv1a", "conv2a", "conv3a", "conv4a", "conv5a", "fc7"
    }  # fmt: skip
    layers = {n.partition(".")[0] for n in carried_over(trained, trained.network, layers="conv")}
    assert layers == {"conv1a", "conv2a", "conv3a", "conv4a", "conv5a"}
    assert "fc8.bias" in carried_over(trained, trained.network, labels=trained.labels)
    assert "fc8.bias" not in carried_over(trained, trained.network, labels=("x", "y", "z"))
    with pytest.raises(ValueError, match='`carry` must be "all" or "conv"'):
        carried_over(trained, other, layers="fc")


def test_a_recipe_that_needs_weights(clips, tmp_path):
    with pytest.raises(ValueError, match="ucf101-finetune starts from weights: name them"):
        train(clips, out=tmp_path / "run", recipe="ucf101-finetune")
    with pytest.raises(ValueError, match="cannot be chosen with `weights`"):
        train(clips, out=tmp_path / "run", weights="c3d-mini-random", crop=16)


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(clips, tmp_path):
    settings = {**QUICK, "iterations": 40, "evaluations": 40, "learning_rate": 30.0}
    with pytest.raises(TrainingError) as caught:
        train(clips, out=tmp_path / "run", **settings)
    message = str(caught.value)
    assert "training diverged at iteration" in message
    assert "smaller learning rate than 30" in message
    path = tmp_path / "run" / "checkpoint.safetensors"
    if path.is_file():
        checkpoint = Checkpoint.load(path)
        assert f"of iteration {checkpoint.iteration} is kept" in message
        assert all(np.isfinite(array).all() for array in checkpoint.parameters.values())
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_weights_that_are_not_finite_are_not_evaluated(clips, tmp_path, monkeypatch):
    """The loss of the step that broke them was still finite."""
    step = Learner.step

    def breaking(self, *arguments, **options):
        loss = step(self, *arguments, **options)
        self.load({**self.parameters(), "fc8.bias": np.full(3, np.inf, np.float32)})
        return loss

    monkeypatch.setattr(Learner, "step", breaking)
    with pytest.raises(TrainingError, match=r"at iteration 1: fc8\.bias is not finite any more"):
        train(clips, out=tmp_path / "run", **{**QUICK, "evaluations": 8})
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(clips, tmp_path):
    out = tmp_path / "run"
    code = """
import resource, signal, sys
from pathlib import Path
from kinema.cli.app import main
from kinema.training import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
whole, calls = checkpoint.Checkpoint.save, []
def save(self, path):
    calls.append(self.iteration)
    if len(calls) == 2:  # a limit on file sizes fails writes as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    whole(self, path)
checkpoint.Checkpoint.save = save
sys.exit(main(sys.argv[1:]))
"""
    arguments = command(clips, out, "--evaluations", "10")[3:]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("kinema: ")
    assert _iteration(out) == 3
    assert not [path for path in out.iterdir() if path.name.endswith("partial")]
    subprocess.run(command(clips, out, "--evaluations", "10"), check=True, capture_output=True)
    assert _iteration(out) == 30


def test_an_unreadable_video_and_a_class_without_one(clips, tmp_path, capsys):
    shutil.copytree(clips.parent / "videos", tmp_path / "videos")
    (tmp_path / "videos" / "red" / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "videos" / "violet").mkdir()
    (tmp_path / "videos" / "yellow").mkdir()
    (tmp_path / "videos" / "yellow" / "only.mp4").write_bytes(b"not a video")
    words = ["--out", str(tmp_path / "run"), "--crop", "16", "--batch", "6", "--iterations", "2",
             "--evaluations", "1"]  # fmt: skip
    code = main(["train", str(tmp_path / "videos"), *words])
    captured = capsys.readouterr()
    assert code == 1  # two were skipped, and --max-skipped is 0
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    for name in ("red/broken.mp4", "yellow/only.mp4"):
        (line,) = [line for line in captured.err.splitlines() if name in line]
        assert line.startswith(f"skipped {tmp_path / 'videos' / name}: ")
        assert len(line) > len(f"skipped {tmp_path / 'videos' / name}: ") + 10  # the reason
    assert "2 videos could not be read" in captured.out
    assert "1 of 4 classes have no training video that can be read" in captured.err
    assert "yellow" in captured.err
    assert "violet" in captured.err
    assert "2 iterations" in captured.out
    # The same command says the same of a run that is there; prepared clips were told of before.
    again = ["train", str(tmp_path / "videos"), *words, "--max-skipped"]
    assert main([*again, "1"]) == 1
    assert capsys.readouterr().err.count("skipped ") == 2
    assert main([*again, "2"]) == 0
    capsys.readouterr()
    assert main(["train", str(tmp_path / "run" / "prepared.clips"), *words]) == 0
    errors = capsys.readouterr().err
    assert "skipped " not in errors
    assert "2 videos could not be read in the preparation" in errors
    with pytest.raises(ValueError, match="`max_skipped` must not be negative, got -1"):
        train(clips, out=tmp_path / "other", max_skipped=-1)


def test_clips_of_another_size(clips, tmp_path):
    with pytest.raises(ValueError, match=r"holds frames of 18x24 .* needs 128x171: .*--size 128x"):
        train(clips, out=tmp_path / "run", recipe="kernel-depth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "best"}, "`recipe` must be one of sports1m, ucf101-finetune"),
        ({"epochs": 2.0}, "`epochs` and `iterations` both give the length"),
        ({"learning_rate": -1.0}, "`learning_rate` must be more than 0"),
        ({"batch": 5, "accumulate": 2}, "`batch` 5 must be divisible by 1 processes times"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and less than 1"),
        ({"evaluations": 0}, "`evaluations` must be at least 1"),
        ({"split": "9"}, "`split` '9' is unknown; known are: none"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"crop": 0}, "`crop` must be at least 8 pixels, got 0"),
        ({"carry": "conv"}, "`carry` says what is taken from weights"),
    ],
)
def test_wrong_settings(clips, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(clips, out=tmp_path / "run", **{**QUICK, **change})


@pytest.fixture
def no_preparation(monkeypatch):
    def never(*_, **__):
        raise AssertionError("videos were prepared")

    monkeypatch.setattr("kinema.training.material.prepare", never)


@pytest.mark.usefixtures("no_preparation")
def test_what_a_dataset_cannot_give_is_refused_before_it_is_prepared(clips, tmp_path):
    videos = clips.parent / "videos"
    out = tmp_path / "run"
    one = tmp_path / "one"
    shutil.copytree(videos / "red", one / "red")
    given = tmp_path / "given.csv"  # all training videos are red
    lines = [f"{videos}/{name}/{name}_0.mp4,{name},test" for name in ("blue", "green")]
    red = f"{videos}/red/red_0.mp4,red,train"
    given.write_text("\n".join(["path,label,split", *lines, red]) + "\n")
    other = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)))
    for dataset, change, message in [
        (one, {}, "one has one class, red: nothing to tell apart"),
        (videos, {"split": "2"}, "`split` '2' is unknown; known are: none"),
        (given, {"split": "1"}, "`split` '1' is unknown; known are: given"),
        (given, {}, "are all of one class, red: nothing to tell apart"),
        (videos, {"batch": 5, "accumulate": 2}, "`batch` 5 must be divisible"),
        (videos, {"mean": (1.0, 2.0)}, "`mean` must be three constants"),
        (videos, {"mean": np.zeros((3, 16, 5, 5))}, "`mean` must be three constants, or a vol"),
        (videos, {"crop": None, "weights": other, "carry": "fc"}, '`carry` must be "all" or "co'),
        (videos, {"checkpoint_seconds": float("nan")}, "`checkpoint_seconds` must be at least 0"),
        (clips, {"split": "2"}, "`split` '2' is unknown; known are: none"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(dataset, out=out, **{**QUICK, **change})
        assert not out.exists()


@pytest.mark.usefixtures("no_preparation")
def test_a_folder_that_cannot_be_written_is_refused_before_videos_are_prepared(
    clips, tmp_path, capsys, monkeypatch
):
    videos = clips.parent / "videos"
    (tmp_path / "run" / "weights.safetensors").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"run/weights\.safetensors is a folder, but training"):
        train(videos, out=tmp_path / "run", **QUICK)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tensorboard").write_text("")
    with pytest.raises(ValueError, match="tensorboard is a file, but training writes a folder"):
        train(videos, out=tmp_path / "other", **QUICK)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`out` .*file: a file is there, where a folder is needed"):
        train(videos, out=tmp_path / "file", **QUICK)

    def read_only(*_, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.write_bytes", read_only)
    assert main(["train", str(videos), "--out", str(tmp_path / "third"), "--crop", "16"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"kinema: --out {tmp_path / 'third'} cannot be written to (Read-only file system): name "
        "another folder."
    )


def test_one_class_that_can_be_read_is_refused_with_what_could_not(clips, tmp_path):
    shutil.copytree(clips.parent / "videos" / "red", tmp_path / "videos" / "red")
    (tmp_path / "videos" / "blue").mkdir()
    (tmp_path / "videos" / "blue" / "broken.mp4").write_bytes(b"not a video")
    message = r"all of one class, red \(1 video could not be read, .*blue/broken\.mp4: .*\): noth"
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "videos", out=tmp_path / "run", **QUICK)


def test_a_wrong_path_leaves_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="videoos: no such file or folder"):
        train(tmp_path / "videoos", out=tmp_path / "run")
    (tmp_path / "w.safetensors").write_bytes(b"weights, say")
    with pytest.raises(ValueError, match="w.safetensors is neither prepared clips, .* nor a data"):
        train(tmp_path / "w.safetensors", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_video_a_class_is_learned_untested(tmp_path):
    folder = write_folder(tmp_path / "videos", num_videos=1, num_frames=9)
    report = train(folder, out=tmp_path / "run", mean=(100, 100, 100), **{**QUICK, "iterations": 1})
    assert report.evaluation is None
    assert any("there is no test video: nothing is evaluated" in note for note in report.notes)
    assert any("not in the test, for want of groups: 3 classes" in note for note in report.notes)


def test_others_wait_for_the_first_one_however_long_it_takes(monkeypatch):
    """PyTorch's own patience of ten or thirty minutes is less than a preparation takes."""
    given = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(
        processes_room.distributed,
        "init_process_group",
        lambda *_, **options: given.update(options),
    )
    monkeypatch.setattr(processes_room.distributed, "destroy_process_group", lambda: None)
    with Processes("cpu"):
        assert given["timeout"].days >= 7


def test_training_without_torch_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from kinema.cli import main\n"
        f"sys.exit(main(['train', 'x', '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "training needs PyTorch: pip install 'kinema[train]'" in done.stderr


def test_several_labels_a_video_learn_and_hit(tmp_path):
    """Sports-1M's scheme: 487 classes, five segments, some videos of two classes."""
    root = write_folder(tmp_path / "videos", num_videos=3, num_frames=100)
    ids = [path.stem for path in sorted(root.rglob("*.mp4"))]
    lines = [
        f"http://www.youtube.com/watch?v={name} {3 * i},{3 * i + 1}" for i, name in enumerate(ids)
    ]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train_partition.txt").write_text("\n".join(lines[:-2]) + "\n")
    (tmp_path / "lists" / "test_partition.txt").write_text("\n".join(lines[-2:]) + "\n")
    (tmp_path / "lists" / "labels.txt").write_text("".join(f"sport {n}\n" for n in range(487)))
    report = train(
        root, out=tmp_path / "run", recipe="sports1m", network="c3d_mini", crop=16,
        kind="sports1m", lists=tmp_path / "lists", iterations=3, batch=6, evaluations=1,
    )  # fmt: skip
    store = ClipStore(tmp_path / "run" / "prepared.clips")
    assert store.about["clips"] == "five"
    assert [len(video.segments) for video in store.videos] == [5] * 7 + [10] * 2
    assert len(store.classes) == 487
    assert report.evaluation.num_videos == 2
    (row,) = [row for row in log_of(tmp_path / "run") if row["video_hit1"]]
    assert [row["test_videos"], row["test_clips"]] == ["2", "20"]
    assert float(row["video_hit5"]) == report.evaluation.video_hit5
    assert "2 test videos: hit@1 " in report.summary()
    assert ", hit@5 " in report.summary()
    assert board_of(tmp_path / "run")["video_hit5"] == [(3, report.evaluation.video_hit5)]
    assert Weights.load(tmp_path / "run" / "weights.safetensors").num_classes == 487


def test_a_recipe_of_ones_own(clips, tmp_path):
    recipe = dataclasses.replace(
        RECIPES["mini"], arguments={"input_shape": (3, 16, 16, 16)}, batch=4, epochs=0.5
    )
    report = train(clips, out=tmp_path / "run", recipe=recipe, evaluations=1)
    assert report.iterations == 3  # 9 training videos of two clips each, half of them, by four
    assert [row["iteration"] for row in log_of(tmp_path / "run")] == ["1", "2", "3"]
