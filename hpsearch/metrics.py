"""The metrics of an epoch, and the direction in which a study optimizes each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, harmonic_mean
from types import MappingProxyType


class Direction(StrEnum):
    """Whether a higher or a lower value of a metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @property
    def sign(self) -> int:
        """Return 1 or -1: a value times this is the better, the larger it is."""
        return 1 if self is Direction.MAXIMIZE else -1

    @property
    def sql_order(self) -> str:
        """Return the SQL order that puts the best value first."""
        return "desc" if self is Direction.MAXIMIZE else "asc"

    @property
    def sql_better(self) -> str:
        """Return the SQL operator of "strictly better than"."""
        return ">" if self is Direction.MAXIMIZE else "<"


ClassCounts = Sequence[float]
"""How many images each class has, where a metric is measured; of their number alone is known, equal parts of it."""

ROUNDING = 1e-3
"""By how much probabilities that are rounded may move a figure out of its range."""

TOP = 5
"""Classes among which the true one counts as found, in `val_top5_accuracy`."""


@dataclass(frozen=True)
class Metric:
    """A figure of the validation images that a study can optimize.

    Averages over classes are macro: each class that has an image counts alike.
    """

    name: str
    """In the study file."""
    direction: Direction
    quantity: str
    """What is measured, without the images it is measured on."""
    guess: Callable[[ClassCounts], float]
    """Returns the value of a model that always guesses the commonest class; of the loss, the class shares."""
    bound: Callable[[ClassCounts], float]
    """Returns the best value that one may have by guessing: what three standard errors add to the best guess."""
    is_fraction: bool = True
    """Of 1: it is shown in percent, its differences in points; else it is in nats."""
    counts_images: bool = True
    """Whether it changes by whole images."""
    least_classes: int = 2
    """Of fewer it says nothing."""
    is_proportion: bool = False
    """Whether it is the share of the images that are right, of which binomial intervals hold."""

    @property
    def title(self) -> str:
        """What a reader sees."""
        return f"validation {self.quantity}"

    @property
    def test_title(self) -> str:
        """The same of the test images."""
        return f"test {self.quantity}"

    @property
    def axis_title(self) -> str:
        """The title with the unit."""
        return f"{self.title} ({self.unit})"

    @property
    def unit(self) -> str:
        """What a value is in, where it is not shown in percent."""
        return "fraction of 1" if self.is_fraction else "nats"

    @property
    def end(self) -> float:
        """The largest value there is; the smallest is 0."""
        return 1.0 if self.is_fraction else math.inf

    @property
    def is_own(self) -> bool:
        """Whether an epoch has it in `EpochMetrics.val_metric`, and only where it is the study's."""
        return self.name not in EpochMetrics.__dataclass_fields__

    def is_guess(self, value: float, counts: ClassCounts) -> bool:
        """Return whether one may have this value by guessing; not NaN."""
        return self.direction.sign * value <= self.direction.sign * self.bound(counts)

    def compute_resolution(self, counts: ClassCounts) -> float:
        """Return the distance between neighbouring values; 0 where they lie closer, or nothing is known of the images.

        Of a mean over classes it is the mean over the images: one of a rare class moves it further.
        """
        images = sum(counts)
        return 1 / images if self.counts_images and images else 0.0


@dataclass(frozen=True)
class EpochMetrics:
    """One finished epoch. Losses are means of the cross-entropy in nats, accuracies fractions of 1.

    The epochs of an evaluation are not validated (NaN), but for the last, whose figures are of the test images.
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
    val_metric: float | None = None
    """The study's metric where that is neither of the above, else None."""

    @property
    def validated(self) -> bool:
        """Whether the model was validated; the accuracy of a diverged one is a number too."""
        return not math.isnan(self.val_accuracy)

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers, and the study's own metric too."""
        return math.isfinite(self.train_loss) and self._is_validation_finite

    @property
    def _is_validation_finite(self) -> bool:
        return math.isfinite(self.val_loss) and (self.val_metric is None or math.isfinite(self.val_metric))

    @property
    def diverged(self) -> bool:
        """Whether a figure that was measured is not finite: training cannot recover from that."""
        return not (math.isfinite(self.train_loss) and (self._is_validation_finite or not self.validated))

    @property
    def is_plausible(self) -> bool:
        """Whether these can be the figures of an epoch: numbers, those that are measured here within their range.

        The loss and accuracy of training may come from functions of the user's own.
        """
        figures = [getattr(self, name) for name in self.__dataclass_fields__ if name != "val_metric"]
        figures += [] if self.val_metric is None else [self.val_metric]
        if not all(isinstance(figure, int | float) and not isinstance(figure, bool) for figure in figures):
            return False
        shares = [self.val_accuracy] if self.val_metric is None else [self.val_accuracy, self.val_metric]
        positive = not (self.val_loss < -ROUNDING or self.learning_rate < 0) and 0 <= self.seconds < math.inf
        return positive and not any(share < -ROUNDING or share > 1 + ROUNDING for share in shares)

    def value(self, metric: str) -> float:
        """Return the figure that a study with this metric optimizes; NaN where it was not measured."""
        if METRICS[metric].is_own:
            return math.nan if self.val_metric is None else self.val_metric
        return float(getattr(self, metric))


