"""The three models that comparison.py compares: a VAE, a GAN and a diffusion model, each of images of asked classes."""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from typing import Any

import numpy as np
from common import Learner

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
VAE_NETWORK: dict[str, Any] = dict(channels=44, multipliers=(1, 2), blocks=1, patch=2, num_groups=4)
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
    """What the three have in common: a stream of random numbers, batches of the data, and a clock.

    `learners` are what it consists of; `learn` takes a step, `draw` gives images of asked classes, both in [-1, 1].
    """

    def __init__(self, args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, seed: int, steps: int):
        self.args, self.seed, self.steps = args, seed, steps
        self.shape, self.classes = images.shape[1:], int(labels.max()) + 1
        self.generator = minigen.manual_seed(seed)
        self.batches = DataLoader(images, labels, batch_size=args.batch, seed=seed, device=args.device)
        self.learners: dict[str, Learner] = {}
        self.build()
        self.seconds, self.taken, self.failed = 0.0, 0, False  # of the training in this session, and steps of it

    def build(self) -> None:
        raise NotImplementedError

    def learn(self, x: Tensor, labels: Any) -> float:
        """A step on images in [-1, 1]; gives the loss."""
        raise NotImplementedError

    def draw(self, labels: np.ndarray, first: int) -> Tensor:
        raise NotImplementedError

    def step(self) -> float:
        started = time.monotonic()
        x, labels = next(self.batches)
        loss = self.learn(Tensor(to_float(x)), labels)
        self.failed = not math.isfinite(loss)
        self.seconds, self.taken = self.seconds + time.monotonic() - started, self.taken + 1
        return loss

    def parts(self, name: str) -> dict[str, Any]:
        """For a `Run`."""
        own: dict[str, Any] = {f"{name} batches": self.batches, f"{name} generator": self.generator}
        for part, learner in self.learners.items():
            own |= learner.parts(f"{name} {part}")
        return own

    def parameters(self) -> int:
        return sum(p.size for learner in self.learners.values() for p in learner.network.parameters())

    def noise(self, first: int, count: int) -> Tensor:
        """That of the images from number `first` on: the same in any batch."""
        return randn(first + count, LATENT, generator=Generator(self.seed), device=self.args.device)[first:]


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
        return sample(denoiser, (len(labels), *self.shape), timetable, METHOD, self.seed, first_sample=first)


FAMILIES: dict[str, type[Model]] = {"VAE": VAE, "GAN": GAN, "diffusion": DiffusionModel}
