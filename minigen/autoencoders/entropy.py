"""Codes of whole numbers: the distribution that says what they cost, and their way to bytes and back.

A compressor descends on rate + lambda distortion. The rate of a code q of whole numbers is what an entropy coder needs
for it, -log2 p(q) bits and next to nothing more, where p is the prior that the encoder and the decoder share. Rounding
has no slope; in training noise stands in for it, as wide as what rounding takes away (Balle et al. 2017, section 3).

The coder's probabilities must have the same bits at both ends, or all that follows in the stream is lost. Floats do not
promise that from one machine to the next. So the prior is turned into tables of whole numbers once, after training, and
they belong to the model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import array_module, on_device_of
from ..data.base import require
from ..nn import Module, Parameter
from ..random import rand
from ..tensor import Tensor
from .quantize import straight_through

TOTAL = 2**24  # the coder's probabilities are whole multiples of 2^-24
LEAST = 1e-9  # a probability that underflowed costs 30 bits


def add_uniform_noise(y: Tensor, generator: Any = None) -> Tensor:
    """y + u, u uniform in [-1/2, 1/2): what stands in for rounding."""
    return y + (rand(*y.shape, dtype=y.dtype, generator=generator, device=y.device) - 0.5)


def round_straight_through(y: Tensor) -> Tensor:
    """y rounded to whole numbers, with a gradient as if it were not."""
    with on_device_of(y.data):
        return straight_through(y, Tensor(array_module(y.data).rint(y.data)))


class FactorizedPrior(Module):
    """p(q) = prod_i P_i(q_i) over the numbers of a code, with parameters of its own for each of `levels` qualities.

    P_i(q) = F_i(q + 1/2) - F_i(q - 1/2), and F_i is the distribution function of a mixture of logistic distributions,

        F_i(v) = sum_k w_k sigmoid((v - m_k) / s_k)                                 (Salimans et al. 2017, eq. 1, 2)

    Between the whole numbers, the same expression is the density of q + u (Balle et al. 2018, eq. 29).
    """

    def __init__(self, size: int, levels: int = 1, components: int = 3):
        super().__init__()
        shape = (levels, components, size)
        self.logits = Parameter(np.zeros(shape, np.float32))  # w = softmax(logits)
        spread = np.linspace(-0.5, 0.5, components + 2)[1:-1, None]
        self.mean = Parameter(np.broadcast_to(spread, shape).astype(np.float32))
        self.log_scale = Parameter(np.full(shape, math.log(0.25), np.float32))

    def bits(self, y: Tensor, level: Any) -> Tensor:
        """-log2 p(y) of each code: (N, size) and their level, a whole number or one for each, (N,) -> (N,)."""
        if y.ndim != 2 or y.shape[1] != self.mean.shape[-1]:
            raise ValueError(f"FactorizedPrior: codes must be (N, {self.mean.shape[-1]}), got shape {y.shape}")
        weight = ops.softmax(self.logits[level], -2)  # (K, size) or (N, K, size)
        sharpness = ops.exp(-self.log_scale[level])
        # F(v + 1/2) - F(v - 1/2) is the same on both sides of the mean; on the left sigmoid keeps its digits
        v = -ops.abs(y.reshape(len(y), 1, -1) - self.mean[level])
        p = ops.sigmoid((v + 0.5) * sharpness) - ops.sigmoid((v - 0.5) * sharpness)
        return ops.log((weight * p).sum(-2) + LEAST).sum(-1) / -math.log(2)

    def tables(self, level: int, limit: int) -> CodingTables:
        """The prior of a level for the coder, on the numbers from -limit to limit; the outermost take in the tails."""
        levels = len(self.logits)
        if not 0 <= level < levels:
            raise ValueError(f"FactorizedPrior: level must be from 0 to {levels - 1}, got {level}")
        logits, mean, log_scale = (
            p.numpy()[level].astype(np.float64)[..., None] for p in (self.logits, self.mean, self.log_scale)
        )
        weight = np.exp(logits) / np.exp(logits).sum(0)
        edges = np.arange(-limit, limit) + 0.5
        inner = weight * 0.5 * (1 + np.tanh((edges - mean) * np.exp(-log_scale) / 2))  # F, (K, size, 2 limit)
        return CodingTables.from_probabilities(np.diff(inner.sum(0), prepend=0, append=1).clip(0))


class CodingTables:
    """All that the coder knows of the prior: how often of 2^24 times each number occurs in each place of a code.

    counts: (size, 2 limit + 1) for the numbers from -limit to limit, each at least 1; each row's sum is 2^24
    """

    def __init__(self, counts: np.ndarray):
        fits = counts.ndim == 2 and counts.shape[1] >= 3 and counts.shape[1] % 2 == 1
        if not fits or (counts < 1).any() or (counts.sum(1) != TOTAL).any():
            raise ValueError(
                "CodingTables: counts must be (size, 2 limit + 1), limit and counts at least 1, "
                "and add up to 2^24 in each row"
            )
        self.counts, self.limit = counts.astype(np.int32), counts.shape[1] // 2

    @classmethod
    def from_probabilities(cls, p: np.ndarray) -> CodingTables:
        """The whole numbers nearest to p (size, 2 limit + 1), of any sum, that a coder can work with."""
        if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any() or not (p.sum(1) > 0).all():
            raise ValueError(
                "CodingTables: probabilities must be (size, 2 limit + 1), finite, at least 0, and not all 0 in a row"
            )
        counts = 1 + np.floor(p / p.sum(1, keepdims=True) * (TOTAL - p.shape[1])).astype(np.int64)
        counts[np.arange(len(p)), p.argmax(1)] += TOTAL - counts.sum(1)
        return cls(counts)

    @classmethod
    def from_codes(cls, codes: np.ndarray, limit: int) -> CodingTables:
        """Tables from the frequencies of codes (N, size) at each place, with 1/20 added to every count so that no
        number is impossible; codes beyond +-limit count as +-limit."""
        codes = _whole_numbers(codes).clip(-limit, limit) + limit
        occurs = [np.bincount(column, minlength=2 * limit + 1) for column in codes.T]
        return cls.from_probabilities(np.array(occurs) + 0.05)

    def encode(self, codes: np.ndarray) -> bytes:
        """Whole numbers (N, size) -> N in 4 bytes, then the words of a range coder (Martin 1979; by constriction)."""
        codes = _whole_numbers(codes)
        if codes.shape[1] != len(self.counts) or np.abs(codes).max(initial=0) > self.limit:
            raise ValueError(
                f"CodingTables: codes must be (N, {len(self.counts)}), from {-self.limit} to {self.limit}; "
                f"got shape {codes.shape}, up to {np.abs(codes).max(initial=0)}"
            )
        coder = _constriction().stream.queue.RangeEncoder()
        for column, model in zip(codes.T, self._models(), strict=True):
            coder.encode(np.ascontiguousarray(column + self.limit, np.int32), model)
        return len(codes).to_bytes(4, "little") + coder.get_compressed().astype("<u4").tobytes()

    def decode(self, stream: bytes) -> np.ndarray:
        """The codes (N, size) that `encode` was given, int32. An impossible length is refused; other damage is not
        detected and gives other codes."""
        if len(stream) < 4 or len(stream) % 4:
            raise ValueError(f"CodingTables: a stream has 4 bytes or a larger multiple of 4, got {len(stream)} bytes")
        n = int.from_bytes(stream[:4], "little")
        coder = _constriction().stream.queue.RangeDecoder(np.frombuffer(stream[4:], "<u4").astype(np.uint32))
        return np.stack([coder.decode(model, n) for model in self._models()], 1) - np.int32(self.limit)

    def _models(self) -> list[Any]:
        categorical = _constriction().stream.model.Categorical
        # it adds 1 to each number itself and scales the rest to the sum that is left: here, by exactly 1
        return [categorical((row - 1).astype(np.float64), perfect=False) for row in self.counts]


def _whole_numbers(codes: np.ndarray) -> np.ndarray:
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise ValueError(
            f"CodingTables: codes must be whole numbers (N, size), got dtype {codes.dtype} and shape {codes.shape}"
        )
    return codes.astype(np.int64)


def _constriction() -> Any:
    return require("constriction", "constriction", "entropy coding")
