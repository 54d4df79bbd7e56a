"""How a trial can end, and which classes its model takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Ending(StrEnum):
    """How a trial ended (DESIGN.md, "How a trial can end")."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    STALLED = "stalled"
    ERROR = "error"


OPTUNA_STATE: dict[Ending, Literal["COMPLETE", "PRUNED", "FAIL"]] = {
    Ending.COMPLETED: "COMPLETE",
    Ending.PRUNED: "PRUNED",
    Ending.DIVERGED: "PRUNED",
    Ending.OUT_OF_MEMORY: "PRUNED",
    Ending.CRASHED: "FAIL",
    Ending.STALLED: "FAIL",
    Ending.ERROR: "FAIL",
}
"""The state Optuna's table shows for each ending."""

INFEASIBLE = frozenset({Ending.DIVERGED, Ending.OUT_OF_MEMORY})
"""Endings that tell the sampler to stay away from such a configuration."""

RETRIED = frozenset({Ending.CRASHED, Ending.STALLED})
"""Endings of an attempt that another attempt may still mend."""


@dataclass(frozen=True)
class Outcome:
    """The end of a training, as the trainer sees it.

    `detail` is one line for the user; `traceback` is kept for an error; `model` is the local path of the best epoch's
    `.keras` file where one was written, `predictions` that of what it makes of the test images, in an evaluation.
    """

    ending: Ending
    detail: str = ""
    traceback: str | None = None
    model: str | None = None
    predictions: str | None = None
    memory: int = 0
    """Resident bytes of the trainer afterwards."""


Confusion = tuple[tuple[int, ...], ...]
"""How many images of each class (rows) a model took for which class (columns)."""

NAMED_PAIRS = 3
"""How many pairs of classes are named."""


@dataclass(frozen=True)
class ConfusedPair:
    """`share` of the images of class `true`, a fraction of 1, were taken for `guessed`."""

    true: str
    guessed: str
    share: float

    def __str__(self) -> str:
        return f"{self.true} as {self.guessed} {self.share:.0%}"


def find_confused_pairs(
    matrix: Confusion, classes: Sequence[str], count: int = NAMED_PAIRS
) -> tuple[ConfusedPair, ...]:
    """The pairs of classes that are confused most, the worst first; of equals the first in the matrix."""
    pairs = [
        ConfusedPair(classes[i], classes[j], images / sum(row))
        for i, row in enumerate(matrix)
        for j, images in enumerate(row)
        if images and i != j
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.share)[:count])
