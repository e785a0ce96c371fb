"""The photographs: from the installed packages alone, patches that lie where they should, split by photograph."""

import socket
import sys

import numpy as np
import pytest

from minigen.data import load, patches, photograph, photos
from minigen.data.photos import HELD_OUT, PHOTOGRAPHS, TRAINING

for needed in ("skimage", "sklearn", "PIL"):
    pytest.importorskip(needed)


def test_every_photograph_is_in_the_packages(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)  # nothing is fetched
    for name in PHOTOGRAPHS:
        image = photograph(name)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert min(image.shape[:2]) >= 300 and max(image.shape[:2]) <= 741
        assert image.std() > 20 and not np.array_equal(image[..., 0], image[..., 2])  # a picture, in colour


def test_the_same_photographs_as_the_packages_own_readers():
    from skimage import data

    np.testing.assert_array_equal(photograph("chelsea"), data.chelsea())
    np.testing.assert_array_equal(photograph("motorcycle"), data.stereo_motorcycle()[0])


def test_training_and_held_out_share_no_photograph():
    assert set(TRAINING) | set(HELD_OUT) == set(PHOTOGRAPHS) and not set(TRAINING) & set(HELD_OUT)
    seen = {held_out: {PHOTOGRAPHS[i] for i in set(photos(64, held_out=held_out).labels)} for held_out in (0, 1)}
    assert seen == {0: set(TRAINING), 1: set(HELD_OUT)}


@pytest.mark.parametrize("size, stride", [(32, None), (32, 32), (48, 20), (299, 1000)])
def test_patches_lie_row_by_row_a_stride_apart(size, stride):
    dataset = photos(size, stride, held_out=True)
    stride = stride or size // 2
    expected = []
    for name in HELD_OUT:
        whole = photograph(name)
        for top in range(0, whole.shape[0] - size + 1, stride):
            for left in range(0, whole.shape[1] - size + 1, stride):
                expected.append((PHOTOGRAPHS.index(name), whole[top : top + size, left : left + size]))
    assert dataset.labels.tolist() == [label for label, _ in expected]
    np.testing.assert_array_equal(dataset.images, np.stack([patch for _, patch in expected]))


def test_load_gives_the_training_patches():
    dataset = load("photos", size=64)
    assert dataset.name == "photos"
    np.testing.assert_array_equal(dataset.images, photos(64).images)


def test_the_documented_numbers_of_patches():
    for held_out in (False, True):
        assert f"{len(photos(held_out=held_out)):,}" in (photos.__doc__ or "")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0,), "at least 1 pixel, got 0 and 1"),
        ((32, 0), "at least 1 pixel, got 32 and 0"),
        ((401,), r"size 401 is more than a side of 'coffee', \(400, 600\)"),
    ],
)
def test_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        photos(*arguments)


def test_patches_of_any_image():
    image = np.arange(5 * 7 * 2).reshape(5, 7, 2)
    found = patches(image, 3, 2)
    assert found.shape == (6, 3, 3, 2)
    np.testing.assert_array_equal(found[4], image[2:5, 2:5])
    for bad in ((image, 6, 1), (image, 0, 1), (image, 2, 0), (image[0], 2, 1)):
        with pytest.raises(ValueError, match="size from 1 to its shorter side"):
            patches(*bad)


def test_an_unknown_photograph_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'lena' is none of astronaut, "):
        photograph("lena")


def test_a_missing_package_is_named_with_the_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"'flower' needs the package scikit-learn: pip install minigen\[examples\]"):
        photograph("flower")


def test_a_missing_or_damaged_file_is_named_with_the_mend(monkeypatch, tmp_path):
    package = tmp_path / "__init__.py"
    monkeypatch.setattr(sys.modules["skimage"], "__file__", str(package))
    mend = r"cannot read coffee\.png of the package scikit-image .*pip install --force-reinstall scikit-image"
    with pytest.raises(FileNotFoundError, match=mend):
        photograph("coffee")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "coffee.png").write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match=mend):
        photograph("coffee")
