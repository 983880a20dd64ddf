"""The study of the kernels' depth: statistics by hand, and a tiny study from end to end."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from kinema.cli import main
from kinema.evaluation.ablation_result import (
    Ablation,
    Net,
    Point,
    SeedRun,
    by_accident,
    mean_and_error,
)
from kinema.network import KERNEL_DEPTHS, kernel_depth
from kinema.views import ablation as views

from small_videos import write_folder

TWO = {name: KERNEL_DEPTHS[name] for name in ("depth-1", "depth-3")}
TINY = {"crop": 16, "width": 0.05, "batch": 6, "iterations": 4, "evaluations": 2}


def test_standard_errors_by_hand():
    assert mean_and_error([0.5, 0.6, 0.7]) == pytest.approx((0.6, 0.1 / math.sqrt(3)))
    assert mean_and_error([0.5]) == (0.5, None)
    assert mean_and_error([])[1] is None
    # Student's t with two degrees of freedom: P(|t| > x) = 1 - x / sqrt(2 + x^2).
    assert by_accident(3) == pytest.approx(1 - 3 / math.sqrt(11))
    assert by_accident(1) is None


def study(num_test: int = 100, **clips: tuple[float, ...]) -> Ablation:
    """A study with these final clip accuracies by seed; 0.6, 0.7, 0.8 of nets that are not named.

    Video accuracies are 0.05 higher, clips after half of the run 0.1 lower.
    """
    nets = []
    for name, depths in KERNEL_DEPTHS.items():
        given = clips.get(name.replace("-", "_"), (0.6, 0.7, 0.8))
        runs = tuple(
            SeedRun(seed, (Point(5, 1, clip - 0.1, clip), Point(10, 2, clip, clip + 0.05)))
            for seed, clip in enumerate(given)
        )
        network = kernel_depth(depths)
        count = network.num_parameters
        nets.append(Net(name, depths, count, network.num_multiply_adds, count, 0.5, runs))
    settings = {
        "recipe": "kernel-depth-mini",
        "batch": 30,
        "optimiser": "adamw",
        "learning_rate": 0.001,
        "norm": "batch",
        "flip": False,
        "arguments": {"input_shape": [3, 16, 64, 64], "width": 0.25},
    }
    machine = {"cpu": "abacus", "cores": 2}
    return Ablation("wheels", ("a", "b", "c", "d"), tuple(nets), 0.25, 160, num_test, settings,
                    machine)  # fmt: skip


def test_all_nets_that_are_highest_are_named():
    found = study(depth_5=(1.0, 1.0, 1.0), increasing=(1.0, 1.0, 1.0), depth_7=(1.0, 1.0, 0.97))
    assert views.findings(found)[0] == (
        "The highest clip accuracy, 100.0 ± 0.0 %, have depth-5, increasing; chance is 25.0 %."
    )
    assert ", has depth-3;" in views.findings(study(depth_3=(0.8, 0.8, 0.8)))[0]


def test_chance_is_beaten_by_three_standard_errors():
    """Of guessing on 100 videos: 3 x sqrt(0.25 x 0.75 / 100) = 12.99 points above 25 %."""
    found = study(
        depth_1=(0.379, 0.379, 0.379),
        depth_3=(0.381, 0.381, 0.381),
        depth_5=(0.4, 0.6, 0.8),  # 35 points above, three errors over the seeds are 34.6
        depth_7=(0.39, 0.59, 0.79),  # 34 points above
    )
    assert found.guess_error == pytest.approx(0.0433, abs=1e-4)
    assert found.inconclusive == ("depth-1", "depth-7")
    # One seed: the error of guessing alone.
    assert study(depth_1=(0.379,), depth_3=(0.381,)).inconclusive == ("depth-1",)
    assert study(1000, depth_1=(0.379,)).inconclusive == ()


def test_differences_are_paired_by_seed():
    """-0.1, -0.1, -0.08: s = 0.011547, error 0.006667; unpaired it would be 0.08."""
    found = study(depth_5=(0.5, 0.6, 0.72), depth_7=(0.5, 0.7, 0.9), increasing=(0.9, 1.0, 1.0))
    difference = found.difference(found.net("depth-5"))
    assert (difference.mean, difference.error) == pytest.approx((-0.28 / 3, 0.006667), abs=1e-6)
    assert [net.name for net in found.nets if found.differs(net)] == ["depth-5", "increasing"]
    assert found.difference(found.net("depth-3")) is None
    text = " ".join(views.findings(found))
    assert (
        "Behind depth-3 by more than 3 standard errors, paired by seed: depth-5 (-9.3 ± 0.7" in text
    )
    assert (
        "Ahead of depth-3 by more than 3 standard errors, paired by seed: increasing (+26.7" in text
    )
    assert (
        "Not told from depth-3 by 3 standard errors: depth-1 (+0.0 ± 0.0 points), depth-7" in text
    )
    assert "with 3 seeds a difference of 3 standard errors comes about by accident 10%" in text
    assert "Inconclusive" not in text


def test_one_seed_tells_no_difference():
    found = study(**{name.replace("-", "_"): (0.6,) for name in KERNEL_DEPTHS})
    assert not any(found.differs(net) for net in found.nets)
    assert "One seed has no standard error: whether depth-1, depth-5" in " ".join(
        views.findings(found)
    )


def test_a_run_that_diverged_counts_in_no_mean():
    found = study()
    nets = [*found.nets]
    runs = nets[2].runs
    nets[2] = dataclasses.replace(
        nets[2], runs=(*runs[:2], SeedRun(2, runs[2].points[:1], "training diverged, at once."))
    )
    found = dataclasses.replace(found, nets=tuple(nets))
    assert found.net("depth-5").clip[0] == pytest.approx(0.65)
    assert found.difference(found.net("depth-5")).num_seeds == 2
    assert [point[1] for point in found.net("depth-5").curve] == pytest.approx([0.55, 0.65])
    assert "depth-5, seed 2: training diverged, at once." in views.as_markdown(found)


def test_the_report_names_what_is_inconclusive_and_what_capacity_is(tmp_path):
    found = study(depth_1=(0.26, 0.25, 0.27))
    views.write(found, tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    assert "Inconclusive: depth-1 does not beat chance by 3 standard errors" in text
    row = "| depth-1 | 1-1-1-1-1 | 14,344,933 | "
    assert kernel_depth(KERNEL_DEPTHS["depth-1"]).num_parameters == 14_344_933
    assert row in text
    assert "depth-1 has 14.34 and depth-7 23.65 million, 65% more" in text
    drawn = (tmp_path / "ablation.svg").read_text()
    assert "Inconclusive: depth-1 does" in drawn
    assert "depth-1 (inconclusive)" in drawn
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


def test_a_study_is_kept_as_json(tmp_path):
    found = study(depth_1=(0.26, 0.25, 0.27))
    (tmp_path / "ablation.json").write_text(json.dumps(found.as_mapping()))
    again = Ablation.load(tmp_path / "ablation.json")
    assert (again.nets, again.chance, again.inconclusive) == (found.nets, 0.25, ("depth-1",))
    assert again.as_mapping() == found.as_mapping()
    (tmp_path / "ablation.json").write_text("{}")
    with pytest.raises(ValueError, match="no file that `kinema ablation` wrote"):
        Ablation.load(tmp_path / "ablation.json")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("ablation") / "videos")


def test_a_study_that_is_killed_goes_on_to_the_same_numbers(videos, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from kinema.evaluation import ablation as room
    from kinema.training.learner import Learner

    monkeypatch.setattr(room, "KERNEL_DEPTHS", TWO)
    monkeypatch.setattr("kinema.plots.training_curve", lambda *given, **named: None)
    whole = room.ablation(videos, out=tmp_path / "whole", seeds=2, **TINY)
    assert whole.chance == pytest.approx(1 / 3)
    for net in whole.nets:
        assert [run.seed for run in net.runs] == [0, 1]
        assert [point.iteration for run in net.runs for point in run.points] == [2, 4, 2, 4]
        # 9 training videos of 40 frames are 18 clips an epoch; a step takes 6 of them.
        assert [point.epoch for point in net.runs[0].points] == pytest.approx(
            [2 / 3, 4 / 3], abs=1e-3
        )

    step, left = Learner.step, [7]  # in the second net's third step, behind its first checkpoint

    def killed(self, *given, **named):
        left[0] -= named["rate"] > 1e-8  # those that are timed do not count
        if left[0] == 0:
            raise KeyboardInterrupt
        return step(self, *given, **named)

    monkeypatch.setattr(Learner, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        room.ablation(videos, out=tmp_path / "out", seeds=2, **TINY)
    assert not (tmp_path / "out" / "ablation.json").exists()
    seen = []
    again = room.ablation(videos, out=tmp_path / "out", seeds=2, each_seed=seen.append, **TINY)
    assert [found.seeds for found in seen] == [(0,), (0, 1)]
    assert [net.runs for net in again.nets] == [net.runs for net in whole.nets]
    steps = left[0]
    room.ablation(videos, out=tmp_path / "out", seeds=2, **TINY)
    assert left[0] == steps  # nothing is learned twice
    with pytest.raises(ValueError, match="cannot be shortened"):
        room.ablation(videos, out=tmp_path / "out", seeds=2, **{**TINY, "iterations": 2})


def test_runs_that_diverge_are_told_and_the_others_go_on(videos, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from kinema.evaluation import ablation as room

    monkeypatch.setattr(room, "KERNEL_DEPTHS", TWO)
    monkeypatch.setattr("kinema.plots.training_curve", lambda *given, **named: None)
    found = room.ablation(videos, out=tmp_path, seeds=1, **TINY, learning_rate=1e30)
    assert [bool(net.runs[0].diverged) for net in found.nets] == [True, True]
    assert found.inconclusive == ("depth-1", "depth-3")
    assert views.findings(found)[-1] == "All runs diverged: nothing is shown."


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--width", "0"], "--width must be more than 0"),
        (["--seconds", "9", "--epochs", "1"], "--seconds gives the length of the study"),
        (["--split", "7"], "split"),
    ],
)
def test_wrong_use_costs_a_line(videos, tmp_path, capsys, flags, message):
    pytest.importorskip("torch")
    assert main(["ablation", str(videos), "--out", str(tmp_path / "out"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out" / "prepared.clips").exists()


def test_one_class_and_no_test_videos_are_refused(videos, tmp_path, capsys):
    pytest.importorskip("torch")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "red").symlink_to(videos / "red")
    assert main(["ablation", str(tmp_path / "one"), "--out", str(tmp_path / "out")]) == 2
    assert "has one class, red" in capsys.readouterr().err
    single = write_folder(tmp_path / "single", num_videos=1)  # of each class, so all are to learn
    assert main(["ablation", str(single), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no test video" in line
    assert not (tmp_path / "out" / "prepared.clips").exists()
