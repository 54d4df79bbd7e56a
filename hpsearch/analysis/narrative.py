"""What was found, in sentences with figures; plain text, which whoever shows it must escape."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.analysis import caveats
from hpsearch.analysis.effects import GUESSES, INFEASIBLE, Effect, Level, TrialFacts
from hpsearch.analysis.statistics import Difference, Estimate
from hpsearch.formatting import format_count, format_params, format_value, join_words
from hpsearch.metrics import METRICS, Direction
from hpsearch.spec.hyperparameters import TABLE
from hpsearch.storage.results import Summary, Trial

ACCURACY = "val_accuracy"

MIN_COST_RATIO = 1.1
"""How many times another level's seconds per epoch are worth a sentence."""
MIN_GAP_DIFFERENCE = 0.01
"""The difference between two generalization gaps that is worth one."""
MIN_EPOCH_RATIO = 1.5
"""How many times another level's epochs to an accuracy are worth one."""


@dataclass(frozen=True)
class Narrative:
    """Sentences on which levels are best, on their cost and their generalization gap, and what limits all of that."""

    answer: tuple[str, ...]
    cost: tuple[str, ...] = ()
    gap: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


def write_narrative(
    summary: Summary,
    best: Trial | None,
    facts: Sequence[TrialFacts],
    effects: Sequence[Effect],
    configurations: Effect | None,
) -> Narrative:
    """Return all sentences about a study.

    Args:
        summary: the study.
        best: its best complete trial.
        facts: the trials that have begun.
        effects: of each searched hyperparameter.
        configurations: the configurations side by side, where there are few.
    """
    limits = tuple(caveats.write_caveats(summary, facts))
    values = [trial.value for trial in facts if trial.complete and trial.value is not None]
    if best is None or not values:
        return Narrative((_describe_endings(facts),), caveats=limits)
    spec = summary.study.spec
    metric = spec.study.metric
    compared = [*([configurations] if configurations else []), *effects]
    if sum(trial.value is not None for trial in facts) > 1:
        measured = metric.replace("val_", "test ") if spec.evaluation else metric
        answer = [*_describe_configurations(configurations, metric, measured), *_describe_effects(effects, metric)]
    else:
        answer = ["One trial is complete: there is nothing to compare it with."]
    answer += _describe_infeasible(effects)
    if not spec.evaluation:
        answer.append(_describe_best(best, metric, values))
    # Where the sampler chose and pruned, a level may reach an accuracy soon for many reasons.
    rates = [line for effect in compared for line in _describe_rate(effect)] if spec.sampler.name == "grid" else []
    return Narrative(
        tuple(answer),
        (*(line for effect in compared for line in _describe_cost(effect, metric)), *rates),
        tuple(line for effect in compared for line in _describe_gap(effect)),
        limits,
    )


def format_amount(amount: float, half: float | None, metric: str) -> str:
    """Return a difference as `2.1 ± 0.6 points` or `0.21 ± 0.06 nats`; without the ± where there is no interval."""
    return f"{_format_interval(amount, half, metric)} {'points' if metric == ACCURACY else 'nats'}"


def format_metric(value: float, half: float | None, metric: str) -> str:
    """Return a value of the metric as `71.2 ± 0.6%` or `0.81 ± 0.02 nats`."""
    return f"{_format_interval(value, half, metric)}{'%' if metric == ACCURACY else ' nats'}"


def format_difference(amount: float, low: float, high: float, metric: str) -> str:
    """Return how much worse something is, with the interval, as `21.3 points worse (18.1 to 24.0)`."""
    if amount < 0:
        amount, low, high, word = -amount, -high, -low, "better"
    else:
        word = "worse"
    factor, places, unit = (100, 1, "points") if metric == ACCURACY else (1, 2, "nats")
    interval = f"{low * factor:.{places}f} to {high * factor:.{places}f}"
    return f"{amount * factor:.{places}f} {unit} {word} ({interval})"


def format_level(value: Estimate, metric: str) -> str:
    """Return a level's value as `71.2 ± 0.6% (n = 3)`."""
    return f"{format_metric(value.mean, value.half, metric)} (n = {value.n})"


def _format_interval(value: float, half: float | None, metric: str) -> str:
    """Return accuracies in percent, losses as they are; an interval below the usual precision brings more digits."""
    factor, places = (100, 1) if metric == ACCURACY else (1, 2)
    if half and half * factor > 10 ** -(places + 2):
        places = max(places, math.ceil(-math.log10(half * factor)))
    interval = "" if half is None else f" ± {half * factor:.{places}f}"
    return f"{value * factor:.{places}f}{interval}"


