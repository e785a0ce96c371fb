"""Figures that say how well a model works."""

from .images import psnr
from .reader import Reader

__all__ = ["Reader", "psnr"]
