"""Figures that say how well a model works."""

from .images import psnr
from .probes import linear_probe, nearest_neighbours

__all__ = ["linear_probe", "nearest_neighbours", "psnr"]
