"""Conv pooling and the LSTM on long clips: the maximum, the gains, counts, learning."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.models.long_clips import (  # noqa: E402
    ConvPooling,
    ConvPoolingOnImageNet,
    LongLSTM,
    LongLSTMOnImageNet,
    gains,
)

GOOGLENET = 6_998_552 - (1024 * 1000 + 1000)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def lstm(inputs):
    """Five layers of 512 cells, PyTorch's, which have two biases a gate, and the classifier."""
    first, other = (4 * 512 * (size + 512 + 2) for size in (inputs, 512))
    return first + 4 * other + 512 * 101 + 101


@pytest.mark.parametrize(
    ("make", "by_hand", "maps"),
    [
        (ConvPooling, GOOGLENET + 1024 * 6 * 6 * 4096, (1024, 6, 6)),
        (ConvPoolingOnImageNet, 1280 * 7 * 7 * 4096, (1280, 7, 7)),
    ],
)
def test_conv_pooling_has_the_published_sizes(make, by_hand, maps):
    by_hand += 4096 + (4096 * 4096 + 4096) + (4096 * 101 + 101)
    with torch.device("meta"):
        model = make(101)
        assert count(model) == by_hand
        clips = torch.empty(1, *make.input_shape)
        shapes = [tuple(model.features(clips, layer).shape[1:]) for layer in model.layers]
        assert shapes == [maps, (4096,), (4096,)]
        assert model(clips).shape == (1, 101)


@pytest.mark.parametrize(
    ("make", "by_hand", "channels"),
    [
        (LongLSTM, GOOGLENET + lstm(1024), 1024),
        (LongLSTMOnImageNet, lstm(1280), 1280),
    ],
)
def test_the_lstm_has_the_published_sizes(make, by_hand, channels):
    with torch.device("meta"):
        model = make(101)
        assert count(model) == by_hand
        clips = torch.empty(1, *make.input_shape)
        shapes = [tuple(model.features(clips, layer).shape[1:]) for layer in model.layers]
        assert shapes == [(30, channels), (512,)]
        assert model.step_logits(clips).shape == (1, 30, 101)
        assert model(clips).shape == (1, 101)


def test_a_clip_covers_120_frames_whatever_its_length():
    steps = {
        frames: ConvPoolingOnImageNet(2, width=1 / 512, input_shape=(4, frames, 1, 1)).frame_step
        for frames in (120, 60, 30, 16, 121)
    }
    assert steps == {120: 1, 60: 2, 30: 4, 16: 8, 121: 1}
    assert (ConvPooling.frame_step, LongLSTM.frame_step, LongLSTM.short) == (1, 4, "wrap")


def test_the_maximum_over_time_is_taken_place_by_place():
    model = ConvPoolingOnImageNet(2, width=1 / 512, input_shape=(1, 3, 1, 2))
    clip = torch.tensor([[[[[1.0, 7.0]], [[4.0, 2.0]], [[3.0, 6.0]]]]])
    assert model.features(clip, "pool").tolist() == [[[[4.0, 7.0]]]]


def test_conv_pooling_does_not_see_the_order_of_frames():
    torch.manual_seed(0)
    model = ConvPooling(3, width=1 / 16, input_shape=(3, 4, 32, 32)).eval()
    clips = torch.randn(2, 3, 4, 32, 32) * 60
    assert model.googlenet(clips[:, :, 2]).shape == (2, 64, 1, 1)
    torch.testing.assert_close(
        model.maps(clips)[:, 2], model.googlenet(clips[:, :, 2]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(model(clips.flip(2)), model(clips))


def test_gains_rise_to_one_and_weigh_what_is_learned_and_answered():
    assert gains(torch.empty(1, 4, 2)).tolist() == [0.25, 0.5, 0.75, 1.0]
    torch.manual_seed(0)
    model = LongLSTMOnImageNet(3, width=1 / 64, input_shape=(5, 4, 2, 2))
    model.classifier.weight.data.mul_(50)
    clips = torch.randn(2, 5, 4, 2, 2)
    logits = model.step_logits(clips).detach().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    weights = np.array([1, 2, 3, 4]) / 10
    mean = (probabilities * weights[:, None]).sum(1)
    np.testing.assert_allclose(model(clips).softmax(1).detach().numpy(), mean, atol=1e-6)
    losses = -np.log(np.stack([probabilities[0, :, 2], probabilities[1, :, 0]]))
    loss = model.loss(clips, torch.tensor([2, 0])).item()
    assert loss == pytest.approx((losses * weights).sum(1).mean(), abs=1e-6)


def learned(model, clips, labels, *, steps, rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    learn = getattr(model, "loss", None) or (
        lambda clips, labels: torch.nn.functional.cross_entropy(model(clips), labels)
    )
    for _ in range(steps):
        optimizer.zero_grad()
        learn(clips, labels).backward()
        optimizer.step()
    return model.eval()(clips).argmax(1).tolist()


def test_eight_clips_are_learned():
    torch.manual_seed(0)
    frames, labels = torch.randn(8, 3, 2, 32, 32) * 60, torch.arange(8) % 4
    pooling = ConvPooling(4, width=1 / 8, input_shape=(3, 2, 32, 32), dropout=0.0)
    assert learned(pooling, frames, labels, steps=40, rate=0.002) == labels.tolist()
    maps = torch.rand(8, 6, 4, 2, 2) * 6
    pooling = ConvPoolingOnImageNet(4, width=1 / 128, input_shape=(6, 4, 2, 2), dropout=0.0)
    assert learned(pooling, maps, labels, steps=60, rate=0.01) == labels.tolist()
    lstm = LongLSTMOnImageNet(4, width=1 / 16, input_shape=(6, 4, 2, 2))
    assert learned(lstm, maps, labels, steps=120, rate=0.01) == labels.tolist()


def test_frames_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 32x32 pixels"):
        ConvPooling(4, input_shape=(3, 30, 31, 40))
    with pytest.raises(ValueError, match="must have 3 channels"):
        LongLSTM(4, input_shape=(2, 30, 64, 64))
