"""The LSTM composite model and its classifier: targets and losses by hand, counts, learning."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.models.lstm_composite import LSTMClassifier, LSTMComposite  # noqa: E402


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def layer(inputs, cells):
    """Values of one layer: four gates' weights and biases, three peepholes a cell."""
    return 4 * cells * (inputs + cells + 1) + 3 * cells


@pytest.mark.parametrize("channels", [1280, 4096])
def test_the_parameters_are_those_counted_by_hand(channels):
    encoder = layer(channels, 2048) + layer(2048, 2048)
    output = 2048 * channels + channels
    decoder = layer(0, 2048) + layer(2048, 2048) + output
    conditional = encoder + output
    with torch.device("meta"):
        shape = (channels, 29, 1, 1)
        assert count(LSTMComposite(101, input_shape=shape)) == encoder + 2 * decoder
        told = LSTMComposite(101, input_shape=shape, conditional=True)
        assert count(told) == encoder + 2 * conditional
        classifier = LSTMClassifier(101, input_shape=(channels, 16, 1, 1))
        assert count(classifier) == encoder + 2048 * 101 + 101


def test_layers_have_the_published_sizes():
    with torch.device("meta"):
        composite, classifier = LSTMComposite(101), LSTMClassifier(101)
        clips = torch.empty(2, 1280, 29, 7, 7)
        shapes = [tuple(composite.features(clips, name).shape) for name in composite.layers]
        assert shapes == [(2, 29, 1280), (2, 2048), (2, 16, 1280), (2, 13, 1280)]
        assert composite(clips).shape == (2, 101)
        clips = clips[:, :, :16]
        shapes = [tuple(classifier.features(clips, name).shape) for name in classifier.layers]
        assert shapes == [(2, 16, 1280), (2, 2048)]
        assert classifier.step_logits(clips).shape == (2, 16, 101)
        assert classifier(clips).shape == (2, 101)


def clip_of(frames, channels=2, size=3):
    """(1, channels, T, size, size): the mean of frame t is frames[t] of channel 0, 10 of 1."""
    clip = torch.zeros(1, channels, len(frames), size, size)
    clip[0, 0] = torch.tensor(frames)[:, None, None]
    # Places differ, their mean does not.
    clip[0, :, :, 0, 0] += 2.0
    clip[0, :, :, 1, 1] -= 2.0
    clip[0, 1] += 10.0
    return clip


def test_the_first_frames_are_told_last_one_first_and_the_others_after_them():
    model = LSTMComposite(4, width=1 / 512, input_shape=(2, 5, 3, 3))
    assert (model.autoencode, model.predict) == (3, 2)
    clip = clip_of([1.0, 2.0, 3.0, 4.0, 5.0])
    targets = model.targets(model.features(clip, "percepts"))
    assert targets["reconstruction"].tolist() == [[[3, 10], [2, 10], [1, 10]]]
    assert targets["future"].tolist() == [[[4, 10], [5, 10]]]

    # Decoders that tell (2, 9) and (3, 12) whatever they see.
    for name, told in (("reconstruction", [2.0, 9.0]), ("future", [3.0, 12.0])):
        decoder = model.get_submodule(name)
        decoder.output.weight.data.zero_()
        decoder.output.bias.data[:] = torch.tensor(told)
    past = 0.5 * ((1 + 1) + (0 + 1) + (1 + 1))
    future = 0.5 * ((1 + 4) + (4 + 4))
    assert model.loss(clip).item() == pytest.approx(past + future)
    # The mean over clips: one like it, and one told worse by frames of (1, 10), 5 times.
    both = torch.cat([clip, clip_of([1.0] * 5)])
    other = 0.5 * (3 * (1 + 1) + 2 * (4 + 4))
    assert model.loss(both).item() == pytest.approx((past + future + other) / 2)


def drawn(model, seed=0):
    generator = torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model


