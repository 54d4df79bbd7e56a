"""At which epochs trials are compared, under each kind of pruner."""

from collections.abc import Sequence
from typing import Any

import pytest

from hpsearch.analysis.anova import stages
from hpsearch.spec import loader
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import make_trial

EPOCHS = 9


def make_trials(lengths: Sequence[int]) -> list[Trial]:
    """Return a trial for each number of epochs, complete where it has all, else pruned."""
    endings = [("complete", "completed") if length == EPOCHS else ("pruned", "pruned") for length in lengths]
    return [make_trial(i, {}, [0.5] * n, *ending) for i, (n, ending) in enumerate(zip(lengths, endings, strict=True))]


def list_epochs(trials: Sequence[Trial], **described: Any) -> list[int]:
    """Return the epochs of all stages."""
    spec = loader.from_dict({"study": {"name": "x", **described}, "budget": {"epochs": EPOCHS}})
    first = stages.choose_stage(spec, trials)
    return [first.epoch, *(stage.epoch for stage in stages.list_later_stages(spec, trials, first))]


@pytest.mark.parametrize(
    ("lengths", "epochs"),
    [
        ([1] * 60 + [3] * 25 + [9] * 15, [1, 3, 9]),  # successive halving
        ([1] * 30 + [3] * 40 + [9] * 30, [1, 3, 9]),  # hyperband: the second bracket has no rung at the first epoch
        ([1, 2, 3, 4, 5, 6, 7, 8] * 8 + [9] * 36, [1, 4, 6, 7, 8, 9]),  # the median of others ends some at every epoch
        ([9] * 40, [9]),  # no pruner
        ([1] * 40, [1, 9]),  # nothing came further
    ],
)
def test_stages_are_where_the_pruner_has_ended_many(lengths: list[int], epochs: list[int]) -> None:
    """The first is where all were, then each epoch after which a quarter is gone, then the last."""
    assert list_epochs(make_trials(lengths)) == epochs


def test_a_running_trial_counts_where_it_has_been() -> None:
    """One that still trains has passed the rungs behind it, and says nothing of the epochs before it."""
    trials = [*make_trials([1] * 12 + [9] * 8), make_trial(20, {}, [0.5] * 4, "running", None)]
    spec = loader.from_dict({"study": {"name": "x"}, "budget": {"epochs": EPOCHS}})
    first = stages.choose_stage(spec, trials)
    (last,) = stages.list_later_stages(spec, trials, first)
    assert (first.epoch, len(first.trials), len(last.trials)) == (1, 21, 8)


def test_one_that_stopped_early_has_reached_the_last_epoch() -> None:
    """Early stopping completes a trial, whose best value is what it would have had at the end."""
    trials = [*make_trials([1] * 12), make_trial(12, {}, [0.4, 0.7, 0.6], "complete", "completed")]
    spec = loader.from_dict({"study": {"name": "x"}, "budget": {"epochs": EPOCHS}})
    (last,) = stages.list_later_stages(spec, trials, stages.choose_stage(spec, trials))
    assert (last.epoch, last.values) == (EPOCHS, (0.7,))


def test_of_losses_the_smallest_counts() -> None:
    """Values are larger for better, whatever the metric."""
    spec = loader.from_dict({"study": {"name": "x", "metric": "val_loss"}, "budget": {"epochs": 2}})
    stage = stages.choose_stage(spec, [make_trial(0, {}, [0.4, 0.3], metric="val_loss")])
    assert list(stage.values) == pytest.approx([-1.6])
