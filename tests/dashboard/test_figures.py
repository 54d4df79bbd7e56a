"""The figures of a study's page: the study's metric, whichever it is."""

import json
from dataclasses import replace

import pytest

from hpsearch.analysis import effects
from hpsearch.dashboard.figures import make_figures
from tests.support.synthetic_trials import GRID, make_repeated_grid, make_summary


@pytest.mark.parametrize(
    ("metric", "curves", "time", "lines"),
    [
        (
            "val_accuracy",
            "mean accuracy (fraction of 1)<br>solid: validation, dotted: training",
            "Validation accuracy against training time, by optimizer",
            {"solid", "dot"},
        ),
        (
            "val_loss",
            "mean loss (nats)<br>solid: validation, dotted: training",
            "Validation loss against training time, by optimizer",
            {"solid", "dot"},
        ),
        (
            "val_f1",
            "mean validation macro F1 (fraction of 1)",
            "Validation macro F1 against training time, by optimizer",
            {"solid"},
        ),
    ],
)
def test_figures_are_of_the_studys_metric(metric: str, curves: str, time: str, lines: set[str]) -> None:
    """Its curves, of the training images too where it is measured on them, and its course over time."""
    trials = [
        replace(trial, epochs=tuple(replace(epoch, val_metric=0.125) for epoch in trial.epochs))
        for trial in make_repeated_grid(metric=metric)
    ]
    spec = make_summary({**GRID, "study": {"name": "x", "metric": metric}}, trials).study.spec
    measured = effects.measure_effects(spec, effects.collect_facts(spec, trials, ()), ())
    drawn = {name: json.loads(figure) for name, figure in make_figures(spec, measured, trials).items()}
    by_epoch, by_time = drawn["curves-optimizer"], drawn["time-optimizer"]
    assert by_epoch["layout"]["yaxis"]["title"]["text"] == curves
    assert by_time["layout"]["title"]["text"] == f"<b>{time}</b>"
    assert {trace["line"]["dash"] for trace in by_epoch["data"]} == lines
    if metric == "val_f1":
        assert "accuracy" not in json.dumps(drawn)
