"""index_add on the GPU: runs of one row and of many, that end within a chunk of 32 sorted rows or go over several."""

import numpy as np
import pytest

from kernels import cuda, reference
from kernels.cuda.scatter import CHUNK
from tests.kernels.test_agreement import TOLERANCE, assert_close

from .arrays import on_cpu, scheduled

RNG = np.random.default_rng(0)
INDICES = {
    "one row": [2],
    "all different": RNG.permutation(3 * CHUNK + 1),
    "all the same": [3] * (4 * CHUNK + 1),
    "runs that end with a chunk": np.repeat([5, 1, 2, 4], [CHUNK, 2 * CHUNK, CHUNK - 1, 1]),
    "runs that go over one chunk or two": np.repeat([0, 6, 9], [CHUNK - 1, CHUNK + 2, CHUNK + 1]),
    "mixed": RNG.permutation(np.repeat([0, 3, 4, 7, 99], [1, 70, 2, 33, 40])),
}


@pytest.mark.parametrize("dtype, channels", [(np.float32, 7), (np.float32, 8), (np.float64, 2)])
@pytest.mark.parametrize("name", INDICES)
def test_agrees_with_the_reference_in_every_schedule(cupy, name, dtype, channels):
    indices = np.array(INDICES[name], np.int64)
    g = RNG.standard_normal((len(indices), channels)).astype(dtype)
    exact = reference.index_add((100, channels), indices, g.astype(np.float64))
    results = []
    for schedule in (0, 1, 2):
        with scheduled(cupy, schedule):
            y = cuda.index_add((100, channels), cupy.asarray(indices), cupy.asarray(g))
        assert y.dtype == dtype
        results.append(on_cpu(y))
    assert_close(results[0], exact, TOLERANCE[str(np.dtype(dtype))])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
