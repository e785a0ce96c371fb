"""Codes from a finite codebook: the quantiser of the VQ-VAE (van den Oord et al. 2017).

Each vector z of the encoder's map is replaced by the nearest row of a codebook e, of which only the number k remains:

    k = argmin_j |z - e_j|,   z_q = e_k                                                                   (eq. 1, 2)

argmin has no derivative, so the decoder's gradient goes straight through to the encoder, as if z_q were z; and the
commitment loss |z - sg(z_q)|^2 (sg: no gradient) holds the encoder to the codes that it has chosen (eq. 3). The
codebook is not trained by gradients: each code follows the mean of the vectors that chose it (appendix A.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import array_module, on_device_of, to_device
from ..nn import Module
from ..random import randint, randn
from ..tensor import Tensor, array_of


def straight_through(x: Tensor, quantized: Tensor) -> Tensor:
    """The values of `quantized`, with a gradient that goes to x unchanged (Bengio et al. 2013)."""
    if x.shape != quantized.shape:
        raise ValueError(f"straight_through: x has shape {x.shape} but quantized {quantized.shape}; they must agree")
    return quantized.detach() + (x - x.detach())  # the difference is exactly 0


class VectorQuantizer(Module):
    """(..., code_size) -> the same, each vector replaced by the nearest of `num_codes`; and their numbers, (...).

    In training the codebook moves with each call: with n_k the number of vectors that chose code k (appendix A.1),

        N_k = decay N_k + (1 - decay) n_k,   m_k = decay m_k + (1 - decay) (sum of these vectors),   e_k = m_k / N_k

    A code that is hardly ever chosen, N_k < `restart_below`, is dead: no gradient and no average would bring it back.
    It starts again from one of the batch's vectors at random (Dhariwal et al. 2020, section 3.1). So do, at the
    first call, all those codes, random at the start, that no vector has chosen: the codebook needs no other start.
    """

    counts: Tensor  # N, (num_codes,)
    sums: Tensor  # m, (num_codes, code_size)

    def __init__(self, num_codes: int, code_size: int, decay: float = 0.99, restart_below: float = 1.0):
        super().__init__()
        if num_codes < 1 or code_size < 1:
            raise ValueError(f"VectorQuantizer: num_codes and code_size must be positive, got {num_codes}, {code_size}")
        if not 0 < decay < 1 or not restart_below > 0:
            raise ValueError(
                "VectorQuantizer: decay must be between 0 and 1, and restart_below positive, "
                f"got {decay} and {restart_below}"
            )
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("counts", np.full(num_codes, restart_below, np.float32))
        self.register_buffer("sums", randn(num_codes, code_size) * restart_below)

    @property
    def codebook(self) -> Tensor:
        """e: (num_codes, code_size)."""
        return self.sums / self.counts.reshape(-1, 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.nearest(z)
        quantized = straight_through(z, self.embed(codes))
        if self.training:
            self.update(z, codes)
        return quantized, codes

    def nearest(self, z: Tensor) -> Tensor:
        """The number of the code nearest to each vector: (..., code_size) -> (...), int64."""
        codebook = self.codebook
        if z.shape[-1:] != codebook.shape[1:]:
            raise ValueError(f"VectorQuantizer: codes have {codebook.shape[1]} numbers, but z has shape {z.shape}")
        with no_grad():  # |z - e|^2 = |z|^2 - 2 z e + |e|^2, of which |z|^2 is the same for all codes
            distances = (codebook * codebook).sum(-1) - 2 * ops.matmul(z, codebook.T)
            return distances.argmin(-1)

    def embed(self, codes: Any) -> Tensor:
        """The vectors of codes: integers (...) -> (..., code_size)."""
        return ops.embedding(codes, self.codebook)

    def update(self, z: Tensor, codes: Tensor) -> None:
        """Moves the codebook towards the vectors z (..., code_size) that chose `codes` (...); restarts dead codes."""
        num_codes, code_size = self.sums.shape
        if not z.size:
            raise ValueError(f"VectorQuantizer: in training it needs at least one vector, got z of shape {z.shape}")
        z = z.detach().reshape(-1, code_size)
        replacements = z[randint(0, len(z), (num_codes,), device=z.device)]
        with no_grad(), on_device_of(z.data):
            chosen = (codes.reshape(-1, 1).data == array_module(z.data).arange(num_codes)).astype(z.dtype)  # one-hot
            counts = self.decay * self.counts + (1 - self.decay) * Tensor(chosen.sum(0))
            sums = self.decay * self.sums + (1 - self.decay) * ops.matmul(Tensor(chosen.T), z)
            dead = counts < self.restart_below
            self.counts.assign_(ops.where(dead, self.restart_below, counts).data)
            self.sums.assign_(ops.where(dead.reshape(-1, 1), self.restart_below * replacements, sums).data)


def code_counts(codes: Any, num_codes: int) -> np.ndarray:
    """How often each code occurs among `codes`, integers of any shape: (num_codes,)."""
    codes = to_device(array_of(codes), "cpu").ravel()
    if codes.size and not 0 <= codes.min() <= codes.max() < num_codes:
        raise ValueError(f"code_counts: codes must be from 0 to {num_codes - 1}, got {codes.min()} to {codes.max()}")
    return np.bincount(codes, minlength=num_codes)


def perplexity(counts: Any) -> float:
    """exp(entropy) of the code's distribution, in codes: num_codes if all are used equally, 1 if it is always one.

    counts (num_codes,): how often each code was used.
    """
    counts = to_device(array_of(counts), "cpu")
    if not counts.sum() > 0:
        raise ValueError("perplexity: no code was used")
    p = counts / counts.sum()
    return float(np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum()))


def dead_codes_notice(counts: Any) -> str | None:
    """A sentence if some codes were never used, else None. counts (num_codes,): how often each was."""
    counts = to_device(array_of(counts), "cpu")
    dead = int((counts == 0).sum())
    if dead == 0:
        return None
    return f"{dead} of {len(counts)} codes are dead: restart them sooner (restart_below), or use fewer"
