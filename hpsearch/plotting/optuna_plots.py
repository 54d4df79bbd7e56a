"""Optuna's own plots of a study (parallel coordinates, slices, contours), by plotly and by matplotlib."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.plotting import matplotlib_renderer
from hpsearch.sampling import suggest
from hpsearch.storage.results import Summary, Trial

MAX_LINES = 200
MAX_POINTS = 1000
MAX_CONTOUR_TRIALS = 60
"""Trials drawn; each value of a contour plot's trials is a row or column of its grid."""
STYLE: dict[Any, Any] = {"figure.constrained_layout.use": True, "font.size": 9.0}
BEST = 20
"""Of the trials drawn where there are more, the best."""


@dataclass(frozen=True)
class OptunaPlot:
    """A figure in both forms; `drawn` of `complete` trials are in it."""

    figure: Callable[[], go.Figure]
    png: Callable[[], bytes]
    drawn: int
    complete: int


def plot_parallel_coordinates(summary: Summary, trials: Sequence[Trial], names: Sequence[str]) -> OptunaPlot | None:
    """A line a trial across the axes of `names`; None where there is nothing to draw."""
    return _plot("plot_parallel_coordinate", summary, trials, names, MAX_LINES, (9.6, 4.4), 460)


def plot_slices(summary: Summary, trials: Sequence[Trial], names: Sequence[str]) -> OptunaPlot | None:
    """The value of every trial against each of `names`, a panel each."""
    return _plot("plot_slice", summary, trials, names, MAX_POINTS, (max(5.0, 2.6 * len(names)), 3.4), 400)


def plot_contour(summary: Summary, trials: Sequence[Trial], first: str, second: str) -> OptunaPlot | None:
    """The value over two hyperparameters, between the trials that have both; None where they do not vary together."""
    both = [trial for trial in trials if first in trial.params and second in trial.params]
    complete = _complete(both)
    if any(len({trial.params[name] for trial in complete}) < 2 for name in (first, second)):
        return None
    return _plot("plot_contour", summary, both, (first, second), MAX_CONTOUR_TRIALS, (6.4, 4.6), 440)


def sample_trials(trials: Sequence[Trial], most: int, direction: str) -> list[Trial]:
    """At most so many complete trials: the best ones, and others spread evenly over the search."""
    complete = _complete(trials)
    if len(complete) <= most:
        return complete
    sign = -1 if direction == "maximize" else 1
    ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    best, rest = ranked[:BEST], sorted(ranked[BEST:], key=lambda trial: trial.number)
    spread = [rest[int(place)] for place in np.linspace(0, len(rest) - 1, most - BEST)]
    return sorted([*best, *spread], key=lambda trial: trial.number)


def _complete(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state == "complete" and trial.value is not None]


def _plot(
    name: str,
    summary: Summary,
    trials: Sequence[Trial],
    names: Sequence[str],
    most: int,
    inches: tuple[float, float],
    height: int,
) -> OptunaPlot | None:
    drawn = sample_trials(trials, most, summary.study.spec.direction)
    there = [each for each in names if any(each in trial.params for trial in drawn)]
    if len(drawn) < 2 or not there:
        return None
    study = _study(summary, drawn)
    options: dict[str, Any] = {"params": there, "target_name": summary.study.spec.study.metric}

    def figure() -> go.Figure:
        with _quiet():
            made = getattr(optuna.visualization, name)(study, **options)
        made.update_layout(template="plotly_white", title=None, width=None, height=height, margin={"t": 40, "r": 20})
        for axis in (*made.select_xaxes({"type": "log"}), *made.select_yaxes({"type": "log"})):
            axis.update(dtick=1, exponentformat="power")
        return made

    def png() -> bytes:
        import matplotlib.pyplot as plt

        # Optuna draws by pyplot, in a style that it sets for the whole process.
        with _quiet(), matplotlib.rc_context(STYLE):
            plt.switch_backend("agg")
            getattr(optuna.visualization.matplotlib, name)(study, **options)
            made = plt.gcf()
            try:
                return _finished(made, inches)
            finally:
                plt.close(made)

    return OptunaPlot(figure, png, len(drawn), len(_complete(trials)))


def _finished(made: Any, inches: tuple[float, float]) -> bytes:
    made.set_size_inches(*inches)
    made.set_dpi(matplotlib_renderer.DPI)
    made.suptitle("")
    for axes in made.axes:
        axes.set_title("")
        if any(len(label.get_text()) > 5 for label in axes.get_xticklabels()):
            axes.tick_params(axis="x", labelrotation=40)
    return matplotlib_renderer.encode_png(made)


def _study(summary: Summary, trials: Sequence[Trial]) -> optuna.Study:
    """A study in memory with those trials, under their own numbers."""
    spec = summary.study.spec
    made = optuna.create_study(direction=optuna.study.StudyDirection[spec.direction.upper()])
    distributions = {name: suggest.make_distribution(dimension) for name, dimension in spec.space.items()}
    frozen = []
    for trial in trials:
        params = {name: value for name, value in trial.params.items() if name in distributions}
        frozen.append(_frozen(trial, params, {name: distributions[name] for name in params}))
    made.add_trials(frozen)
    for stored, trial in zip(made.get_trials(deepcopy=False), trials, strict=True):
        stored.number = trial.number  # Optuna counts them anew
    return made


def _frozen(trial: Trial, params: dict[str, Any], distributions: dict[str, Any]) -> FrozenTrial:
    return create_trial(state=TrialState.COMPLETE, value=trial.value, params=params, distributions=distributions)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
