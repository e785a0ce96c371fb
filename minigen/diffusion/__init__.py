"""Diffusion models: the schedule of noise, the process and its loss, samplers, and the networks."""

from .dit import DiT
from .process import Diffusion
from .schedules import SCHEDULES, cosine_schedule, linear_schedule, sigmoid_schedule
from .unet import UNet
from .video import VideoUNet

__all__ = [
    "SCHEDULES",
    "DiT",
    "Diffusion",
    "UNet",
    "VideoUNet",
    "cosine_schedule",
    "linear_schedule",
    "sigmoid_schedule",
]
