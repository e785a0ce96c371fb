"""What a generator and a discriminator descend on. Logits of any shape, higher for what looks real -> one number.

Each pair below is a game that is played by turns: a step of D on its loss with G held still, then a step of G on its
own. D(x) is the sigmoid of the logit, C(x) the logit itself.

    minimax        L_D = -E[log D(x)] - E[log(1 - D(G(z)))]                         (Goodfellow et al. 2014)
    saturating     L_G = E[log(1 - D(G(z)))], the game's own value: nearly flat where D is sure of a fake
    non-saturating L_G = -E[log D(G(z))], which has the same fixed point, and is steep there
    least squares  L_D = E[(C(x) - 1)^2] / 2 + E[C(G(z))^2] / 2,  L_G = E[(C(G(z)) - 1)^2] / 2  (Mao et al. 2017)
    Wasserstein    L_D = E[C(G(z))] - E[C(x)],  L_G = -E[C(G(z))]                   (Arjovsky et al. 2017)
    hinge          L_D = E[max(0, 1 - C(x))] + E[max(0, 1 + C(G(z)))],  L_G = -E[C(G(z))], whose D leaves alone what it
                   already tells apart by a margin                     (Lim & Ye 2017; Miyato et al. 2018, eq. 16, 17)
"""

from __future__ import annotations

from .. import autograd, ops
from ..tensor import Tensor


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), each averaged; 2 log 2 where the logits say nothing.

    Minus the value of the game, which at D's best is 2 JS(p_data, p_G) - 2 log 2 (Goodfellow et al. 2014, eq. 4 to 6).
    """
    return ops.softplus(-real).mean() + ops.softplus(fake).mean()


def saturating_generator(fake: Tensor) -> Tensor:
    """log(1 - D(fake)), averaged."""
    return -ops.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-log D(fake), averaged."""
    return ops.softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """((real - 1)^2 + fake^2) / 2, each averaged."""
    return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2


def least_squares_generator(fake: Tensor) -> Tensor:
    """(fake - 1)^2 / 2, averaged."""
    return ((fake - 1) ** 2).mean() / 2


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real, each averaged: minus the distance between the two that a critic of Lipschitz constant 1 finds."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-fake, averaged."""
    return -fake.mean()


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
