"""Central differences, element by element, for the hand-written backward kernels."""

import numpy as np


def gradients(function, arrays, cotangent, step=1e-6):
    """d sum(cotangent function(*arrays)) / d array, one float64 array for each of the arrays."""
    results = []
    for position, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[position][index] += sign * step
                sides.append((cotangent * function(*moved)).sum())
            gradient[index] = (sides[0] - sides[1]) / (2 * step)
        results.append(gradient)
    return results


def assert_gradients_match(got, expected):
    for analytic, numerical in zip(got, expected, strict=True):
        np.testing.assert_allclose(analytic, numerical, rtol=1e-6, atol=1e-7)
