"""Diffusion models: noise schedules, processes and their losses, one denoiser interface, samplers, guidance, networks.

    diffusion = Diffusion(1000, "cosine", "v")         # or EDM(), RectifiedFlow(): how a network is trained
    loss = diffusion.loss(network, x0)
    x = diffusion.sample(network, (16, 28, 28, 1), steps=20, method="dpm++2m")

Start reading at `timetable.py` and `denoiser.py`.
"""

from .ddpm import Diffusion
from .denoiser import Denoiser, convert
from .dit import DiT
from .edm import EDM
from .flow import RectifiedFlow
from .guidance import ClassifierFree, ClassifierGuided, Thresholded
from .likelihood import log_likelihood
from .process import Process
from .samplers import SAMPLERS, denoise, evaluations, invert, sample
from .schedules import (
    SCHEDULES,
    cosine_schedule,
    linear_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    zero_terminal_snr,
)
from .timetable import Timetable, karras_sigmas
from .unet import UNet
from .variational import bits_per_dimension
from .video import VideoUNet
from .wiener import Wiener

__all__ = [
    "EDM",
    "SAMPLERS",
    "SCHEDULES",
    "ClassifierFree",
    "ClassifierGuided",
    "Denoiser",
    "DiT",
    "Diffusion",
    "Process",
    "RectifiedFlow",
    "Thresholded",
    "Timetable",
    "UNet",
    "VideoUNet",
    "Wiener",
    "bits_per_dimension",
    "convert",
    "cosine_schedule",
    "denoise",
    "evaluations",
    "invert",
    "karras_sigmas",
    "linear_schedule",
    "log_likelihood",
    "sample",
    "scaled_linear_schedule",
    "sigmoid_schedule",
    "zero_terminal_snr",
]
