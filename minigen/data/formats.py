"""Readers of image files: MNIST's IDX, CIFAR's binary version, folders of pictures, and .npz.

Each checks the whole file before it believes it, and names the file in its error.
"""

from __future__ import annotations

import gzip
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .base import Dataset, require

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
GZIP_MAGIC = b"\x1f\x8b"
IDX_MAGIC = {"images": 0x0803, "labels": 0x0801}  # 08: unsigned bytes; 03 or 01: the number of axes


def idx(images_path: str | os.PathLike, labels_path: str | os.PathLike | None = None) -> Dataset:
    """MNIST's IDX format, gzipped or not: images (N, H, W, 1), labels (N,) if there is a label file.

    Without `labels_path`, the label file is looked for under its standard name beside the images:
    train-images-idx3-ubyte -> train-labels-idx1-ubyte. Source: http://yann.lecun.com/exdb/mnist/.
    """
    images_path = Path(images_path)
    found = Path(labels_path) if labels_path is not None else _sibling_labels(images_path)
    images = _read_idx(images_path, "images")[..., None]  # (N,H,W) -> (N,H,W,1)
    labels = None if found is None else _read_idx(found, "labels").astype(np.int64)
    return Dataset(images, labels, images_path.name)


def _sibling_labels(images_path: Path) -> Path | None:
    """The label file that belongs to an image file by name, if it exists, gzipped or not."""
    name = images_path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    if "labels" in name:
        for candidate in (images_path.with_name(name), images_path.with_name(name + ".gz")):
            if candidate.is_file() and candidate != images_path:
                return candidate
    return None


def _read_idx(path: Path, kind: str) -> np.ndarray:
    raw = path.read_bytes()
    if raw.startswith(GZIP_MAGIC):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"idx: {path} is a damaged gzip file ({error})") from error
    magic, axes = int.from_bytes(raw[:4], "big"), IDX_MAGIC[kind] & 0xFF
    header = 4 + 4 * axes
    if magic != IDX_MAGIC[kind] or len(raw) < header:
        known = {number: name for name, number in IDX_MAGIC.items()}.get(magic, "neither images nor labels")
        raise ValueError(
            f"idx: {path} ({len(raw)} bytes) is no IDX file of {kind}: needs the magic number "
            f"{IDX_MAGIC[kind]} and a header of {header} bytes, its magic number is {magic} ({known})"
        )
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", axes, offset=4))
    if len(raw) != header + math.prod(shape):
        raise ValueError(
            f"idx: {path} announces {kind} of shape {shape}: needs {header + math.prod(shape)} bytes with "
            f"the header, holds {len(raw)}"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()  # bytes are read-only: copy


def cifar(path: str | os.PathLike) -> Dataset:
    """The binary version of CIFAR-10 or CIFAR-100: images (N, 32, 32, 3), labels (N,) (CIFAR-100: fine).

    `path` is one file, or a folder of which all .bin files are read, in sorted order but test files last: in
    both data sets `images[:50000]` are the training images and the rest the test images.
    Source: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*.bin"), key=lambda p: (p.name.startswith("test"), p.name))
    if not files:
        raise ValueError(f"cifar: the folder {path} holds no .bin files")
    records = [_read_cifar(file) for file in files]
    if len({r.shape[1] for r in records}) > 1:
        raise ValueError(f"cifar: the folder {path} mixes files of CIFAR-10 and of CIFAR-100; keep them apart")
    rows = np.concatenate(records)  # (N, 3073 or 3074): labels, then 3 planes of 32x32
    images = rows[:, -3072:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N,3,32,32) -> (N,32,32,3)
    return Dataset(np.ascontiguousarray(images), rows[:, -3073].astype(np.int64), path.resolve().name)


def _read_cifar(path: Path) -> np.ndarray:
    raw = np.fromfile(path, np.uint8)
    for limits in ([10], [20, 100]):  # CIFAR-10: a class; CIFAR-100: a coarse, then a fine class
        size = len(limits) + 3072
        if len(raw) and len(raw) % size == 0:
            rows = raw.reshape(-1, size)
            if (rows[:, : len(limits)] < limits).all():
                return rows
    raise ValueError(
        f"cifar: {path} ({len(raw)} bytes) is no whole CIFAR binary file: needs records of 3073 bytes that "
        "start with a class below 10 (CIFAR-10), or of 3074 that start with two below 20 and 100 (CIFAR-100)"
    )


def image_folder(path: str | os.PathLike, size: int = 32) -> Dataset:
    """All pictures under a folder, at any depth, in sorted order: images (N, size, size, 3).

    Each is turned upright (EXIF), converted to RGB, cropped to the square in its middle, and resized. Its
    label is the position of its top-level subfolder in sorted order; there are no labels if pictures lie in
    `path` itself. Hidden files are passed over. A picture that cannot be read is an error that names it.
    """
    path = Path(path)
    if size < 1:
        raise ValueError(f"image_folder: size must be at least 1 pixel, got {size}")
    if not path.is_dir():
        raise NotADirectoryError(f"image_folder: {path} is not a folder")
    require("PIL.Image", "Pillow", "image_folder")
    pictures = [p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    files = sorted(p.relative_to(path) for p in pictures)
    files = [p for p in files if not any(part.startswith(".") for part in p.parts)]
    if not files:
        raise ValueError(f"image_folder: no images under {path}; accepted are {', '.join(IMAGE_SUFFIXES)}")
    images = np.empty((len(files), size, size, 3), np.uint8)
    for image, file in zip(images, files, strict=True):
        image[...] = _read_image(path / file, size)
    labels = None
    if all(len(p.parts) > 1 for p in files):
        labels = np.unique([p.parts[0] for p in files], return_inverse=True)[1].astype(np.int64)
    return Dataset(images, labels, path.resolve().name)


def _read_image(path: Path, size: int) -> Any:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # Pillow would clip these to white on the way to RGB
                raise ValueError(f"more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
            upright = ImageOps.exif_transpose(image).convert("RGB")
        side = min(upright.size)
        left, top = (upright.width - side) // 2, (upright.height - side) // 2
        square = upright.crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    except Exception as error:  # a damaged file can raise nearly anything from Pillow's decoders
        raise ValueError(f"image_folder: cannot read {path} ({error})") from error


def npz(path: str | os.PathLike) -> Dataset:
    """An .npz file with the keys `images`, uint8 (N, H, W) or (N, H, W, C), and optionally `labels`, (N,)."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("images", "labels") if key in file}
            keys = ", ".join(file) or "none"
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"npz: {path} is not a whole .npz file of plain arrays ({error})") from error
    if "images" not in arrays:
        raise ValueError(f"npz: {path} needs an array named 'images'; it holds: {keys}")
    images, labels = arrays["images"], arrays.get("labels")
    if images.ndim == 3:
        images = images[..., None]  # (N,H,W) -> (N,H,W,1)
    if labels is not None and labels.dtype.kind in "iu":
        labels = labels.astype(np.int64)
    return Dataset(images, labels, path.name)
