"""Scores at every step of a sequence, worked by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from kinema.models.step_scores import log_mean_softmax, loss_at_steps  # noqa: E402

# One clip, two steps, two classes: probabilities (1/4, 3/4), then (1/2, 1/2).
LOGITS = torch.tensor([[[0.0, math.log(3)], [7.0, 7.0]]])


def test_the_mean_probability_of_the_steps():
    mean = log_mean_softmax(LOGITS).exp()
    assert mean.tolist()[0] == pytest.approx([3 / 8, 5 / 8], abs=1e-6)
    # The second step weighs three times the first.
    weighted = log_mean_softmax(LOGITS, torch.tensor([0.5, 1.5])).exp()
    assert weighted.tolist()[0] == pytest.approx([7 / 16, 9 / 16], abs=1e-6)


def test_the_softmax_of_what_is_given_is_the_mean_probability():
    logits = torch.randn(3, 5, 4, generator=torch.manual_seed(0))
    mean = logits.softmax(2).mean(1)
    torch.testing.assert_close(log_mean_softmax(logits).softmax(1), mean)


def test_logits_far_apart_stay_finite():
    far = torch.tensor([[[0.0, 1000.0], [0.0, 2000.0]]])
    assert log_mean_softmax(far).tolist()[0] == pytest.approx([-1000 - math.log(2), 0.0])


def test_the_loss_is_that_of_the_label_at_every_step():
    label = torch.tensor([1])
    plain = loss_at_steps(LOGITS, label).item()
    assert plain == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, abs=1e-6)
    gains = torch.tensor([0.5, 1.0])
    weighted = loss_at_steps(LOGITS, label, gains).item()
    assert weighted == pytest.approx((math.log(4 / 3) + 2 * math.log(2)) / 3, abs=1e-6)


def test_each_clip_has_its_own_label():
    logits = torch.tensor([[[9.0, 0.0]] * 3, [[0.0, 9.0]] * 3])
    assert loss_at_steps(logits, torch.tensor([0, 1])) < 0.001
    assert loss_at_steps(logits, torch.tensor([1, 0])) > 8.9
