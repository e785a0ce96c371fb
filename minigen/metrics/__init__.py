"""Figures that say how well a model works, and the classical filters that a denoising one has to beat."""

from .filters import FILTERS
from .images import mean_psnr, psnr
from .probes import linear_probe, nearest_neighbours
from .reader import Reader

__all__ = ["FILTERS", "Reader", "linear_probe", "mean_psnr", "nearest_neighbours", "psnr"]
