"""Plots of synthetic trials, their figures taken from the trials by numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import effects
from hpsearch.analysis.effects import Effect
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.plotting import hyperparameter_plots
from hpsearch.plotting.chart import Series
from hpsearch.plotting.matplotlib_renderer import render_png
from hpsearch.plotting.plotly_renderer import make_figure
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import make_summary, make_trial

GRID = {"space": {"optimizer": ["sgd", "adam"]}, "sampler": {"name": "grid"}, "budget": {"repeats": 3, "epochs": 3}}
VALUES = {"sgd": [0.3, 0.35, 0.31], "adam": [0.6, 0.61, 0.65]}
TRIALS = [
    make_trial(n, {"optimizer": name}, [value / 2, value - 0.01, value], seconds=2.0 + place)
    for place, name in enumerate(VALUES)
    for n, value in enumerate(VALUES[name], start=3 * place)
]


def measure_effect(trials: list[Trial]) -> Effect:
    """Return the one effect of the grid."""
    spec = make_summary(GRID, trials).study.spec
    accuracies = effects.choose_milestones(trials, spec.class_counts)
    (effect,) = effects.measure_effects(spec, effects.collect_facts(spec, trials, accuracies), accuracies)
    return effect


def by_label(marks: object) -> dict[str | None, Series]:
    assert isinstance(marks, tuple)
    return {mark.label: mark for mark in marks}


def test_curves_are_means_with_intervals() -> None:
    """A level's curve is the mean of its trials at each epoch, its band Student's 95% interval."""
    chart = hyperparameter_plots.plot_curves(measure_effect(TRIALS), TRIALS, "val_accuracy")
    assert [panel.title for panel in chart.panels] == ["sgd (n = 3)", "adam (n = 3)", "", ""]
    assert chart.columns == 2
    line = by_label(chart.panels[1].marks)["validation"]
    values = np.array([[value / 2, value - 0.01, value] for value in VALUES["adam"]])
    mean, half = values.mean(axis=0), stats.t.ppf(0.975, 2) * values.std(axis=0, ddof=1) / math.sqrt(3)
    assert line.x == (1.0, 2.0, 3.0)
    assert line.y == pytest.approx(mean)
    assert line.low == pytest.approx(mean - half)
    assert line.high == pytest.approx(mean + half)
    loss = by_label(chart.panels[3].marks)["training"]
    assert loss.y == pytest.approx(1.5 - mean)
    assert (line.line, loss.line) == ("solid", "dashed")


def test_curves_of_few_trials_show_each() -> None:
    """Every single trial's line is there too, with gaps between them; of many trials there is the mean only."""
    chart = hyperparameter_plots.plot_curves(measure_effect(TRIALS), TRIALS, "val_accuracy")
    faint = chart.panels[0].marks[0]
    assert isinstance(faint, Series)
    assert faint.faint
    assert sum(math.isnan(y) for y in faint.y) == 3
    many = [make_trial(n, {"optimizer": "sgd"}, [0.2, 0.3]) for n in range(hyperparameter_plots.MAX_SINGLE_CURVES + 1)]
    assert len(hyperparameter_plots.plot_curves(measure_effect(many), many, "val_accuracy").panels[0].marks) == 2


def test_curves_leave_out_what_is_not_complete() -> None:
    """Pruned trials do not bend the mean of complete ones, and stand for a level only where none is complete."""
    pruned = [make_trial(6, {"optimizer": "sgd"}, [0.1], TrialState.PRUNED, TrialOutcome.PRUNED)]
    chart = hyperparameter_plots.plot_curves(measure_effect(TRIALS + pruned), TRIALS + pruned, "val_accuracy")
    assert chart.panels[0].title == "sgd (n = 3)"
    alone = hyperparameter_plots.plot_curves(measure_effect(pruned), pruned, "val_accuracy")
    assert alone.panels[0].title == "sgd (n = 1, none complete)"


def test_time_is_summed_over_the_epochs() -> None:
    """The horizontal place of a point is the mean of the seconds up to that epoch, the vertical one of the accuracy."""
    chart = hyperparameter_plots.plot_metric_by_time(measure_effect(TRIALS), TRIALS, "val_accuracy")
    lines = {mark.label: mark for mark in chart.panels[0].marks if isinstance(mark, Series) and not mark.faint}
    assert lines["adam"].x == pytest.approx(np.cumsum([9.0, 3.0, 3.0]))
    assert lines["adam"].y[-1] == pytest.approx(np.mean(VALUES["adam"]))
    assert len({(line.line, line.marker) for line in lines.values()}) == 2  # told apart without colour


def test_effects_show_every_level_with_its_interval() -> None:
    """An effect's panel has a row a level: the mean of its values, Student's interval, and how many they are."""
    chart = hyperparameter_plots.plot_effects([measure_effect(TRIALS)], "value", "val_accuracy")
    points, means = chart.panels[0].marks
    assert isinstance(points, Series)
    assert isinstance(means, Series)
    assert sorted(points.x) == sorted(VALUES["sgd"] + VALUES["adam"])
    assert means.x == pytest.approx([np.mean(VALUES["sgd"]), np.mean(VALUES["adam"])])
    half = stats.t.ppf(0.975, 2) * np.std(VALUES["sgd"], ddof=1) / math.sqrt(3)
    assert np.array(means.high)[0] - means.x[0] == pytest.approx(half)
    assert [text for _, text in chart.panels[0].y.ticks or ()] == ["sgd (3)", "adam (3)"]