def format_epochs(number: float) -> str:
    """Return `1 epoch`, `7.5 epochs`."""
    return f"{number:g} epoch{'s' * (number != 1)}"


def rank_levels(effect: Effect, metric: str) -> list[Level]:
    """Return the levels that have a value, the best mean first; those of a single trial come after those of several."""
    sign = METRICS[metric].sign
    valued = [(level.value.n == 1, -sign * level.value.mean, level) for level in effect.levels if level.value]
    return [level for *_, level in sorted(valued, key=lambda entry: entry[:2])]


def find_difference(differences: Sequence[Difference], first: Level, second: Level) -> Difference | None:
    """Return the difference of two levels, whichever is better; None where they share no setting."""
    labels = {first.label, second.label}
    return next((entry for entry in differences if {entry.better, entry.worse} == labels), None)


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
    value, direction = format_metric(best.value, None, metric), METRICS[metric]
    rank = ""
    if len(values) > 1:
        second = sorted(values, key=lambda value: -direction.sign * value)[1]
        lead = format_amount(abs(best.value - second), None, metric)
        extreme = "highest" if direction is Direction.MAXIMIZE else "lowest"
        rank = f", the {extreme} of {len(values):,}, {lead} from the next"
    params = format_params(best.params)
    return f"Trial {best.number} is best: {metric} {value} at epoch {best.best_epoch}{rank}, with {params}."


def _describe_configurations(configurations: Effect | None, metric: str, measured: str) -> Iterator[str]:
    """Yield which configuration is best; `measured` names the metric and its images."""
    ranked = rank_levels(configurations, metric) if configurations else []
    if not configurations or not ranked or ranked[0].value is None:
        return
    label, value = ranked[0].label, format_level(ranked[0].value, metric)
    if len(configurations.levels) == 1:
        yield f"{label[:1].upper()}{label[1:]} reaches {measured} {value}."
        return
    yield f"The best configuration is {label}: {measured} {value}."
    yield from _describe_effect(configurations, metric)


def _describe_effects(effects: Sequence[Effect], metric: str) -> Iterator[str]:
    """Yield the sentences on each effect, the distinguishable ones first, then by the range of their levels."""

    def rank(effect: Effect) -> tuple[bool, float]:
        levels = rank_levels(effect, metric)
        widest = find_difference(effect.values, levels[0], levels[-1]) if len(levels) > 1 else None
        return (not (widest and widest.distinguishable), -widest.amount if widest else 0.0)

    for effect in sorted(effects, key=rank):
        yield from _describe_effect(effect, metric)


def _describe_effect(effect: Effect, metric: str) -> Iterator[str]:
    """Yield how far the best level is ahead of the others, where there is something to compare."""
    subject, ranked = _name_subject(effect), rank_levels(effect, metric)
    if len(ranked) < 2:
        if ranked and len(effect.levels) > 1:
            yield f"{subject}: only {ranked[0].label} has a value, so nothing can be compared."
        return
    best, *others = ranked
    differences = {level.label: find_difference(effect.values, best, level) for level in others}
    leads = {label: difference for label, difference in differences.items() if difference}
    if not leads:
        yield f"{subject}: no two levels were tried with all else alike, so they are not compared."
        return
    yield from (f"{subject}: {sentence}" for sentence in _describe_leads(best.label, leads, metric))


def _describe_leads(best: str, leads: Mapping[str, Difference], metric: str) -> Iterator[str]:
    """Yield how far the best level is ahead of the next, which others it is not distinguishable from, and the last."""
    (_, lead), *rest = leads.items()
    unclear = [label for label, difference in rest if difference.indistinguishable]
    if unclear and len(unclear) == len(rest) and not lead.distinguishable:
        yield f"{_describe_lead(lead, metric)}, nor is {unclear[0] if len(unclear) == 1 else 'any other level'}."
        return
    yield f"{_describe_lead(lead, metric)}."
    if unclear:
        yield f"not distinguishable from {best} {'is' if len(unclear) == 1 else 'are'} also {join_words(unclear)}."
    if rest:
        label, last = rest[-1]
        if last.worse == label and not last.indistinguishable:
            distance = format_amount(last.amount, last.half, metric)
            yield f"{label} is last, {distance} {_name_side(metric, better=False)} {best}."


