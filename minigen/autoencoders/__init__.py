"""Autoencoders: losses, noise, the Gaussian posterior of the variational kind, codebooks, their prior, and networks."""

from .corruption import gaussian_noise, masked, salt_and_pepper
from .denoiser import ResidualDenoiser
from .entropy import CodingTables, FactorizedPrior, add_uniform_noise, round_straight_through
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
    "CodingTables",
    "Decoder",
    "DiagonalGaussian",
    "Encoder",
    "FactorizedPrior",
    "KLAutoencoder",
    "ResidualDenoiser",
    "VectorQuantizer",
    "active_units",
    "add_uniform_noise",
    "bernoulli_nll",
    "code_counts",
    "collapse_notice",
    "dead_codes_notice",
    "gaussian_noise",
    "importance_weighted_bound",
    "masked",
    "perplexity",
    "round_straight_through",
    "salt_and_pepper",
    "squared_error",
    "standard_normal_log_prob",
    "straight_through",
]
