"""Adversarial losses against their closed forms."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import adaptive_weight, hinge_discriminator, hinge_generator


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
