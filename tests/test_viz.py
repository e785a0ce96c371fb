"""Pictures: pixels where they belong, axes as promised, and every operation in the drawn graph once."""

import os
import re
import stat
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen
from minigen.viz import (
    Graph,
    graph,
    image_grid,
    save_bars,
    save_curves,
    save_gif,
    save_images,
    save_rate_distortion,
    save_rows,
)

# Grids


@given(
    n=st.integers(1, 12),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.sampled_from([None, 1, 3]),
    columns=st.none() | st.integers(1, 15),
    padding=st.integers(0, 3),
)
def test_every_image_is_in_its_cell_and_the_rest_is_white(n, height, width, channels, columns, padding):
    shape = (n, height, width) if channels is None else (n, height, width, channels)
    images = (np.arange(np.prod(shape)) % 255).astype(np.uint8).reshape(shape)  # no 255: that is the white
    grid = image_grid(images, columns, padding)
    across = min(columns or int(np.ceil(np.sqrt(n))), n)
    down = -(-n // across)
    assert grid.dtype == np.uint8
    assert grid.shape == (
        down * (height + padding) + padding,
        across * (width + padding) + padding,
        channels or 1,
    )
    for i, image in enumerate(images.reshape(n, height, width, -1)):
        y, x = padding + i // across * (height + padding), padding + i % across * (width + padding)
        np.testing.assert_array_equal(grid[y : y + height, x : x + width], image)
    assert (grid != 255).sum() == images.size


def test_floats_and_tensors_are_mapped_from_minus_one_to_one():
    x = np.array([-7, -1, 0.0, 1, 7], np.float32).reshape(5, 1, 1)
    for images in (x, minigen.tensor(x), list(x)):
        assert image_grid(images, padding=0, columns=5).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("images", "options", "error", "words"),
    [
        (np.zeros((4, 4)), {}, ValueError, r"needs images \(N, H, W\).*got shape \(4, 4\)"),
        (np.zeros((2, 4, 4, 2)), {}, ValueError, r"got shape \(2, 4, 4, 2\)"),
        (np.zeros((0, 4, 4, 3)), {}, ValueError, r"got shape \(0, 4, 4, 3\)"),
        (np.zeros((2, 4, 4), int), {}, TypeError, "floating-point values .*got int64"),
        (np.full((2, 4, 4), np.nan), {}, ValueError, "32 of 32 values are NaN"),
        (np.zeros((2, 4, 4)), {"columns": 0}, ValueError, "columns >= 1 .*got 0"),
        (np.zeros((2, 4, 4)), {"padding": -1}, ValueError, "padding >= 0, got .* -1"),
    ],
)
def test_grid_refuses(images, options, error, words):
    with pytest.raises(error, match=words):
        image_grid(images, **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_grid_reads_back_enlarged(tmp_path, channels):
    pillow = pytest.importorskip("PIL.Image")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, channels)).astype(np.uint8)
    save_images(images, tmp_path / "grid.png", columns=3, scale=3)
    with pillow.open(tmp_path / "grid.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    grid = image_grid(images, columns=3)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    assert pixels.shape == (3 * grid.shape[0], 3 * grid.shape[1], channels)
    for i in range(3):
        for j in range(3):
            np.testing.assert_array_equal(pixels[i::3, j::3], grid)


def test_save_images_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png, got .*grid\.jpg"):
        save_images(np.zeros((1, 2, 2)), tmp_path / "grid.jpg")
    with pytest.raises(ValueError, match="scale must be at least 1, got 0"):
        save_images(np.zeros((1, 2, 2)), tmp_path / "grid.png", scale=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_named_rows_stand_below_each_other(tmp_path, channels):
    pillow = pytest.importorskip("PIL.Image")
    images = np.random.default_rng(0).integers(0, 255, (2, 5, 16, 12, channels)).astype(np.uint8)
    rows = {"first": images[0], "second": images[1]}
    save_rows(rows, tmp_path / "rows.png", columns=3, scale=2)
    with pillow.open(tmp_path / "rows.png") as image:
        pixels = np.asarray(image)[::2, ::2]
    strips = [image_grid(row[i : i + 3], columns=3) for i in (0, 3) for row in rows.values()]
    height, width = strips[0].shape[:2]
    margin = pixels.shape[1] - width
    for top, strip in zip((0, height, 2 * height + 4, 3 * height + 4), strips, strict=True):
        shown = pixels[top : top + height, margin : margin + strip.shape[1]]
        np.testing.assert_array_equal(shown, np.broadcast_to(strip, (*strip.shape[:2], 3)))
        assert pixels[top : top + height, :margin].min() < 100  # its name
    assert pixels.shape[0] == 4 * height + 4
    assert (pixels[2 * height : 2 * height + 4] == 255).all()


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ({}, {}, r"equally many and of one size under each name, got \{\}"),
        ({"a": np.zeros((2, 4, 4)), "b": np.zeros((3, 4, 4))}, {}, r"got \{'a': \(2, 4, 4\), 'b': \(3"),
        ({"a": np.zeros((2, 4, 4)), "b": np.zeros((2, 16, 16, 1))}, {}, r"got \{'a': \(2, 4, 4\), 'b': \(2, 16, 16\)"),
        ({"a": np.zeros((0, 4, 4))}, {}, r"got \{'a': \(0, 4, 4\)"),
        ({"a": np.zeros((2, 4, 4))}, {"columns": 0}, "needs columns >= 1 and scale >= 1, got 0 and 2"),
        ({"a": np.zeros((2, 4, 4))}, {"scale": 0}, "needs columns >= 1 and scale >= 1, got 10 and 0"),
    ],
)
def test_save_rows_refuses(tmp_path, rows, options, words):
    with pytest.raises(ValueError, match=words):
        save_rows(rows, tmp_path / "rows.png", **options)
    with pytest.raises(ValueError, match=r"save_rows: .*must end in \.png, got .*rows\.jpg"):
        save_rows({"a": np.zeros((1, 4, 4))}, tmp_path / "rows.jpg")
    assert not list(tmp_path.iterdir())


