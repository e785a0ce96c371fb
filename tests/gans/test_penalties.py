"""Penalties on gradients against their closed forms, and their own gradients against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor, nn, ops
from minigen.gans import PatchDiscriminator, PathLengthPenalty, gradient_penalty, path_lengths, r1_penalty


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def parameter(x):
    return minigen.tensor(np.asarray(x, np.float64), requires_grad=True)


REAL, FAKE = Tensor(normal(5, 4, 4, 2, seed=1)), Tensor(normal(5, 4, 4, 2, seed=2))
SHARE = Tensor(np.random.default_rng(3).random((5, 1, 1, 1)))


# The gradient penalty


@pytest.mark.parametrize("length", [0.25, 1.0, 3.0])
def test_a_linear_critic_pays_for_the_length_of_its_weights(length):
    w = normal(32)
    w = parameter(w * length / np.linalg.norm(w))
    penalty, norms = gradient_penalty(lambda x: x.reshape(5, 32) @ w, REAL, FAKE, SHARE)
    np.testing.assert_allclose(norms.numpy(), length)
    assert penalty.item() == pytest.approx((length - 1) ** 2)
    penalty.backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * (length - 1) * w.numpy() / length, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_the_gradient_is_taken_between_the_real_and_the_fake(seed):
    real, fake = normal(3, 2, 2, 1, seed=seed), normal(3, 2, 2, 1, seed=seed + 1)
    share = np.random.default_rng(seed).random((3, 1, 1, 1))
    x = share * real + (1 - share) * fake
    expected = np.linalg.norm(x.reshape(3, -1), axis=1)  # the slope of |x|^2 / 2 is x
    penalty, norms = gradient_penalty(lambda x: (x * x).sum((1, 2, 3)) / 2, Tensor(real), Tensor(fake), Tensor(share))
    np.testing.assert_allclose(norms.numpy(), expected)
    assert penalty.item() == pytest.approx(((expected - 1) ** 2).mean())


def test_an_image_s_logits_count_by_their_mean():
    w = parameter(normal(32))

    def patches(x):
        one = (x.reshape(5, 32) @ w).reshape(5, 1, 1, 1)
        return ops.concatenate([one, 2 * one, 3 * one, 4 * one], 1)

    _, norms = gradient_penalty(patches, REAL, FAKE, SHARE)
    np.testing.assert_allclose(norms.numpy(), 2.5 * np.linalg.norm(w.numpy()))


def test_a_flat_critic_has_a_penalty_of_1_and_no_nan():
    w = parameter(np.zeros(32))
    penalty, norms = gradient_penalty(lambda x: ops.tanh(x.reshape(5, 32) @ w), REAL, FAKE, SHARE)
    assert penalty.item() == 1 and not norms.numpy().any()
    penalty.backward()
    assert np.array_equal(w.grad.numpy(), np.zeros(32))


def test_nothing_flows_to_the_images():
    fake = parameter(FAKE.numpy())
    w = parameter(normal(32))
    penalty, _ = gradient_penalty(lambda x: (x.reshape(5, 32) @ w) ** 2, REAL, fake * 2, SHARE)
    penalty.backward()
    assert fake.grad is None and w.grad is not None


class Critic(nn.Module):
    """Convolutions with norms and activations of several kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.fused = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(16, 1)

    def forward(self, x):
        h = ops.group_norm_silu(self.conv(x), 2, self.norm.weight, self.norm.bias)
        h = ops.conv2d_leaky_relu(h, self.fused.weight, self.fused.bias, padding=1, negative_slope=0.2)
        return self.last(ops.layer_norm(h, 4).reshape(len(x), -1))


def check_gradient(network, loss):
    """The derivative of loss() along a random direction of the parameters: by the tape, and by differences."""
    parameters = list(network.parameters())
    start = [p.numpy() for p in parameters]
    direction = [normal(*x.shape, seed=i) for i, x in enumerate(start)]

    def at(t):
        for p, x, d in zip(parameters, start, direction, strict=True):
            p.assign_(x + t * d)
        return loss().item()

    numeric = (at(1e-6) - at(-1e-6)) / 2e-6  # too small a step to cross a kink of leaky ReLU, where the slope jumps
    at(0.0)
    loss().backward()
    # biases may change no slope, and then have no gradient
    assert all(p.grad is not None for p in parameters if p.ndim > 1)
    reached = [(p.grad.numpy(), d) for p, d in zip(parameters, direction, strict=True) if p.grad is not None]
    assert numeric == pytest.approx(sum((g * d).sum() for g, d in reached), rel=1e-7)


