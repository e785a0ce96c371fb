"""examples/super_resolution.py: what a small image is enlarged to. (For its files, see test_contract.py.)"""

from argparse import Namespace

import numpy as np
import pytest

from minigen import Tensor
from minigen.data import shapes
from minigen.diffusion import Diffusion
from minigen.gans import resize, shrink

for module in ("tqdm", "matplotlib", "skimage"):
    pytest.importorskip(module)

SMALL = shrink(shapes(6).images, 4)


@pytest.fixture
def example(load_example):
    return load_example("super_resolution")


def network(x, t):
    """Of noisy residuals and the enlarged image beside them: says that half of the noisy residual is right."""
    return Tensor(0.5 * x.data[..., :3])


@pytest.fixture
def sampler(example):
    return example.Sampler(Namespace(seed=0, device="cpu"), Diffusion(1000, "cosine", "x0"), network, 0.1)


def test_answers_differ_and_are_the_small_image_when_made_small(sampler):
    answers = [sampler(SMALL, answer).astype(int) for answer in range(2)]
    assert np.abs(answers[0] - answers[1]).mean() > 1
    for answer in answers:
        off = np.abs(shrink(answer.astype(np.uint8), 4).astype(int) - SMALL)
        assert off.mean() < 0.5  # 8-bit rounding and clipping alone
    loose = sampler(SMALL, consistent=False)
    assert np.abs(shrink(loose, 4).astype(int) - SMALL).mean() > 0.5


def test_an_answer_does_not_depend_on_the_batch(example, sampler, monkeypatch):
    whole = sampler(SMALL, 1)
    monkeypatch.setattr(example, "SAMPLING_BATCH", 4)
    np.testing.assert_array_equal(sampler(SMALL, 1), whole)


def test_a_network_that_sees_no_residual_leaves_the_enlarged_image(example):
    nothing = example.Sampler(
        Namespace(seed=0, device="cpu"), Diffusion(1000, "cosine", "x0"), lambda x, t: x[..., :3] * 0.0, 0.1
    )
    expected = resize(SMALL, 32, 32).astype(int)
    assert np.abs(nothing(SMALL, consistent=False).astype(int) - expected).max() <= 1
