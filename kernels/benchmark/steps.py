"""What a row of a network runs: a step of training or a forward pass, in minigen and in PyTorch.

Either is imported by the functions that need it only: how long a program with minigen takes to start is a row too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kernels.benchmark.row import Run, normal

# ---- the U-Net of 6.5 M parameters -------------------------------------------------------------------------


def our_forward(n: int, device: str = "cpu") -> Run:
    import minigen
    from kernels.benchmark.unet import UNet

    network, x, t = UNet().to(device), minigen.Tensor(normal(n, 32, 32, 3)).to(device), np.arange(n)

    def run() -> None:
        with minigen.no_grad():
            network(x, t)

    return run


def our_step(n: int, device: str = "cpu") -> Run:
    import minigen
    from kernels.benchmark.unet import UNet

    network, x, t = UNet().to(device), minigen.Tensor(normal(n, 32, 32, 3)).to(device), np.arange(n)
    optimizer = minigen.optim.Adam(network.parameters(), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        error = network(x, t) - x
        (error * error).mean().backward()
        optimizer.step()

    return run


def torch_forward(n: int, layout: Any) -> Run:
    import torch

    from kernels.benchmark.peers import forward, image
    from kernels.benchmark.unet_torch import UNet

    network: Any = UNet()
    network.to(memory_format=layout)
    return forward(partial(network, image(normal(n, 32, 32, 3), layout), torch.arange(n)))


def torch_step(n: int, layout: Any) -> Run:
    import torch

    from kernels.benchmark.peers import image
    from kernels.benchmark.unet_torch import UNet

    network: Any = UNet()
    network.to(memory_format=layout)
    x, t = image(normal(n, 32, 32, 3), layout), torch.arange(n)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(x, t), x).backward()
        optimizer.step()

    return run


# ---- examples/ddpm.py -------------------------------------------------------------------------------------

# The network of examples/ddpm.py, with attention in the place of the dense layers over all places in its middle.
EXAMPLE: Any = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)


def example_step(n: int, device: str = "cpu") -> Run:
    """A training step as in examples/ddpm.py."""
    import minigen
    from minigen.diffusion import Diffusion, UNet

    diffusion, network = Diffusion(prediction="x0"), UNet(1, **EXAMPLE).to(device)
    ema = minigen.optim.EMA(network)
    optimizer = minigen.optim.Adam(network.parameters(), lr=2e-3, max_norm=1.0, ema=ema)
    x0 = minigen.Tensor(normal(n, 28, 28, 1)).to(device)

    def run() -> None:
        loss = diffusion.loss(network, x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def torch_example_step(n: int, layout: Any) -> Run:
    import torch

    from kernels.benchmark.peers import image
    from kernels.benchmark.unet_torch import UNet

    network: Any = UNet(1, **EXAMPLE, all_kept=False)
    network.to(memory_format=layout)
    average = [p.detach().clone() for p in network.parameters()]
    x0, t = image(normal(n, 28, 28, 1), layout), torch.arange(n)
    signal = torch.linspace(0.1, 0.9, n).reshape(-1, 1, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)

    def run() -> None:
        noisy = signal * x0 + (1 - signal**2).sqrt() * torch.randn_like(x0)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(noisy, t), x0).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(network.parameters()), 2e-3)

    return run
