"""Which comparisons a study has: of hyperparameters, or of whole configurations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import importance
from hpsearch.analysis.answer import answer_study
from hpsearch.spec import loader
from hpsearch.spec.rows import Value
from tests.support.synthetic_trials import SEARCH, analyze, make_summary, make_trial

NAN = float("nan")


def test_a_list_of_configurations_is_compared_as_one() -> None:
    """Where every trial is written out, configurations are compared over their seeds, and no hyperparameter is."""
    listed = [{"optimizer": "nesterov"}, {"optimizer": "adam", "activation": "prelu"}]
    described = {
        "study": {"name": "x"},
        "budget": {"trials": 4, "epochs": 3},
        "space": {"optimizer": ["nesterov", "adam"], "activation": ["relu", "prelu"]},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "baseline": listed * 2,
    }
    params = [{"activation": "relu", **each} for each in listed * 2]
    values = [0.5, 0.7, 0.52, 0.66]
    answer = analyze(
        described, [make_trial(n, *each) for n, each in enumerate(zip(params, [[v] for v in values], strict=True))]
    )
    assert answer.findings.effects == ()
    assert answer.findings.repeated
    assert answer.findings.configurations is not None
    means = [level.value.mean for level in answer.findings.configurations.levels if level.value]
    assert means == pytest.approx([np.mean(values[::2]), np.mean(values[1::2])])
    assert answer.sentences.answer[0].startswith("The best configuration is optimizer adam, activation prelu: ")
    assert answer.sentences.caveats[0].startswith("± is a 95% confidence interval over 2 seeds")


def test_a_list_that_leaves_trials_to_the_sampler_is_a_search() -> None:
    """Baselines that do not fill the budget are where a search begins."""
    described = {"study": {"name": "x"}, "space": {"optimizer": ["sgd", "adam"]}, "baseline": [{"optimizer": "adam"}]}
    assert not loader.from_dict(described).listed
    assert loader.from_dict(described, trials=1).listed


def test_an_evaluation_compares_its_configurations_on_the_test_images() -> None:
    """Only the last epoch has figures, of the test images; configurations are compared and no search is described."""
    points: list[dict[str, Value]] = [
        {"learning_rate": 0.01, "optimizer": "sgd"},
        {"learning_rate": 0.001, "optimizer": "adam"},
    ]
    trials = [make_trial(n, points[n % 2], [NAN, NAN, (0.6, 0.7)[n % 2] + 0.01 * (n // 2)]) for n in range(6)]
    summary = make_summary({**SEARCH, "sampler": {"name": "random"}}, trials)
    described = replace(
        summary.study.spec,
        evaluation=1,
        baselines=tuple(points * 3),
        budget=summary.study.spec.budget.model_copy(update={"repeats": 3}),
    )
    summary = replace(summary, study=replace(summary.study, spec=described))
    answer = answer_study(summary, trials)
    assert answer.findings.effects == ()
    assert answer.findings.repeated
    half = 100 * stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    test = stats.tukey_hsd((0.6, 0.61, 0.62), (0.7, 0.71, 0.72), equal_var=False).confidence_interval()
    best = "learning_rate 0.001, optimizer adam"
    assert answer.sentences.answer == (
        f"The best configuration is {best}: test accuracy 71.0 ± {half:.1f}% (n = 3).",
        f"configuration: {best} ends 10.0 ± {50 * (test.high - test.low)[0, 1]:.1f} points above learning_rate 0.01, "
        "optimizer sgd.",
    )
    assert not any("validation images" in line for line in answer.sentences.caveats)
    assert importance.compute_importance(summary, trials).shares == ()