def _describe_lead(lead: Difference, metric: str) -> str:
    if lead.amount == 0:
        return f"{lead.better} and {lead.worse} end alike"
    distance = format_amount(lead.amount, lead.half, metric)
    doubt = ": not distinguishable" if lead.indistinguishable else ""
    return f"{lead.better} ends {distance} {_name_side(metric, better=True)} {lead.worse}{doubt}"


def _name_side(metric: str, *, better: bool) -> str:
    """Return on which side of another value a better or a worse one lies."""
    return "above" if better == (METRICS[metric] is Direction.MAXIMIZE) else "below"


def _describe_infeasible(effects: Sequence[Effect]) -> Iterator[str]:
    """Yield the levels of which at least half of the ended trials were infeasible."""
    for effect in effects:
        for level in effect.levels:
            counts = {outcome: level.endings[outcome] for outcome in INFEASIBLE if level.endings[outcome]}
            infeasible, ended = sum(counts.values()), sum(level.endings.values())
            if infeasible and 2 * infeasible >= ended:
                kinds = ", ".join(f"{count} {outcome.label}" for outcome, count in counts.items())
                trials = format_count(ended, "trial")
                fate = "were no better than guessing" if counts.keys() <= set(GUESSES) else "gave no usable value"
                yield f"{_name_subject(effect)}: with {level.label}, {infeasible} of {trials} {fate} ({kinds})."


def _describe_cost(effect: Effect, metric: str) -> Iterator[str]:
    """Yield the levels that take longer than the base model's, or than the fastest one."""
    timed = {level.label: level.seconds.mean for level in effect.levels if level.seconds}
    if len(timed) < 2:
        return
    base = format_value(TABLE[effect.name].default) if effect.name in TABLE else ""
    reference = base if base in timed else min(timed, key=lambda label: timed[label])
    for label, seconds in timed.items():
        if label == reference or seconds < MIN_COST_RATIO * timed[reference]:
            continue
        levels = effect.find_level(label), effect.find_level(reference)
        slower = find_difference(effect.seconds, *levels)
        if slower is None or slower.indistinguishable:
            continue
        time = f"the time of {reference}" if " " in reference else f"{reference}'s time"
        cost = f"{label} costs {seconds / timed[reference]:.1f}× {time} per epoch"
        gain = _describe_gain(find_difference(effect.values, *levels), label, metric)
        yield f"{_name_subject(effect)}: {cost}{gain}."


def _describe_gain(difference: Difference | None, label: str, metric: str) -> str:
    """Return what the value of level `label` gains or loses, to follow what it costs."""
    if difference is None:
        return ""
    higher, lower = ("gains", "loses") if metric == ACCURACY else ("ends higher by", "ends lower by")
    is_higher = (difference.better == label) == (METRICS[metric] is Direction.MAXIMIZE)
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
                f"{_name_subject(effect)}: {quickest} reaches {steps[0].accuracy:.0%} validation accuracy after "
                f"{format_epochs(epochs)} ({seconds:.3g} s), {slowest} after {format_epochs(most_epochs)} "
                f"({most_seconds:.3g} s)."
            )
        return


def _describe_gap(effect: Effect) -> Iterator[str]:
    """Yield the levels with the widest and the narrowest generalization gap, where these are distinguishable."""
    gaps = sorted(((level.gap.mean, place, level) for place, level in enumerate(effect.levels) if level.gap))
    if len(gaps) < 2:
        return
    narrow, wide = gaps[0][-1], gaps[-1][-1]
    difference = find_difference(effect.gaps, narrow, wide)
    if difference is None or difference.amount < MIN_GAP_DIFFERENCE or difference.indistinguishable:
        return
    yield (
        f"{_name_subject(effect)}: {wide.label} ends with training accuracy {_format_gap(wide.gap)} validation "
        f"accuracy, {narrow.label} with {_format_gap(narrow.gap)}: "
        f"{format_amount(difference.amount, difference.half, ACCURACY)} apart."
    )


def _format_gap(gap: Estimate | None) -> str:
    assert gap is not None
    return f"{format_amount(abs(gap.mean), gap.half, ACCURACY)} {'above' if gap.mean >= 0 else 'below'}"


def _name_subject(effect: Effect) -> str:
    return f"{effect.name} (with {effect.when})" if effect.when else effect.name
