"""Figures that say how well a model works, and the classical methods that it has to beat."""

from .filters import FILTERS
from .images import mean_psnr, psnr
from .reader import Reader

__all__ = ["FILTERS", "Reader", "mean_psnr", "psnr"]
