"""The LSTM with peepholes against steps worked by hand and PyTorch's LSTM."""

from math import exp, tanh

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.models.lstm import PeepholeLSTM  # noqa: E402


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(module, seed=0):
    """The same module with weights that are not small."""
    generator = torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return module


def test_a_step_worked_by_hand():
    lstm = PeepholeLSTM(1, 1)
    layer = lstm.layers[0]
    layer.weight_input.data[:] = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    layer.weight_hidden.data[:] = torch.tensor([[0.5], [-0.5], [1.0], [2.0]])
    layer.peepholes.data[:] = torch.tensor([[2.0], [-1.0], [3.0]])
    layer.bias.data[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    # x = 0.6, h = 0.2, c = -0.5.
    i = 1 / (1 + exp(-(0.6 + 0.1 + 0.1 + 2 * -0.5)))  # sees the old cell
    f = 1 / (1 + exp(-(1.2 - 0.1 + 0.2 - 1 * -0.5)))  # sees the old cell
    a = tanh(-0.6 + 0.2 + 0.3)
    c = f * -0.5 + i * a
    o = 1 / (1 + exp(-(0.3 + 0.4 + 0.4 + 3 * c)))  # sees the new cell
    h = o * tanh(c)

    state = ((torch.tensor([[0.2]]), torch.tensor([[-0.5]])),)
    outputs, ((last, cells),) = lstm(torch.tensor([[[0.6]]]), state)
    assert outputs.shape == (1, 1, 1)
    assert outputs.item() == last.item() == pytest.approx(h, abs=1e-6)
    assert cells.item() == pytest.approx(c, abs=1e-6)


def test_a_sequence_of_two_layers_is_that_of_numpy():
    lstm = drawn(PeepholeLSTM(3, 4, layers=2))
    inputs = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    x = inputs
    for layer in lstm.layers:
        weights = [p.detach().numpy() for p in (layer.weight_input, layer.weight_hidden)]
        peepholes, bias = layer.peepholes.detach().numpy(), layer.bias.detach().numpy()
        h, c, outputs = np.zeros((2, 4)), np.zeros((2, 4)), []
        for step in range(5):
            z = x[:, step] @ weights[0].T + h @ weights[1].T + bias
            i = sigmoid(z[:, :4] + peepholes[0] * c)
            f = sigmoid(z[:, 4:8] + peepholes[1] * c)
            c = f * c + i * np.tanh(z[:, 8:12])
            h = sigmoid(z[:, 12:] + peepholes[2] * c) * np.tanh(c)
            outputs.append(h)
        x = np.stack(outputs, axis=1)
    found, state = lstm(torch.from_numpy(inputs))
    np.testing.assert_allclose(found.detach().numpy(), x, atol=1e-6)
    np.testing.assert_allclose(state[1][1].detach().numpy(), c, atol=1e-6)


def test_without_peepholes_it_is_pytorchs():
    ours, theirs = drawn(PeepholeLSTM(3, 4, layers=2)), torch.nn.LSTM(3, 4, 2, batch_first=True)
    for number, layer in enumerate(ours.layers):
        layer.peepholes.data.zero_()
        getattr(theirs, f"weight_ih_l{number}").data = layer.weight_input.data
        getattr(theirs, f"weight_hh_l{number}").data = layer.weight_hidden.data
        getattr(theirs, f"bias_ih_l{number}").data = layer.bias.data
        getattr(theirs, f"bias_hh_l{number}").data.zero_()
    inputs = torch.randn(2, 6, 3, generator=torch.manual_seed(2))
    torch.testing.assert_close(ours(inputs)[0], theirs(inputs)[0])


def test_a_state_goes_on_where_the_steps_before_ended():
    lstm = drawn(PeepholeLSTM(3, 4, layers=2))
    inputs = torch.randn(2, 6, 3, generator=torch.manual_seed(3))
    whole, _ = lstm(inputs)
    first, state = lstm(inputs[:, :2])
    second, _ = lstm(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_no_input_is_an_input_of_zeros():
    lstm = drawn(PeepholeLSTM(3, 4, layers=2))
    _, state = lstm(torch.randn(2, 6, 3, generator=torch.manual_seed(4)))
    without, _ = lstm(None, state, steps=3)
    zeros, _ = lstm(torch.zeros(2, 3, 3), state)
    assert without.shape == (2, 3, 4)
    torch.testing.assert_close(without, zeros)
    # What never has an input has no weights for one: 4 x 4 (4 + 1) + 3 x 4 values.
    never = PeepholeLSTM(0, 4)
    assert sum(p.numel() for p in never.parameters()) == 4 * 4 * (4 + 1) + 3 * 4


def test_dropout_is_between_layers_and_in_training():
    lstm = drawn(PeepholeLSTM(3, 4, layers=2, dropout=0.5))
    inputs = torch.randn(2, 6, 3, generator=torch.manual_seed(5))
    lower = PeepholeLSTM(3, 4)
    lower.layers[0].load_state_dict(lstm.layers[0].state_dict())
    one, state_one = lstm(inputs)
    another, _ = lstm(inputs)
    assert not torch.equal(one, another)
    # The lower layer's way through time drops nothing.
    torch.testing.assert_close(state_one[0], lower(inputs)[1][0])
    lstm.eval()
    assert torch.equal(lstm(inputs)[0], lstm(inputs)[0])


def test_weights_begin_where_the_paper_s_do():
    torch.manual_seed(6)
    for name, parameter in PeepholeLSTM(30, 40).named_parameters():
        bound = {"bias": 0.0, "peepholes": 0.1}.get(name.rpartition(".")[2], 0.01)
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() >= 0.95 * bound


def test_a_layer_too_few_and_steps_without_a_state_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 1"):
        PeepholeLSTM(3, 0)
    with pytest.raises(ValueError, match="`state` and `steps` must be given"):
        PeepholeLSTM(0, 4)(None, steps=3)
