"""The autoencoder that latent diffusion stands on (Rombach et al. 2022, section 3.1)."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ..backend import to_device
from ..nn import Module
from ..serialization import CheckpointError, load, save
from ..tensor import Tensor, array_of, tensor
from .losses import DiagonalGaussian
from .networks import Decoder, Encoder


class KLAutoencoder(Module):
    """Images (N, H, W, in_channels) <-> latents (N, H/f, W/f, latent_channels), f = patch * 2^(levels - 1).

        posterior = model.encode(x)            # a DiagonalGaussian
        x = model.decode(posterior.sample())   # or posterior.mean, as model(x) does

    The images are in the range in which it was trained, [-1, 1] in the examples; what it decodes is not clipped.

    A diffusion model wants latents of mean 0 and standard deviation 1. `standardise` measures what they are, and from
    then on `encode` gives and `decode` takes (z - shift) * scale, per channel. (Rombach et al., appendix G, do so with
    one scale for all channels.)

    settings: those of `Encoder` and `Decoder`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, in_channels: int, latent_channels: int = 4, **settings: Any):
        super().__init__()
        self.arguments = {"in_channels": in_channels, "latent_channels": latent_channels, **settings}
        self.encoder = Encoder(in_channels, 2 * latent_channels, **settings)
        self.decoder = Decoder(latent_channels, in_channels, **settings)
        self.register_buffer("shift", np.zeros(latent_channels, np.float32))
        self.register_buffer("scale", np.ones(latent_channels, np.float32))

    def encode(self, x: Tensor) -> DiagonalGaussian:
        raw = DiagonalGaussian.from_parameters(self.encoder(x))
        return DiagonalGaussian((raw.mean - self.shift) * self.scale, raw.log_variance + 2 * self.scale.log())

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z / self.scale + self.shift)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction."""
        return self.decode(self.encode(x).mean)

    def standardise(self, latents: Any) -> None:
        """Sets shift and scale such that latents (..., C), as `encode` gave them, become of mean 0 and deviation 1."""
        latents = to_device(array_of(latents), "cpu")
        z = latents.reshape(-1, latents.shape[-1]).astype(np.float64)
        if constant := [channel for channel, values in enumerate(z.T) if values.min() == values.max()]:
            raise ValueError(
                f"standardise: channels {constant} of the latents are constant (collapsed): lower the weight of the "
                "KL, or use fewer latent_channels"
            )
        shift, scale = self.shift.numpy() + z.mean(0) / self.scale.numpy(), self.scale.numpy() / z.std(0)
        for t, values in ((self.shift, shift), (self.scale, scale)):
            t.assign_(tensor(values.astype(np.float32), device=t.device).data)

    def save(self, path: str | os.PathLike) -> None:
        """Writes all that `load` needs, in one safetensors file."""
        save({"arguments": json.dumps(self.arguments), "state": self.state_dict()}, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> KLAutoencoder:
        """The autoencoder in a file that `save` wrote, on the CPU."""
        saved = load(path)
        if saved.keys() != {"arguments", "state"}:
            raise CheckpointError(f"{path} holds no KLAutoencoder: it has {', '.join(sorted(saved))[:80]}")
        model = cls(**json.loads(saved["arguments"]))
        model.load_state_dict(saved["state"])
        return model