# Animations


def test_an_animation_reads_back_with_its_frames_and_times(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (100, 3))
    grey, coloured = rng.integers(0, 256, (5, 6, 7)), colours[rng.integers(0, 100, (5, 6, 7))]
    for frames in (grey, grey[..., None], coloured):
        frames = frames.astype(np.uint8)
        save_gif(frames, tmp_path / "film.gif", duration=0.25)
        with pillow.open(tmp_path / "film.gif") as film:
            assert film.n_frames == 5 and film.info["loop"] == 0
            for i, frame in enumerate(frames):
                film.seek(i)
                assert film.info["duration"] == 250
                np.testing.assert_array_equal(
                    np.asarray(film.convert("RGB")), np.broadcast_to(frame.reshape(6, 7, -1), (6, 7, 3))
                )


def test_save_gif_takes_floats_and_refuses(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    save_gif(np.array([-1.0, 1.0]).reshape(2, 1, 1), tmp_path / "film.gif")
    with pillow.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 2
    with pytest.raises(ValueError, match=r"save_gif: .*must end in \.gif, got .*film\.png"):
        save_gif(np.zeros((2, 4, 4)), tmp_path / "film.png")
    with pytest.raises(ValueError, match=r"save_gif: duration must be at least 0\.01 seconds, got 0"):
        save_gif(np.zeros((2, 4, 4)), tmp_path / "film.gif", duration=0)
    with pytest.raises(ValueError, match="got shape"):
        save_gif(np.zeros((2, 4)), tmp_path / "film.gif")


# Curves


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    figure = pytest.importorskip("matplotlib.figure")
    figures = []
    savefig = figure.Figure.savefig

    def watch(self, *args, **kwargs):
        figures.append(self)
        savefig(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", watch)
    return figures


@pytest.fixture
def drawn(figures, tmp_path):
    """Calls save_curves and gives back the Axes that it drew, after checking that a picture was written."""

    def draw(curves, title=None):
        save_curves(curves, tmp_path / "curves.png", title)
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        return figures[-1].axes[0]

    return draw


def test_curves_are_drawn_where_they_belong(drawn):
    noisy = np.random.default_rng(0).normal(size=400)
    axes = drawn({"train": noisy, "test": ([0, 200, 400], [3.0, 2.0, 1.0])}, title="VAE")
    raw, smooth, test_raw, test_smooth = axes.lines
    np.testing.assert_array_equal(raw.get_xydata(), np.stack([np.arange(400), noisy], axis=1))
    assert raw.get_alpha() < 0.5
    assert smooth.get_alpha() is None
    assert raw.get_color() == smooth.get_color() != test_raw.get_color()
    np.testing.assert_array_equal(test_smooth.get_xydata(), [[0, 3], [200, 2], [400, 1]])  # too few to smooth
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", "value", "VAE")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]


def test_the_smoothed_curve_is_the_moving_average_without_the_holes(drawn):
    values = np.random.default_rng(0).normal(size=400)
    values[[0, 7, 399]] = np.nan, np.inf, -np.inf
    values[100:130] = np.nan
    smooth = drawn({"loss": values}).lines[1].get_ydata()
    for i, value in enumerate(smooth):
        around = values[max(i - 4, 0) : i + 5]
        around = around[np.isfinite(around)]
        np.testing.assert_allclose(value, around.mean() if len(around) else np.nan, atol=1e-9)


def test_a_single_curve_names_the_axis_and_needs_no_legend(drawn):
    axes = drawn({"loss": [1.0, 2.0]})
    assert axes.get_ylabel() == "loss"
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    ("curves", "scale"),
    [
        ({"a": [1.0, 40.0]}, "log"),  # 1.6 decades
        ({"a": [1.0, 25.0]}, "linear"),  # 1.4 decades
        ({"a": [1.0, 2.0], "b": [40.0]}, "log"),
        ({"a": [0.0, 1.0, 40.0]}, "linear"),
        ({"a": [1.0, 40.0], "b": [-1.0]}, "linear"),
        ({"a": [1.0, 40.0, np.nan, -np.inf]}, "log"),
        ({"a": [np.nan, np.nan]}, "linear"),
    ],
)
def test_the_scale_of_the_y_axis(drawn, curves, scale):
    assert drawn(curves).get_yscale() == scale


def test_curves_named_after_a_panel_are_drawn_in_it(figures, tmp_path):
    curves = {"loss: D": [1.0, 2.0], "accuracy: real": [0.5, 0.6], "loss: G": [3.0, 4.0]}
    save_curves(curves, tmp_path / "curves.png")
    loss, accuracy = figures[-1].axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert [line.get_ydata().tolist() for line in loss.lines[::2]] == [[1.0, 2.0], [3.0, 4.0]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["D", "G"]
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("", "step")


def test_few_values_are_marked_so_that_a_single_one_shows(drawn):
    assert drawn({"a": [1.0]}).lines[1].get_marker() == "."
    assert drawn({"a": [1.0] * 51}).lines[1].get_marker() == ""


def test_curves_leave_no_global_state(drawn):
    drawn({"a": [1.0]})
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        ({}, "at least one curve"),
        ({"loss": []}, r"'loss' needs values.*got \(0,\) steps and \(0,\) values"),
        ({"loss": ([1, 2, 3], [1.0, 2.0])}, r"'loss'.*got \(3,\) steps and \(2,\) values"),
        ({"loss": [[1.0, 2.0]]}, r"'loss'.*\(1, 2\) values"),
    ],
)
def test_curves_refuse(tmp_path, curves, words):
    with pytest.raises(ValueError, match=words):
        save_curves(curves, tmp_path / "curves.png")


