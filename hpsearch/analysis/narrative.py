"""What was found, in sentences with figures; plain text, which whoever shows it must escape."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpsearch.analysis import caveats
from hpsearch.analysis.anova.final_epoch import FinalEpoch
from hpsearch.analysis.anova.level_differences import Where, compare_best_level
from hpsearch.analysis.effects import GUESSES, INFEASIBLE, Effect, TrialFacts
from hpsearch.analysis.findings import ComparedLevels, Findings
from hpsearch.analysis.level_sentences import (
    describe_measured_levels,
    describe_modelled_levels,
    find_difference,
    name_subject,
    rank_levels,
)
from hpsearch.analysis.statistics import Difference, Estimate
from hpsearch.formatting import (
    ACCURACY,
    capitalize,
    format_amount,
    format_count,
    format_epochs,
    format_metric,
    format_params,
    format_value,
    join_words,
)
from hpsearch.metrics import METRICS, Direction
from hpsearch.outcomes import FOREIGN
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary, Trial

ABLATION_REMARK = "This study trains the ablation of another one, whose hpsearch ablate shows the result."

MIN_COST_RATIO = 1.1
"""How many times another level's seconds per epoch are worth a sentence."""
MIN_GAP_DIFFERENCE = 0.01
"""The difference between two generalization gaps that is worth one."""
MIN_EPOCH_RATIO = 1.5
"""How many times another level's epochs to an accuracy are worth one."""


@dataclass(frozen=True)
class Narrative:
    """Sentences on what a study found.

    `matters`: which hyperparameters matter. `levels`: which of their values are best. `ablation`: what is so around the
    best trial. `best`: that, and what gave no value. `open`: what is not settled. `cost` and `gap`: of time, and of
    training against validation accuracy. `caveats`: what limits all of that.
    """

    matters: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    best: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    cost: tuple[str, ...] = ()
    gap: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    ablation: tuple[str, ...] = ()

    @property
    def answer(self) -> tuple[str, ...]:
        """Return what answers the question, the most important first."""
        return (*self.matters, *self.levels, *self.best, *self.ablation, *self.open)


def write_narrative(summary: Summary, findings: Findings) -> Narrative:
    """Return all sentences about a study."""
    spec, metric = summary.study.spec, findings.metric
    values = [trial.value for trial in findings.facts if trial.complete and trial.value is not None]
    modelled = not findings.is_exact and any(each.differences for each in findings.comparisons)
    if spec.ablation:
        return Narrative(levels=(ABLATION_REMARK,))
    limits = (
        *caveats.write_caveats(summary, findings.facts, is_modelled=modelled),
        *caveats.describe_foreign(findings.foreign),
    )
    foreign = tuple(_describe_foreign_best(summary, metric))
    if findings.best is None and not modelled:
        return Narrative(levels=(_describe_endings(findings.facts),), best=foreign, caveats=limits)
    if modelled:
        levels = tuple(_describe_search(findings.comparisons, metric, spec.budget.epochs))
    elif sum(trial.value is not None for trial in findings.facts) > 1:
        levels = tuple(_describe_measured(findings, spec))
    else:
        levels = ("One trial is complete: there is nothing to compare it with.",)
    compared = [*([findings.configurations] if findings.configurations else []), *findings.effects]
    # Where a sampler chose, or a pruner ended trials, a level may be quick or overfit for many reasons.
    planned = compared if spec.sampler.name == "grid" else []
    exact = compared if findings.is_exact else []
    cost = [line for effect in compared for line in _describe_cost(effect, spec, findings.is_exact)]
    return Narrative(
        tuple(_describe_importance(findings)),
        levels,
        (*_describe_outcome(findings, values, spec), *foreign),
        tuple(_describe_open(findings, spec)) if modelled else (),
        (*cost, *(line for effect in planned for line in _describe_rate(effect))),
        tuple(line for effect in exact for line in _describe_gap(effect)),
        limits,
    )


def _describe_importance(findings: Findings) -> Iterator[str]:
    """Yield what matters most, and what depends on what."""
    importance = findings.importance
    yield from importance.statements[: 1 + len(importance.interactions)]
    if importance.differences and len(findings.comparisons) > 1:
        yield from importance.warnings
    yield from (f"{best.describe()}." for best in importance.dependent_bests)


def _describe_search(comparisons: Sequence[ComparedLevels], metric: str, epochs: int) -> Iterator[str]:
    """Yield which levels are best by the model, the hyperparameters with the largest settled difference first."""

    def rank(compared: ComparedLevels) -> float:
        return -max((each.amount for each in compared.differences if each.is_settled), default=0.0)

    for compared in sorted((each for each in comparisons if each.differences), key=rank):
        first, *later = sorted({each.epoch for each in compared.differences})
        for epoch in (first, *later):
            pairs = [each for each in compared.differences if each.epoch == epoch]
            if epoch == first or any(each.is_settled for each in pairs):
                yield from describe_modelled_levels(pairs, compared.when, metric, epochs)


