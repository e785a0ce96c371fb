"""How the modes of examples/video_gan.py are counted. (What a video shows is read in minigen/metrics/motion.py.)"""

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)


def test_a_mode_is_covered_that_has_a_quarter_of_its_share(load_example):
    coverage = load_example("video_gan").coverage
    real = np.array([0] * 80 + [9] * 20)
    assert coverage(np.array([0] * 95 + [9] * 5), real) == (2, 2)
    assert coverage(np.array([0] * 96 + [9] * 4), real) == (1, 2)
    assert coverage(np.array([0] * 20 + [3] * 80), real) == (1, 2)  # what is not among the real is no mode
