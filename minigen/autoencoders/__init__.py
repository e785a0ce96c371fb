"""Autoencoders: losses, the Gaussian posterior of the variational kind, and convolutional networks."""

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

__all__ = [
    "Autoencoder",
    "CodeDecoder",
    "CodeEncoder",
    "Decoder",
    "DiagonalGaussian",
    "Encoder",
    "active_units",
    "bernoulli_nll",
    "collapse_notice",
    "importance_weighted_bound",
    "squared_error",
    "standard_normal_log_prob",
]
