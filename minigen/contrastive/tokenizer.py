"""Text to numbers and back by byte pairs (Sennrich et al. 2016), by way of the `tokenizers` library.

    tokenizer = Tokenizer.learn(captions)
    tokenizer(["a red star"])       # int64 (1, context): start, the words, end, padding

A word that is frequent enough becomes one piece; others are spelled in smaller ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..data.base import require

PADDING, START, END = 0, 1, 2
SPECIAL = ("[padding]", "[start]", "[end]")


class Tokenizer:
    """Texts -> integers (N, context). Case does not matter; any text can be told, since the smallest pieces are bytes.

    rules:   what `tokenizers` has learned, as its JSON
    context: the most pieces of a text, with its start and its end
    """

    def __init__(self, rules: str, context: int):
        self.rules, self.context = rules, context
        self._pairs = require("tokenizers", "tokenizers", "Tokenizer").Tokenizer.from_str(rules)
        self._pairs.encode_special_tokens = True  # "[end]" in a text is six characters, not its end

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: int = 512, context: int = 32) -> Tokenizer:
        """Merges the pairs that are most frequent in `texts`, until there are so many pieces or nothing is left."""
        library: Any = require("tokenizers", "tokenizers", "Tokenizer.learn")
        pairs = library.Tokenizer(library.models.BPE())
        pairs.normalizer = library.normalizers.Sequence([library.normalizers.Strip(), library.normalizers.Lowercase()])
        pairs.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        pairs.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        pairs.train_from_iterator(texts, trainer)
        return cls(pairs.to_str(), context)

    def __len__(self) -> int:
        """How many pieces there are."""
        return self._pairs.get_vocab_size()

    def __call__(self, texts: str | Iterable[str]) -> np.ndarray:
        texts = [texts] if isinstance(texts, str) else list(texts)
        tokens = np.full((len(texts), self.context), PADDING, np.int64)
        for row, text, pieces in zip(tokens, texts, self._pairs.encode_batch(texts), strict=True):
            if len(pieces.ids) > self.context - 2:
                raise ValueError(
                    f"Tokenizer: a text may have {self.context - 2} pieces, got {len(pieces.ids)}: {text[:80]!r}"
                )
            row[: len(pieces.ids) + 2] = START, *pieces.ids, END
        return tokens

    def decode(self, tokens: np.ndarray) -> list[str]:
        """(N, context) -> the texts, in lower case."""
        return [text.strip() for text in self._pairs.decode_batch(np.asarray(tokens).tolist())]
