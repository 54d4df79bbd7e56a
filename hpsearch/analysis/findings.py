"""What a study found, as figures: its measured levels, its importance, and the comparisons that it answers with."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hpsearch.analysis import effects
from hpsearch.analysis.anova.level_differences import LevelDifference, Where
from hpsearch.analysis.effects import Effect, TrialFacts
from hpsearch.analysis.importance import Importance, compute_importance
from hpsearch.outcomes import TrialState
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary, Trial


@dataclass(frozen=True)
class ComparedLevels:
    """The levels of a hyperparameter, and each two of them compared; `when` says when it is active (None: always)."""

    name: str
    when: str | None
    levels: tuple[str, ...]
    differences: tuple[LevelDifference, ...]


@dataclass(frozen=True)
class Findings:
    """What a study's trials say so far.

    `best` is the best complete trial that was trained here, None while there is none. `foreign` counts those that
    were not. `accuracies` are the validation accuracies for which each level's `reached` says how soon. `facts` are
    of the trials that have begun. `effects` has the measured levels of each searched hyperparameter;
    `configurations` compares whole configurations (None unless the study is a small grid of several
    hyperparameters, a list, or searches nothing). `is_exact`: all levels were trained alike, so that their measured
    means are compared; else only the model of `importance` compares them. `repeated` says whether seed noise was
    measured.
    """

    metric: str
    best: Trial | None
    accuracies: tuple[float, ...]
    facts: tuple[TrialFacts, ...]
    effects: tuple[Effect, ...]
    configurations: Effect | None
    is_exact: bool
    repeated: bool
    importance: Importance
    comparisons: tuple[ComparedLevels, ...]
    foreign: int = 0


def rank_trials(spec: StudySpec, trials: Iterable[Trial]) -> list[Trial]:
    """Return the complete trials that have a value from training here, the best first; of equals the earlier one."""
    sign = spec.direction.sign
    valued = [(trial.value, trial) for trial in trials if trial.is_compared and trial.value is not None]
    return [trial for _, trial in sorted(valued, key=lambda pair: (-sign * pair[0], pair[1].number))]


def analyze_study(summary: Summary, trials: Sequence[Trial]) -> Findings:
    """Return what the trials of a study say, from what `results.read` returns; those trained elsewhere say nothing."""
    spec, foreign = summary.study.spec, sum(trial.is_foreign for trial in trials)
    trials = [trial for trial in trials if not trial.is_foreign]
    accuracies = effects.choose_milestones(trials, spec.class_counts)
    facts = effects.collect_facts(spec, trials, accuracies)
    measured = effects.measure_effects(spec, facts, accuracies)
    importance = compute_importance(summary, trials)
    is_exact = _is_exact(spec, facts)
    return Findings(
        spec.study.metric,
        next(iter(rank_trials(spec, trials)), None),
        accuracies,
        tuple(facts),
        measured,
        effects.compare_configurations(spec, facts, accuracies),
        is_exact,
        spec.repeats > 1 or (not spec.space and len(facts) > 1),
        importance,
        tuple(_compare(effect, importance, is_exact, spec.budget.epochs) for effect in measured),
        foreign,
    )


def _is_exact(spec: StudySpec, facts: Sequence[TrialFacts]) -> bool:
    """Return whether nothing but the study file decided what was trained, and for how long."""
    planned = spec.sampler.name == "grid" or spec.listed or not spec.space
    return planned and not any(trial.ending == TrialState.PRUNED for trial in facts)


def _compare(effect: Effect, importance: Importance, is_exact: bool, epochs: int) -> ComparedLevels:
    modelled = [each for each in importance.all_differences if each.name == effect.name]
    if is_exact:
        good = (each for each in modelled if each.where is Where.GOOD and each.epoch >= epochs)
        differences = (*_list_measured(effect, epochs), *good)
    else:
        differences = tuple(modelled)
    return ComparedLevels(effect.name, effect.when, tuple(level.label for level in effect.levels), differences)


def _list_measured(effect: Effect, epochs: int) -> Iterator[LevelDifference]:
    """Yield the measured differences that have an interval."""
    for each in effect.values:
        if each.half is not None:
            low, high = each.amount - each.half, each.amount + each.half
            yield LevelDifference(effect.name, each.better, each.worse, each.amount, low, high, Where.SPACE, epochs)
