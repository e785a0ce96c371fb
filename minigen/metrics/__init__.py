"""Figures that say how well a model works, and the classical methods that it has to beat."""

from .filters import FILTERS
from .images import mean_psnr, psnr
from .probes import linear_probe, nearest_neighbours
from .rate_distortion import best_points, jpeg, png_bytes, psnr_gain
from .reader import Reader

__all__ = [
    "FILTERS",
    "Reader",
    "best_points",
    "jpeg",
    "linear_probe",
    "mean_psnr",
    "nearest_neighbours",
    "png_bytes",
    "psnr",
    "psnr_gain",
]
