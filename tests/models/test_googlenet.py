"""GoogLeNet's body against its published table."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from kinema.models.googlenet import GoogLeNet, Inception  # noqa: E402


def inception(channels, one, reduce3, three, reduce5, five, pooled):
    """Weights and biases of a module."""
    return (
        (channels * one + one)
        + (channels * reduce3 + reduce3)
        + (reduce3 * three * 9 + three)
        + (channels * reduce5 + reduce5)
        + (reduce5 * five * 25 + five)
        + (channels * pooled + pooled)
    )


def test_the_parameters_are_those_counted_by_hand_and_bvlc_s():
    by_hand = (
        (3 * 64 * 49 + 64)
        + (64 * 64 + 64)
        + (64 * 192 * 9 + 192)
        + inception(192, 64, 96, 128, 16, 32, 32)
        + inception(256, 128, 128, 192, 32, 96, 64)
        + inception(480, 192, 96, 208, 16, 48, 64)
        + inception(512, 160, 112, 224, 24, 64, 64)
        + inception(512, 128, 128, 256, 24, 64, 64)
        + inception(512, 112, 144, 288, 32, 64, 64)
        + inception(528, 256, 160, 320, 32, 128, 128)
        + inception(832, 256, 160, 320, 32, 128, 128)
        + inception(832, 384, 192, 384, 48, 128, 128)
    )
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in GoogLeNet().parameters())
    assert counted == by_hand
    # Published with its classifier of 1000 classes, without the auxiliary ones.
    assert counted + 1024 * 1000 + 1000 == 6_998_552


def test_layers_have_the_published_sizes():
    sizes = {}
    with torch.device("meta"):
        net = GoogLeNet()
        for name, module in net.named_modules():
            if name.startswith("conv") or isinstance(module, Inception):
                module.register_forward_hook(
                    lambda module, inputs, out, name=name: sizes.update({name: out.shape[1:]})
                )
        net(torch.empty(1, 3, 224, 224))
    published = {
        "conv1": (64, 112),
        "conv2_reduce": (64, 56),
        "conv2": (192, 56),
        "inceptions.inception_3a": (256, 28),
        "inceptions.inception_3b": (480, 28),
        "inceptions.inception_4a": (512, 14),
        "inceptions.inception_4b": (512, 14),
        "inceptions.inception_4c": (512, 14),
        "inceptions.inception_4d": (528, 14),
        "inceptions.inception_4e": (832, 14),
        "inceptions.inception_5a": (832, 7),
        "inceptions.inception_5b": (1024, 7),
    }
    assert {name: (size[0], *size[1:]) for name, size in sizes.items()} == {
        name: (channels, side, side) for name, (channels, side) in published.items()
    }


def test_an_inception_module_worked_by_hand():
    module = Inception(1, 1, 1, 1, 1, 1, 1)
    for name, weight in (("one", 1.0), ("reduce3", 2.0), ("reduce5", -3.0), ("pooled", 4.0)):
        module.get_submodule(name).weight.data.fill_(weight)
    module.three.weight.data.fill_(1.0)
    module.five.weight.data.fill_(1.0)
    for name, bias in (("one", -1.0), ("reduce3", 0.0), ("three", 0.5), ("reduce5", 12.0)):
        module.get_submodule(name).bias.data.fill_(bias)
    module.five.bias.data.fill_(-0.5)
    module.pooled.bias.data.fill_(0.0)
    # One row of 1, 5, 2: reduced to 2, 10, 4 and to 9, 0 (of -3), 6.
    out = module(torch.tensor([[[[1.0, 5.0, 2.0]]]]))
    assert out[0, :, 0].tolist() == [
        [0.0, 4.0, 1.0],
        [12.5, 16.5, 14.5],
        [14.5, 14.5, 14.5],
        [20.0, 20.0, 20.0],
    ]


def test_division_of_the_pixels_divides_the_maps_and_changes_nothing_else():
    """The published arithmetic, on pixels as they are, gives the same maps times 57.375."""
    torch.manual_seed(0)
    net = GoogLeNet(width=1 / 8)
    frames = torch.randn(1, 3, 40, 48) * 60

    def normalised(x):
        squares = functional.pad(x.square(), (0, 0, 0, 0, 2, 2))
        total = sum(squares[:, k : k + x.shape[1]] for k in range(5))
        return x / (1 + 1e-4 / 5 * total) ** 0.75

    def pooled(x):
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    x = normalised(pooled(net.conv1(frames).relu()))
    x = pooled(normalised(net.conv2(net.conv2_reduce(x).relu()).relu()))
    for number in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        x = pooled(x) if number in ("4a", "5a") else x
        x = net.inceptions[f"inception_{number}"](x)
    assert x.max() > 1
    torch.testing.assert_close(net(frames) * 57.375, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pixels", [32, 56, 64, 112])
def test_small_frames_leave_a_map(pixels):
    with torch.device("meta"):
        shape = GoogLeNet(width=1 / 8)(torch.empty(2, 3, pixels, pixels)).shape
    assert shape[:2] == (2, 128)
    assert min(shape) >= 1
