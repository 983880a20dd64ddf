"""Weights: what they keep, what they refuse, and the names they go by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save_file

from kinema import network as networks
from kinema.weights import file as weights_room
from kinema.weights.file import Weights, random_weights, resolve

MINI = networks.c3d_mini(3)


def test_random_weights_are_the_same_everywhere():
    # Written down once: another seed, generator or order of layers would give other features.
    weights = resolve("c3d-mini-random")
    assert weights.sha256 == "63b8118c0eac2db12c156abcf5835b570201a9cb4ed230aadb2f67979c4516b3"
    assert not weights.trained
    assert "not trained" in weights.source


def test_random_weights_have_hes_variance():
    weights = random_weights(networks.c3d_mini(), seed=3)
    assert weights["conv4a.weight"].std() == pytest.approx(np.sqrt(2 / (64 * 27)), rel=0.01)
    assert weights["fc6.weight"].std() == pytest.approx(np.sqrt(2 / 2048), rel=0.01)
    assert not weights["fc6.bias"].any()


def test_everything_comes_back_from_a_file(tmp_path):
    base = random_weights(MINI, seed=1)
    weights = Weights(
        base.arrays,
        MINI,
        name="näme",
        source="somewhere",
        source_sha256="ab" * 32,
        mean=np.random.default_rng(0).random((3, 16, 128, 171), np.float32),
        labels=("one", "two", "drei"),
        trained=True,
        trained_on=("v1.avi", "v2.avi"),
    )
    weights.save(tmp_path / "w.safetensors")
    again = Weights.load(tmp_path / "w.safetensors")
    assert again.metadata() == weights.metadata()
    assert again.network == MINI
    np.testing.assert_array_equal(again.mean, weights.mean)
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(again[name], array)
    before = (tmp_path / "w.safetensors").read_bytes()
    again.save(tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == before


def test_the_pool5_kind_is_kept(tmp_path):
    network = networks.c3d(2, pool5="symmetric", input_shape=(3, 16, 56, 56))
    random_weights(network).save(tmp_path / "w.safetensors")
    assert Weights.load(tmp_path / "w.safetensors").network == network


def test_the_checksum_is_of_the_parameters_alone(tmp_path):
    weights = random_weights(MINI)
    renamed = Weights(weights.arrays, MINI, name="other", mean=np.zeros(3))
    assert renamed.sha256 == weights.sha256
    arrays = dict(weights.arrays)
    arrays["fc8.bias"] = arrays["fc8.bias"] + np.float32(1e-3)
    assert Weights(arrays, MINI).sha256 != weights.sha256


def changed(name, array):
    arrays = {**random_weights(MINI).arrays, name: array}
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrays": changed("fc6.bias", None)}, "parameter fc6.bias is missing"),
        ({"arrays": changed("fc9.bias", np.zeros(1))}, "parameter fc9.bias is not one of"),
        ({"arrays": changed("fc6.bias", np.zeros(2))}, r"fc6.bias must have shape \(512,\)"),
        ({"arrays": changed("fc6.bias", np.zeros(512, int))}, "fc6.bias must hold floating"),
        ({"arrays": changed("fc6.bias", np.full(512, np.nan))}, "fc6.bias holds values"),
        ({"arrays": changed("fc6.bias", np.full(512, 1e300))}, "fc6.bias .*in float32"),
        ({"labels": ("a",)}, "`labels` must be one a class, got 1 for 3"),
        ({"mean": np.zeros(4)}, "`mean` must be three constants"),
        ({"mean": np.full(3, np.inf)}, "`mean` holds values"),
        ({"mean": np.zeros((3, 16, 128, 128))}, r"`mean` must .* \(3, 16, 128, 171\) or"),
        ({"mean": np.zeros(3, complex)}, "`mean` must hold real numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_weights_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Weights(**{"arrays": random_weights(MINI).arrays, "network": MINI, **arguments})


def test_files_that_are_not_ours_are_named(tmp_path):
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("noise", "other"):
        with pytest.raises(ValueError, match=f"{name}.safetensors holds no Kinema weights"):
            Weights.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError, match="gone"):
        Weights.load(tmp_path / "gone.safetensors")


def test_saving_over_a_folder_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").touch()
    with pytest.raises(ValueError, match="models: a folder of this name is there already"):
        random_weights(MINI).save(tmp_path / "models")
    assert (tmp_path / "models" / "mine").exists()


def test_threads_that_save_the_same_file_do_not_meet(tmp_path):
    weights = random_weights(networks.c3d_mini(2, input_shape=(3, 16, 16, 16)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(weights.save, [tmp_path / "w.safetensors"] * 40))
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert Weights.load(tmp_path / "w.safetensors").sha256 == weights.sha256


def test_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="`kinema weights pull c3d-sports1m` fetches"):
        resolve("c3d-sports1m")
    random_weights(MINI, name="stands in").save(tmp_path / "c3d-sports1m.safetensors")
    assert resolve("c3d-sports1m").name == "stands in"
    with pytest.raises(FileNotFoundError, match="neither a file nor one of: c3d-mini, c3d-mini-r"):
        resolve("c4d")
    weights = random_weights(MINI)
    assert resolve(weights) is weights


def test_known_files_are_described():
    for known in weights_room.KNOWN_FILES.values():
        assert known.url.startswith(("http://", "https://"))
        assert known.what


def test_another_draw_of_random_weights_has_a_name():
    first, same, other = (
        resolve(name) for name in ("c3d-mini-random", "c3d-mini-random:0", "c3d-mini-random:7")
    )
    assert first.sha256 == same.sha256 != other.sha256
    assert other.name == "c3d-mini-random:7"
    assert not other.trained
    np.testing.assert_array_equal(
        other["conv1a.weight"], random_weights(other.network, seed=7)["conv1a.weight"]
    )
    with pytest.raises(FileNotFoundError, match="c3d-mini-random:x"):
        resolve("c3d-mini-random:x")


@pytest.mark.parametrize(
    "network",
    [
        MINI.up_to("fc6"),
        MINI.flattened(),
        networks.Network(
            (3, 4, 8, 8),
            (networks.Conv3d("a", 2), networks.Linear("b", 3, relu=False), networks.Softmax()),
        ),
    ],
    ids=["cut", "flattened", "by hand"],
)
def test_networks_that_no_function_makes_come_back_from_a_file(network, tmp_path):
    weights = random_weights(network, seed=2)
    weights.save(tmp_path / "w.safetensors")
    again = Weights.load(tmp_path / "w.safetensors")
    assert again.network == network
    assert again.sha256 == weights.sha256


def test_a_modules_state_goes_to_weights_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    from kinema.engine.torch_network import TorchNetwork

    network = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))
    torch.manual_seed(4)
    module, other, third = (TorchNetwork(network) for _ in range(3))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    weights = Weights(module.state_dict(), network)
    weights.save(tmp_path / "w.safetensors")
    other.load_state_dict(Weights.load(tmp_path / "w.safetensors"))
    third.load_state_dict(module.state_dict())
    assert list(weights) == list(module.state_dict())
    clips = torch.randn(2, *network.input_shape)
    for each in (other, third):
        for name, value in module.state_dict().items():
            assert torch.equal(each.state_dict()[name], value), name
        with torch.no_grad():
            assert torch.equal(each.eval()(clips), module.eval()(clips))
    with torch.no_grad():  # what goes on learning does not change the weights
        before = weights["fc8.bias"].copy()
        module.fc8.bias.add_(1)
    np.testing.assert_array_equal(weights["fc8.bias"], before)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({"fc8.bias": before})


def test_the_shipped_weights_are_learned_and_named():
    weights = resolve("c3d-mini")
    assert weights.trained
    assert weights.name == "c3d-mini"
    assert weights.network.feature_shape("fc6") == (512,)
    assert "Kinetics-400" in weights.learned_from
    assert "BabyCrawling/v_BabyCrawling_g22_c01.avi" in weights.trained_on
    for array in weights.values():  # a file of half the size
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_former_draws_of_the_default_weights_are_told_their_name():
    with pytest.raises(ValueError, match="'c3d-mini:2': .* called c3d-mini-random:2"):
        resolve("c3d-mini:2")
