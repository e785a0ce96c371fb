"""How exactly float32 matrix products are taken on a GPU: convolutions, `matmul` and attention.

    minigen.float32_matmul_precision("high")           # from now on
    with minigen.float32_matmul_precision("high"):     # inside only

"highest", as it is at first, multiplies float32 numbers exactly. "high" lets the tensor cores of GPUs from sm_80 on
(A100, H100) round each factor to TF32, 10 bits of fraction: several times faster, with errors of some 1e-3 of the
largest result, which training does not notice. Sums are float32 either way, and CPUs always compute exactly. The words
are those of torch.set_float32_matmul_precision, and like there they hold for the whole process, in all its threads.
"""

from __future__ import annotations

PRECISIONS = ("highest", "high")
_precision = "highest"


class float32_matmul_precision:
    """Sets the precision, 'highest' or 'high'; as a context manager, until its end."""

    def __init__(self, precision: str):
        if precision not in PRECISIONS:
            raise ValueError(f"float32_matmul_precision: {precision!r} is unknown: choose 'highest' or 'high'")
        global _precision
        self._before, _precision = _precision, precision

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        global _precision
        _precision = self._before


def tf32_allowed() -> bool:
    return _precision == "high"
