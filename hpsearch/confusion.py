"""Which classes a model takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    pairs = [
        Pair(classes[i], classes[j], images / sum(row))
        for i, row in enumerate(matrix)
        for j, images in enumerate(row)
        if images and i != j
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.share)[:count])