def test_rate_and_distortion_are_drawn_over_bytes_and_bits_per_pixel(figures, tmp_path):
    curves = {"ours": np.array([(5, 18.0), (20, 24.0)]), "JPEG": [(30, 19.0), (60, 22.0)]}
    save_rate_distortion(curves, tmp_path / "curves.png", pixels=784, lossless={"PNG": 166.0})
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figures[-1].axes
    ours, jpeg, png = axes.lines
    np.testing.assert_array_equal(ours.get_xydata(), curves["ours"])
    np.testing.assert_array_equal(jpeg.get_xydata(), curves["JPEG"])
    assert list(png.get_xdata()) == [166, 166]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "JPEG", "PNG"]
    (bits,) = axes.child_axes
    np.testing.assert_allclose(bits.get_xlim(), np.multiply(axes.get_xlim(), 8 / 784))
    with pytest.raises(ValueError, match="needs at least one curve"):
        save_rate_distortion({}, tmp_path / "none.png", pixels=784)


def test_bars_stand_side_by_side(figures, tmp_path):
    save_bars({"ours": {"speed": 2.0, "size": 1.0}, "theirs": {"speed": 1.5, "size": float("nan")}}, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figures[-1].axes
    ours, theirs = axes.containers
    assert [bar.get_height() for bar in ours] == [2.0, 1.0] and [bar.get_height() for bar in theirs] == [1.5, 0.0]
    for a, b in zip(ours, theirs, strict=True):
        assert a.get_x() + a.get_width() == pytest.approx(b.get_x())
    assert [text.get_text() for text in axes.get_xticklabels()] == ["speed", "size"]
    assert [text.get_text() for text in figures[-1].legends[0].get_texts()] == ["ours", "theirs"]
    for wrong in ({}, {"a": {}}, {"a": {"x": 1.0}, "b": {"y": 1.0}}):
        with pytest.raises(ValueError, match="save_bars: needs the same groups of each"):
            save_bars(wrong, tmp_path / "none.png")


# Graphs


def parse(source):
    """DOT -> ({node: (shape, label)}, [(from, to), ...])."""
    body = re.fullmatch(r'digraph \{\n  node \[fontname="sans-serif"\];\n((?:  .*;\n)*)\}\n', source)[1]
    nodes, edges = {}, []
    for line in body.splitlines():
        if edge := re.fullmatch(r"  (n\d+) -> (n\d+);", line):
            edges.append(edge.groups())
        else:
            name, shape, label = re.fullmatch(r'  (n\d+) \[shape=(\w+), label="((?:[^"\\]|\\.)*)"\];', line).groups()
            assert name not in nodes, "drawn twice"
            nodes[name] = (shape, label)
    assert {end for edge in edges for end in edge} <= set(nodes)
    return nodes, edges


def by_label(source):
    nodes, edges = parse(source)
    return sorted(nodes.values()), sorted((nodes[a][1].split("\\n")[0], nodes[b][1].split("\\n")[0]) for a, b in edges)


def test_graph_of_a_small_computation():
    x = minigen.tensor(np.ones((2, 3)), requires_grad=True)
    nodes, edges = by_label(graph(minigen.exp(x * 2.0).sum()).source)
    assert nodes == [
        ("box", r"exp\n(2, 3)"),
        ("box", r"multiply\n(2, 3)"),
        ("box", r"sum\n()"),
        ("ellipse", r"(2, 3)\nfloat64"),
    ]
    assert edges == [("(2, 3)", "multiply"), ("exp", "sum"), ("multiply", "exp")]


def test_shared_values_are_drawn_once_and_every_use_is_an_edge():
    x = minigen.tensor(np.ones(2), requires_grad=True)
    y = minigen.exp(x)
    nodes, edges = by_label(graph(y * y + x).source)
    assert [label.split("\\n")[0] for _, label in nodes] == ["add", "exp", "multiply", "(2,)"]
    assert edges == [("(2,)", "add"), ("(2,)", "exp"), ("exp", "multiply"), ("exp", "multiply"), ("multiply", "add")]


def test_a_long_chain_of_diamonds():
    x = minigen.tensor(np.zeros(1), requires_grad=True)
    for _ in range(3000):  # 2 ** 3000 paths
        x = x + x
    nodes, edges = parse(graph(x).source)
    assert (len(nodes), len(edges)) == (3001, 6000)


def test_inputs_without_a_gradient_are_left_out():
    x = minigen.tensor(np.ones(2), requires_grad=True)
    constant = minigen.tensor(np.ones(2))
    nodes, _ = parse(graph(x * constant).source)
    assert len(nodes) == 2


def test_a_leaf_alone_and_a_named_one():
    assert list(parse(graph(minigen.tensor(np.ones(2))).source)[0].values()) == [("ellipse", r"(2,)\nfloat64")]

    class Named(minigen.Tensor):
        name = 'the "weight" \\ bias'

    ((_, label),) = parse(graph(Named(np.ones(2))).source)[0].values()
    assert label == r"the \"weight\" \\ bias\n(2,)\nfloat64"


def test_graph_needs_a_tensor():
    with pytest.raises(TypeError, match="needs a Tensor, got ndarray"):
        graph(np.ones(2))


def test_graph_text_is_written_as_it_is(tmp_path):
    Graph("digraph { größe }").save(tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text(encoding="utf-8") == "digraph { größe }"
    with pytest.raises(ValueError, match=r"g\.txt' must end in \.dot, \.png, \.svg, \.pdf"):
        Graph("digraph {}").save(tmp_path / "g.txt")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for dot is a shell script")
def test_graph_is_rendered_by_dot(tmp_path, monkeypatch):
    pytest.importorskip("graphviz")
    dot = tmp_path / "dot"  # a stand-in: shows that the source arrives and its output is written
    dot.write_text('#!/bin/sh\necho "$@"\n/bin/cat\n')
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    Graph("digraph { a }").save(tmp_path / "g.svg")
    assert (tmp_path / "g.svg").read_text().split("\n")[:2] == ["-Kdot -Tsvg", "digraph { a }"]


def test_a_missing_program_is_named_and_nothing_written(tmp_path, monkeypatch):
    pytest.importorskip("graphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"as pdf needs the program `dot`: install Graphviz .*\.dot file"):
        Graph("digraph {}").save(tmp_path / "g.pdf")
    assert not list(tmp_path.iterdir())


# Missing packages


@pytest.mark.parametrize(
    ("module", "package", "call"),
    [
        ("PIL.Image", "Pillow", lambda path: save_images(np.zeros((1, 2, 2)), path)),
        ("PIL.Image", "Pillow", lambda path: save_rows({"a": np.zeros((1, 2, 2))}, path)),
        ("PIL.Image", "Pillow", lambda path: save_gif(np.zeros((1, 2, 2)), path.with_suffix(".gif"))),
        ("matplotlib", "matplotlib", lambda path: save_curves({"a": [1.0]}, path)),
        ("matplotlib", "matplotlib", lambda path: save_rate_distortion({"a": [(1, 2.0)]}, path, pixels=4)),
        ("matplotlib", "matplotlib", lambda path: save_bars({"a": {"b": 1.0}}, path)),
        ("graphviz", "graphviz", lambda path: Graph("digraph {}").save(path)),
    ],
)
def test_a_missing_package_is_named_with_the_mend(tmp_path, monkeypatch, module, package, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs the package {package}: pip install minigen\[examples\]"):
        call(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
