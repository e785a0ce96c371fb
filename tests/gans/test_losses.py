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
