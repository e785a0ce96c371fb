"""What a generator and a discriminator descend on. Logits of any shape, higher for what looks real -> one number.

The hinge losses (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17), whose discriminator leaves alone what it already
tells apart by a margin:

    L_D = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]
    L_G = -E[D(G(z))]
"""

from __future__ import annotations

from .. import autograd, ops
from ..tensor import Tensor


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake), each averaged; 2 where the logits say nothing."""
    return ops.relu(1 - real).mean() + ops.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-fake, averaged."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor, most: float = 1e4) -> float:
    """The weight of an adversarial loss at which it pulls as hard at the last layer as the reconstruction does:

        |d reconstruction / d last| / (|d adversarial / d last| + 1e-6),  at most `most`

    with `last` the last layer's weight (Esser et al. 2021, eq. 7).
    """
    (ours,) = autograd.grad(reconstruction, last, retain_graph=True)
    (theirs,) = autograd.grad(adversarial, last, retain_graph=True)
    return min(_norm(ours) / (_norm(theirs) + 1e-6), most)


def _norm(x: Tensor) -> float:
    return float((x * x).sum().item()) ** 0.5
