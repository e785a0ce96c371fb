"""Adversarial losses against their closed forms."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import (
    adaptive_weight,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    non_saturating_generator,
    saturating_generator,
    wasserstein_critic,
    wasserstein_generator,
)


def logits(*values):
    return minigen.tensor(np.array(values, np.float64), requires_grad=True)


@pytest.mark.parametrize(
    ("real", "fake", "loss"),
    [
        ([0.0, 0.0], [0.0], 2.0),
        ([1.0, 3.0], [-1.0, -5.0], 0.0),  # beyond the margin nothing is asked
        ([0.5, -1.0], [0.0, -0.25, 2.0], (0.5 + 2) / 2 + (1 + 0.75 + 3) / 3),
    ],
)
def test_hinge_discriminator(real, fake, loss):
    assert hinge_discriminator(logits(*real), logits(*fake)).item() == pytest.approx(loss)


def test_hinge_gradients_stop_at_the_margin_for_the_discriminator_alone():
    real, fake = logits(-2.0, 0.9, 1.1, 4.0), logits(-3.0, -1.1, -0.9, 2.0)
    hinge_discriminator(real, fake).backward()
    assert real.grad.numpy().tolist() == [-0.25, -0.25, 0, 0]
    assert fake.grad.numpy().tolist() == [0, 0, 0.25, 0.25]
    fake = logits(-3.0, 5.0)
    loss = hinge_generator(fake)
    loss.backward()
    assert loss.item() == -1
    assert fake.grad.numpy().tolist() == [-0.5, -0.5]


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    weight = minigen.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    x = Tensor(np.array([[1.0, -2.0]]))
    y = x @ weight  # [-5, -6]; d(c . y)/d weight is the outer product of x and c
    reconstruction, adversarial = (y * y).sum(), (y * np.array([3.0, 4.0])).sum()
    expected = np.linalg.norm([-10, -12]) / 5  # |x| cancels
    assert adaptive_weight(reconstruction, adversarial, weight) == pytest.approx(expected, rel=1e-6)
    assert adaptive_weight(reconstruction, adversarial * 1000, weight) == pytest.approx(expected / 1000, rel=1e-6)
    assert adaptive_weight(reconstruction, adversarial * 0, weight) == 1e4
    assert adaptive_weight(reconstruction, adversarial, weight, most=2.0) == 2.0
    assert weight.grad is None
    (reconstruction + adversarial).backward()  # the graph is still there
    assert weight.grad is not None


def test_adaptive_weight_of_a_loss_that_does_not_reach_the_last_layer_is_an_error():
    weight, other = logits(1.0, 2.0), logits(3.0)
    for losses in [(weight.sum(), other.sum()), (other.sum(), weight.sum())]:
        with pytest.raises(RuntimeError, match="the outputs do not depend on input 0"):
            adaptive_weight(*losses, weight)


def test_on_a_gpu_the_losses_are_the_same(cupy):
    def everything(device):
        real, fake = (minigen.tensor(np.float32([-2, 0.5, 3]) * k, device=device, requires_grad=True) for k in (1, -1))
        losses = hinge_discriminator(real, fake), hinge_generator(fake)
        losses[0].backward(retain_graph=True)
        assert losses[0].device == losses[1].device == fake.grad.device == fake.device
        weight = adaptive_weight((fake * fake).sum(), losses[1], fake)
        return [*real.grad.numpy(), *fake.grad.numpy(), losses[0].item(), losses[1].item(), weight]

    np.testing.assert_allclose(everything("cuda"), everything("cpu"), rtol=1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


REAL, FAKE = [0.3, -1.2, 2.0], [-0.7, 0.4]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (minimax_discriminator, -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()),
        (least_squares_discriminator, (np.mean((np.array(REAL) - 1) ** 2) + np.mean(np.square(FAKE))) / 2),
        (wasserstein_critic, np.mean(FAKE) - np.mean(REAL)),
    ],
)
def test_discriminators_descend_on_their_equations(loss, expected):
    assert loss(logits(*REAL), logits(*FAKE)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (saturating_generator, np.log(1 - sigmoid(FAKE)).mean()),
        (non_saturating_generator, -np.log(sigmoid(FAKE)).mean()),
        (least_squares_generator, np.mean((np.array(FAKE) - 1) ** 2) / 2),
        (wasserstein_generator, -np.mean(FAKE)),
    ],
)
def test_generators_descend_on_their_equations(loss, expected):
    assert loss(logits(*FAKE)).item() == pytest.approx(expected, rel=1e-12)


def test_where_d_is_sure_of_a_fake_one_loss_is_flat_and_the_other_steep():
    for loss, slope in ((saturating_generator, -sigmoid(-8.0)), (non_saturating_generator, -sigmoid(8.0))):
        x = logits(-8.0)
        loss(x).backward()
        np.testing.assert_allclose(x.grad.numpy(), [slope], rtol=1e-10)


def test_logits_of_any_size_give_finite_losses():
    huge = logits(-1e4, 1e4)
    for loss in (saturating_generator, non_saturating_generator):
        assert np.isfinite(loss(huge).item())
    assert np.isfinite(minimax_discriminator(huge, huge).item())


def test_a_discriminator_that_says_nothing():
    zero = logits(0.0, 0.0)
    assert minimax_discriminator(zero, zero).item() == pytest.approx(2 * np.log(2))