def _describe_measured(findings: Findings, spec: StudySpec) -> Iterator[str]:
    """Yield which configurations and levels are best by their measured means."""
    measured = METRICS[findings.metric].test_title if spec.evaluation else findings.metric
    yield from _describe_configurations(findings.configurations, findings.metric, measured)
    yield from _describe_effects(findings.effects, findings.metric)


def _describe_outcome(findings: Findings, values: Sequence[float], spec: StudySpec) -> Iterator[str]:
    """Yield the levels that gave no value, and the best trial."""
    yield from _describe_infeasible(findings.effects)
    if findings.best is not None and not spec.evaluation:
        yield _describe_best(findings.best, findings.metric, values)


def _describe_open(findings: Findings, spec: StudySpec) -> Iterator[str]:
    """Yield which levels are not told from the best one among good configurations, and what is so at the end."""
    importance, epochs = findings.importance, spec.budget.epochs
    names = []
    for compared in findings.comparisons:
        pairs = [each for each in compared.differences if each.where is Where.GOOD and each.epoch == importance.epoch]
        best = compare_best_level(pairs) if pairs else None
        if best and best.open:
            # In the order of the pairs, which is that of the study file.
            levels = [best.label, *(pair.name_other(best.label) for pair in pairs if pair in best.open)]
            all_levels = len(levels) > 2 and len(levels) == len(compared.levels)
            names.append(f"{compared.name} ({'all levels' if all_levels else join_words(levels, 'or')})")
    at = "at the end of training" if importance.epoch >= epochs else f"at epoch {importance.epoch}"
    if names:
        yield f"Not settled {at}: which is best of {join_words(names)}."
    if importance.final is not None:
        yield _describe_end(importance.final, epochs)


def _describe_end(final: FinalEpoch, epochs: int) -> str:
    """Say how little is known of the end of training, and why."""
    if final.reason:
        return final.reason
    is_settled = any(each.is_settled for each in final.differences)
    known = "what is said of it above is all that is settled" if is_settled else "nothing is settled"
    return (
        f"At the end of training, epoch {epochs}, {known}: the {format_count(final.trials, 'trial')} that learned "
        "something until there are too few, and too much alike."
    )


def _describe_endings(facts: Sequence[TrialFacts]) -> str:
    ended = [trial for trial in facts if trial.ending]
    if not ended:
        return "No trial has ended: there is nothing to tell yet."
    endings = caveats.count_endings(ended)
    if len(ended) == 1:
        return f"The only ended trial is not complete ({endings}): there is nothing to compare."
    return f"None of the {len(ended):,} ended trials is complete ({endings}): there is nothing to compare."


def _describe_best(best: Trial, metric: str, values: Sequence[float]) -> str:
    assert best.value is not None
    value, direction = format_metric(best.value, None, metric), METRICS[metric].direction
    rank = ""
    if len(values) > 1:
        extreme = "highest" if direction is Direction.MAXIMIZE else "lowest"
        rank = f", the {extreme} of {len(values):,}"
    params = format_params(best.params)
    return f"Trial {best.number} is best: {metric} {value} at epoch {best.best_epoch}{rank}, with {params}."


def _describe_foreign_best(summary: Summary, metric: str) -> Iterator[str]:
    """Yield the trial that is best only by what another program told."""
    best = summary.best
    if best is not None and best["is_foreign"]:
        value = format_metric(best["value"], None, metric)
        yield f"Trial {best['number']}, {FOREIGN}, has {metric} {value}: nobody trained it here."


def _describe_configurations(configurations: Effect | None, metric: str, measured: str) -> Iterator[str]:
    """Yield which configuration is best; `measured` names the metric and its images."""
    ranked = rank_levels(configurations, metric) if configurations else []
    if not configurations or not ranked or ranked[0].value is None:
        return
    best = ranked[0].value
    label, value = ranked[0].label, f"{format_metric(best.mean, best.half, metric)} (n = {best.n})"
    if len(configurations.levels) == 1:
        yield f"{capitalize(label)} reaches {measured} {value}."
        return
    yield f"The best configuration is {label}: {measured} {value}."
    yield from describe_measured_levels(configurations, metric)


def _describe_effects(effects: Sequence[Effect], metric: str) -> Iterator[str]:
    """Yield the sentences on each effect, the distinguishable ones first, then by the range of their levels."""

    def rank(effect: Effect) -> tuple[bool, float]:
        levels = rank_levels(effect, metric)
        widest = find_difference(effect.values, levels[0], levels[-1]) if len(levels) > 1 else None
        return (not (widest and widest.distinguishable), -widest.amount if widest else 0.0)

    for effect in sorted(effects, key=rank):
        yield from describe_measured_levels(effect, metric)


