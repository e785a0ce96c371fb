"""CLIP: its loss against its definition, causality, gradients, what is refused, and that it learns."""

import numpy as np
import pytest

import minigen
from minigen import Tensor, nn, optim
from minigen.contrastive import CLIP, END, TextEncoder, Tokenizer, at_the_end, contrastive_loss
from minigen.data import shapes, to_float
from minigen.serialization import CheckpointError

from ..diffusion.networks import check_parameter_gradients, filled, silent_parameters

DATA = shapes(48)
TOKENIZER = Tokenizer.learn(DATA.captions, context=24)


def small_clip(**settings):
    minigen.manual_seed(0)
    return CLIP((32, 32, 3), TOKENIZER, **{"size": 8, "width": 16, "depth": 2, "heads": 2, **settings})


def test_loss_is_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    scores, expected = 7 * a @ b.T, 0.0
    for i in range(5):
        expected -= np.log(np.exp(scores[i, i]) / np.exp(scores[i]).sum()) / 10
        expected -= np.log(np.exp(scores[i, i]) / np.exp(scores[:, i]).sum()) / 10
    assert contrastive_loss(Tensor(a), Tensor(b), 7.0).item() == pytest.approx(expected)


def test_tokens_see_those_before_them_alone_and_padding_changes_nothing():
    model, tokens = filled(small_clip()), TOKENIZER(["a red star in the top left"])
    other, end = tokens.copy(), int(np.argmax(tokens[0] == END))
    other[0, end - 1] += 1
    a, b = model.text(tokens).numpy(), model.text(other).numpy()
    np.testing.assert_array_equal(a[0, : end - 1], b[0, : end - 1])
    assert np.abs(a[0, end] - b[0, end]).max() > 1e-3
    short = model.encode_text(tokens[:, : end + 1]).numpy()
    np.testing.assert_allclose(model.encode_text(tokens).numpy(), short, rtol=1e-4, atol=1e-5)


def test_order_matters():
    a, b = filled(small_clip()).encode_text(["top left, red star", "left top, red star"]).numpy()
    assert np.abs(a - b).max() > 1e-3


def test_embeddings_have_length_1_and_the_scale_is_bounded():
    model = filled(small_clip())
    for e in (model.encode_image(minigen.randn(3, 32, 32, 3)), model.encode_text(DATA.captions[:3])):
        np.testing.assert_allclose((e.numpy() ** 2).sum(1), 1, rtol=1e-5)
    model.log_scale.assign_(np.float32(3.0))
    assert model.scale().item() == pytest.approx(np.exp(3.0), rel=1e-5)
    model.log_scale.assign_(np.float32(9.0))
    assert model.scale().item() == pytest.approx(100, rel=1e-5)


def test_every_parameter_gets_a_gradient():
    model = filled(small_clip())
    model.loss(minigen.randn(6, 32, 32, 3), DATA.captions[:6]).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not np.abs(p.grad.data).max() > 0]
    assert silent == []


def test_gradients_of_parameters_are_right():
    minigen.manual_seed(0)
    text = filled(TextEncoder(9, 5, width=8, depth=1, heads=2)).astype(np.float64)
    check_parameter_gradients(text, np.array([[1, 5, 3, 2, 0], [1, 8, 2, 0, 0]]))
    assert silent_parameters(filled(TextEncoder(3, 4, width=4, depth=1, heads=2)), np.array([[1, 0, 1, 2]])) == []


def test_at_the_end_picks_the_end():
    features, tokens = minigen.randn(2, 4, 3), np.array([[1, END, 0, 0], [1, 5, 6, END]])
    np.testing.assert_array_equal(at_the_end(features, tokens).numpy(), features.numpy()[[0, 1], [1, 3]])


def test_it_learns_which_caption_is_whose():
    x, captions = Tensor(to_float(DATA.images[:16])), DATA.captions[:16]
    model = small_clip(size=16, width=32, depth=1)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(60):
        loss = model.loss(x, captions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with minigen.no_grad():
        cosines = (model.encode_image(x) @ model.encode_text(captions).transpose(1, 0)).numpy()
    assert (cosines.argmax(1) == np.arange(16)).mean() > 0.9  # chance: 1 / 16


def test_it_comes_back_from_a_file(tmp_path):
    model = filled(small_clip())
    model.save(tmp_path / "clip.safetensors")
    again = CLIP.load(tmp_path / "clip.safetensors")
    x = minigen.randn(2, 32, 32, 3)
    np.testing.assert_array_equal(again.encode_image(x).numpy(), model.encode_image(x).numpy())
    np.testing.assert_array_equal(again.encode_text("a star").numpy(), model.encode_text("a star").numpy())
    minigen.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no CLIP: it has bias, weight"):
        CLIP.load(tmp_path / "other.safetensors")


def test_it_gives_the_same_on_any_device(device):
    model, x = filled(small_clip()), minigen.randn(3, 32, 32, 3)
    expected = model.loss(x, DATA.captions[:3]).item()
    x = x.to(device)
    loss = model.to(device).loss(x, DATA.captions[:3])
    assert loss.device == x.device and loss.item() == pytest.approx(expected, rel=1e-3)
    features, told, whole = model.text_features(DATA.captions[:3])
    assert features.device == whole.device == x.device and told.shape == features.shape[:2]


def test_past_its_bound_the_scale_still_learns_to_come_back():
    model = small_clip()
    model.log_scale.assign_(np.float32(9.0))
    (3 * model.scale()).backward()
    assert model.log_scale.grad.item() == pytest.approx(300, rel=1e-4)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="CLIP: the sides of the images must be multiples of 4, got 30 x 32"):
        CLIP((30, 32, 3), TOKENIZER)
    with pytest.raises(ValueError, match="TransformerBlock: heads=3 does not divide channels=16"):
        small_clip(heads=3)
    with pytest.raises(ValueError, match=r"TextEncoder: tokens must be \(N, L\) with L up to 24, got shape \(1, 25\)"):
        small_clip().encode_text(np.full((1, 25), END))
    with pytest.raises(ValueError, match="at_the_end: a text without an end token"):
        small_clip().encode_text(np.array([[1, 5]]))
    with pytest.raises(ValueError, match=r"contrastive_loss: needs pairs .*, got \(2, 3\) and \(3, 3\)"):
        contrastive_loss(minigen.randn(2, 3), minigen.randn(3, 3), 1.0)


def test_text_features_are_of_pieces_and_of_the_whole():
    model, texts = filled(small_clip()), ["a red star", "a ring on the left"]
    features, told, whole = model.text_features(texts)
    assert features.shape == (2, 24, 16) and told.sum(1).tolist() == [5, 7]
    np.testing.assert_array_equal(whole.numpy(), features.numpy()[[0, 1], [4, 6]])
    direct = model.project(whole).numpy()
    direct /= np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_text(texts).numpy(), direct, rtol=1e-5, atol=1e-6)
