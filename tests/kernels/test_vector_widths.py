"""The kernels as they are generated for other processors: shorter vectors and fewer registers, on this machine."""

import os
import platform
import subprocess
import sys

import pytest

PROCESSORS = {
    "AVX2": (32, "haswell", "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt"),
    "SSE2": (16, "x86-64", "+sse,+sse2"),
}

SCRIPT = """
import sys
import numpy as np
from kernels import cpu, reference
from kernels.cpu.vector import VECTOR_BYTES

assert VECTOR_BYTES == int(sys.argv[1]), VECTOR_BYTES
rng = np.random.default_rng(0)
draw = lambda dtype, *shape: rng.standard_normal(shape).astype(dtype)
for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 1e-12)):
    image, weight, q = draw(dtype, 2, 9, 7, 17), draw(dtype, 3, 3, 17, 21), draw(dtype, 2, 37, 2, 9)
    y, mean, rstd = reference.group_norm(image, 17)
    calls = dict(
        matmul=(draw(dtype, 70, 65), draw(dtype, 65, 90)),
        conv=(image, weight, None, 1, 1),
        conv_weight_grad=(image, draw(dtype, 2, 9, 7, 21), 3, 1, 1),
        attention=(q, q, q),
        group_norm=(image, 17, None, None, 1e-5, True),
        group_norm_backward=(y, image, None, None, mean, rstd, 17),
        softmax=(image[..., ::-1],),
        softmax_backward=(y, reference.softmax(image)),
        activation=(image, "gelu"),
        normal=((3, 50), 1, 2, 0, dtype),
        uniform=((3, 50), 1, 2, 0, dtype),
    )
    for name, arguments in calls.items():
        got, expected = getattr(cpu, name)(*arguments), getattr(reference, name)(*arguments)
        for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, expected)]):
            if b is not None:
                error = np.abs(a - b).max() / max(1, np.abs(b).max())
                assert error < 2 * tolerance, (name, dtype, error)
print("agree")
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("processor", PROCESSORS)
def test_kernels_for_other_processors_agree(processor, tmp_path):
    width, name, features = PROCESSORS[processor]
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(width)], env=environment, capture_output=True, text=True)
    assert run.stdout == "agree\n", run.stderr[-2000:]
