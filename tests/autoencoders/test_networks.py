"""Convolutional encoders and decoders: shapes, that they mirror each other, and that every parameter learns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.autoencoders import Autoencoder, CodeDecoder, CodeEncoder, Decoder, Encoder

SMALL = dict(channels=4, num_groups=2)


@given(st.integers(1, 3), st.lists(st.integers(1, 2), min_size=1, max_size=3), st.integers(0, 2), st.integers(1, 3))
@settings(max_examples=15)
def test_the_decoder_gives_images_of_the_shape_that_the_encoder_took(patch, multipliers, blocks, channels):
    settings = dict(SMALL, multipliers=tuple(multipliers), blocks=blocks, patch=patch)
    factor = patch * 2 ** (len(multipliers) - 1)
    x = minigen.randn(2, 2 * factor, factor, channels)
    encoder, decoder = Encoder(channels, 5, **settings), Decoder(5, channels, **settings)
    assert encoder.factor == decoder.factor == factor
    widths = [4 * m for m in multipliers]
    assert [encoder.first.weight.shape[-1], encoder.last.weight.shape[-2]] == [widths[0], widths[-1]]
    assert [decoder.first.weight.shape[-1], decoder.last.weight.shape[-2]] == [widths[-1], widths[0]]
    code = encoder(x)
    assert code.shape == (2, 2, 1, 5)
    assert decoder(code).shape == x.shape

    shape = x.shape[1:]
    code = CodeEncoder(shape, 7, map_channels=3, **settings)(x)
    assert code.shape == (2, 7)
    assert CodeDecoder(shape, 7, map_channels=3, **settings)(code).shape == x.shape


@pytest.mark.parametrize("settings", [{}, {"patch": 2, "multipliers": (1,), "blocks": 2}])
def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone(settings):
    minigen.manual_seed(0)
    encoder = CodeEncoder((8, 4, 3), 6, **SMALL, **settings)
    decoder = CodeDecoder((8, 4, 3), 6, **SMALL, **settings)
    parameters = dict(encoder.named_parameters()) | {f"d.{n}": p for n, p in decoder.named_parameters()}
    for p in parameters.values():  # the residual blocks start as the identity
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    y = decoder(encoder(minigen.randn(2, 8, 4, 3)))
    (y * minigen.randn(*y.shape)).sum().backward()
    silent = [name for name, p in parameters.items() if p.grad is None or not np.abs(p.grad.data).max() > 0]
    assert silent == []


def test_an_image_is_encoded_and_decoded_by_itself():
    minigen.manual_seed(0)
    encoder, decoder = CodeEncoder((8, 8, 1), 4, **SMALL), CodeDecoder((8, 8, 1), 4, **SMALL)
    x = minigen.randn(3, 8, 8, 1)
    both = decoder(encoder(x)).numpy()
    alone = decoder(encoder(Tensor(x.data[1:2]))).numpy()
    np.testing.assert_allclose(alone[0], both[1], atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_sides_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"H and W divisible by 4, got shape \(1, 8, 6, 3\)"):
        Encoder(3, 5, patch=2, **SMALL)(Tensor(np.zeros((1, 8, 6, 3), np.float32)))
    with pytest.raises(ValueError, match=r"Encoder: x must be \(N, H, W, C\)"):
        Encoder(3, 5, **SMALL)(Tensor(np.zeros((8, 8, 3), np.float32)))
    for network in (CodeEncoder, CodeDecoder):
        with pytest.raises(ValueError, match=rf"{network.__name__}: .* divisible by 4, got \(10, 8, 3\)"):
            network((10, 8, 3), 5, patch=2, **SMALL)


@pytest.mark.parametrize("shape", [(3, 12, 8, 1), (3, 8, 8, 3), (8, 8, 1)])
def test_images_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"CodeEncoder: .* image_shape \(8, 8, 1\), got shape \("):
        Autoencoder((8, 8, 1), 4, **SMALL)(Tensor(np.zeros(shape, np.float32)))
