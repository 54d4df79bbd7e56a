"""Which classes a model takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch.outcome import Confusion

PAIRS = 3
"""How many pairs of classes are named."""


@dataclass(frozen=True)
class Pair:
    """`share` of the images of class `true`, a fraction of 1, were taken for `guessed`."""

    true: str
    guessed: str
    share: float

    def __str__(self) -> str:
        return f"{self.true} as {self.guessed} {self.share:.0%}"


def worst(matrix: Confusion, classes: Sequence[str], count: int = PAIRS) -> tuple[Pair, ...]:
    """The pairs of classes that are confused most, the worst first; of equals the first in the matrix."""
    counts = np.array(matrix, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(index, shares.shape) for index in order]
    return tuple(Pair(classes[i], classes[j], float(shares[i, j])) for i, j in pairs if shares[i, j] > 0)
