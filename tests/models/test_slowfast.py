"""SlowFast against its published table: sizes, counts, a lateral connection by hand, learning."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.models.slowfast import Bottleneck, Lateral, SlowFast  # noqa: E402


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def bottleneck(channels, inner, time, projected):
    """Three convolutions without biases, gain and bias of three norms, the shortcut's with its."""
    outer = 4 * inner
    shortcut = channels * outer + 2 * outer if projected else 0
    return (
        (channels * inner * time + 2 * inner)
        + (inner * inner * 9 + 2 * inner)
        + (inner * outer + 2 * outer)
        + shortcut
    )


def stage(channels, inner, time, blocks):
    first = bottleneck(channels, inner, time, True)
    return first + (blocks - 1) * bottleneck(4 * inner, inner, time, False)


def lateral(channels):
    return channels * 2 * channels * 5 + 2 * 2 * channels


def test_the_parameters_are_those_counted_by_hand_and_published():
    slow = (
        (3 * 64 * 49 + 2 * 64)
        + stage(64 + 16, 64, 1, 3)
        + stage(256 + 64, 128, 1, 4)
        + stage(512 + 128, 256, 3, 6)
        + stage(1024 + 256, 512, 3, 3)
    )
    fast = (
        (3 * 8 * 5 * 49 + 2 * 8)
        + stage(8, 8, 3, 3)
        + stage(32, 16, 3, 4)
        + stage(64, 32, 3, 6)
        + stage(128, 64, 3, 3)
    )
    sideways = lateral(8) + lateral(32) + lateral(64) + lateral(128)
    by_hand = slow + fast + sideways + (2048 + 256) * 400 + 400
    with torch.device("meta"):
        assert count(SlowFast(400)) == by_hand
        ucf = count(SlowFast(101))
    assert by_hand == 34_480_216
    assert ucf == by_hand - (2048 + 256 + 1) * 299
    # 34.48 M of SlowFast R50 4x16 (pytorchvideo, docs/source/model_zoo.md).
    assert round(by_hand / 1e6, 2) == 34.48


def test_stages_have_the_published_sizes():
    sizes = {}
    with torch.device("meta"):
        model = SlowFast(400)
        for name in ("slow_stem", "fast_stem", "slow_stages", "fast_stages", "lateral"):
            module = model.get_submodule(name)
            parts = module if isinstance(module, torch.nn.ModuleList) else [module]
            for part in parts:
                part.register_forward_hook(
                    lambda module, inputs, out, name=name: sizes.setdefault(name, []).append(
                        tuple(out.shape[1:4])
                    )
                )
        clips = torch.empty(1, 3, 32, 224, 224)
        assert model(clips).shape == (1, 400)
        assert sizes == {
            "slow_stem": [(64, 4, 56)],
            "fast_stem": [(8, 32, 56)],
            "lateral": [(16, 4, 56), (64, 4, 56), (128, 4, 28), (256, 4, 14)],
            "slow_stages": [(256, 4, 56), (512, 4, 28), (1024, 4, 14), (2048, 4, 7)],
            "fast_stages": [(32, 32, 56), (64, 32, 28), (128, 32, 14), (256, 32, 7)],
        }
        shapes = [tuple(model.features(clips, layer).shape) for layer in model.layers]
    assert shapes == [(1, 2048), (1, 256), (1, 2304)]


def test_a_lateral_connection_worked_by_hand():
    """One channel at one place, alpha 2: the frames 1, 2, 3, 4, 5 of the fast pathway."""
    module = Lateral(1, 2).eval()
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [-1.0, 0.0, 1.0, 0.0, 1.0]])
    module.conv.weight.data.copy_(weights.view(2, 1, 5, 1, 1))
    module.norm.running_mean.copy_(torch.tensor([20.0, 0.0]))
    module.norm.running_var.copy_(torch.tensor([4.0, 1.0]))
    module.norm.bias.data.copy_(torch.tensor([0.0, -1.0]))
    out = module(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 1, 5, 1, 1))
    # Centred on frames 1, 3, 5, with zeros outside.
    sums = np.array(
        [
            [3 * 1 + 4 * 2 + 5 * 3, 1 + 2 * 2 + 3 * 3 + 4 * 4 + 5 * 5, 1 * 3 + 2 * 4 + 3 * 5],
            [1 + 3, -1 + 3 + 5, -3 + 5],
        ]
    )
    normalised = np.stack([(sums[0] - 20) / 2, sums[1] - 1.0])
    np.testing.assert_allclose(
        out[0, :, :, 0, 0].detach().numpy(), np.maximum(normalised, 0), rtol=1e-4
    )


def test_what_comes_sideways_lies_behind_the_slow_pathway_s_channels():
    torch.manual_seed(0)
    model = SlowFast(5, width=1 / 8, input_shape=(3, 8, 32, 32), alpha=4, beta=0.5, depth=14)
    model.eval()
    seen = {}
    model.slow_stages[1].register_forward_pre_hook(lambda _, x: seen.update(joined=x[0]))
    model.slow_stages[0].register_forward_hook(lambda _, x, out: seen.update(slow=out))
    model.fast_stages[0].register_forward_hook(lambda _, x, out: seen.update(fast=out))
    model(torch.randn(2, 3, 8, 32, 32) * 60)
    assert seen["joined"].shape == (2, 32 + 2 * 16, 2, 8, 8)
    assert torch.equal(seen["joined"][:, :32], seen["slow"])
    assert torch.equal(seen["joined"][:, 32:], model.lateral[1](seen["fast"]))


def test_the_slow_pathway_sees_every_alpha_th_frame():
    model = SlowFast(5, width=1 / 8, input_shape=(3, 32, 32, 32), depth=14).eval()
    seen = []
    model.slow_stem.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    clips = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, 3, 32, 32, 32)
    model(clips)
    np.testing.assert_allclose(
        seen[0][0, 0, :, 0, 0].numpy() * (0.225 * 255), [0, 8, 16, 24], rtol=1e-6
    )
    # 16 frames of the video apart: tau.
    assert model.alpha * model.frame_step == 16


def test_a_bottleneck_begins_as_its_shortcut():
    torch.manual_seed(0)
    model = SlowFast(5, width=1 / 8, input_shape=(3, 8, 32, 32), depth=26).eval()
    second = model.slow_stages[0][1]
    assert isinstance(second, Bottleneck)
    x = torch.randn(1, 32, 2, 8, 8)
    assert torch.equal(second(x), x.relu())


@pytest.mark.parametrize("frames", [8, 9, 15, 16])
def test_any_number_of_frames_from_alpha_on_gives_both_pathways_as_many(frames):
    model = SlowFast(5, width=1 / 16, input_shape=(3, frames, 40, 32), depth=14).eval()
    assert model(torch.zeros(1, 3, frames, 40, 32)).shape == (1, 5)


def test_eight_clips_are_learned():
    torch.manual_seed(0)
    clips, labels = torch.randn(8, 3, 8, 32, 32) * 60, torch.arange(8) % 4
    shape = (3, 8, 32, 32)
    model = SlowFast(4, width=1 / 8, input_shape=shape, alpha=4, depth=14, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model(clips).argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"input_shape": (3, 7, 64, 64)}, "at least 8 frames"),
        ({"input_shape": (3, 8, 64, 31)}, "at least 32x32 pixels"),
        ({"alpha": 0}, "`alpha` must be at least 1 frame, got 0"),
        ({"beta": 0}, "`beta` must be above 0, got 0"),
        ({"depth": 18}, "`depth` must be one of 14, 26, 50, 101, got 18"),
    ],
)
def test_what_cannot_be_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        SlowFast(4, **arguments)
