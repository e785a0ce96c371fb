"""Figures that say how well a model works."""

from .images import psnr
from .probes import linear_probe, nearest_neighbours
from .reader import Reader

__all__ = ["Reader", "linear_probe", "nearest_neighbours", "psnr"]
from .rate_distortion import best_points, jpeg, png_bytes, psnr_gain

__all__ = ["Reader", "best_points", "jpeg", "png_bytes", "psnr", "psnr_gain"]
