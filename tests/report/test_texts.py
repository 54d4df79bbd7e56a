"""What a report leaves out where trials are many."""

from hpsearch.analysis import effects
from hpsearch.metrics import Direction
from hpsearch.plotting import hyperparameter_plots, optuna_plots
from hpsearch.plotting.chart import Series
from tests.support.synthetic_trials import make_summary, make_trial

SPACE = {"space": {"optimizer": ["sgd", "adam"], "dropout": {"low": 0.0, "high": 0.5}}, "budget": {"trials": 5000}}
TRIALS = [
    make_trial(
        n, {"optimizer": ("sgd", "adam")[n % 2], "dropout": (n % 50) / 100}, [0.2, 0.2 + (n % 97) / 200], "complete"
    )
    for n in range(5000)
]


def test_of_many_trials_the_best_and_an_even_spread_are_drawn() -> None:
    """Parallel coordinates of 5,000 trials draw a few, among them the best, and say of how many."""
    found = make_summary(SPACE, TRIALS)
    drawn = optuna_plots.sample_trials(TRIALS, 200, Direction.MAXIMIZE)
    numbers = [each.number for each in drawn]
    assert len(set(numbers)) == 200
    best = sorted(TRIALS, key=lambda each: (-(each.value or 0), each.number))[: optuna_plots.BEST]
    assert {each.number for each in best} <= set(numbers)
    assert all(any(low <= n < low + 500 for n in numbers) for low in range(0, 5000, 500))
    worst = optuna_plots.sample_trials(TRIALS, 200, Direction.MINIMIZE)
    assert min(each.value or 0 for each in worst) == min(each.value or 0 for each in TRIALS)
    plot = optuna_plots.plot_parallel_coordinates(found, TRIALS, ["optimizer", "dropout"])
    assert plot is not None
    assert (plot.drawn, plot.complete) == (200, 5000)
    lines = [trace for trace in plot.make_figure().data if trace.mode == "lines"]
    assert len(lines) == 200
    assert plot.render_png().startswith(b"\x89PNG")


def test_slices_name_trials_by_their_number() -> None:
    """A slice's points carry the study's numbers of the trials, not those of the ones drawn."""
    found = make_summary(SPACE, TRIALS[4000:4003])
    plot = optuna_plots.plot_slices(found, TRIALS[4000:4003], ["dropout"])
    assert plot is not None
    (trace,) = plot.make_figure().data
    assert sorted(trace.marker.color) == [4000, 4001, 4002]


def test_contours_need_two_that_vary() -> None:
    """A hyperparameter with one value only, or trials of which none has both, have no contours."""
    few = [make_trial(n, {"optimizer": "sgd", "dropout": n / 10}, [0.2]) for n in range(4)]
    assert optuna_plots.plot_contour(make_summary(SPACE, few), few, "optimizer", "dropout") is None
    assert optuna_plots.plot_contour(make_summary(SPACE, TRIALS[:9]), TRIALS[:9], "optimizer", "dropout") is not None


def test_effects_of_many_trials_leave_out_their_points() -> None:
    """Above some hundred trials only means and intervals are drawn."""
    spec = make_summary(SPACE, TRIALS).study.spec
    found = effects.measure_effects(spec, effects.collect_facts(TRIALS, ()), ())
    marks = hyperparameter_plots.plot_effects(found, "value", "val_accuracy", TRIALS).panels[0].marks
    assert [mark.faint for mark in marks if isinstance(mark, Series)] == [False]
