"""Every example at a size that takes seconds, run in a process of its own: for the contract and the CUDA tests."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
NO_EXAMPLES = ("common", "contenders", "run", "run_all")
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem not in NO_EXAMPLES)
SMALL_UNET = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (False, False), "patch": 2}
SMALL_LATENT_UNET = {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": (False,)}
# For each example: its arguments, and what to set in it or, as "module.NAME", in another module, so that it takes
# seconds on the emulator. One that makes its data itself names them here, with --data; all others get 12 small images.
SMALL = {
    "augmentation": (
        ["--steps", "4", "--batch", "4", "--samples", "2"],
        {"DRAWS": 2, "LATENT": 4, "CHANNELS": 4, "FAKES": 6, "CLASSIFIER_STEPS": 2, "CLASSIFIER_BATCH": 4},
    ),
    "autoencoder": (["--steps", "2", "--batch", "4", "--samples", "2"], {}),
    "features": (["--steps", "2", "--batch", "4", "--samples", "2"], {"DRAWS": 1}),
    "anomaly": (["--steps", "2", "--batch", "4", "--samples", "1"], {"HIDDEN": 8, "CODE": 2}),
    "compression": (
        ["--steps", "2", "--batch", "4"],
        {
            "LAMBDAS": (2.5, 25),
            "PICTURED": (0, 1),
            "PCA_SIZES": (4, 8),
            "PCA_STEPS": (1.0, 0.5),
            "NETWORK": {"channels": 8, "patch": 2},
        },
    ),
    "gan": (
        ["--data", "both", "--steps", "4", "--batch", "4", "--samples", "20"],
        {"WIDTH": 8, "FRAMES": 2, "POINTS": 4, "FIELD": 5},
    ),
    "clip": (
        ["--data", "shapes", "--steps", "2", "--batch", "4", "--samples", "4"],
        {"TRAINING": 8, "NETWORK": {"size": 4, "width": 8, "depth": 1, "heads": 2}},
    ),
    "clip_guidance": (
        ["--data", "shapes", "--steps", "2", "--batch", "4", "--samples", "8"],
        {
            "CLIP_SETTINGS": ["--steps", "2", "--batch", "4", "--samples", "4"],
            "minigen.metrics.classifier.DRAWN": 16,
            "minigen.metrics.classifier.EPOCHS": 1,
            "AUTOENCODER": ["--steps", "2", "--batch", "4", "--samples", "2"],
            "TRAINING": 8,
            "NETWORK": SMALL_LATENT_UNET,
            "LEVELS": 2,
        },
    ),
    "comparison": (
        ["--steps", "4", "--batch", "4", "--samples", "2"],
        {
            "SEEDS": 2,
            "TURNS": {"VAE": 1, "GAN": 1, "diffusion": 1},
            "contenders.VAE_NETWORK": {"channels": 8, "multipliers": (1, 2), "blocks": 0, "patch": 2},
            "contenders.GAN_NETWORK": {"channels": 4},
            "contenders.UNET": SMALL_UNET,
            "contenders.SAMPLING_STEPS": 2,
            "COMPONENTS": 2,
        },
    ),
    "kl_autoencoder": (["--steps", "2", "--batch", "4", "--samples", "2"], {"NETWORK": {"channels": 8, "patch": 2}}),
    "denoising": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {
            "AUTOENCODER": {"channels": 8, "multipliers": (1, 2), "blocks": 1, "patch": 2},
            "TUNING_IMAGES": 1,
        },
    ),
    "dcgan": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {
            "LATENT": 4,
            "CHANNELS": 4,
            "LEARNING_RATE": 1e-4,
            "VAE_CODE": 2,
            "VAE_NETWORK": {"channels": 8, "multipliers": (1,), "patch": 4},
        },
    ),
    "wgan_gp": (
        ["--steps", "2", "--batch", "4", "--samples", "6"],
        {"CHANNELS": 4, "CRITIC_STEPS": 1, "WARM_UP": 2, "FIRST_POINT": 1, "MEASURED": 8},
    ),
    "ddpm": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {"SAMPLING_STEPS": 2, "NETWORK": SMALL_UNET, "PROBES": 2, "PROBED_IMAGES": 2, "STAGES": 2},
    ),
    "samplers": (
        ["--steps", "2", "--batch", "4", "--samples", "2", "--trained", "nowhere"],
        {"ddpm.NETWORK": SMALL_UNET, "BUDGETS": (2, 10, 20, 30), "INVERSION_STEPS": 2, "INVERTED": 1},
    ),
    "conditional": (
        ["--steps", "2", "--batch", "4", "--samples", "3"],
        {"NETWORK": SMALL_UNET, "SCALES": (1.0, 2.0), "SAMPLING_STEPS": 2},
    ),
    "inpainting": (
        ["--steps", "2", "--batch", "4", "--samples", "2", "--trained", "nowhere"],
        {"ddpm.NETWORK": SMALL_UNET, "REPAINT": (3, 2, 1), "STRIPS": 1, "WINDOWS": 2},
    ),
    "editing": (
        ["--steps", "2", "--batch", "4", "--samples", "2", "--trained", "nowhere"],
        {"ddpm.NETWORK": SMALL_UNET, "EDIT_STEPS": 3, "INVERSION_STEPS": 2, "POINTS": 3},
    ),
    "flow_matching": (
        ["--steps", "4", "--batch", "4", "--samples", "2"],
        {"NETWORK": SMALL_UNET, "PAIRS": 4, "PAIR_STEPS": 2, "FEW": 2, "MANY": 3, "FLOW_SHARE": 0.5},
    ),
    "stacked_modes": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {"LATENT": 4, "GENERATOR_CHANNELS": 4, "DISCRIMINATOR_CHANNELS": 4, "MEASURED": 50},
    ),
    "pix2pix": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {"CHANNELS": 8, "LEARNING_RATE": 1e-4, "CRITIC_RATE": 1e-4, "INK": 1.0, "HALVINGS": 1},
    ),
    "cyclegan": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {"CHANNELS": 8, "BLOCKS": 1, "HALVINGS": 1, "LEARNING_RATE": 1e-4, "CRITIC_RATE": 1e-4},
    ),
    "srgan": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {
            "NETWORK": {"channels": 8, "blocks": 1},
            "HALVINGS": 1,
            "LEARNING_RATE": 1e-4,
            "CRITIC_RATE": 1e-4,
        },
    ),
    "super_resolution": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {
            "NETWORK": {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": (False,), "heads": 2, "patch": 2},
            "L1_NETWORK": {"channels": 8, "blocks": 1},
            "LEARNING_RATE": 1e-4,
            "SAMPLING_STEPS": 2,
        },
    ),
    "latent": (
        ["--steps", "2", "--batch", "4", "--samples", "2"],
        {
            "AUTOENCODER": ["--steps", "2", "--batch", "4", "--samples", "2"],
            "PIXELS": {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": (False,), "heads": 2, "patch": 2},
            "LATENTS": {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": (False,), "heads": 2},
            "LEARNING_RATE": 1e-4,
            "SAMPLING_STEPS": (2, 3),
        },
    ),
    "stylegan": (
        ["--steps", "2", "--batch", "4", "--samples", "4"],
        {
            "G_NETWORK": {"channels": (8, 4), "z_dim": 4, "w_dim": 4, "smallest": 4},
            "D_NETWORK": {"channels": (8, 4), "patch": 2, "smallest": 2},
            "LEARNING_RATE": 1e-5,
            "DCGAN_CHANNELS": 4,
            "DCGAN_LATENT": 4,
            "DCGAN_LEARNING_RATE": 1e-5,
            "R1_WEIGHT": 0.1,
            "PATH_WEIGHT": 0.005,
            "PROJECTION_STEPS": 2,
            "PAIRS": 4,
            "W_DRAWN": 32,
        },
    ),
    "text_to_image": (
        ["--data", "shapes", "--train", "--steps", "2", "--batch", "4", "--samples", "3"],
        {
            "AUTOENCODER": ["--steps", "2", "--batch", "4", "--samples", "2"],
            "CLIP_SETTINGS": ["--steps", "2", "--batch", "4", "--samples", "4"],
            "minigen.metrics.classifier.DRAWN": 16,
            "minigen.metrics.classifier.EPOCHS": 1,
            "TRAINING": 8,
            "NETWORK": SMALL_LATENT_UNET,
            "SCALES": (1.0, 2.0),
            "SAMPLING_STEPS": 2,
            "ALIKE": 3,
        },
    ),
    "vae": (["--steps", "2", "--batch", "4", "--samples", "2"], {"DRAWS": 2, "BOUND_SAMPLES": 2, "BOUND_IMAGES": 2}),
    "video": (
        ["--data", "moving-shapes", "--steps", "2", "--batch", "4", "--samples", "8"],
        {"VIDEOS": 8, "HELD_OUT": 4, "FRAMES": 8, "SIDE": 8, "NETWORK": SMALL_UNET, "SAMPLING_STEPS": 2},
    ),
    "video_gan": (
        ["--data", "moving-shapes", "--steps", "2", "--batch", "4", "--samples", "4"],
        {"VIDEOS": 8, "HELD_OUT": 4, "FRAMES": 8, "SIDE": 8, "LATENT": 4, "CHANNELS": 4, "LEARNING_RATE": 1e-4},
    ),
    "voxels": (
        ["--data", "solids", "--steps", "2", "--batch", "4", "--samples", "4"],
        {
            "TRAINING": 8,
            "READ": 12,
            "HELD_OUT": 4,
            "NETWORK": {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": (False,), "patch": 4},
            "LEARNING_RATE": 1e-4,
            "SAMPLING_STEPS": 2,
            "STAGES": 2,
        },
    ),
    "vqvae": (
        ["--steps", "4", "--batch", "4", "--samples", "6"],
        {
            "CODES": 8,
            "ENCODER": {"channels": 8, "multipliers": (1, 2), "blocks": 0, "patch": 2},
            "DECODER": {"channels": 8, "multipliers": (1, 2), "blocks": 1, "patch": 2},
            "PRIOR": {"channels": 16, "heads": 2, "blocks": 1},
        },
    ),
}
READ_IMAGES = [name for name in SMALL if "--data" not in SMALL[name][0]]
START = """
import sys
sys.path[:0] = [{root!r}, {examples!r}]
import minigen
import {name} as example
for key, value in {settings}.items():
    *module, key = key.split(".")
    module = sys.modules[".".join(module)] if module else example
    assert hasattr(module, key), f"{{module.__name__}} has no {{key}}"
    setattr(module, key, value)