def test_effects_of_many_trials_leave_out_their_points() -> None:
    """Above some hundred trials only means and intervals are drawn."""
    trials = [make_trial(n, {"optimizer": ("sgd", "adam")[n % 2]}, [0.2, 0.3]) for n in range(301)]
    assert len(trials) > hyperparameter_plots.MAX_POINTS
    marks = hyperparameter_plots.plot_effects([measure_effect(trials)], "value", "val_accuracy").panels[0].marks
    assert [mark.faint for mark in marks if isinstance(mark, Series)] == [False]


def test_effects_show_trials_at_chance() -> None:
    """The points behind a mean are those that it is of: one that diverged lies at the accuracy of a guess."""
    diverged = replace(TRIALS[0], state=TrialState.PRUNED, outcome=TrialOutcome.DIVERGED)
    effect = measure_effect([diverged, *TRIALS[1:]])
    points, _ = hyperparameter_plots.plot_effects([effect], "value", "val_accuracy").panels[0].marks
    assert isinstance(points, Series)
    assert len(points.x) == len(TRIALS)
    assert 0.1 in points.x


def test_rate_counts_epochs_and_seconds_to_an_accuracy() -> None:
    """A point is the median epoch, and the median of the seconds, at which the level's trials reached an accuracy."""
    chart = hyperparameter_plots.plot_rate(measure_effect(TRIALS))
    epochs, seconds = (by_label(panel.marks)["adam"] for panel in chart.panels)
    assert dict(zip(epochs.x, epochs.y, strict=True))[0.6] == 2  # the third, the second and the second
    assert dict(zip(seconds.x, seconds.y, strict=True))[0.4] == 12.0
    assert "sgd" not in by_label(chart.panels[0].marks)  # it came to none of them
    assert 0.65 not in epochs.x  # one of three is too few for a median


@pytest.mark.parametrize(
    "trials",
    [
        [],
        TRIALS[:1],
        [replace(TRIALS[0], state=TrialState.FAILED, value=None, epochs=())],
        [
            replace(
                TRIALS[0], state=TrialState.PRUNED, epochs=(EpochMetrics(1, math.nan, 0.1, math.nan, 0.1, 0.1, 1.0),)
            )
        ],
    ],
    ids=["none", "one", "failed", "diverged at once"],
)
def test_every_plot_of_almost_no_trials_is_drawn(trials: list[Trial]) -> None:
    """Neither no trial nor one alone nor losses that are no numbers are an error, in either form."""
    effect = measure_effect(trials)
    for chart in (
        hyperparameter_plots.plot_curves(effect, trials, "val_accuracy"),
        hyperparameter_plots.plot_metric_by_time(effect, trials, "val_accuracy"),
        hyperparameter_plots.plot_effects([effect], "value", "val_accuracy"),
        hyperparameter_plots.plot_effects([effect], "gap", "val_accuracy"),
        hyperparameter_plots.plot_rate(effect),
    ):
        make_figure(chart)
        assert render_png(chart).startswith(b"\x89PNG")


def test_the_studys_own_metric_has_curves_of_its_own() -> None:
    """Below accuracy and loss, of the validation images alone."""
    trials = [make_trial(n, {"optimizer": "sgd"}, (0.3, 0.5), metric="val_f1") for n in range(3)]
    panels = hyperparameter_plots.plot_curves(measure_effect(trials), trials, "val_f1").panels
    assert len(panels) == 3
    assert panels[2].y.title == "validation macro F1 (fraction of 1)"
    means = by_label(panels[2].marks)
    assert means["validation"].y == (0.3, 0.5)
    assert "training" not in means


@pytest.mark.parametrize(
    ("metric", "title", "y"),
    [
        ("val_accuracy", "validation accuracy (fraction of 1)", (0.3, 0.5)),
        ("val_loss", "validation loss (nats)", (1.7, 1.5)),
        ("val_auroc", "validation AUROC (fraction of 1)", (0.8, 0.7)),
    ],
)
def test_what_is_drawn_against_time_is_the_studys_metric(metric: str, title: str, y: tuple[float, float]) -> None:
    """Whichever it is, by the name and in the unit of its own."""
    trial = make_trial(0, {"optimizer": "sgd"}, (0.3, 0.5), metric=metric)
    epochs = [replace(epoch, val_metric=value) for epoch, value in zip(trial.epochs, (0.8, 0.7), strict=True)]
    trials = [replace(trial, epochs=tuple(epochs))]
    (panel,) = hyperparameter_plots.plot_metric_by_time(measure_effect(trials), trials, metric).panels
    assert panel.y.title == title
    assert by_label(panel.marks)["sgd"].y == pytest.approx(y)
