"""Diffusion models: the schedule of noise, the process and its loss, samplers, and the network."""

from .process import Diffusion
from .schedules import SCHEDULES, cosine_schedule, linear_schedule, sigmoid_schedule
from .unet import UNet

__all__ = ["SCHEDULES", "Diffusion", "UNet", "cosine_schedule", "linear_schedule", "sigmoid_schedule"]
