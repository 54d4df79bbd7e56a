"""The states of studies and trials, how trials and attempts end, and which classes a model confuses."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum


class TrialState(StrEnum):
    """The state of a trial. The values are what a reader sees; `optuna` is the name in Optuna's tables."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return self.value

    @property
    def optuna(self) -> str:
        """The name of Optuna's own `TrialState` member."""
        return "FAIL" if self is TrialState.FAILED else self.name

    @property
    def is_finished(self) -> bool:
        """Whether the trial has ended, in whatever way."""
        return self not in {TrialState.WAITING, TrialState.RUNNING}

    @classmethod
    def from_optuna(cls, name: str) -> "TrialState | None":
        """Return the state that Optuna's tables call `name`; None where only another version of Optuna has it."""
        return next((state for state in cls if state.optuna == name), None)


class TrialOutcome(StrEnum):
    """How a trial ended. The values are stored in the database; a member carries what follows from it.

    A new outcome is one member here: everything else reads these attributes.
    """

    state: TrialState
    """The state that Optuna's tables show."""
    is_infeasible: bool
    """Whether the sampler is told, by a constraint, to keep away from the configuration."""
    counts_as_guess: bool
    """Whether the analysis takes it that more epochs would have left the trial no better than guessing."""
    is_retried: bool
    """Whether another attempt may still complete the trial."""
    restarts_trainer: bool
    """Whether the trainer process is replaced afterwards."""
    label: str
    """What a reader sees."""

    COMPLETED = "completed", TrialState.COMPLETE
    PRUNED = "pruned", TrialState.PRUNED
    DIVERGED = "diverged", TrialState.PRUNED, {"is_infeasible", "counts_as_guess"}
    AT_CHANCE = "at_chance", TrialState.PRUNED, {"is_infeasible", "counts_as_guess"}
    OUT_OF_MEMORY = "out_of_memory", TrialState.PRUNED, {"is_infeasible", "restarts_trainer"}
    CRASHED = "crashed", TrialState.FAILED, {"is_retried", "restarts_trainer"}
    STALLED = "stalled", TrialState.FAILED, {"is_retried", "restarts_trainer"}
    ERROR = "error", TrialState.FAILED

    def __new__(
        cls, value: str, state: TrialState = TrialState.FAILED, consequences: Set[str] = frozenset()
    ) -> "TrialOutcome":
        """Make a member; `consequences` names what is true of it. A call by value alone looks a member up."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.state = state
        member.is_infeasible = "is_infeasible" in consequences
        member.counts_as_guess = "counts_as_guess" in consequences
        member.is_retried = "is_retried" in consequences
        member.restarts_trainer = "restarts_trainer" in consequences
        member.label = value.replace("_", " ")
        return member


class AttemptEnd(StrEnum):
    """How an attempt ended, as the database stores it: as its trial did, or with the trial left to another attempt."""

    COMPLETED = TrialOutcome.COMPLETED.value
    PRUNED = TrialOutcome.PRUNED.value
    DIVERGED = TrialOutcome.DIVERGED.value
    AT_CHANCE = TrialOutcome.AT_CHANCE.value
    OUT_OF_MEMORY = TrialOutcome.OUT_OF_MEMORY.value
    CRASHED = TrialOutcome.CRASHED.value
    STALLED = TrialOutcome.STALLED.value
    ERROR = TrialOutcome.ERROR.value
    PREEMPTED = "preempted"
    """The worker was told to leave."""
    PAUSED = "paused"
    """The study was paused."""
    RELEASED = "released"
    """The trainer left the trial unasked, or hung while its study was stopped and resumed."""
    REFUSED = "refused"
    """The host cannot serve the study."""
    LOST = "lost"
    """The lease expired, or the trial was ended or deleted from outside."""

    @property
    def outcome(self) -> TrialOutcome | None:
        """The outcome of the same name; None where the trial is only left to another attempt."""
        return next((outcome for outcome in TrialOutcome if outcome.value == self.value), None)


class StudyStatus(StrEnum):
    """What a study is set to, as the database stores it."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


OVER = frozenset({StudyStatus.STOPPED, StudyStatus.FINISHED})
"""The statuses of a study that takes no more trials."""


FOREIGN = "told by another program"
"""How a reader sees that a trial ended without any training here: see `storage.tables.trial_values`."""


@dataclass(frozen=True)
class TrainingEnd:
    """The end of a training, as the trainer sees it.

    `detail` is one line for the user; `traceback` is kept for an error; `model` is the local path of the best epoch's
    `.keras` file where one was written, `predictions` that of what it makes of the test images, in an evaluation.
    """

    outcome: TrialOutcome
    detail: str = ""
    traceback: str | None = None
    model: str | None = None
    predictions: str | None = None
    lost: str = ""
    """Why the model of a training that completed could not be written."""
    memory: int = 0
    """Resident bytes of the trainer afterwards."""


Confusion = tuple[tuple[int, ...], ...]
"""How many images of each class (rows) a model took for which class (columns)."""

MAX_CONFUSED_CLASSES = 100
"""Of more classes no confusion matrix is kept: a trial's would be megabytes, and nobody reads a million cells."""

SHOWN_CLASSES = 20
"""Rows and columns of a confusion matrix that are shown."""

NAMED_PAIRS = 3
"""How many pairs of classes `find_confused_pairs` returns by default."""


@dataclass(frozen=True)
class ConfusedPair:
    """`share` of the images of class `true`, a fraction of 1, were taken for `guessed`."""

    true: str
    guessed: str
    share: float

    def __str__(self) -> str:
        return f"{self.true} as {self.guessed} {self.share:.0%}"


def find_confused_classes(matrices: Sequence[Confusion], count: int = SHOWN_CLASSES) -> tuple[int, ...]:
    """Return, in order, the `count` classes that are in the most errors of all matrices, as true or predicted class."""
    size = len(matrices[0]) if matrices else 0
    if size <= count:
        return tuple(range(size))
    errors = [0] * size
    for matrix in matrices:
        for true, row in enumerate(matrix):
            for guessed, images in enumerate(row):
                if true != guessed:
                    errors[true] += images
                    errors[guessed] += images
    return tuple(sorted(sorted(range(size), key=lambda label: -errors[label])[:count]))


def find_confused_pairs(
    matrix: Confusion, classes: Sequence[str], count: int = NAMED_PAIRS
) -> tuple[ConfusedPair, ...]:
    """Return the pairs of classes that are confused most, the worst first; of equals the first in the matrix."""
    pairs = [
        ConfusedPair(classes[i], classes[j], images / sum(row))
        for i, row in enumerate(matrix)
        for j, images in enumerate(row)
        if images and i != j
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.share)[:count])