CRITICS = {"norms": Critic, "patches": lambda: PatchDiscriminator(2, channels=4, halvings=1)}


@pytest.mark.parametrize("name", CRITICS)
def test_the_penalties_of_convolutional_critics_have_the_gradient_that_differences_say(name):
    side = 4 if name == "norms" else 8
    real, fake = Tensor(normal(5, side, side, 2, seed=1)), Tensor(normal(5, side, side, 2, seed=2))
    minigen.manual_seed(0)
    critic = CRITICS[name]().astype(np.float64)
    check_gradient(critic, lambda: gradient_penalty(critic, real, fake, SHARE)[0])
    critic.zero_grad()
    check_gradient(critic, lambda: r1_penalty(critic, real))


@pytest.mark.parametrize(
    ("fake", "share", "message"),
    [
        ((5, 4, 4, 1), (5, 1, 1, 1), "same shape"),
        ((5, 4, 4, 2), (5,), r"shape \(5, 1, 1, 1\), got \(5,\)"),
        ((5, 4, 4, 2), (1, 1, 1, 1), "one number an image"),
    ],
)
def test_wrong_shapes_are_errors(fake, share, message):
    with pytest.raises(ValueError, match=message):
        gradient_penalty(lambda x: x.sum((1, 2, 3)), REAL, Tensor(np.zeros(fake)), Tensor(np.zeros(share)))


def test_a_critic_must_give_logits_for_each_image():
    for critic in (lambda x: x.sum(), lambda x: x.sum(0)):
        with pytest.raises(ValueError, match=r"logits \(N, ...\)"):
            r1_penalty(critic, REAL)


# R1


def test_r1_of_a_quadratic():
    a, b = normal(32, 32), normal(32, seed=1)
    matrix, x = parameter(a), REAL.numpy().reshape(5, 32)

    def quadratic(images):
        x = images.reshape(5, 32)
        return ((x @ matrix) * x).sum(1) / 2 + x @ b

    slopes = x @ (a + a.T) / 2 + b
    penalty = r1_penalty(quadratic, REAL)
    assert penalty.item() == pytest.approx((slopes**2).sum(1).mean() / 2)
    penalty.backward()
    expected = (x[:, :, None] * slopes[:, None, :] + slopes[:, :, None] * x[:, None, :]).mean(0) / 2
    np.testing.assert_allclose(matrix.grad.numpy(), expected, atol=1e-12)


@settings(max_examples=25)
@given(st.floats(-10, 10), st.integers(0, 100))
def test_r1_grows_with_the_square_of_the_logits_and_ignores_the_order_of_images(scale, seed):
    minigen.manual_seed(seed)
    network = Critic().astype(np.float64)
    once = r1_penalty(network, REAL).item()
    assert once >= 0
    assert r1_penalty(lambda x: scale * network(x), REAL).item() == pytest.approx(scale**2 * once)
    assert r1_penalty(network, Tensor(REAL.numpy()[::-1].copy())).item() == pytest.approx(once)


# Path length


def test_the_path_lengths_of_a_linear_generator():
    a, w, noise = normal(3, 32), parameter(normal(5, 3, seed=1)), normal(5, 4, 4, 2, seed=2)
    matrix = parameter(a)
    lengths = path_lengths((w @ matrix).reshape(5, 4, 4, 2), w, Tensor(noise))
    expected = np.linalg.norm(noise.reshape(5, 32) @ a.T, axis=1) / 4  # / sqrt(H W)
    np.testing.assert_allclose(lengths.numpy(), expected)
    lengths.sum().backward()
    assert matrix.grad is not None


