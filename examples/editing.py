"""Editing with a diffusion model of digits: crude pictures made real (SDEdit), and paths between two digits.

    python examples/editing.py                         # takes over the network of runs/ddpm, or trains one
    python examples/editing.py --trained runs/other    # the network that another run of ddpm.py has left
    python examples/editing.py --device cuda           # on a GPU

SDEdit (Meng et al. 2022): a crude picture is mixed with noise up to a strength, a share of the way to pure noise, and
denoised from there. Noise hides what is crude about it before it hides what it shows. The pictures are held-out digits
as one would set them in large pixels of few greys. The stronger the edit, the less it keeps of the picture (PSNR to the
crude picture), and the more real it looks (KID to the digits that were trained on): strength is the place between the
two, and curve.png shows both over it. The PSNR is of pixels, and falls from the first, so there is a third number: the
share of edits that are read as the digit which the crude picture was made of.

Interpolation: DDIM run backwards turns each of two held-out digits into the noise that DDIM makes it from. Between the
two noises lies an arc of others, each of which makes a digit (Song et al. 2021, section 5.3): interpolation.png, beside
the same pairs faded into each other.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, load_data, report, run_main, split
from ddpm import train
from tqdm import tqdm

from minigen import Tensor
from minigen.data import Dataset, to_float, to_uint8
from minigen.diffusion import Denoiser, Diffusion, edit, interpolate
from minigen.metrics import Features, kernel_distance, psnr
from minigen.viz import save_curves, save_rows

BLOCK, GREYS = 4, 3  # of the crude pictures: the side of their pixels, and how many greys (or levels of a colour)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
METHOD, STEPS = "ddpm", 50
INVERSION_STEPS = 100
PAIRS, POINTS = 40, 9  # of interpolations
BATCH = 100


def crude(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) -> the same in pixels of BLOCK x BLOCK, each of the nearest of GREYS levels to its mean."""
    n, height, width, channels = images.shape
    means = images.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels).mean((2, 4)) / 255
    levels = np.round(means * (GREYS - 1)) / (GREYS - 1) * 255
    return levels.round().astype(np.uint8).repeat(BLOCK, 1).repeat(BLOCK, 2)


def edits(
    denoiser: Denoiser, diffusion: Diffusion, images: np.ndarray, strength: float, seed: int
) -> np.ndarray:
    """What SDEdit makes of images: uint8, both."""
    timetable, made = diffusion.timetable(STEPS), []
    for first in range(0, len(images), BATCH):
        bar = partial(tqdm, desc=f"strength {strength}, images from {first}", unit="step", leave=False)
        x = Tensor(to_float(images[first : first + BATCH])).to(denoiser.device)
        made.append(edit(denoiser, x, timetable, strength, METHOD, seed, first_sample=first, progress=bar).numpy())
    return to_uint8(np.concatenate(made))


def paths(denoiser: Denoiser, diffusion: Diffusion, images: np.ndarray) -> np.ndarray:
    """From each image of the first half to that of the second half: uint8 (pairs, POINTS, H, W, C)."""
    pairs = len(images) // 2
    first, second = (Tensor(to_float(x)).to(denoiser.device) for x in (images[:pairs], images[pairs : 2 * pairs]))
    bar, shares = partial(tqdm, desc="interpolating", unit="step", leave=False), np.linspace(0, 1, POINTS)
    points = interpolate(denoiser, first, second, shares.tolist(), diffusion.timetable(INVERSION_STEPS), bar)
    return to_uint8(np.stack([x.numpy() for x in points], axis=1))