def run(out, *more):
    "The exit code of the example, called as from a command line."
    sys.argv = ["{name}.py", *map(str, [*{fixed}, "--out", out, *more])]
    try:
        example.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0
"""


def write_data(folder):
    """12 images of 8 x 8 pixels in 3 classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, 8, 8, 1)).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(12) % 3)
    return folder / "images.npz"


@contextmanager
def side_by_side(run, request, parameter, workers=None):
    """name -> the future of run(name), for each example that tests of this module were asked for.

    parameter: which of the tests' parameters has the name; workers: how many run at a time, by default this process's
    share of the cores
    """
    workers = workers or max(1, os.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
    own = [item.callspec.params for item in request.session.items if item.path == request.path and "[" in item.name]
    names = dict.fromkeys(params[parameter] for params in own if parameter in params)
    with ThreadPoolExecutor(workers) as pool:
        yield {name: pool.submit(run, name) for name in names}


def run_script(name, data, script, before=""):
    """Runs Python code in which `run(out, *arguments)` runs the example `name`; `before` comes before all imports."""
    arguments, settings = SMALL[name]
    start = START.format(
        root=str(ROOT),
        examples=str(ROOT / "examples"),
        name=name,
        settings=settings,
        fixed=[*(["--data", str(data)] if name in READ_IMAGES else []), *arguments],
    )
    done = subprocess.run([sys.executable, "-c", before + start + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
