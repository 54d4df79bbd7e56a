"""Which levels of a hyperparameter are better, in sentences: as measured by a grid, or as a search's model has it."""

from collections.abc import Iterator, Mapping, Sequence

from hpsearch.analysis.anova.level_differences import LevelDifference, Where, compare_best_level
from hpsearch.analysis.effects import Effect, Level
from hpsearch.analysis.statistics import Difference
from hpsearch.formatting import format_amount, format_count, format_metric, format_range, join_words
from hpsearch.metrics import METRICS, Direction

PLACES = {Where.GOOD: "among good configurations", Where.SPACE: "on average over the search space"}
MAX_NAMED = 3
"""Levels of one hyperparameter that a sentence compares with the best one, at most, of each kind."""


def describe_measured_levels(effect: Effect, metric: str) -> Iterator[str]:
    """Yield how far the best level is ahead of the others, where all were trained alike: in a grid or a list."""
    subject, ranked = name_subject(effect.name, effect.when), rank_levels(effect, metric)
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
    yield from (f"{subject}: {sentence}" for sentence in _describe_leads(best, leads, metric))


def rank_levels(effect: Effect, metric: str) -> list[Level]:
    """Return the levels that have a value, the best mean first; those of a single trial come after those of several."""
    sign = METRICS[metric].direction.sign
    valued = [(level.value.n == 1, -sign * level.value.mean, level) for level in effect.levels if level.value]
    return [level for *_, level in sorted(valued, key=lambda entry: entry[:2])]


def find_difference(differences: Sequence[Difference], first: Level, second: Level) -> Difference | None:
    """Return the difference of two levels, whichever is better; None where they share no setting."""
    labels = {first.label, second.label}
    return next((entry for entry in differences if {entry.better, entry.worse} == labels), None)


def name_subject(name: str, when: str | None) -> str:
    """Return the hyperparameter's name, with when it is active."""
    return f"{name} (with {when})" if when else name


def _describe_leads(best: Level, leads: Mapping[str, Difference], metric: str) -> Iterator[str]:
    """Yield how far the best level is ahead of the next, which others it is not distinguishable from, and the last."""
    (_, lead), *rest = leads.items()
    if lead.amount and lead.half is None:
        assert best.value is not None
        value = format_metric(best.value.mean, None, metric)
        yield f"{best.label} comes out best with {value}; the noise was not measured, so no difference is claimed."
        return
    unclear = [label for label, difference in rest if difference.indistinguishable]
    if unclear and len(unclear) == len(rest) and not lead.distinguishable:
        yield f"{_describe_lead(lead, metric)}, nor is {unclear[0] if len(unclear) == 1 else 'any other level'}."
        return
    yield f"{_describe_lead(lead, metric)}."
    if unclear:
        verb = "is" if len(unclear) == 1 else "are"
        yield f"not distinguishable from {best.label} {verb} also {join_words(unclear)}."
    if rest:
        label, last = rest[-1]
        if last.worse == label and last.distinguishable:
            distance = format_amount(last.amount, last.half, metric)
            yield f"{label} is last, {distance} {_name_side(metric, better=False)} {best.label}."


def _describe_lead(lead: Difference, metric: str) -> str:
    if lead.amount == 0:
        return f"{lead.better} and {lead.worse} end alike"
    distance = format_amount(lead.amount, lead.half, metric)
    doubt = ": not distinguishable" if lead.indistinguishable else ""
    return f"{lead.better} ends {distance} {_name_side(metric, better=True)} {lead.worse}{doubt}"


def _name_side(metric: str, *, better: bool) -> str:
    """Return on which side of another value a better or a worse one lies."""
    return "above" if better == (METRICS[metric].direction is Direction.MAXIMIZE) else "below"


def describe_modelled_levels(
    differences: Sequence[LevelDifference], when: str | None, metric: str, epochs: int
) -> Iterator[str]:
    """Yield what to use, among good configurations; where that is open, what holds on average over the space.

    Args:
        differences: those of one hyperparameter, at one epoch.
        when: when it is active; None for always.
        metric: the study's.
        epochs: of a whole training.
    """
    readings = {where: [each for each in differences if each.where is where] for where in PLACES}
    is_settled = {where: any(each.is_settled for each in pairs) for where, pairs in readings.items()}
    for where, pairs in readings.items():
        # One acts on what holds among good configurations: the average is said where that alone is known.
        if pairs and (where is Where.GOOD or (is_settled[where] and not is_settled[Where.GOOD])):
            subject, epoch = name_subject(pairs[0].name, when), pairs[0].epoch
            at = "at the end of training" if epoch >= epochs else f"at epoch {epoch}"
            yield f"{subject}: {PLACES[where]} {at} {describe_best_level(pairs, metric)}."


def describe_best_level(pairs: Sequence[LevelDifference], metric: str) -> str:
    """Return how much better the best level is than each other one, and from which it is not told.

    `pairs` are all pairs of levels of one hyperparameter, at one epoch and place.
    """
    best = compare_best_level(pairs)
    open_ones = _list_others(best.open, best.label, metric)
    if not best.settled:
        return f"which level is best is not settled; {best.label} comes out better than {open_ones}"
    text = f"{best.label} is better than {_list_others(best.settled, best.label, metric)}"
    return f"{text}; not settled: against {open_ones}" if best.open else text


def _list_others(pairs: Sequence[LevelDifference], best: str, metric: str) -> str:
    """Write the other levels with how much better the best one is, the first of them, and how many more there are."""
    parts = [f"{pair.name_other(best)} by {format_range(*pair.orient(best), metric)}" for pair in pairs[:MAX_NAMED]]
    more = len(pairs) - len(parts)
    return ", ".join([*parts, f"and {format_count(more, 'more level')}"] if more else parts)
