"""Diffusion models: noise schedules, processes and their losses, one denoiser interface, samplers, guidance, networks.

    diffusion = Diffusion(1000, "cosine", "v")         # or EDM(), RectifiedFlow(): how a network is trained
    loss = diffusion.loss(network, x0)
    x = diffusion.sample(network, (16, 28, 28, 1), steps=20, method="dpm++2m")

Start reading at `timetable.py` and `denoiser.py`.
"""

from .consistency import Consistent
from .ddpm import Diffusion
from .denoiser import Denoiser, Watched, convert
from .dit import DiT
from .editing import edit, interpolate, slerp
from .edm import EDM
from .flow import RectifiedFlow
from .guidance import ClassifierFree, ClassifierGuided, EstimateGuided, Thresholded, drop_labels, guided
from .inpainting import inpaint, outpaint, walk, walk_evaluations
from .likelihood import log_likelihood
from .posterior import PosteriorMean
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
from .text import Prompt, TextUNet
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
    "Consistent",
    "Denoiser",
    "DiT",
    "Diffusion",
    "EstimateGuided",
    "PosteriorMean",
    "Process",
    "Prompt",
    "RectifiedFlow",
    "TextUNet",
    "Thresholded",
    "Timetable",
    "UNet",
    "VideoUNet",
    "Watched",
    "Wiener",
    "bits_per_dimension",
    "convert",
    "cosine_schedule",
    "denoise",
    "drop_labels",
    "edit",
    "evaluations",
    "guided",
    "inpaint",
    "interpolate",
    "invert",
    "karras_sigmas",
    "linear_schedule",
    "log_likelihood",
    "outpaint",
    "sample",
    "scaled_linear_schedule",
    "sigmoid_schedule",
    "slerp",
    "walk",
    "walk_evaluations",
    "zero_terminal_snr",
]
