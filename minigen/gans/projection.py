"""Projection: the w of which a generator makes an image it is shown (Karras et al. 2020, section 5, appendix D)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import autograd, ops
from ..nn import Parameter
from ..optim import Adam, CosineLR
from ..random import Generator
from ..tensor import Tensor
from .stylegan import StyleGenerator

CANDIDATES = 500  # at random, of which the nearest one to each image is where its search starts
LEVELS = 3  # of the pyramid: whole images, and their means over blocks of 2 x 2 and 4 x 4 pixels


def pyramid_distance(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared difference of images (N, H, W, C), at full and at halved sizes: (N,).

    Where two shapes do not overlap yet, their pixels cannot tell which way to move; the halved images can.
    """
    total = ((x - y) ** 2).mean((1, 2, 3))
    for _ in range(LEVELS - 1):
        if x.shape[1] % 2 or x.shape[2] % 2:
            break
        x, y = ops.avg_pool2d(x, 2), ops.avg_pool2d(y, 2)
        total = total + ((x - y) ** 2).mean((1, 2, 3))
    return total


def project(
    generator: StyleGenerator,
    images: Tensor,
    noise_source: Generator,
    steps: int = 200,
    lr: float = 0.05,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Tensor, list[Tensor]]:
    """w (N, layers, w_dim) and noise whose images are close to `images` (N, H, W, C), by descent on `pyramid_distance`.

    Every layer has a w of its own, and the noise is searched for as well, but slower: it must not do w's work. The
    generator is left as it is. progress: what to put around the range of steps, such as tqdm.
    """
    with autograd.no_grad():
        candidates = generator.styles(generator.draw_z(CANDIDATES, noise_source))
        blank = [0 * one for one in generator.synthesis.draw_noise(1, noise_source)]
        made = generator.synthesis(candidates, blank)
        nearest = [int(pyramid_distance(made, images[i : i + 1]).numpy().argmin()) for i in range(len(images))]
        w = Parameter(ops.concatenate([candidates[i : i + 1] for i in nearest]).data)
    noise = [Parameter(one.data.repeat(len(images), axis=0)) for one in blank]
    searches = [Adam([w], lr), Adam(noise, lr / 5)]
    schedules = [CosineLR(search, steps, warmup_steps=steps // 20) for search in searches]
    learned = [p for p in generator.parameters() if p.requires_grad]
    generator.requires_grad_(False)
    try:
        for _ in progress(range(steps)):
            loss = pyramid_distance(generator.synthesis(w, noise), images).sum()
            for search in searches:
                search.zero_grad()
            loss.backward()
            for search, schedule in zip(searches, schedules, strict=True):
                search.step()
                schedule.step()
    finally:
        for p in learned:
            p.requires_grad_()
    return w.detach(), [one.detach() for one in noise]
