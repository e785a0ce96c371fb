"""CLIP: an image encoder and a text encoder that agree, learned from images with captions.

    model = CLIP((32, 32, 3), Tokenizer.learn(captions))
    loss = model.loss(images, captions)

Start reading at `model.py`.
"""

from .model import CLIP, ImageEncoder, contrastive_loss, normalised
from .text import TextEncoder, at_the_end
from .tokenizer import END, PADDING, START, Tokenizer

__all__ = [
    "CLIP",
    "END",
    "PADDING",
    "START",
    "ImageEncoder",
    "TextEncoder",
    "Tokenizer",
    "at_the_end",
    "contrastive_loss",
    "normalised",
]
