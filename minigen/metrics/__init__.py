"""Figures that say how well a model works, and the classical methods that it has to beat."""

from .filters import FILTERS
from .images import mean_psnr, psnr
from .reader import Reader

__all__ = ["FILTERS", "Reader", "mean_psnr", "psnr"]
from .images import psnr
from .probes import linear_probe, nearest_neighbours
from .reader import Reader

__all__ = ["Reader", "linear_probe", "nearest_neighbours", "psnr"]
from .rate_distortion import best_points, jpeg, png_bytes, psnr_gain

__all__ = ["Reader", "best_points", "jpeg", "png_bytes", "psnr", "psnr_gain"]
