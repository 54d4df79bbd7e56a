"""What limits a study's conclusions."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from scipy import stats

from hpsearch.outcomes import TrialState
from hpsearch.storage.results import AttemptRecord
from tests.support.synthetic_trials import GRID, SEARCH, analyze, make_repeated_grid, make_search_trials, make_trial

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_unfinished_search_says_which_trials_its_model_has() -> None:
    """The caveats say how far the search is, what its intervals mean, and which trials have no part in the model."""
    trials = make_search_trials(120)
    caveats = analyze(SEARCH, trials, status="running").sentences.caveats
    ended = sum(trial.state != TrialState.RUNNING for trial in trials)
    assert caveats[0] == f"The search is running: {ended} of 60 trials have ended."
    assert caveats[1].startswith("Levels are compared by a model of all trials, pruned ones too; each of its intervals")
    assert caveats[2].startswith("Without a part in it: ")
    assert len(caveats) == 4


def test_a_search_too_small_for_a_model_says_what_its_means_leave_out() -> None:
    """The caveats say how it sampled, and which trials the means leave out."""
    trials = [
        make_trial(0, {"learning_rate": 0.01, "optimizer": "sgd"}, [0.5] * 3),
        make_trial(1, {"learning_rate": 0.01, "optimizer": "adam"}, [0.6] * 3),
        make_trial(2, {"learning_rate": 0.02, "optimizer": "sgd"}, [0.3], "pruned", "pruned"),
        make_trial(3, {"learning_rate": 0.03, "optimizer": "sgd"}, [], "failed", "error"),
        make_trial(4, {"learning_rate": 0.09, "optimizer": "sgd"}, [0.1], "pruned", "at_chance"),
    ]
    caveats = ("", *analyze(SEARCH, trials).sentences.caveats)
    assert caveats[1].startswith("Seed noise was not measured")
    assert caveats[2].startswith("The sampler (tpe) chose what to try")
    assert caveats[3].startswith("1 of 5 ended trials was pruned and is left out of the means")
    assert caveats[4].startswith("Left out of the means too: ")
    assert caveats[5].startswith("In the means as no better than guessing: ")


def test_the_best_values_own_interval_is_wilsons() -> None:
    """What the number of validation images makes of the best value stands beside it."""
    caveat = analyze(GRID, make_repeated_grid()).sentences.caveats[-1]
    share, images, z = 0.73, 5000, stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    assert f"95% confidence interval from their number alone: {middle - half:.1%} to {middle + half:.1%}" in caveat


def test_devices_of_different_kinds_are_named() -> None:
    """Seconds from two kinds of devices are no comparison; two GPUs of one kind are."""

    def list_caveats(*devices: str) -> tuple[str, ...]:
        trials = [
            replace(trial, history=(AttemptRecord(1, "w", "host", devices[trial.number % 2], 1.0, 3, None, NOW, NOW),))
            for trial in make_repeated_grid()
        ]
        return analyze(GRID, trials).sentences.caveats

    assert any(line.startswith("Trials ran on A100 and H200:") for line in list_caveats("GPU 0 (H200)", "GPU 0 (A100)"))
    assert not any("Trials ran on" in line for line in list_caveats("GPU 0 (H200)", "GPU 1 (H200)"))
