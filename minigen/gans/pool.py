"""A memory of earlier fakes, so that a discriminator does not forget what it learned from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, to_device
from ..ops import stack
from ..random import Generator, rand
from ..tensor import Tensor


class ImagePool:
    """Gives each fake image, or in half of the cases an earlier one, whose place it then takes.

        judged = D(pool(fake.detach()))

    It holds `size` images at most; until it is full it gives back what it gets. After Shrivastava et al. (2017, section
    2.3), as in CycleGAN (Zhu et al. 2017). Two random numbers an image, one draw of `generator` (None: the default
    one) for each call.
    """

    def __init__(self, size: int = 50, generator: Generator | None = None):
        if size < 1:
            raise ValueError(f"ImagePool: size must be at least 1, got {size}")
        self.size, self.generator = size, generator
        self.images: list[Array] = []

    def __call__(self, fakes: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape; has no gradient."""
        chances, places = rand(2, len(fakes), generator=self.generator).numpy()
        given = []
        for fake, chance, place in zip(fakes.data, chances, places, strict=True):
            if len(self.images) < self.size:
                self.images.append(fake)
            elif chance < 0.5:
                i = int(place * self.size)
                fake, self.images[i] = to_device(self.images[i], fakes.device), fake
            given.append(Tensor(fake))
        return stack(given)

    def state_dict(self) -> dict[str, Any]:
        return {"images": np.array([to_device(image, "cpu") for image in self.images])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["images"]) > self.size:
            raise ValueError(f"ImagePool: holds {self.size} images at most, the state has {len(state['images'])}")
        self.images = list(state["images"])
