"""A module of one's own is trained, kept, read, run, extracted from and tuned."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.cli.app import main  # noqa: E402
from kinema.engine.engine import Engine  # noqa: E402
from kinema.features.extractor import Extractor  # noqa: E402
from kinema.features.table import FeatureTable  # noqa: E402
from kinema.model import UserModel  # noqa: E402
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax, flattened  # noqa: E402
from kinema.own import load_class  # noqa: E402
from kinema.training.checkpoint import Checkpoint  # noqa: E402
from kinema.training.prepare import prepare  # noqa: E402
from kinema.training.recipes import RECIPES  # noqa: E402
from kinema.training.train import train  # noqa: E402
from kinema.video.clips import ClipPlan  # noqa: E402
from kinema.weights.file import Weights, random_weights  # noqa: E402

from small_videos import write_folder  # noqa: E402

FILE = Path(__file__).with_name("own_model.py")
Net = load_class(f"{FILE}:Net")
QUICK = {"batch": 6, "iterations": 30, "evaluations": 1, "learning_rate": 0.02, "threads": 1}
PLAN = ClipPlan(length=8, stride=8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    prepare(write_folder(folder / "videos"), out=folder / "x.clips", size=(18, 24))
    return folder / "x.clips"


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    report = train(clips, out=out, model="mine", models={"mine": Net}, **QUICK)
    assert report.evaluation.video_hit1 == 1.0  # by chance 0.33
    return out / "weights.safetensors"


def test_it_learns_and_its_file_names_it_without_its_code(trained):
    weights = Weights.load(trained, models={"mine": Net})
    assert weights.labels == ("blue", "green", "red")
    assert isinstance(weights.network, UserModel)
    assert weights.metadata()["network"] == {
        "name": "mine",
        "class": "Net",
        "num_classes": 3,
        "input_shape": [3, 8, 16, 16],
        "arguments": {},
    }
    assert weights["norm.num_batches_tracked"].dtype == np.int64
    assert weights["norm.num_batches_tracked"] == 30
    assert (weights["norm.running_var"] != 1).any()


def test_without_the_class_it_is_refused_in_one_line(trained, capsys):
    message = (
        f"{trained}: it is of the model 'mine', a class of its author's own, which no file "
        "imports: give the class as `models={'mine': Net}`, or `--model FILE.py:Net`."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Weights.load(trained)
    assert main(["extract", "x.mp4", "--out", "x", "--weights", str(trained)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "`--model FILE.py:Net`" in line


def test_nothing_is_imported_because_a_file_says_so(trained):
    code = (
        "import sys; from kinema.weights.file import Weights\n"
        f"try: Weights.load({str(trained)!r})\n"
        "except ValueError: print('refused', 'torch' in sys.modules, 'own_model' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused False False\n"


def by_hand(weights, inputs):
    """The module, run without ours."""
    module = Net(3)
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
    with torch.no_grad():
        module.eval()
        return module.features(torch.from_numpy(inputs), "pool"), module(torch.from_numpy(inputs))


def test_the_engine_runs_it(trained):
    weights = Weights.load(trained, models={"mine": Net})
    inputs = np.random.default_rng(0).normal(0, 60, (3, 3, 8, 16, 16)).astype(np.float32)
    engine = Engine(weights.network, weights, threads=1)
    outputs = engine.run(inputs, ("pool", "logits", "prob"))
    pool, logits = by_hand(weights, inputs)
    np.testing.assert_allclose(outputs["pool"], pool, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["prob"], logits.softmax(1), rtol=1e-5, atol=1e-6)
    assert engine.run(inputs[:0], ("pool",))["pool"].shape == (0, 8)
    with pytest.raises(ValueError, match="\"native\" knows our layers alone; the model 'mine'"):
        Engine(weights.network, weights, engine="native")
    with pytest.raises(ValueError, match="`precision` 'bf16': the model 'mine' is a class"):
        Engine(weights.network, weights, engine="torch", device="cpu", precision="bf16")
    named = "`layer` must be one of pool, logits, prob; got 'fc6', the default: name another one"
    with pytest.raises(ValueError, match=named):
        engine.run(inputs, ("fc6",))


def test_features_of_videos(trained, clips, tmp_path):
    video = clips.parent / "videos" / "red" / "red_0.mp4"
    weights = Weights.load(trained, models={"mine": Net})
    extractor = Extractor(weights, layer="pool", plan=PLAN, threads=1)
    table = extractor(video)
    assert table.features.shape == (5, 8)  # forty frames
    assert table.about["settings"]["architecture"]["class"] == "Net"
    # The command line says where the class is; its name in the file may be another.
    words = ["extract", str(video), "--out", str(tmp_path / "out"), "--weights", str(trained)]
    assert main([*words, "--layer", "pool", "--model", f"{FILE}:Net", "--threads", "1"]) == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    np.testing.assert_array_equal(FeatureTable.load(file).features, table.features)


def test_the_notes_example_is_such_a_class():
    note = inspect.getdoc(sys.modules["kinema.model"])
    start = note.index("class Net(torch.nn.Module):")
    lines = note[start : note.index("train(", start)].rstrip()
    names = {"torch": torch}
    exec(textwrap.dedent("        " + lines), names)
    model = UserModel.from_class("mine", names["Net"], 4)
    assert (model.layer_names, model.feature_shape("pool")) == (("pool", "logits", "prob"), (8,))
    clips = np.zeros((1, *model.input_shape), np.float32)
    outputs = Engine(model, model.initial_arrays(0), threads=1).run(clips, ("pool", "prob"))
    assert outputs["prob"].sum() == pytest.approx(1)


def test_its_classes_are_predicted(trained, clips, capsys):
    options = ["--weights", str(trained), "--model", f"{FILE}:Net"]
    for label in ("blue", "red"):
        video = clips.parent / "videos" / label / f"{label}_0.mp4"
        assert main(["predict", str(video), "--json", *options]) == 0
        told = capsys.readouterr().out
        assert json.loads(told)["top"][0]["class"] == label
    assert main(["weights", "info", str(trained), "--model", f"{FILE}:Net"]) == 0
    assert "mine: a model of its author's own, layers pool, logits, prob" in capsys.readouterr().out


def test_it_is_trained_on_the_command_line(clips, tmp_path):
    words = ["--model", f"{FILE}:Net", "--batch", "6", "--iterations", "2", "--evaluations", "1"]
    assert main(["train", str(clips), "--out", str(tmp_path / "run"), *words]) == 0
    weights = Weights.load(tmp_path / "run" / "weights.safetensors", models={"Net": Net})
    assert weights["norm.num_batches_tracked"] == 2


def test_it_goes_on_and_is_tuned(trained, clips, tmp_path):
    options = {"model": "mine", "models": {"mine": Net}}
    for iterations in (3, 6):
        train(clips, out=tmp_path / "raised", **{**QUICK, "iterations": iterations}, **options)
    checkpoint = Checkpoint.load(tmp_path / "raised" / "checkpoint.safetensors")
    assert checkpoint.parameters["norm.num_batches_tracked"] == 6
    assert checkpoint.state["momentum.conv.weight"].any()
    two = shutil.copytree(clips.parent / "videos", tmp_path / "videos")
    shutil.rmtree(two / "green")
    report = train(
        two, out=tmp_path / "tuned", weights=trained, models={"mine": Net},
        recipe="ucf101-finetune", batch=2, iterations=1, evaluations=1, learning_rate=1e-9,
    )  # fmt: skip
    before = Weights.load(trained, models={"mine": Net})
    after = Weights.load(tmp_path / "tuned" / "weights.safetensors", models={"mine": Net})
    assert after["head.weight"].shape == (2, 8)
    np.testing.assert_allclose(after["conv.weight"], before["conv.weight"], atol=1e-6)
    assert any("mine" in note or "head start anew" in note for note in report.notes)


def test_a_class_itself_and_its_arguments(clips, tmp_path):
    recipe = dataclasses.replace(RECIPES["mini"], network="Net", arguments={"width": 4})
    train(clips, out=tmp_path / "run", model=Net, recipe=recipe, batch=6, iterations=1)
    weights = Weights.load(tmp_path / "run" / "weights.safetensors", models={"Net": Net})
    assert weights["conv.weight"].shape[0] == 4
    assert weights.network.architecture["arguments"] == {"width": 4}


def test_a_network_made_by_hand_is_trained_and_kept(clips, tmp_path):
    network = Network(
        (3, 8, 16, 16),
        (
            Conv3d("first", 8, (1, 3, 3)),
            MaxPool3d("pool", (2, 4, 4)),
            Linear("last", 9, relu=False),
            Softmax("prob"),
        ),
    )
    options = {**QUICK, "learning_rate": 0.002}
    report = train(clips, out=tmp_path / "run", model=network, **options)
    assert report.evaluation.video_hit1 == 1.0
    weights = Weights.load(tmp_path / "run" / "weights.safetensors")
    assert weights.network == network.with_classes(3)
    table = Extractor(weights, layer="pool", plan=PLAN)(clips.parent / "videos/red/red_0.mp4")
    assert table.features.shape == (5, 8 * 4 * 4 * 4)


class NoShape(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()


class Named(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.mean = torch.nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": NoShape}, "'NoShape' needs a class attribute `input_shape`"),
        ({"model": Named}, "'Named' has a parameter 'mean': files keep other arrays"),
        ({"model": "c3d", "models": {"c3d": Net}}, "'c3d' is a network of ours"),
        ({"model": "his", "models": {"mine": Net}}, "`model` must be one of c3d.*mine; got 'his'"),
        ({"model": Net, "network": "c3d"}, "two words for one thing"),
        ({"model": Net, "engine": "native"}, '"native" knows our layers alone'),
        ({"model": Net, "recipe": dataclasses.replace(RECIPES["mini"], network="Net",
          arguments={"depth": 3})}, "the model 'Net' cannot be made: .*depth"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused_before_anything_is_written(
    clips, tmp_path, options, message
):
    with pytest.raises(ValueError, match=message):
        train(clips, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net.py", "must name a class as FILE.py:ClassName"),
        ("missing.py:Net", "missing.py: no such file"),
        (f"{FILE}:Nett", "has no class Nett"),
    ],
)
def test_classes_that_are_not_there(text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_class(text)


def test_random_weights_and_what_a_class_has_no_twin_for():
    model = UserModel.from_class("mine", Net, 5)
    one, two, other = (random_weights(model, seed=seed) for seed in (1, 1, 2))
    assert one.sha256 == two.sha256 != other.sha256
    with pytest.raises(ValueError, match="a chain of layers; the model 'mine'"):
        flattened(model)
