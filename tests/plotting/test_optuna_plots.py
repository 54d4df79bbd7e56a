"""Optuna's plots of many trials, and of few."""

from hpsearch.metrics import Direction
from hpsearch.plotting import optuna_plots
from tests.support.synthetic_trials import make_summary, make_trial

SPACE = {"space": {"optimizer": ["sgd", "adam"], "dropout": {"low": 0.0, "high": 0.5}}, "budget": {"trials": 5000}}
TRIALS = [
    make_trial(n, {"optimizer": ("sgd", "adam")[n % 2], "dropout": (n % 50) / 100}, [0.2, 0.2 + (n % 97) / 200])
    for n in range(5000)
]


def test_of_many_trials_the_best_and_an_even_spread_are_drawn() -> None:
    """Parallel coordinates of 5,000 trials draw a few, among them the best, and say of how many."""
    summary = make_summary(SPACE, TRIALS)
    drawn = optuna_plots.sample_trials(TRIALS, 200, Direction.MAXIMIZE)
    numbers = [trial.number for trial in drawn]
    assert len(set(numbers)) == 200
    best = sorted(TRIALS, key=lambda trial: (-(trial.value or 0), trial.number))[: optuna_plots.BEST]
    assert {trial.number for trial in best} <= set(numbers)
    assert all(any(low <= n < low + 500 for n in numbers) for low in range(0, 5000, 500))
    worst = optuna_plots.sample_trials(TRIALS, 200, Direction.MINIMIZE)
    assert min(trial.value or 0 for trial in worst) == min(trial.value or 0 for trial in TRIALS)
    plot = optuna_plots.plot_parallel_coordinates(summary, TRIALS, ["optimizer", "dropout"])
    assert plot is not None
    assert (plot.drawn, plot.complete) == (200, 5000)
    lines = [trace for trace in plot.make_figure().data if trace.mode == "lines"]
    assert len(lines) == 200
    assert plot.render_png().startswith(b"\x89PNG")


def test_slices_name_trials_by_their_number() -> None:
    """A slice's points carry the study's numbers of the trials, not those of the ones drawn."""
    summary = make_summary(SPACE, TRIALS[4000:4003])
    plot = optuna_plots.plot_slices(summary, TRIALS[4000:4003], ["dropout"])
    assert plot is not None
    (trace,) = plot.make_figure().data
    assert sorted(trace.marker.color) == [4000, 4001, 4002]


def test_contours_need_two_that_vary() -> None:
    """A hyperparameter with one value only, or trials of which none has both, have no contours."""
    few = [make_trial(n, {"optimizer": "sgd", "dropout": n / 10}, [0.2]) for n in range(4)]
    assert optuna_plots.plot_contour(make_summary(SPACE, few), few, "optimizer", "dropout") is None
    assert optuna_plots.plot_contour(make_summary(SPACE, TRIALS[:9]), TRIALS[:9], "optimizer", "dropout") is not None
