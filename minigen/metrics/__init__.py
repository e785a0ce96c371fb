"""Figures that say how well a model works."""

from .images import psnr

__all__ = ["psnr"]
