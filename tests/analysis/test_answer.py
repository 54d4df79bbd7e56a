"""The answer to studies of every kind: it says what can be known, and what cannot."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpsearch.analysis import answer, findings
from hpsearch.analysis.answer import Answer, make_document
from hpsearch.outcomes import TrialState
from hpsearch.spec import loader
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import SEARCH, analyze, make_search_trials, make_summary, make_trial

EPOCHS = 9
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "adam"],
    "activation": ["relu", "tanh"],
}
STUDY: dict[str, Any] = {"budget": {"trials": 60, "epochs": EPOCHS}, "space": SPACE}
Ending = Callable[[int, float], tuple[list[float], str, str | None]]
"""The validation accuracies, state and outcome of a trial, from its number and how good its parameters are."""


def search(count: int, ending: Ending, metric: str = "val_accuracy", searched: dict[str, Any] = SPACE) -> list[Trial]:
    """Return random trials; adam is better than sgd by 0.1, and 0.01 the best learning rate."""
    random, spec = np.random.default_rng(0), loader.from_dict({"study": {"name": "x"}, "space": searched})
    trials = []
    for number in range(count):
        params: dict[str, Any] = {
            "learning_rate": float(10 ** random.uniform(-4, -1)),
            "optimizer": str(random.choice(["sgd", "adam"])),
            "activation": str(random.choice(["relu", "tanh"])),
            "beta_2": float(random.uniform(0.9, 0.999)),
        }
        params = {name: params[name] for name in spec.searched if spec.is_active(name, params)}
        value = 0.5 + 0.1 * (params.get("optimizer") == "adam") + float(random.normal(0, 0.01))
        value -= 0.05 * (math.log10(params.get("learning_rate", 0.01)) + 2) ** 2
        accuracies, state, outcome = ending(number, value)
        trials.append(make_trial(number, params, accuracies, state, outcome, metric=metric))
    return trials


def complete(_: int, value: float) -> tuple[list[float], str, str | None]:
    return [value - 0.1 + 0.1 * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)], "complete", "completed"


def stop_early(number: int, value: float) -> tuple[list[float], str, str | None]:
    return complete(number, value)[0][: 3 + number % 6], "complete", "completed"


def prune_most(number: int, value: float) -> tuple[list[float], str, str | None]:
    return complete(number, value) if number % 5 == 0 else ([value - 0.1], "pruned", "pruned")


def prune(_: int, value: float) -> tuple[list[float], str, str | None]:
    return [value - 0.1], "pruned", "pruned"


def prune_anywhere(number: int, value: float) -> tuple[list[float], str, str | None]:
    """As the median and percentile pruners do."""
    length = 1 + number % EPOCHS
    return (complete(number, value)[0][:length], "pruned", "pruned") if length < EPOCHS else complete(number, value)


def stay_at_chance(number: int, _: float) -> tuple[list[float], str, str | None]:
    return ([0.1, 0.1], "pruned", "at_chance") if number % 2 else ([math.nan], "pruned", "diverged")


def say(result: Answer) -> str:
    """All sentences, after a check of what holds of each answer: no figure that is none, and a JSON document."""
    sentences = result.sentences
    text = "\n".join((*sentences.answer, *sentences.cost, *sentences.gap, *sentences.caveats))
    assert "nan" not in text.lower().replace("finance", "")
    assert all(line.endswith(".") for line in text.splitlines())
    json.dumps(make_document(result), allow_nan=False)
    return text


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_trials_have_no_importance(count: int) -> None:
    """Under ten trials nothing is said of what matters, and why stands with the importance."""
    result = analyze(STUDY, search(count, complete), status="running")
    say(result)
    assert result.importance.shares == ()
    assert "it needs 10 trials" in result.importance.warnings[0]
    assert not any(each.differences for each in result.comparisons)


@pytest.mark.parametrize("ending", [complete, stop_early, prune_most, prune, prune_anywhere])
@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_what_matters_is_found_however_trials_end(ending: Ending, metric: str) -> None:
    """The optimizer and the learning rate matter, the activation does not, and adam is better than sgd."""
    described = {**STUDY, "study": {"name": "x", "metric": metric}}
    result = analyze(described, search(60, ending, metric))
    text = say(result)
    assert [share.name for share in result.importance.shares][-1] == "activation"
    (optimizer,) = (each for each in result.comparisons if each.name == "optimizer")
    claims = [each for each in optimizer.differences if each.is_settled]
    assert claims
    assert all((each.better, each.low <= 0.1 <= each.high) == ("adam", True) for each in claims)
    assert "adam is better than sgd by " in text
    assert (result.findings.best is None) == (ending is prune)


def test_a_search_of_which_all_stays_at_chance_says_so() -> None:
    """Where no trial is better than guessing, there is nothing to compare."""
    result = analyze(STUDY, search(60, stay_at_chance))
    assert "None of the 60 ended trials is complete (30 diverged, 30 at chance)" in say(result)
    assert "no trial is better than guessing" in result.importance.warnings[0]


def test_trials_that_have_just_begun_take_no_part() -> None:
    """A running study is answered from the trials that came as far as they are compared."""
    ended = search(40, prune_most)
    running = [make_trial(40 + n, trial.params, [], TrialState.RUNNING, None) for n, trial in enumerate(ended[:10])]
    result, alone = (analyze(STUDY, trials, status="running") for trials in (ended + running, ended))
    assert result.importance == alone.importance
    assert "The search is running: 40 of 60 trials have ended." in say(result)


def test_one_hyperparameter_has_levels_and_no_importance() -> None:
    """A search of one hyperparameter compares its levels; a share of the variance says nothing there."""
    searched = {"optimizer": ["sgd", "adam"]}
    result = analyze({**STUDY, "space": searched}, search(30, prune_most, searched=searched))
    assert "adam is better than sgd by " in say(result)
    assert result.importance.shares == ()


def test_a_conditional_hyperparameter_says_when_it_is_active() -> None:
    """What is searched only with one optimizer is named with it."""
    searched = {**SPACE, "beta_2": {"low": 0.9, "high": 0.999, "when": {"optimizer": ["adam"]}}}
    result = analyze({**STUDY, "space": searched}, search(60, prune_most, searched=searched))
    assert "beta_2 (with optimizer adam): among good configurations at epoch 1 " in say(result)


def test_a_pruned_grid_is_compared_by_the_model() -> None:
    """A pruner makes a grid's complete trials alike, so that their means compare nothing."""
    searched = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1], "optimizer": ["sgd", "adam"], "activation": ["relu", "tanh"]}
    described = {
        "budget": {"epochs": EPOCHS, "repeats": 3},
        "space": searched,
        "sampler": {"name": "grid"},
        "pruner": {"name": "asha"},
    }
    points = loader.from_dict({"study": {"name": "x"}, **described}).list_grid()
    trials = []
    for number, params in enumerate(points):
        value = 0.5 + 0.1 * (params["optimizer"] == "adam") + 0.002 * (number % 3)
        trials.append(make_trial(number, params, *prune_most(number, value)))
    result = analyze(described, trials)
    say(result)
    assert not result.findings.is_exact
    (optimizer,) = (each for each in result.comparisons if each.name == "optimizer")
    assert {each.better for each in optimizer.differences if each.is_settled} == {"adam"}


def test_trials_that_another_program_told_have_no_epochs() -> None:
    """Values without a curve stand as the best, and take no part in what matters."""
    told = [make_trial(n, trial.params, []) for n, trial in enumerate(search(20, complete))]
    result = analyze(STUDY, told)
    say(result)
    assert result.importance.shares == ()


def test_the_same_trials_are_analyzed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call with the same trials finds the first one's figures; a new epoch does not."""
    calls: list[int] = []
    analyze_study = findings.analyze_study

    def count(*study: Any) -> findings.Findings:
        calls.append(len(calls))
        return analyze_study(*study)

    monkeypatch.setattr(findings, "analyze_study", count)
    trials = make_search_trials(20)
    first, again = (answer.answer_study(make_summary(SEARCH, trials), list(trials)) for _ in range(2))
    assert (first, len(calls)) == (again, 1)
    trials[0] = make_trial(0, trials[0].params, [0.123, 0.124])
    assert answer.answer_study(make_summary(SEARCH, trials), trials) != first
    assert len(calls) == 2
