"""How an epoch went, and how a trial can end."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

METRICS = {"val_accuracy": "maximize", "val_loss": "minimize"}
"""What a study can optimize, and in which direction."""


@dataclass(frozen=True)
class EpochMetrics:
    """One finished epoch. Losses are means of the cross-entropy in nats, accuracies fractions of 1.

    The epochs of an evaluation have neither `val_loss` nor `val_accuracy` (NaN), but for the last, where both are of
    the test images.
    """

    epoch: int
    """Counted from 1."""
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    """In force at the end of the epoch."""
    seconds: float
    """Wall clock of training and validating this epoch."""

    @property
    def validated(self) -> bool:
        """Whether the model was shown images it does not learn from; of a diverged one the accuracy is a number too."""
        return not math.isnan(self.val_accuracy)

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)

    @property
    def diverged(self) -> bool:
        """Whether a loss that was measured is not a number: it never comes back."""
        return not (math.isfinite(self.train_loss) and (math.isfinite(self.val_loss) or not self.validated))

    def value(self, metric: str) -> float:
        """The figure the study optimizes."""
        return self.val_accuracy if metric == "val_accuracy" else self.val_loss


Confusion = tuple[tuple[int, ...], ...]
"""How many images of each class (rows) a model took for which class (columns)."""


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


def best(epochs: list[EpochMetrics], metric: str) -> EpochMetrics | None:
    """The epoch with the best finite value of `metric`; the earliest of equals; None where no epoch has one."""
    finite = [epoch for epoch in epochs if math.isfinite(epoch.value(metric))]
    if not finite:
        return None
    sign = 1 if METRICS[metric] == "maximize" else -1
    return max(finite, key=lambda epoch: (sign * epoch.value(metric), -epoch.epoch))