def _describe_infeasible(effects: Sequence[Effect]) -> Iterator[str]:
    """Yield the levels of which at least half of the ended trials were infeasible."""
    for effect in effects:
        for level in effect.levels:
            counts = {outcome: level.endings[outcome] for outcome in INFEASIBLE if level.endings[outcome]}
            infeasible, ended = sum(counts.values()), sum(level.endings.values())
            if infeasible and 2 * infeasible >= ended:
                kinds = ", ".join(f"{count} {outcome.label}" for outcome, count in counts.items())
                trials = format_count(ended, "trial")
                subject = name_subject(effect.name, effect.when)
                fate = "were no better than guessing" if counts.keys() <= set(GUESSES) else "gave no usable value"
                yield f"{subject}: with {level.label}, {infeasible} of {trials} {fate} ({kinds})."


def _describe_cost(effect: Effect, spec: StudySpec, is_exact: bool) -> Iterator[str]:
    """Yield the levels that take longer than the base model's, or than the fastest one; and what that gains."""
    timed = {level.label: level.seconds.mean for level in effect.levels if level.seconds}
    if len(timed) < 2:
        return
    row = spec.table.get(effect.name)
    base = format_value(row.default) if row and row.default is not None else ""
    reference = base if base in timed else min(timed, key=lambda label: timed[label])
    for label, seconds in timed.items():
        if label == reference or seconds < MIN_COST_RATIO * timed[reference]:
            continue
        levels = effect.find_level(label), effect.find_level(reference)
        slower = find_difference(effect.seconds, *levels)
        if slower is None or not slower.distinguishable:
            continue
        time = f"the time of {reference}" if " " in reference else f"{reference}'s time"
        cost = f"{label} costs {seconds / timed[reference]:.1f}× {time} per epoch"
        gain = _describe_gain(find_difference(effect.values, *levels), label, spec.study.metric) if is_exact else ""
        yield f"{name_subject(effect.name, effect.when)}: {cost}{gain}."


def _describe_gain(difference: Difference | None, label: str, metric: str) -> str:
    """Return what the value of level `label` gains or loses, to follow what it costs."""
    if difference is None or difference.half is None:
        return ""
    higher, lower = ("gains", "loses") if METRICS[metric].is_fraction else ("ends higher by", "ends lower by")
    is_higher = (difference.better == label) == (METRICS[metric].direction is Direction.MAXIMIZE)
    doubt = ": not distinguishable" if difference.indistinguishable else ""
    amount = format_amount(difference.amount, difference.half, metric)
    return f" and {higher if is_higher else lower} {amount}{doubt}"


def _describe_rate(effect: Effect) -> Iterator[str]:
    """Yield the quickest and the slowest level to the highest accuracy that most trials of two levels reached."""
    for steps in reversed(list(zip(*(level.reached for level in effect.levels), strict=True))):
        times = [
            (reach.epoch, reach.seconds, level.label)
            for level, reach in zip(effect.levels, steps, strict=True)
            if reach.epoch is not None and reach.seconds is not None and 2 * reach.trials >= len(level.trials)
        ]
        if len(times) < 2:
            continue
        (epochs, seconds, quickest), (most_epochs, most_seconds, slowest) = min(times), max(times)
        if most_epochs >= MIN_EPOCH_RATIO * epochs:
            yield (
                f"{name_subject(effect.name, effect.when)}: {quickest} reaches {steps[0].accuracy:.0%} validation "
                f"accuracy after {format_epochs(epochs)} ({seconds:.3g} s), {slowest} after "
                f"{format_epochs(most_epochs)} ({most_seconds:.3g} s)."
            )
        return


def _describe_gap(effect: Effect) -> Iterator[str]:
    """Yield the levels with the widest and the narrowest generalization gap, where these are distinguishable."""
    gaps = sorted(((level.gap.mean, place, level) for place, level in enumerate(effect.levels) if level.gap))
    if len(gaps) < 2:
        return
    narrow, wide = gaps[0][-1], gaps[-1][-1]
    difference = find_difference(effect.gaps, narrow, wide)
    if difference is None or difference.amount < MIN_GAP_DIFFERENCE or not difference.distinguishable:
        return
    yield (
        f"{name_subject(effect.name, effect.when)}: {wide.label} ends with training accuracy "
        f"{_format_gap(wide.gap)} validation accuracy, {narrow.label} with {_format_gap(narrow.gap)}: "
        f"{format_amount(difference.amount, difference.half, ACCURACY)} apart."
    )


def _format_gap(gap: Estimate | None) -> str:
    assert gap is not None
    return f"{format_amount(abs(gap.mean), gap.half, ACCURACY)} {'above' if gap.mean >= 0 else 'below'}"
