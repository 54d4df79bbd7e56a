"""The metric at the last epoch over the whole search space, though most trials were pruned before it.

A chain over the stages, which are the rungs. At each, the value of a trial that came so far is a constant, a slope
times what the stages before expect of its configuration, another times its own deviation from that, main effects and
interactions of what changes, and normal noise. A pruner ends a trial because of its values so far, which are in the
model, so that those which are missing do not bias it (Rubin 1976). The draws of all stages are composed.

The few trials that came far are much alike, and what they have in common looks as if it made no difference to what
comes. The prior scales of what changes are therefore multiples of the change itself, not of the noise: levels that none
of these trials has may learn as much faster or slower. And a level is only claimed to be the better one where some of
its trials came to the end: the other one may have been pruned, and would have to rise more than anything seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpsearch.analysis.anova.axes import Cells, Floats, SpaceAxis, find_cells
from hpsearch.analysis.anova.functional_anova import Posterior, Sampler, make_design
from hpsearch.analysis.anova.level_differences import LevelDifference, Where, compare_levels
from hpsearch.analysis.anova.stages import Stage, find_floor, find_limits, list_later_stages
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

MIN_TRIALS = 8
"""Trials that must have reached the last epoch to say anything of it."""
CHANGE_SCALES = {1: 0.6, 2: 0.2}
"""Prior scales of main effects and pairs of a change, in units of its root mean square over the trials."""
SLOPE_DEVIATION = 1.0
"""Of the prior of how much more a configuration changes that is better by 1."""
LEAST_CHANGE = 1e-3
EVERY = 2
"""Steps of the sampler for each draw."""


@dataclass(frozen=True)
class Change:
    """Draws of how the metric changes from one stage to the next.

    `coefficients` (draws, columns) are of the constant and the terms, `slopes` (draws,) of how far a configuration was
    above `reference` before.
    """

    coefficients: Floats
    slopes: Floats
    reference: float

    def apply(self, values: Floats, design: Floats) -> Floats:
        """Return the metric after the change (n, draws); the best value until an epoch never falls."""
        change = design @ self.coefficients.T + self.slopes * (values - self.reference)
        return np.asarray(values + np.maximum(change, 0.0), dtype=float)


@dataclass(frozen=True)
class FinalPosterior:
    """Draws from the posterior of the metric at the last epoch: that of the first stage, and a change for each other.

    `most` is the largest value that there is.
    """

    first: Posterior
    changes: tuple[Change, ...]
    most: float

    @property
    def axes(self) -> tuple[SpaceAxis, ...]:
        """The searched hyperparameters."""
        return self.first.axes

    def predict(self, cells: Cells) -> Floats:
        """Return the metric at configurations (n, draws)."""
        design = make_design(self.first.terms, cells)
        values = self.first.evaluate(design)
        for change in self.changes:
            values = np.minimum(change.apply(values, design[:, : change.coefficients.shape[1]]), self.most)
        return values


@dataclass(frozen=True)
class FinalEpoch:
    """What is known of the last epoch, where `trials` are better than guessing; if nothing, `reason` says why."""

    trials: int
    differences: tuple[LevelDifference, ...]
    reason: str | None


def compare_at_end(spec: StudySpec, trials: Sequence[Trial], first: Stage, posterior: Posterior) -> FinalEpoch:
    """Return the differences at the last epoch, among good configurations, between levels of which trials got there.

    Args:
        spec: of the study.
        trials: all of them.
        first: the stage that `posterior` is of, before the last epoch.
        posterior: of the metric there.
    """
    later = list_later_stages(spec, trials, first)
    epoch, floor = spec.budget.epochs, find_floor(spec)
    ended = [trial.params for trial, value in zip(later[-1].trials, later[-1].values, strict=True) if value > floor]
    reached = len(ended)
    if reached < MIN_TRIALS:
        needed = f"it takes {MIN_TRIALS} trials that learned something until epoch {epoch}, and there are {reached}"
        return FinalEpoch(reached, (), f"Which levels end better is left open: {needed}.")
    final = fit_final(spec, first, later, posterior)
    params = [trial.params for trial in trials if trial.state.is_finished]
    differences = compare_levels(final, params, epoch, find_limits(spec), ended)
    # Over the whole space the end is guessed where no trial got there: on real training half of that was wrong.
    return FinalEpoch(reached, tuple(each for each in differences if each.where is Where.GOOD), None)


def fit_final(
    spec: StudySpec, first: Stage, later: Sequence[Stage], posterior: Posterior, seed: int = 0
) -> FinalPosterior:
    """Sample the posterior of the metric at the last of the later stages.

    Args:
        spec: of the study.
        first: the stage that `posterior` is of.
        later: the stages after it.
        posterior: of the metric at the first stage.
        seed: of the samplers.
    """
    final, before = FinalPosterior(posterior, (), find_limits(spec)[1]), first
    for stage in later:
        change = _fit_change(final, before, stage, find_floor(spec), np.random.default_rng([seed, stage.epoch]))
        final, before = replace(final, changes=(*final.changes, change)), stage
    return final


def _fit_change(
    final: FinalPosterior, before: Stage, stage: Stage, floor: float, random: np.random.Generator
) -> Change:
    """Sample how the metric changes between two stages, given what is expected before."""
    known = {trial.number: value for trial, value in zip(before.trials, before.values, strict=True)}
    earlier = np.maximum([known[trial.number] for trial in stage.trials], floor)
    values = np.maximum(stage.values, floor)
    cells = find_cells(final.axes, [trial.params for trial in stage.trials])
    expected = final.predict(cells).mean(axis=1)
    reference = float(expected.mean())
    terms = [term for term in final.first.terms if len(term.axes) in CHANGE_SCALES]
    design = make_design(terms, cells)
    rising = values > floor
    typical = math.sqrt(float(np.mean((values - earlier)[rising] ** 2))) if rising.any() else 0.0
    sampler = Sampler(
        [replace(term, scale=CHANGE_SCALES[len(term.axes)]) for term in terms],
        np.hstack([design[:, :1], (earlier - expected)[:, None], (expected - reference)[:, None], design[:, 1:]]),
        values - expected,
        floor - expected,
        random,
        slopes=(SLOPE_DEVIATION, SLOPE_DEVIATION),
        unit=max(typical, LEAST_CHANGE),
    )
    drawn = sampler.scale * sampler.draw(len(final.first.coefficients), EVERY)
    drawn[:, 0] += sampler.centre
    return Change(np.delete(drawn, [1, 2], axis=1), drawn[:, 2], reference)
