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
from optuna.trial import FrozenTrial, create_trial

from hpsearch.metrics import Direction
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
    """A plot in both forms, each made when it is called; `drawn` of `complete` trials are in it."""

    make_figure: Callable[[], go.Figure]
    render_png: Callable[[], bytes]
    drawn: int
    complete: int


@dataclass(frozen=True)
class _PlotKind:
    """A function of `optuna.visualization`, the most trials it is given, and the size of its picture and figure."""

    function: str
    trials: int
    inches: tuple[float, float]
    height: int
    """Pixels of the figure; its width follows the page's."""


def plot_parallel_coordinates(summary: Summary, trials: Sequence[Trial], names: Sequence[str]) -> OptunaPlot | None:
    """Return a line a trial across the axes of `names`; None where there is nothing to draw."""
    return _plot(_PlotKind("plot_parallel_coordinate", MAX_LINES, (9.6, 4.4), 460), summary, trials, names)


def plot_slices(summary: Summary, trials: Sequence[Trial], names: Sequence[str]) -> OptunaPlot | None:
    """Return the value of every trial against each of `names`, a panel each; None where there is nothing to draw."""
    kind = _PlotKind("plot_slice", MAX_POINTS, (max(5.0, 2.6 * len(names)), 3.4), 400)
    return _plot(kind, summary, trials, names)


def plot_contour(summary: Summary, trials: Sequence[Trial], first: str, second: str) -> OptunaPlot | None:
    """Return the value over two hyperparameters, between the trials that have both; None where one does not vary."""
    both = [trial for trial in trials if first in trial.params and second in trial.params]
    complete = _select_complete(both)
    if any(len({trial.params[name] for trial in complete}) < 2 for name in (first, second)):
        return None
    return _plot(_PlotKind("plot_contour", MAX_CONTOUR_TRIALS, (6.4, 4.6), 440), summary, both, (first, second))


def sample_trials(trials: Sequence[Trial], most: int, direction: Direction) -> list[Trial]:
    """Return at most `most` complete trials, by number: the best ones, and others spread evenly over the search."""
    complete = _select_complete(trials)
    if len(complete) <= most:
        return complete
    ranked = sorted(complete, key=lambda trial: (-direction.sign * (trial.value or 0.0), trial.number))
    best, rest = ranked[:BEST], sorted(ranked[BEST:], key=lambda trial: trial.number)
    spread = [rest[int(place)] for place in np.linspace(0, len(rest) - 1, most - BEST)]
    return sorted([*best, *spread], key=lambda trial: trial.number)


def _select_complete(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.is_compared]


def _plot(kind: _PlotKind, summary: Summary, trials: Sequence[Trial], names: Sequence[str]) -> OptunaPlot | None:
    spec = summary.study.spec
    drawn = sample_trials(trials, kind.trials, spec.direction)
    active = [name for name in names if any(name in trial.params for trial in drawn)]
    if len(drawn) < 2 or not active:
        return None
    study = _make_study(summary, drawn)
    options: dict[str, Any] = {"params": active, "target_name": spec.study.metric}
    return OptunaPlot(
        lambda: _make_figure(kind, study, options),
        lambda: _render_png(kind, study, options),
        len(drawn),
        len(_select_complete(trials)),
    )


def _make_figure(kind: _PlotKind, study: optuna.Study, options: dict[str, Any]) -> go.Figure:
    with _without_warnings():
        figure = getattr(optuna.visualization, kind.function)(study, **options)
    margin = {"t": 40, "r": 20}
    figure.update_layout(template="plotly_white", title=None, width=None, height=kind.height, margin=margin)
    for axis in (*figure.select_xaxes({"type": "log"}), *figure.select_yaxes({"type": "log"})):
        axis.update(dtick=1, exponentformat="power")
    return figure


def _render_png(kind: _PlotKind, study: optuna.Study, options: dict[str, Any]) -> bytes:
    import matplotlib.pyplot as plt

    # Optuna draws by pyplot, in a style that it sets for the whole process.
    with _without_warnings(), matplotlib.rc_context(STYLE):
        plt.switch_backend("agg")
        getattr(optuna.visualization.matplotlib, kind.function)(study, **options)
        figure = plt.gcf()
        try:
            return _finish_png(figure, kind.inches)
        finally:
            plt.close(figure)


def _finish_png(figure: Any, inches: tuple[float, float]) -> bytes:
    figure.set_size_inches(*inches)
    figure.set_dpi(matplotlib_renderer.DPI)
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
        if any(len(label.get_text()) > 5 for label in axes.get_xticklabels()):
            axes.tick_params(axis="x", labelrotation=40)
    return matplotlib_renderer.encode_png(figure)


def _make_study(summary: Summary, trials: Sequence[Trial]) -> optuna.Study:
    """Return a study in memory with those trials, under their own numbers."""
    spec = summary.study.spec
    study = optuna.create_study(direction=optuna.study.StudyDirection[spec.direction.name])
    distributions = {name: suggest.make_distribution(dimension) for name, dimension in spec.space.items()}
    study.add_trials([_freeze_trial(trial, distributions) for trial in trials])
    for frozen, trial in zip(study.get_trials(deepcopy=False), trials, strict=True):
        frozen.number = trial.number  # Optuna numbers them from 0
    return study


def _freeze_trial(trial: Trial, distributions: dict[str, Any]) -> FrozenTrial:
    params = {name: value for name, value in trial.params.items() if name in distributions}
    active = {name: distributions[name] for name in params}
    return create_trial(state=optuna.trial.TrialState.COMPLETE, value=trial.value, params=params, distributions=active)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
