"""When a training is over, from its metrics alone: a resumed training ends where the uninterrupted one would have."""

from collections.abc import Sequence

from hpsearch.metrics import EpochMetrics, compute_chance_accuracy, compute_chance_loss, find_best_epoch
from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training.protocol import Train


def judge_epochs(job: Train, epochs: Sequence[EpochMetrics], classes: int, images: int) -> TrainingEnd | None:
    """Return how the training ended after `epochs`; None where it goes on.

    Args:
        job: its epochs, metric, patience and early stopping.
        epochs: all so far.
        classes: how many the dataset has.
        images: how many the validation set has.
    """
    if not epochs:
        return None
    last = epochs[-1]
    if last.diverged:
        return TrainingEnd(TrialOutcome.DIVERGED, f"the loss is not finite after epoch {last.epoch}")
    if len(epochs) >= job.epochs:  # whatever its value: that it learned nothing is a result
        return TrainingEnd(TrialOutcome.COMPLETED)
    tail = epochs[-job.patience :]
    # The epochs of a test are not validated, so that none is at chance.
    if len(tail) == job.patience and all(is_at_chance(epoch, classes, images) for epoch in tail):
        return TrainingEnd(TrialOutcome.AT_CHANCE, f"no better than guessing for {job.patience} epochs in a row")
    best = find_best_epoch(list(epochs), job.metric)
    if job.early_stopping is not None and best and last.epoch - best.epoch >= job.early_stopping:
        return TrainingEnd(TrialOutcome.COMPLETED, f"no better {job.metric} for {job.early_stopping} epochs")
    return None


def is_at_chance(epoch: EpochMetrics, classes: int, images: int) -> bool:
    """Return whether a model that guesses could have had these figures.

    Its validation accuracy is no higher than chance, and its cross-entropy no lower, on the validation and on the
    training images (`metrics.compute_chance_accuracy` and `compute_chance_loss`). All must hold: a model may well learn
    probabilities before its first choice gets better, and it fits the training images before that shows in validation.
    """
    highest, guessed = compute_chance_accuracy(classes, images), compute_chance_loss(classes)
    return epoch.val_accuracy <= highest and epoch.val_loss >= guessed and epoch.train_loss >= guessed
