"""Generative adversarial networks: losses and discriminators."""

from .discriminators import PatchDiscriminator
from .losses import adaptive_weight, hinge_discriminator, hinge_generator

__all__ = ["PatchDiscriminator", "adaptive_weight", "hinge_discriminator", "hinge_generator"]
