"""What the tests of the networks share."""

import numpy as np

import minigen


def filled(network, scale=0.1):
    """The network with random numbers added to its parameters: nothing is at zero any more."""
    for p in network.parameters():
        p.assign_(p.data + scale * minigen.randn(*p.shape, dtype=p.dtype).data)
    return network


def silent_parameters(network, *inputs):
    """The names of those that get no gradient, or only zeros, from random weights of the output."""
    y = network(*inputs)
    (y * minigen.randn(*y.shape)).sum().backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not np.abs(p.grad.data).max() > 0]


def check_parameter_gradients(network, *inputs, seed=0):
    """The gradient of a float64 network along a random direction in all its parameters, by central differences."""
    rng = np.random.default_rng(seed)
    parameters = list(network.parameters())
    start, directions = [p.data.copy() for p in parameters], [rng.standard_normal(p.shape) for p in parameters]
    weights = rng.standard_normal(network(*inputs).shape)

    def at(step):
        for p, value, direction in zip(parameters, start, directions, strict=True):
            p.assign_(value + step * direction)
        return (network(*inputs) * weights).sum()

    numeric = (at(1e-5).item() - at(-1e-5).item()) / 2e-5
    at(0).backward()
    terms = [(p.grad.data * d).sum() for p, d in zip(parameters, directions, strict=True)]
    np.testing.assert_allclose(sum(terms), numeric, atol=1e-6 * sum(map(abs, terms)))
