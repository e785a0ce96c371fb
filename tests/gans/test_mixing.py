"""Which attributes go with which layers: on generators whose layers are known, and on readings that are made up."""

import numpy as np
import pytest

import minigen
from minigen.gans.mixing import crossed, mixing_table, transfer
from minigen.gans.stylegan import StyleGenerator
from minigen.random import Generator


def generator():
    minigen.manual_seed(0)
    return StyleGenerator((8, 8, 3), channels=(6, 4), z_dim=5, w_dim=4, smallest=4)


def readings(n, layer_of, spread=4, seed=0, layers=5, wrong=0.0):
    """a, b and mixed attributes of n pairs where each attribute is what its own layer says; some are misread."""
    rng = np.random.default_rng(seed)
    a, b = ({name: rng.integers(0, spread, n) for name in layer_of} for _ in range(2))
    mixed = {}
    for c in range(1, layers):
        mixed[c] = {name: np.where(layer < c, a[name], b[name]) for name, layer in layer_of.items()}
        for values in mixed[c].values():
            values[rng.random(n) < wrong] = -1
    return a, b, mixed


def test_attributes_that_keep_to_their_layers_are_found():
    found = transfer(*readings(400, {"place": 0, "size": 2, "colour": 3, "pattern": 3}))
    assert found["crossover"] in (1, 2, 3) and found["transferred"] == 1
    found = transfer(*readings(400, {"place": 2, "size": 2, "colour": 3, "pattern": 3}))
    assert found["crossover"] == 3 and found["transferred"] == 1
    assert found["belongs_to"] == {"place": "coarse", "size": "coarse", "colour": "fine", "pattern": "fine"}
    assert found["by_attribute"] == {"place": 1, "size": 1, "colour": 1, "pattern": 1}


def test_the_share_is_of_pairs_that_differ():
    """Half of two-valued attributes agree by chance, and would be right whatever the layers did."""
    found = transfer(*readings(20_000, {"place": 0, "colour": 3}, spread=2, wrong=0.3))
    assert found["transferred"] == pytest.approx(0.7, abs=0.02) and found["of_either"] == 1  # none is read as the other


def test_the_test_is_on_other_pairs_than_the_choice():
    a, b, mixed = readings(400, {"place": 0, "colour": 3})
    for c in mixed:
        for name, values in mixed[c].items():
            values[200:] = np.where(values[200:] == a[name][200:], b[name][200:], a[name][200:])  # the other's
    assert transfer(a, b, mixed)["transferred"] < 0.2


def test_chance_is_no_transfer():
    a, b, mixed = readings(4000, {"place": 0, "colour": 3})
    rng = np.random.default_rng(1)
    for values in mixed.values():
        for name in values:
            values[name] = rng.integers(0, 4, 4000)
    found = transfer(a, b, mixed)
    assert found["transferred"] == pytest.approx(0.25, abs=0.05) and found["of_either"] == pytest.approx(0.5, abs=0.05)


def test_a_generator_that_leaves_everything_to_one_layer_shares_nothing_out():
    found = transfer(*readings(400, {"place": 2, "size": 2, "colour": 2}))
    assert found == {"crossover": None, "belongs_to": {}, "by_attribute": {}, "transferred": 0.0, "of_either": 0.0}


def test_crossed_images():
    g = generator()
    a, b, mixed = crossed(g, 3, Generator(0))
    assert a.dtype == np.uint8 and a.shape == b.shape == (3, 8, 8, 3) and list(mixed) == [1, 2, 3]
    random = Generator(0)
    w_a, w_b = g.draw_styles(3, random).numpy(), g.draw_styles(3, random).numpy()
    noise = g.synthesis.draw_noise(1, random)
    np.testing.assert_array_equal(a, g.paint(minigen.tensor(w_a), noise))
    across = np.concatenate([w_a[:, :1], w_b[:, 1:]], 1)
    np.testing.assert_array_equal(mixed[1], g.paint(minigen.tensor(across), noise))
    assert (mixed[1] != a).any() and (mixed[3] != b).any()


def test_the_table_has_the_sources_at_its_edges():
    table = mixing_table(generator(), 4, Generator(0), rows=2, columns=3)  # after all layers: only the coarse matter
    top, *rows = table.values()
    assert top.shape == (4, 8, 8, 3) and (top[0] == 255).all() and len(rows) == 2
    for row in rows:
        np.testing.assert_array_equal(row, np.repeat(row[:1], 4, axis=0))
    top, *rows = mixing_table(generator(), 0, Generator(0), rows=2, columns=3).values()
    for row in rows:
        np.testing.assert_array_equal(row[1:], top[1:])
