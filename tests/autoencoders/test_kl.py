"""The KL autoencoder: its shapes, latents that become standard, and what is kept in a file."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.autoencoders import KLAutoencoder


@pytest.fixture
def model():
    minigen.manual_seed(0)
    return KLAutoencoder(3, 4, channels=8, multipliers=(1, 2), blocks=1, patch=2)


@pytest.fixture
def x():
    return minigen.rand(6, 16, 8, 3) * 2 - 1


def test_shapes(model, x):
    posterior = model.encode(x)
    assert posterior.mean.shape == posterior.log_variance.shape == (6, 4, 2, 4)
    assert model.decode(posterior.mean).shape == x.shape
    with pytest.raises(ValueError, match="divisible by 4"):
        model.encode(Tensor(np.zeros((1, 10, 8, 3), np.float32)))


def test_encode_and_decode_are_the_networks_until_standardised(model, x):
    np.testing.assert_array_equal(model.encode(x).mean.numpy(), model.encoder(x).numpy()[..., :4])
    z = minigen.randn(6, 4, 2, 4)
    np.testing.assert_array_equal(model.decode(z).numpy(), model.decoder(z).numpy())
    np.testing.assert_array_equal(model(x).numpy(), model.decode(model.encode(x).mean).numpy())


@pytest.mark.parametrize("times", [1, 2])
def test_standardised_latents_have_mean_0_and_deviation_1_in_each_channel(model, x, times):
    raw, images = model.encode(x), model.decode(model.encode(x).mean).numpy()
    for i in range(times):  # the second time of latents that are standard already
        before = model.encode(x).mean.numpy()
        model.standardise(before if i == 0 else 3 * before + 5)
        model.standardise(model.encode(x).mean.numpy())
    now = model.encode(x)
    z = now.mean.numpy()
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, rtol=1e-5)
    # The posterior's deviation goes along, and the images stay.
    ratio = np.exp(0.5 * now.log_variance.numpy()) / np.exp(0.5 * raw.log_variance.numpy())
    np.testing.assert_allclose(ratio, np.broadcast_to(model.scale.numpy(), ratio.shape), rtol=1e-5)
    np.testing.assert_allclose(z, (raw.mean.numpy() - model.shift.numpy()) * model.scale.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.decode(now.mean).numpy(), images, rtol=1e-4, atol=1e-5)


def test_collapsed_channels_cannot_be_standardised(model):
    latents = np.random.default_rng(0).standard_normal((5, 2, 2, 4)).astype(np.float32)
    latents[..., [1, 3]] = 0.3
    with pytest.raises(ValueError, match=r"standardise: channels \[1, 3\] of the latents are constant \(collapsed\)"):
        model.standardise(latents)
    assert (model.scale.numpy() == 1).all() and (model.shift.numpy() == 0).all()


def test_on_a_gpu_it_standardises_the_same(cupy):
    z = minigen.randn(6, 2, 2, 4)
    on_cpu, on_gpu = (KLAutoencoder(1, 4, channels=4, num_groups=2) for _ in range(2))
    on_gpu.to("cuda")
    on_cpu.standardise(z)
    on_gpu.standardise(z.to("cuda"))
    assert on_gpu.scale.device == on_gpu.shift.device == z.to("cuda").device
    np.testing.assert_array_equal(on_gpu.scale.numpy(), on_cpu.scale.numpy())
    np.testing.assert_array_equal(on_gpu.shift.numpy(), on_cpu.shift.numpy())


def test_a_file_holds_all_of_it(model, x, tmp_path):
    model.standardise(model.encode(x).mean.numpy())
    model.save(tmp_path / "a.safetensors")
    loaded = KLAutoencoder.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded.encode(x).mean.numpy(), model.encode(x).mean.numpy())
    np.testing.assert_array_equal(loaded.scale.numpy(), model.scale.numpy())


def test_a_file_of_another_kind_is_refused(model, tmp_path):
    minigen.save(model.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(minigen.serialization.CheckpointError, match=r"other\.safetensors holds no KLAutoencoder"):
        KLAutoencoder.load(tmp_path / "other.safetensors")


def test_gradients_reach_every_weight(model, x):
    for p in model.parameters():  # the residual blocks start as the identity
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    posterior = model.encode(x)
    y = model.decode(posterior.sample())
    ((y - x) * (y - x)).mean().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not np.abs(p.grad.data).max() > 0]
    assert silent == []
    assert model.scale.grad is None and model.shift.grad is None