def compute_shares(counts: ClassCounts) -> list[float]:
    """Return each class's share of the images, the commonest first; classes without an image are left out."""
    images = sum(counts)
    return sorted((count / images for count in counts if count), reverse=True)


def _add_errors(share: float, images: float) -> float:
    """Return a share and three standard errors of it over `images`, sqrt(p (1 - p) / images)."""
    return share + 3 * math.sqrt(share * (1 - share) / images)


def _compute_entropy(counts: ClassCounts) -> float:
    return -sum(share * math.log(share) for share in compute_shares(counts))


def _guess_commonest(counts: ClassCounts) -> float:
    return compute_shares(counts)[0]


def _guess_class(counts: ClassCounts) -> float:
    return 1 / len(compute_shares(counts))


def _guess_f1(counts: ClassCounts) -> float:
    """Return 2p / (1 + p) of the commonest class, whose recall is 1 and precision p, and 0 of all others."""
    first, *rest = compute_shares(counts)
    return 2 * first / (1 + first) / (1 + len(rest))


def _guess_top(counts: ClassCounts) -> float:
    return min(1.0, sum(compute_shares(counts)[:TOP]))


def _bound_recall(counts: ClassCounts) -> float:
    """Of a guess that takes all classes alike: each class's recall has the errors of its own images.

    A guess by the classes' shares, the best by macro F1, has the same mean, and no larger errors.
    """
    present = [count for count in counts if count]
    return _add_errors(1 / len(present), len(present) * harmonic_mean(present))


def _bound_auroc(counts: ClassCounts) -> float:
    """By the variance of Mann and Whitney's U (1947); the deviation of a mean is at most the mean of the deviations."""
    images = sum(counts)
    parts = [(count, images - count) for count in counts if 0 < count < images]
    return 0.5 + 3 * fmean(math.sqrt((images + 1) / (12 * own * rest)) for own, rest in parts) if parts else 0.5


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "val_accuracy",
                Direction.MAXIMIZE,
                "accuracy",
                _guess_commonest,
                lambda counts: _add_errors(_guess_commonest(counts), sum(counts)),
                is_proportion=True,
            ),
            Metric(
                "val_loss",
                Direction.MINIMIZE,
                "loss",
                _compute_entropy,
                lambda counts: 0.99 * _compute_entropy(counts),
                is_fraction=False,
                counts_images=False,
            ),
            Metric("val_f1", Direction.MAXIMIZE, "macro F1", _guess_f1, _bound_recall),
            Metric("val_balanced_accuracy", Direction.MAXIMIZE, "balanced accuracy", _guess_class, _bound_recall),
            Metric("val_auroc", Direction.MAXIMIZE, "AUROC", lambda _: 0.5, _bound_auroc, counts_images=False),
            Metric(
                "val_top5_accuracy",
                Direction.MAXIMIZE,
                f"top-{TOP} accuracy",
                _guess_top,
                lambda counts: _add_errors(_guess_top(counts), sum(counts)),
                least_classes=TOP + 1,
                is_proportion=True,
            ),
        )
    }
)
"""What a study can optimize, by name."""


def find_best_epoch(epochs: list[EpochMetrics], metric: str) -> EpochMetrics | None:
    """Return the epoch with the best finite value of `metric`, the earliest of equals; None where no epoch has one."""
    finite = [epoch for epoch in epochs if math.isfinite(epoch.value(metric))]
    if not finite:
        return None
    sign = METRICS[metric].direction.sign
    return max(finite, key=lambda epoch: (sign * epoch.value(metric), -epoch.epoch))
