"""examples/cyclegan.py and examples/pix2pix.py on folders of pictures of a user's own, and how they measure."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from minigen.data import load, textured
from minigen.data.shapes import COLOURS

from .small import SMALL

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)

rng = np.random.default_rng(0)


def write_folder(folder, n, shape=(20, 28, 3)):
    """n PNG files, which are read as pictures of 32 x 32 pixels."""
    from PIL import Image

    folder.mkdir()
    for i in range(n):
        Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(load_example, monkeypatch, tmp_path):
    """Runs an example at a small size; gives the folder that it writes."""

    def run_example(name, *more):
        arguments, settings = SMALL[name]
        example = load_example(name)
        for key, value in settings.items():
            monkeypatch.setattr(example, key, value)
        given = [f"{name}.py", *arguments, "--batch", 2, "--out", tmp_path / "out", *more]
        monkeypatch.setattr(sys, "argv", list(map(str, given)))
        example.main()
        return tmp_path / "out"

    return run_example


def test_two_folders_of_which_one_is_larger_and_has_pictures_of_many_sizes(run, tmp_path):
    mixed = write_folder(tmp_path / "mixed", 14)
    write_folder(mixed / "grey", 6, (40, 9))
    out = run("cyclegan", "--data", write_folder(tmp_path / "a", 10), "--target", mixed)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["psnr_there_and_back"].keys() == {"A", "B"} and "psnr_unchanged" not in metrics
    assert np.load(out / "samples.npz")["images"].shape == (2, 32, 32, 3)  # a fifth of the ten


def test_grey_pictures_get_textures(run, tmp_path):
    np.savez(tmp_path / "grey.npz", images=rng.integers(0, 255, (12, 16, 16, 1)).astype(np.uint8))
    out = run("cyclegan", "--data", tmp_path / "grey.npz")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["psnr_unchanged"] > 0 and "content" not in metrics


def test_a_folder_to_paint_like(run, tmp_path):
    out = run("pix2pix", "--data", write_folder(tmp_path / "a", 10))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["quality"].keys() == {"Pix2Pix", "L1 alone"} and "kept" not in metrics
    assert np.load(out / "samples.npz")["images"].shape == (2, 32, 32, 3)


@pytest.mark.parametrize("name, option", [("cyclegan", "--data"), ("cyclegan", "--target"), ("pix2pix", "--data")])
def test_folders_that_will_not_do_are_one_sentence_before_any_work(name, option, run, tmp_path):
    write_folder(tmp_path / "good", 10)
    write_folder(tmp_path / "one", 1)
    write_folder(tmp_path / "broken", 4)
    (tmp_path / "broken" / "5.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    sizes = {"8 x 12": (8, 12, 3), "30 x 30": (30, 30, 3), "4 x 4": (4, 4, 3)}
    for size, shape in sizes.items():
        np.savez(tmp_path / f"{size}.npz", images=np.zeros((10, *shape), np.uint8))
    for given, more, sentence in (
        ("missing", (), "'{path}' is no known data set and no existing path"),
        ("empty", (), "no images under {path}"),
        ("broken", (), "cannot read {path}/5.png"),
        ("one", ("--batch", 2), "--batch 2 is more than the 1 images of {path}"),
        ("one", ("--batch", 1), "{path}: needs at least two images, since one is held out, got 1"),
        ("30 x 30.npz", (), "{path}: the sides of the images must be multiples of 4, got (30, 30)"),
        *[("8 x 12.npz", (), "--target: needs images (32, 32, 3), as --data, got (8, 12, 3)")] * (option == "--target"),
        *[("4 x 4.npz", (), "D needs images of at least 6 pixels a side, got (4, 4)")] * (option == "--data"),
    ):
        first = () if option == "--data" else ("--data", tmp_path / "good")
        with pytest.raises(SystemExit) as end:
            run(name, *first, option, tmp_path / given, *more)
        assert sentence.format(path=tmp_path / given) in str(end.value)
        assert "\n" not in str(end.value) and not (tmp_path / "out").exists()


class Sure:
    """In the place of `Features`: reads every picture of the test without a fault, textured ones as well."""

    def __init__(self, data):
        known = data.attributes
        self.known = {x.tobytes(): {n: known[n][i] for n in known} for i, x in enumerate(data.images)}

    def attributes(self, images):
        found = [self.known[x.tobytes()] for x in images]
        return {name: np.array([each[name] for each in found]) for name in found[0]}


def test_content_is_kept_by_real_pictures_and_swapped_colours_are_found(load_example, monkeypatch):
    example = load_example("cyclegan")
    monkeypatch.setattr(example, "Features", Sure)
    every = load("shapes")
    test = every.subset(slice(300))
    red, blue = (COLOURS.index(colour) for colour in ("red", "blue"))
    order = np.arange(300)
    order[test.attributes["colour"] == red] = np.flatnonzero(test.attributes["colour"] == blue)[0]
    pictures = {
        "true flat": test.images,
        "true textured": textured(test.images),
        "textured": textured(test.images)[order],
    }
    kept, colours = example.content(pictures, test.attributes)
    for kind in ("true flat", "true textured"):
        assert set(kept[kind].values()) == {1.0} and colours[kind] == []
    assert colours["textured"] == ["red for blue"]
    lost = np.mean(test.attributes["colour"] == red)
    assert kept["textured"]["colour"] == pytest.approx(1 - lost)
    assert kept["textured"]["all at once"] == pytest.approx(1 - lost)


def test_the_kinds_to_train_on_share_no_picture_and_the_test_is_of_pairs(load_example):
    """Unpaired: no textured picture of training is one of the flat ones with texture."""
    example = load_example("cyclegan")
    args = SimpleNamespace(data="shapes", target=None, batch=8, device="cpu")
    a, b, test, b_test = example.two_kinds(args)
    np.testing.assert_array_equal(b_test, textured(test.images))
    seen = {x.tobytes() for x in [*textured(a), *b]}
    assert len(seen) == len(a) + len(b)
    assert not any(x.tobytes() in seen for x in b_test)
    assert set(test.attributes["background"]) == {example.PLAIN}