def test_path_lengths_do_not_depend_on_the_resolution_of_the_noise_or_the_number_of_layers():
    """What is drawn with every pixel twice as large moves as far; a step in all of three layers as a step in one."""
    w = parameter(normal(1000, 2))
    lengths = []
    for side in (2, 8):
        images = ops.tanh(w).reshape(1000, 1, 1, 2) * Tensor(np.ones((1, side, side, 1)))
        lengths.append(path_lengths(images, w, Tensor(normal(1000, side, side, 2, seed=side))).mean().item())
    assert lengths[1] == pytest.approx(lengths[0], rel=0.05)
    layers = parameter(np.repeat(w.numpy()[:, None], 3, 1))  # (N,3,d)
    images = (ops.tanh(layers) ** 2).sum((1, 2)).reshape(1000, 1, 1, 1)
    per_layer = path_lengths((ops.tanh(w) ** 2).sum(1).reshape(1000, 1, 1, 1), w, Tensor(normal(1000, 1, 1, 1)))
    np.testing.assert_allclose(path_lengths(images, layers, Tensor(normal(1000, 1, 1, 1))).numpy(), per_layer.numpy())


def test_the_mean_is_plain_at_first_then_forgets_and_is_a_constant_to_the_gradient():
    w, scale, noise = parameter(np.ones((1, 1))), parameter(1.0), Tensor(np.ones((1, 1, 1, 1)))
    penalty, expected, mean = PathLengthPenalty(decay=0.6), [1.0, 2.5, 3.0 * 0.4 + 0.6 * 2.5], 0.0
    for length, mean in zip((1.0, 4.0, 3.0), expected, strict=True):
        loss, lengths = penalty((w * scale * length).reshape(1, 1, 1, 1), w, noise)
        assert lengths.item() == length
        assert penalty.mean == pytest.approx(mean)
        assert loss.item() == pytest.approx((length - mean) ** 2)
    loss.backward()
    assert scale.grad.item() == pytest.approx(2 * (3 - mean) * 3)
    resumed = PathLengthPenalty(decay=0.6)
    resumed.load_state_dict(penalty.state_dict())
    assert vars(resumed) == vars(penalty)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.conv = nn.Linear(3, 64), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, w):
        h = ops.silu(self.first(w)).reshape(len(w), 4, 4, 4)
        return self.conv(ops.group_norm_silu(h, 2, self.norm.weight, self.norm.bias))


def test_the_path_penalty_of_a_convolutional_generator_has_the_gradient_that_differences_say():
    minigen.manual_seed(0)
    generator, w = Generator().astype(np.float64), parameter(normal(5, 3))
    noise = Tensor(normal(5, 4, 4, 2, seed=1))
    check_gradient(generator, lambda: ((path_lengths(generator(w), w, noise) - 0.5) ** 2).mean())


def test_a_generator_that_ignores_its_latents_has_length_0_and_no_nan():
    w, scale = parameter(normal(5, 3)), parameter(0.0)
    images = (w.sum(1) * scale).reshape(5, 1, 1, 1)
    lengths = path_lengths(images, w, Tensor(normal(5, 1, 1, 1)))
    assert not lengths.numpy().any()
    lengths.sum().backward()
    assert scale.grad.item() == 0


def test_path_length_errors():
    with pytest.raises(ValueError, match="decay"):
        PathLengthPenalty(decay=1.0)
    w = parameter(normal(5, 2))
    with pytest.raises(ValueError, match="noise must have the images' shape"):
        path_lengths(w.reshape(5, 1, 1, 2), w, Tensor(normal(5, 2)))


def test_on_a_gpu_the_penalties_are_the_same(cupy):
    def everything(device):
        draw = [Tensor(np.float32(normal(3, 2, 2, 2, seed=i))).to(device) for i in range(3)]
        matrix = minigen.tensor(np.float32(normal(8, 8)), device=device, requires_grad=True)
        w = minigen.tensor(np.float32(normal(3, 8)), device=device, requires_grad=True)
        penalty, norms = gradient_penalty(
            lambda x: ops.tanh(x.reshape(3, 8) @ matrix), *draw[:2], draw[2][:, :1, :1, :1]
        )
        r1 = r1_penalty(lambda x: ops.tanh(x.reshape(3, 8) @ matrix), draw[0])
        path, lengths = PathLengthPenalty()(ops.tanh(w @ matrix).reshape(3, 2, 2, 2), w, draw[2])
        loss = penalty + r1 + path
        loss.backward()
        assert norms.device == lengths.device == loss.device == matrix.grad.device == w.device
        return [penalty.item(), r1.item(), path.item(), *matrix.grad.numpy().ravel()]

    np.testing.assert_allclose(everything("cuda"), everything("cpu"), rtol=1e-4, atol=1e-5)
