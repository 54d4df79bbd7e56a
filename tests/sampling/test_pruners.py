"""When a pruner compares trials."""

from typing import Any

import optuna
import pytest

from hpsearch.sampling import suggest
from hpsearch.spec import loader

EPOCHS = 20


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "median"},
        {"name": "median", "n_warmup_steps": 4},
        {"name": "median", "n_warmup_steps": 3, "interval_steps": 5},
        {"name": "percentile", "percentile": 40.0, "interval_steps": 2},
        {"name": "asha"},
        {"name": "asha", "min_resource": 2, "reduction_factor": 3},
        {"name": "asha", "min_early_stopping_rate": 1, "reduction_factor": 2},
        {"name": "hyperband", "min_resource": 2, "reduction_factor": 2},
        {"name": "none"},
    ],
    ids=str,
)
def test_pruner_ends_trials_after_the_epochs_at_which_it_compares(pruner: dict[str, Any]) -> None:
    """Asked after every epoch, Optuna's pruner ends a trial that is poor at one at which it is to compare, and only
    there."""
    budget = {"trials": 1, "epochs": EPOCHS}
    described = loader.from_dict({"study": {"name": "x"}, "budget": budget, "pruner": pruner})
    study = optuna.create_study(direction="maximize", pruner=suggest.make_pruner(described))

    def ends(poor_at: int | None) -> bool:
        trial = study.ask()
        for epoch in range(1, EPOCHS + 1):
            # They rise, because the median pruner looks at a trial's best so far.
            trial.report(10 * epoch + (-5 if epoch == poor_at else 0), epoch)
            if trial.should_prune():
                assert epoch == poor_at
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return True
        study.tell(trial, EPOCHS)
        return False

    for _ in range(20):
        assert not ends(None)
    # Several, because Hyperband compares trials of one bracket with each other, and has several.
    ended = {epoch for epoch in range(1, EPOCHS + 1) if any(ends(epoch) for _ in range(10))}
    assert ended == {epoch for epoch in range(1, EPOCHS + 1) if described.compares_after(epoch)}
