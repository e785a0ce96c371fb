"""Generative adversarial networks: losses, discriminators, penalties on gradients, and how their game stands."""

from .conditional import ConditionalGenerator, ProjectionDiscriminator, mode_seeking
from .dcgan import DCGANDiscriminator, DCGANGenerator, small_weights_
from .discriminators import PatchDiscriminator
from .game import BALANCED, diagnose, diversity, gradient_norm, standing
from .losses import (
    adaptive_weight,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    non_saturating_generator,
    saturating_generator,
    wasserstein_critic,
    wasserstein_generator,
)
from .penalties import PathLengthPenalty, gradient_penalty, path_lengths, r1_penalty
from .pool import ImagePool
from .super_resolution import SuperResolver, bicubic, over_symmetries, resize, shrink
from .translation import ResNetGenerator, UNetGenerator
from .vgan import VGANDiscriminator, VGANGenerator

__all__ = [
    "BALANCED",
    "ConditionalGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "ImagePool",
    "PatchDiscriminator",
    "PathLengthPenalty",
    "ProjectionDiscriminator",
    "ResNetGenerator",
    "SuperResolver",
    "UNetGenerator",
    "VGANDiscriminator",
    "VGANGenerator",
    "adaptive_weight",
    "bicubic",
    "diagnose",
    "diversity",
    "gradient_norm",
    "gradient_penalty",
    "hinge_discriminator",
    "hinge_generator",
    "least_squares_discriminator",
    "least_squares_generator",
    "minimax_discriminator",
    "mode_seeking",
    "non_saturating_generator",
    "over_symmetries",
    "path_lengths",
    "r1_penalty",
    "resize",
    "saturating_generator",
    "shrink",
    "small_weights_",
    "standing",
    "wasserstein_critic",
    "wasserstein_generator",
]
