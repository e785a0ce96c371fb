"""Figures that say how well a model works, and the classical methods that it has to beat.

For generated images, start at `Features` and `compare`:

    features = Features(data)
    figures = compare(features(training_images), features(fakes), features(held_out_images))
    print(comparison_table(figures))
"""

from .classes import class_histogram_kl, share_read
from .compare import compare, comparison_table
from .content import exchanged, shares_kept
from .features import Features
from .filters import FILTERS
from .frechet import frechet_distance
from .images import fidelity, mean_psnr, psnr, seam_gradient, ssim
from .intervals import mean_interval
from .kernel_distance import kernel_distance
from .manifold import density_coverage, nearest_neighbour_accuracy, precision_recall
from .motion import SECTORS, centroids, directions, frames_shuffled, hollow, linear_motion, motion_modes
from .probes import linear_probe, nearest_neighbours
from .rate_distortion import best_points, jpeg, png_bytes, psnr_gain
from .reader import Reader
from .vendi import vendi_score

__all__ = [
    "FILTERS",
    "SECTORS",
    "Features",
    "Reader",
    "best_points",
    "centroids",
    "class_histogram_kl",
    "compare",
    "comparison_table",
    "density_coverage",
    "directions",
    "exchanged",
    "fidelity",
    "frames_shuffled",
    "frechet_distance",
    "hollow",
    "jpeg",
    "kernel_distance",
    "linear_motion",
    "linear_probe",
    "mean_interval",
    "mean_psnr",
    "motion_modes",
    "nearest_neighbour_accuracy",
    "nearest_neighbours",
    "png_bytes",
    "precision_recall",
    "psnr",
    "psnr_gain",
    "seam_gradient",
    "share_read",
    "shares_kept",
    "ssim",
    "vendi_score",
]
