"""Which hyperparameters matter: their shares of the variance of the metric over the search space, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from hpsearch.analysis.anova import functional_anova, posterior_summary
from hpsearch.analysis.anova.axes import Floats, find_cells, make_axes
from hpsearch.analysis.anova.dependent_bests import DependentBest, find_dependent_bests
from hpsearch.analysis.anova.final_epoch import FinalEpoch, compare_at_end
from hpsearch.analysis.anova.functional_anova import Posterior
from hpsearch.analysis.anova.level_differences import LevelDifference, compare_levels
from hpsearch.analysis.anova.posterior_summary import INTERVAL
from hpsearch.analysis.anova.stages import Stage, choose_stage, find_floor, find_limits
from hpsearch.formatting import format_share
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary, Trial

MIN_TRIALS = 10
"""Trials below which no importance is computed."""
MIN_CONTRAST = 2.5
"""A hyperparameter matters for sure where its main effect has two cells that differ by so many posterior deviations.

Of 72 random searches of noise (3 or 5 hyperparameters, 40, 60 or 100 trials) two had one.
"""
SINGLE = "There is no importance to compute: it compares hyperparameters, and fewer than two are searched."
MIN_LOW = 0.03
"""The lower end of an interaction that is named; and a third of it is the least lower end that is not 0."""


@dataclass(frozen=True)
class Share:
    """A hyperparameter's share of the variance, a fraction of 1: the posterior mean and its 95% interval."""

    name: str
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Interaction:
    """What two hyperparameters explain of the variance together beyond what each does alone."""

    names: tuple[str, str]
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """The shares, largest first, and what they were computed from: that many `trials`, at `epoch` (see `Stage`).

    `interactions` are those that are told from nothing, largest first; `differences` compare the levels of each
    hyperparameter at the same epoch, from the same model, and `dependent_bests` say what of an interaction one acts on.
    `final` compares them at the last epoch; None where `epoch` is that, or nothing is compared. `statements` say what
    was found and from what, `warnings` what limits it; where nothing can be known there are no shares, and the one
    warning says why.
    """

    shares: tuple[Share, ...]
    interactions: tuple[Interaction, ...]
    differences: tuple[LevelDifference, ...]
    dependent_bests: tuple[DependentBest, ...]
    final: FinalEpoch | None
    trials: int
    epoch: int
    statements: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def all_differences(self) -> tuple[LevelDifference, ...]:
        """Return the differences at `epoch`, then those at the last epoch."""
        return (*self.differences, *(self.final.differences if self.final else ()))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the statements, then the warnings."""
        return self.statements + self.warnings

    @property
    def is_settled(self) -> bool:
        """Return whether the interval of the first hyperparameter lies above that of the second."""
        return _is_settled(self.shares)


def compute_importance(summary: Summary, trials: Sequence[Trial]) -> Importance:
    """Return each hyperparameter's share of the variance of the metric over the search space as the file describes it.

    Uniform over choices and ranges, on the log scale for a log range; a conditional hyperparameter counts where it is
    active. From all trials of the `Stage`, by a Bayesian functional ANOVA (`functional_anova`): shares are Sobol's
    first-order indices.
    """
    # Several threads sum in another order with each number of them, so that another host would draw another posterior;
    # and of matrices this small they take twice the time.
    with threadpool_limits(1, "blas"):
        return _compute_importance(summary, trials)


def _compute_importance(summary: Summary, trials: Sequence[Trial]) -> Importance:
    spec = summary.study.spec
    stage = choose_stage(spec, trials)
    if reason := _find_obstacle(spec, stage):
        return Importance((), (), (), (), None, len(stage.trials), stage.epoch, (), (reason,))
    posterior = fit_stage(spec, stage)
    contrasts = posterior_summary.measure_contrasts(posterior)
    params = [trial.params for trial in trials if trial.state.is_finished]
    differences = compare_levels(posterior, params, stage.epoch, find_limits(spec))
    final = compare_at_end(spec, trials, stage, posterior) if stage.epoch < spec.budget.epochs else None
    if max(contrasts.values()) < MIN_CONTRAST:
        differences = _claim_nothing(differences)
        final = final and replace(final, differences=_claim_nothing(final.differences))
        reason = SINGLE if len(spec.space) < 2 else _describe_unsettled(stage, spec)
        return Importance((), (), differences, (), final, len(stage.trials), stage.epoch, (), (reason,))
    if len(spec.space) < 2:
        return Importance((), (), differences, (), final, len(stage.trials), stage.epoch, (), (SINGLE,))
    shares, interactions = _list_shares(posterior, contrasts)
    return Importance(
        shares,
        interactions,
        differences,
        find_dependent_bests(posterior, [pair.names for pair in interactions]),
        final,
        len(stage.trials),
        stage.epoch,
        tuple(_write_statements(shares, interactions, stage, spec)),
        tuple(_write_warnings(shares, stage, spec)),
    )


def _claim_nothing(differences: Sequence[LevelDifference]) -> tuple[LevelDifference, ...]:
    return tuple(replace(difference, is_supported=False) for difference in differences)


def _list_shares(
    posterior: Posterior, contrasts: Mapping[str, float]
) -> tuple[tuple[Share, ...], tuple[Interaction, ...]]:
    """Return the shares, and the interactions that are told from nothing, largest first."""
    measured = posterior_summary.measure_shares(posterior)
    told = [drawn for name, drawn in measured.main.items() if contrasts[name] >= MIN_CONTRAST]
    told += [drawn for drawn in measured.pairs.values() if _summarize(drawn)[1] >= MIN_LOW]
    shares = sorted(
        (_make_share(name, drawn, told) for name, drawn in measured.main.items()), key=lambda each: -each.share
    )
    pairs = (Interaction(names, *_summarize(drawn)) for names, drawn in measured.pairs.items())
    interactions = sorted((pair for pair in pairs if pair.low >= MIN_LOW), key=lambda each: -each.share)
    return tuple(shares), tuple(interactions)


def fit_stage(spec: StudySpec, stage: Stage) -> Posterior:
    """Return the posterior of the metric over the space, given the trials of the stage."""
    axes = make_axes(spec.space)
    cells = find_cells(axes, [trial.params for trial in stage.trials])
    floor = find_floor(spec)
    values = np.maximum(np.array(stage.values, dtype=float), floor)
    return functional_anova.fit(axes, cells, values, floor).thin(posterior_summary.SUMMARY_DRAWS)


def _find_obstacle(spec: StudySpec, stage: Stage) -> str | None:
    """Return why there is no importance to compute; None where there is."""
    if spec.listed:
        return "There is no importance to compute: the configurations are a list, not a search."
    if not spec.space:
        return SINGLE
    if len(stage.values) < MIN_TRIALS:
        reached = f"reached epoch {stage.epoch}, and there are {len(stage.values)}"
        return f"There is no importance to compute: it needs {MIN_TRIALS} trials that {reached}."
    if max(stage.values) <= find_floor(spec):
        return f"There is no importance to compute: at epoch {stage.epoch} no trial is better than guessing."
    if min(stage.values) == max(stage.values):
        return "There is no importance to compute: all trials have the same value."
    return None


def _make_share(name: str, drawn: Floats, told: Sequence[Floats]) -> Share:
    """Return a share; `told` are the draws of all that is told from nothing."""
    share, low, high = _summarize(drawn)
    # What is not told from nothing may be nothing, although no draw of a variance is: then this share is larger.
    others = np.sum([np.zeros_like(drawn), *(each for each in told if each is not drawn)], axis=0)
    alone = drawn / np.maximum(drawn + others, np.finfo(float).tiny)
    return Share(name, share, low, max(high, float(np.quantile(alone, INTERVAL[1]))) if low else high)


def _summarize(drawn: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(drawn, INTERVAL)
    # A share is never negative, so that its lowest quantile is above 0 also where there is nothing.
    return float(drawn.mean()), float(low) if low >= MIN_LOW / 3 else 0.0, float(high)


def _is_settled(shares: Sequence[Share]) -> bool:
    return len(shares) > 1 and shares[0].low > shares[1].high


def _describe_unsettled(stage: Stage, spec: StudySpec) -> str:
    return (
        f"{len(stage.trials)} trials at epoch {stage.epoch} of {spec.budget.epochs} do not settle that any "
        "hyperparameter matters: what they do is not told from the noise, and no level is said to be better. More "
        "trials may settle it."
    )


def _write_statements(
    shares: Sequence[Share], interactions: Sequence[Interaction], stage: Stage, spec: StudySpec
) -> Iterator[str]:
    first, second = shares[:2]
    at = "" if stage.epoch >= spec.budget.epochs else f" at epoch {stage.epoch} of {spec.budget.epochs}"
    verb = "matters" if _is_settled(shares) else "seems to matter"
    yield (
        f"{first.name} {verb} most{at}: it explains {_format_share(first)} of the variance of {spec.study.metric} "
        f"over the search space, before {second.name} with {_format_share(second)}."
    )
    for pair in interactions:
        names = " × ".join(pair.names)
        yield f"{names} explains {_format_share(pair)} more: the best value of one depends on the other."
    floor = find_floor(spec)
    guessing = sum(value <= floor for value in stage.values)
    worst = f", {guessing} of them no better than guessing" if guessing else ""
    yield (
        f"Computed from the {len(stage.trials)} trials that were trained to epoch {stage.epoch}{worst}, by their best "
        "value until then; in brackets, 95% intervals."
    )


def _format_share(share: Share | Interaction) -> str:
    return format_share(share.share, share.low, share.high)


def _write_warnings(shares: Sequence[Share], stage: Stage, spec: StudySpec) -> Iterator[str]:
    first, second = shares[:2]
    if not _is_settled(shares):
        yield f"The intervals of {first.name} and {second.name} overlap: which of them matters more is not settled."
    if stage.epoch < spec.budget.epochs:
        yield (
            f"What matters at epoch {stage.epoch} need not be what matters at epoch {spec.budget.epochs}: "
            "configurations that learn slowly may overtake others, and the pruner let few trials get there."
        )