def test_decoders_know_the_encoder_s_state_alone():
    model = drawn(LSTMComposite(4, width=1 / 512, input_shape=(2, 5, 3, 3)))
    clip, other = clip_of([0.1, 0.2, 0.3, 0.4, 0.5]), clip_of([0.1, 0.2, 0.3, 7.0, -7.0])
    for name in ("reconstruction", "future"):
        assert torch.equal(model.features(clip, name), model.features(other, name))
    # Step by step: the state is handed over, and no input follows.
    _, state = model.encoder(model.features(clip, "percepts")[:, :3])
    told = []
    for _ in range(2):
        h, state = model.future.lstm(None, state, steps=1)
        told.append(model.future.output(h))
    torch.testing.assert_close(torch.cat(told, dim=1), model.features(clip, "future"))


def test_a_conditioned_decoder_sees_the_frame_before_in_training_its_own_otherwise():
    model = drawn(LSTMComposite(4, width=1 / 512, input_shape=(2, 5, 3, 3), conditional=True))
    clip = clip_of([0.1, 0.2, 0.3, 0.4, 0.5])
    percepts = model.features(clip, "percepts")
    decoder = model.reconstruction
    for training in (True, False):
        model.train(training)
        _, state = model.encoder(percepts[:, :3])
        h, state = decoder.lstm(None, state, steps=1)
        told = [decoder.output(h)]
        for step in (1, 2):
            # The frame told before step 1 was frame 3, before step 2 frame 2.
            before = percepts[:, 3 - step : 4 - step] if training else told[-1]
            h, state = decoder.lstm(before, state)
            told.append(decoder.output(h))
        torch.testing.assert_close(model.features(clip, "reconstruction"), torch.cat(told, dim=1))


def test_it_tells_no_classes():
    model = LSTMComposite(4, width=1 / 512, input_shape=(2, 5, 3, 3))
    assert model(clip_of([1.0] * 5)).softmax(1).tolist() == [[0.25] * 4]
    assert not LSTMComposite.learns_labels


def test_the_classifier_takes_the_encoder_s_weights():
    composite = LSTMComposite(4, width=1 / 512, input_shape=(2, 5, 3, 3))
    classifier = LSTMClassifier(7, width=1 / 512, input_shape=(2, 4, 3, 3))
    theirs = composite.state_dict()
    shared = {n: v for n, v in classifier.state_dict().items() if n.startswith("encoder.")}
    assert len(shared) == 8
    assert {name: value.shape for name, value in shared.items()} == {
        name: value.shape for name, value in theirs.items() if name.startswith("encoder.")
    }


def test_the_classifier_averages_the_probabilities_of_its_steps():
    model = drawn(LSTMClassifier(3, width=1 / 512, input_shape=(2, 4, 3, 3))).eval()
    clip = clip_of([0.1, -0.2, 0.3, 1.4])
    logits = model.step_logits(clip).detach().numpy()
    exponentials = np.exp(logits)
    mean = (exponentials / exponentials.sum(2, keepdims=True)).mean(1)
    np.testing.assert_allclose(model(clip).softmax(1).detach().numpy(), mean, atol=1e-6)


def test_eight_clips_are_learned():
    torch.manual_seed(0)
    clips, labels = torch.randn(8, 12, 6, 1, 1), torch.arange(8) % 4
    model = LSTMClassifier(4, width=1 / 64, input_shape=(12, 6, 1, 1), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        model.loss(clips, labels).backward()
        optimizer.step()
    assert model.eval()(clips).argmax(1).tolist() == labels.tolist()


def test_eight_clips_are_told_again():
    torch.manual_seed(0)
    clips = torch.randn(8, 4, 5, 1, 1)
    model = LSTMComposite(4, width=1 / 64, input_shape=(4, 5, 1, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    first = model.loss(clips).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(clips)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 * first


def test_one_frame_cannot_be_parted():
    with pytest.raises(ValueError, match="at least 2 frames"):
        LSTMComposite(4, input_shape=(2, 1, 3, 3))
    model = LSTMComposite(4, width=1 / 512, input_shape=(2, 2, 3, 3))
    assert (model.autoencode, model.predict) == (1, 1)
