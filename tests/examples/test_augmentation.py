"""examples/augmentation.py: what a draw is, how classifiers learn, and a sentence for images that will not do."""

import sys
from argparse import Namespace

import numpy as np
import pytest

import minigen

for module in ("tqdm", "matplotlib", "PIL", "scipy"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example, monkeypatch):
    augmentation = load_example("augmentation")
    for name, value in {"LATENT": 4, "CHANNELS": 4, "CLASSIFIER_STEPS": 60, "CLASSIFIER_BATCH": 8}.items():
        monkeypatch.setattr(augmentation, name, value)
    return augmentation


@pytest.fixture
def draws(example):
    """Of images that tell what they are: the first pixel of number i is i + 1, its class, i % 3, is a bright row."""
    images = np.zeros((60, 8, 8, 1), np.uint8)
    images[np.arange(60), 2 * (np.arange(60) % 3) + 1] = 255
    images[:, 0, 0, 0] = np.arange(60) + 1
    args = Namespace(seed=0, per_class=4, steps=4, batch=4, device="cpu")
    minigen.manual_seed(0)
    return [example.Draw(args, images, np.arange(60) % 3, number) for number in (0, 1, 0)]


def test_a_draw_is_so_many_images_of_each_class_and_draws_differ(draws):
    for draw in draws:
        which = draw.images[:, 0, 0, 0].astype(int) - 1
        assert (which % 3 == draw.labels).all() and len(set(which)) == 12
        assert np.bincount(draw.labels).tolist() == [4, 4, 4]
    first, second, again = draws
    assert first.seed == again.seed != second.seed
    assert (first.images == again.images).all() and not (first.images == second.images).all()


def test_the_gan_sees_the_labelled_images_and_no_others(draws):
    draw = draws[0]
    seen = {int(number) for _ in range(9) for number in next(draw.batches)[0][:, 0, 0, 0]}
    assert seen == set(draw.images[:, 0, 0, 0].tolist())


def test_samples_are_of_each_class_in_turn_and_the_same_each_time(draws):
    (images, labels), (again, _) = draws[0].sample(7, "cpu"), draws[0].sample(7, "cpu")
    assert images.shape == (7, 8, 8, 1) and images.dtype == np.uint8 and labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert (images == again).all()


def test_classifiers_learn_from_what_they_are_given(example, draws):
    draw = draws[0]
    unseen = draws[1].images, draws[1].labels
    wrong = draw.images, (draw.labels + 1) % 3  # as fakes: half of what is learned is contradicted
    network = example.classify(draw, wrong, gan=False, warped=False, device="cpu")
    assert example.right(network, *unseen, "cpu") == 1
    again = example.classify(draw, unseen, gan=False, warped=False, device="cpu")
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(network.parameters(), again.parameters(), strict=True))
    misled = example.classify(draw, wrong, gan=True, warped=False, device="cpu")
    x = minigen.Tensor(draw.images / np.float32(127.5) - 1)
    sure, unsure = (minigen.softmax(n(x)["label"], -1).numpy().max(1).mean() for n in (network, misled))
    assert sure > 0.9 > 0.7 > unsure


@pytest.mark.parametrize(
    "labels, more, words",
    [
        (None, (), "labelled images of two classes or more"),
        (np.zeros(20, np.int64), (), "labelled images of two classes or more"),
        (np.arange(20), (), "held-out images of two classes or more"),
        (np.arange(20) % 2, ("--batch", "1"), "--batch: needs at least 2"),
    ],
)
def test_images_that_will_not_do_are_one_sentence(example, monkeypatch, tmp_path, labels, more, words):
    images = np.zeros((20, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, **({} if labels is None else {"labels": labels}))
    arguments = ["augmentation.py", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--batch", "4", *more])
    with pytest.raises(SystemExit, match=words):
        example.main()
    assert not (tmp_path / "out").exists()
