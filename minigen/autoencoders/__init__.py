"""Autoencoders: losses, the Gaussian posterior of the variational kind, codebooks and their prior, and networks."""

from .kl import KLAutoencoder
from .losses import (
    DiagonalGaussian,
    active_units,
    bernoulli_nll,
    collapse_notice,
    importance_weighted_bound,
    squared_error,
    standard_normal_log_prob,
)
from .networks import Autoencoder, CodeDecoder, CodeEncoder, Decoder, Encoder
from .prior import CodePrior
from .quantize import VectorQuantizer, code_counts, dead_codes_notice, perplexity, straight_through

__all__ = [
    "Autoencoder",
    "CodeDecoder",
    "CodeEncoder",
    "CodePrior",
    "Decoder",
    "DiagonalGaussian",
    "Encoder",
    "KLAutoencoder",
    "VectorQuantizer",
    "active_units",
    "bernoulli_nll",
    "code_counts",
    "collapse_notice",
    "dead_codes_notice",
    "importance_weighted_bound",
    "perplexity",
    "squared_error",
    "standard_normal_log_prob",
    "straight_through",
]
