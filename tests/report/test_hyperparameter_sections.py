"""hyperparameter_sections.py: figures recomputed by numpy from SQL."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hpsearch.plotting import confusion_matrix, hyperparameter_plots
from hpsearch.plotting.chart import Heatmap, Series
from hpsearch.report import document, hyperparameter_sections
from hpsearch.storage.database import Database
from hpsearch.storage.trials import CONFUSION
from tests.support.grid_report import query_rows, read_material
from tests.support.simulation import Simulation


def by_optimizer(database: Database, query: str) -> dict[str, list[Any]]:
    """Rows of (trial's number, ...) by the trial's optimizer."""
    names = dict(query_rows(database, "select number, param_value from trials join trial_params using (trial_id)"))
    measured: dict[str, list[Any]] = {"sgd": [], "adam": []}
    for number, *rest in query_rows(database, query):
        measured[("sgd", "adam")[int(names[number])]].append(rest)
    return measured


def half(values: np.ndarray) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def test_effects_are_those_of_the_tables(database: Database, grid: Simulation) -> None:
    """Means and intervals of value, seconds and gap, in charts and tables, are those that SQL and numpy find."""
    material = read_material(database, "grid")
    values = by_optimizer(database, "select number, value from trials join trial_values using (trial_id)")
    epochs = by_optimizer(
        database,
        "select t.number, array_agg(e.seconds order by epoch), (array_agg(train_accuracy - val_accuracy order by "
        "epoch))[4] from trials t join hpsearch.epochs e using (trial_id) group by t.number",
    )
    for quantity, expected in {
        "value": {name: np.array([value for (value,) in seeds]) for name, seeds in values.items()},
        "seconds": {name: np.array([np.median(each[1:]) for each, _ in seeds]) for name, seeds in epochs.items()},
        "gap": {name: np.array([each for _, each in seeds]) for name, seeds in epochs.items()},
    }.items():
        chart = hyperparameter_plots.plot_effects(material.compared, quantity, material.metric)  # type: ignore[arg-type]
        *_, means = chart.panels[0].marks  # behind them, the trials
        assert isinstance(means, Series)
        assert means.x == pytest.approx([expected["sgd"].mean(), expected["adam"].mean()])
        assert means.low is not None
        assert means.low[1] == pytest.approx(expected["adam"].mean() - half(expected["adam"]))
    table = next(
        block
        for block in hyperparameter_sections.describe_effects(material).blocks
        if isinstance(block, document.Table)
    )
    adam = np.array([value for (value,) in values["adam"]])
    cell = f"{adam.mean() * 100:.1f} ± {half(adam) * 100:.1f}"
    assert re.match(rf"{cell[:-1]}\d*% \(n = 3\)", table.rows[1][3])
    assert table.rows[1][:3] == ("adam", "3", "3")


def test_curves_and_rate_are_those_of_the_tables(database: Database, grid: Simulation) -> None:
    """The mean curves, the accuracy by time and the epochs to an accuracy are those of the stored epochs."""
    material = read_material(database, "grid")
    curves = by_optimizer(
        database,
        "select number, array_agg(e.val_accuracy order by epoch), array_agg(e.seconds order by epoch) "
        "from trials join hpsearch.epochs e using (trial_id) group by number",
    )
    accuracies = {name: np.array([curve for curve, _ in each]) for name, each in curves.items()}
    seconds = {name: np.array([np.cumsum(each) for _, each in curves[name]]) for name in curves}
    (effect,) = material.compared
    panels = hyperparameter_plots.plot_curves(effect, material.trials, material.metric).panels
    line = next(mark for mark in panels[1].marks if isinstance(mark, Series) and mark.label == "validation")
    assert line.y == pytest.approx(accuracies["adam"].mean(axis=0))
    timed = hyperparameter_plots.plot_metric_by_time(effect, material.trials, material.metric).panels[0].marks[-1]
    assert isinstance(timed, Series)
    assert timed.x == pytest.approx(seconds["adam"].mean(axis=0))
    milestone = material.answer.findings.accuracies[0]
    first = [int(np.argmax(curve >= milestone)) for curve in accuracies["adam"]]
    reached = hyperparameter_plots.plot_rate(effect).panels[1].marks[-1]
    assert isinstance(reached, Series)
    assert reached.y[0] == pytest.approx(np.median([seconds["adam"][i][epoch] for i, epoch in enumerate(first)]))


def test_confusion_matrix_is_the_stored_one(database: Database, grid: Simulation) -> None:
    """The best trial's matrix has the stored counts and percents; compared configurations are sums over their seeds."""
    material = read_material(database, "grid")
    best = query_rows(
        database, "select number from trials join trial_values using (trial_id) order by value desc limit 1"
    )
    stored = {
        number: np.array(json.loads(value))
        for number, value in query_rows(
            database,
            "select number, value_json from trials join trial_system_attributes using (trial_id) "
            f"where key = '{CONFUSION}'",
        )
    }
    assert material.answer.findings.best is not None
    own = confusion_matrix.make_trial_matrix(material.answer.findings.best)
    assert own is not None
    heat = confusion_matrix.plot_matrices([own], material.classes).panels[0].marks[0]
    assert isinstance(heat, Heatmap)
    counts = stored[best[0][0]]
    assert np.array(heat.shades) == pytest.approx(counts / counts.sum(axis=1, keepdims=True))
    assert heat.texts[3][3] == f"{counts[3, 3]}\n{counts[3, 3] / counts[3].sum():.0%}"
    names = by_optimizer(database, "select number, number from trials")
    sums = {each.label: np.array(each.counts) for each in confusion_matrix.sum_by_configuration(material.trials)}
    assert (sums["optimizer adam"] == sum(stored[number] for (number,) in names["adam"])).all()
