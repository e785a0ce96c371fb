"""Whether made pictures show what they should, by the attributes that a classifier reads off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def shares_kept(read: Mapping[str, Any], true: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """The share of pictures in which each attribute of `names` is read as the true one, and under "all at once" that
    in which every one of them is.

    read, true: name -> (N,), as `Features.attributes` and `Dataset.attributes` have them
    ValueError if one lacks an attribute, or has it for another number of pictures.
    """
    lacking = [name for name in names if name not in read or name not in true]
    if lacking or not names:
        raise ValueError(
            f"shares_kept: needs attributes that are both read and true, got {', '.join(lacking) or 'none'}"
        )
    right = {name: np.equal(*_pair("shares_kept", name, read[name], true[name])) for name in names}
    right["all at once"] = np.all(list(right.values()), axis=0)
    return {name: float(x.mean()) for name, x in right.items()}


def exchanged(read: Any, true: Any, values: Sequence[str]) -> list[str]:
    """The values of an attribute that are mostly read as another, "red for blue" where red pictures have become blue.

    Where both networks of a cycle exchange two colours, all comes back as it was, and only this tells.
    read, true: (N,), indices into `values`
    """
    read, true = _pair("exchanged", "the attribute", read, true)
    found = []
    for i in np.unique(true):
        mostly = int(np.bincount(read[true == i]).argmax())
        if mostly != i:
            found.append(f"{values[i]} for {values[mostly]}")
    return found


def _pair(function: str, name: str, read: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    read, true = np.asarray(read), np.asarray(true)
    if read.shape != true.shape or read.ndim != 1 or not read.size:
        raise ValueError(
            f"{function}: {name} must be (N,), read and true, of one N >= 1, got shapes {read.shape} and {true.shape}"
        )
    return read, true
