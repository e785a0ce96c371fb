"""The three models that comparison.py compares: a VAE, a GAN and a diffusion model, each of images of asked classes."""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from typing import Any

import numpy as np
from common import FOR_FIGURES, Learner

import minigen
from minigen import F, Tensor, nn, ops
from minigen.autoencoders import CodeDecoder, CodeEncoder, DiagonalGaussian, bernoulli_nll
from minigen.data import DataLoader, to_float
from minigen.diffusion import Diffusion, UNet, drop_labels, guided, sample
from minigen.gans import (
    ConditionalGenerator,
    ProjectionDiscriminator,
    minimax_discriminator,
    non_saturating_generator,
    small_weights_,
)
from minigen.random import Generator, randn

LATENT = 24  # numbers in the noise of VAE and GAN
VAE_NETWORK: dict[str, Any] = dict(channels=72, multipliers=(1,), blocks=2, patch=4, num_groups=8)
GAN_NETWORK: dict[str, Any] = dict(channels=44, middle=1)
UNET: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
WITHOUT_CLASS, SCALE = 0.1, 1.5  # of the diffusion model: images without a class, and the scale of guidance
METHOD, SAMPLING_STEPS = "dpm++2m", 12


class CVAE(nn.Module):
    """q(z | x) and p(x | z, y) of images in [0, 1]; z (N, LATENT)."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.encoder = CodeEncoder(image_shape, 2 * LATENT, **VAE_NETWORK)
        self.embedding = nn.Embedding(classes, LATENT)
        self.decoder = CodeDecoder(image_shape, 2 * LATENT, **VAE_NETWORK)

    def decode(self, z: Tensor, labels: Any) -> Tensor:
        """The logit of each pixel."""
        return self.decoder(ops.concatenate([z, self.embedding(labels)], -1))

    def loss(self, x: Tensor, labels: Any, generator: Generator) -> Tensor:
        """-ELBO, in nats."""
        q = DiagonalGaussian.from_parameters(self.encoder(x))
        return (bernoulli_nll(self.decode(q.sample(generator), labels), x) + q.kl()).mean()


class Model:
    """What the three have in common: random numbers and batches of its own, and what is known of its training.

    `learners` are what it consists of; `learn` takes a step, `draw` gives images of asked classes, both in [-1, 1].
    """

    def __init__(
        self, args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, classes: int, seed: int, steps: int
    ):
        self.args, self.seed, self.steps = args, seed, steps
        self.shape, self.classes = images.shape[1:], classes
        self.batches = DataLoader(images, labels, batch_size=args.batch, seed=seed, device=args.device)
        self.learners: dict[str, Learner] = {}
        self.generator, drawn = Generator(), minigen.manual_seed(seed)
        self.build()
        self.generator.load_state_dict(drawn.state_dict())  # goes on where the first weights ended
        self.seconds, self.failed = 0.0, False

    def build(self) -> None:
        raise NotImplementedError

    def learn(self, x: Tensor, labels: Any) -> float:
        """A step on images in [-1, 1]; gives the loss."""
        raise NotImplementedError

    def draw(self, labels: np.ndarray, first: int) -> Tensor:
        """Images of these classes, of which the first has that number among all that are drawn."""
        raise NotImplementedError

    def step(self) -> float | None:
        """The loss of a step; None, and nothing is done, if an earlier loss was no number."""
        if self.failed:
            return None
        started = time.monotonic()
        x, labels = next(self.batches)
        loss = self.learn(Tensor(to_float(x)), labels)
        self.failed = not math.isfinite(loss)
        self.seconds += time.monotonic() - started
        return None if self.failed else loss

    def parts(self, name: str) -> dict[str, Any]:
        """For a `Run`."""
        own: dict[str, Any] = {name: self, f"{name} batches": self.batches, f"{name} generator": self.generator}
        for part, learner in self.learners.items():
            own |= learner.parts(f"{name} {part}")
        return own

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "failed": int(self.failed)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.failed = float(state["seconds"]), bool(state["failed"])

    def parameters(self) -> int:
        return sum(p.size for learner in self.learners.values() for p in learner.network.parameters())

    def noise(self, first: int, count: int) -> Tensor:
        """That of the images from number `first` on: the same in any batch."""
        generator = Generator(FOR_FIGURES + self.seed)
        return randn(first + count, LATENT, generator=generator, device=self.args.device)[first:]


class VAE(Model):
    def build(self) -> None:
        self.vae = CVAE(self.shape, self.classes)
        self.learners["vae"] = Learner(self.args, self.vae, self.steps, 4e-3)

    def learn(self, x: Tensor, labels: Any) -> float:
        return self.learners["vae"].descend(self.vae.loss((x + 1) / 2, labels, self.generator))

    def draw(self, labels: np.ndarray, first: int) -> Tensor:
        return 2 * F.sigmoid(self.vae.decode(self.noise(first, len(labels)), labels)) - 1


class GAN(Model):
    def build(self) -> None:
        self.g = ConditionalGenerator(self.shape, self.classes, LATENT, **GAN_NETWORK)
        self.d = ProjectionDiscriminator(self.shape, self.classes, **GAN_NETWORK)
        for name, network in (("g", self.g), ("d", self.d)):
            small_weights_(network)
            self.learners[name] = Learner(self.args, network, self.steps, 2e-3, betas=(0.5, 0.99))

    def learn(self, x: Tensor, labels: Any) -> float:
        z = randn(len(x), LATENT, generator=self.generator, device=self.args.device)
        y = self.g(z, labels)
        self.d.requires_grad_(True)
        d_loss = minimax_discriminator(self.d(x, labels), self.d(y.detach(), labels))
        loss = self.learners["d"].descend(d_loss)
        self.d.requires_grad_(False)
        return loss + self.learners["g"].descend(non_saturating_generator(self.d(y, labels)))

    def draw(self, labels: np.ndarray, first: int) -> Tensor:
        return self.g.eval()(self.noise(first, len(labels)), labels)


class DiffusionModel(Model):
    def build(self) -> None:
        self.network: Any = UNet(self.shape[-1], **UNET, num_classes=self.classes)
        self.diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
        self.learners["network"] = Learner(self.args, self.network, self.steps, 4e-3)

    def learn(self, x: Tensor, labels: Any) -> float:
        told = drop_labels(labels, self.network.null_class, WITHOUT_CLASS, self.generator)
        loss = self.diffusion.loss(partial(self.network, labels=told), x, self.generator)
        return self.learners["network"].descend(loss)

    def draw(self, labels: np.ndarray, first: int) -> Tensor:
        denoiser = guided(self.diffusion, self.network, labels, SCALE)
        timetable = self.diffusion.timetable(SAMPLING_STEPS, "karras")
        seed = FOR_FIGURES + self.seed
        return sample(denoiser, (len(labels), *self.shape), timetable, METHOD, seed, first_sample=first)


FAMILIES: dict[str, type[Model]] = {"VAE": VAE, "GAN": GAN, "diffusion": DiffusionModel}
