"""When a training is over, from its metrics alone: a resumed training ends where the uninterrupted one would have."""

from collections.abc import Sequence

from hpsearch.metrics import METRICS, ClassCounts, EpochMetrics, find_best_epoch
from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training.protocol import Train


def judge_epochs(job: Train, epochs: Sequence[EpochMetrics], guessing: int) -> TrainingEnd | None:
    """Return how the training ended after `epochs`; None where it goes on.

    Args:
        job: its epochs, metric, patience and early stopping.
        epochs: all so far.
        guessing: how many of the last ones, without a break, were at chance.
    """
    if not epochs:
        return None
    last = epochs[-1]
    if last.diverged:
        return TrainingEnd(TrialOutcome.DIVERGED, f"the loss is not finite after epoch {last.epoch}")
    if len(epochs) >= job.epochs:  # whatever its value: that it learned nothing is a result
        return TrainingEnd(TrialOutcome.COMPLETED)
    if guessing >= job.patience:
        return TrainingEnd(TrialOutcome.AT_CHANCE, f"no better than guessing for {job.patience} epochs in a row")
    best = find_best_epoch(list(epochs), job.metric)
    if job.early_stopping is not None and best and last.epoch - best.epoch >= job.early_stopping:
        return TrainingEnd(TrialOutcome.COMPLETED, f"no better {job.metric} for {job.early_stopping} epochs")
    return None


def is_at_chance(epoch: EpochMetrics, metric: str, recall: float, counts: ClassCounts) -> bool:
    """Return whether a model that guesses could have had these figures; never of an epoch that was not validated.

    Neither its accuracy, its balanced accuracy, its loss nor the study's own metric is better, on the validation
    images, than `Metric.bound` lets a guess be, nor its loss on the training images. All must hold: a model may well
    learn probabilities before its first choice gets better; it fits the training images before that shows in
    validation; and one that weighs rare classes more pays for it in accuracy and loss. What alters the loss that is
    trained (class weights, smoothed labels, a loss of the user's own) does not make a guess's any lower than the
    entropy of the shares, or it only keeps the training going.

    Args:
        epoch: the figures.
        metric: the study's.
        recall: the balanced accuracy on the validation images.
        counts: of the validation images.
    """
    guessed = METRICS["val_loss"].bound(counts)
    figures = {
        "val_accuracy": epoch.val_accuracy,
        "val_loss": epoch.val_loss,
        "val_balanced_accuracy": recall,
        metric: epoch.value(metric),
    }
    return epoch.train_loss >= guessed and all(METRICS[name].is_guess(value, counts) for name, value in figures.items())
