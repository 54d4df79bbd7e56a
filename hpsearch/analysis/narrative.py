"""What was found, in sentences with figures; plain text, which whoever shows it must escape."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpsearch.analysis import caveats
from hpsearch.analysis.effects import Effect, Level, TrialFacts
from hpsearch.analysis.statistics import Difference, Estimate
from hpsearch.formatting import format_count, format_params, format_value, join_words
from hpsearch.spec.hyperparameters import TABLE
from hpsearch.storage.results import Summary, Trial

COSTLY = 1.1
"""How many times another's seconds an epoch are worth a sentence."""
WORTH = 0.01
"""The difference between two gaps that is worth one."""
QUICKER = 1.5
"""How many times another's epochs to an accuracy are worth one."""


@dataclass(frozen=True)
class Narrative:
    """The answer first, then what it costs, how much is learnt by heart, and what to be careful about."""

    answer: tuple[str, ...]
    cost: tuple[str, ...] = ()
    gap: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def write(
    summary: Summary, best: Trial | None, found: Sequence[TrialFacts], effects: Sequence[Effect], whole: Effect | None
) -> Narrative:
    """Everything there is to say.

    Args:
        summary: the study.
        best: its best complete trial.
        found: the trials that have begun.
        effects: of each searched hyperparameter.
        whole: the configurations side by side, where there are few.
    """
    complete = [each for each in found if each.value is not None]
    if best is None or not complete:
        return Narrative((_nothing(found),), cautions=tuple(caveats.write_caveats(summary, found)))
    spec = summary.study.spec
    metric = spec.study.metric
    compared = [*([whole] if whole else []), *effects]
    if len(complete) > 1:
        said = metric.replace("val_", "test ") if spec.evaluation else metric
        answer = [*_configurations(whole, metric, said), *_answers(effects, metric), *_lost(effects)]
    else:
        answer = ["One trial is complete: there is nothing to compare it with.", *_lost(effects)]
    if not spec.evaluation:
        answer.append(_best(best, metric, [each.value for each in complete if each.value is not None]))
    # Where the sampler chose and pruned, whoever is quick to an accuracy is so for many reasons.
    rates = [line for effect in compared for line in _rate(effect)] if spec.sampler.name == "grid" else []
    return Narrative(
        tuple(answer),
        (*(line for effect in compared for line in _costs(effect, metric)), *rates),
        tuple(line for effect in compared for line in _gap(effect)),
        tuple(caveats.write_caveats(summary, found)),
    )


def format_amount(value: float, half: float | None, metric: str) -> str:
    """`2.1 ± 0.6 points`, `0.21 ± 0.06 nats`; without the ± where there is no interval."""
    factor, unit, places = (100, "points", 1) if metric == "val_accuracy" else (1, "nats", 2)
    if half and half * factor > 10 ** -(places + 2):
        places = max(places, math.ceil(-math.log10(half * factor)))
    interval = "" if half is None else f" ± {half * factor:.{places}f}"
    return f"{value * factor:.{places}f}{interval} {unit}"


def format_level(value: Estimate, metric: str) -> str:
    """`71.2 ± 0.6% (n = 3)`, `0.81 ± 0.02 nats (n = 3)`."""
    return f"{format_percent(format_amount(value.mean, value.half, metric))} (n = {value.n})"


def format_percent(said: str) -> str:
    """An `amount` that is no difference."""
    return said.replace(" points", "%")


def rank_levels(effect: Effect, metric: str) -> list[Level]:
    """The levels that have a value, the best mean first; those of a single trial come after those of several."""
    sign = -1 if metric == "val_accuracy" else 1
    valued = [(each.value.n == 1, sign * each.value.mean, each) for each in effect.levels if each.value]
    return [each for *_, each in sorted(valued, key=lambda entry: entry[:2])]


def format_epochs(number: float) -> str:
    """`1 epoch`, `7.5 epochs`."""
    return f"{number:g} epoch{'s' * (number != 1)}"


def find_difference(differences: Sequence[Difference], first: Level, second: Level) -> Difference | None:
    """The difference of two levels, whichever is better; None where they were never tried alike."""
    wanted = {first.label, second.label}
    return next((each for each in differences if {each.better, each.worse} == wanted), None)


def _nothing(found: Sequence[TrialFacts]) -> str:
    ended = [each for each in found if each.ended]
    if not ended:
        return "No trial has ended: there is nothing to tell yet."
    kinds = caveats.count_endings(ended)
    if len(ended) == 1:
        return f"The only ended trial is not complete ({kinds}): there is nothing to compare."
    return f"None of the {len(ended):,} ended trials is complete ({kinds}): there is nothing to compare."


def _best(best: Trial, metric: str, values: Sequence[float]) -> str:
    assert best.value is not None
    said = format_percent(format_amount(best.value, None, metric))
    among = ""
    if len(values) > 1:
        second = sorted(values, reverse=metric == "val_accuracy")[1]
        away = format_amount(abs(best.value - second), None, metric)
        extreme = "highest" if metric == "val_accuracy" else "lowest"
        among = f", the {extreme} of {len(values):,}, {away} from the next"
    params = format_params(best.params)
    return f"Trial {best.number} is best: {metric} {said} at epoch {best.best_epoch}{among}, with {params}."


def _configurations(whole: Effect | None, metric: str, named: str) -> Iterator[str]:
    order = rank_levels(whole, metric) if whole else []
    if not whole or not order or order[0].value is None:
        return
    value = format_level(order[0].value, metric)
    if len(whole.levels) == 1:
        yield f"{_capital(order[0].label)} reaches {named} {value}."
        return
    yield f"The best configuration is {order[0].label}: {named} {value}."
    yield from _leads(whole, order, metric)


def _answers(effects: Sequence[Effect], metric: str) -> Iterator[str]:
    """The clearest and largest effect first."""

    def weight(effect: Effect) -> tuple[bool, float]:
        order = rank_levels(effect, metric)
        widest = find_difference(effect.values, order[0], order[-1]) if len(order) > 1 else None
        return (not (widest and widest.distinguishable), -widest.amount if widest else 0.0)

    for effect in sorted(effects, key=weight):
        yield from _leads(effect, rank_levels(effect, metric), metric)


def _leads(effect: Effect, order: Sequence[Level], metric: str) -> Iterator[str]:
    """How far the best level is ahead of the next, of those it cannot be told from, and of the last."""
    subject = _subject(effect)
    if len(order) < 2:
        if order and len(effect.levels) > 1:
            yield f"{subject}: only {order[0].label} has a complete trial, so nothing can be compared."
        return
    best, *others = order
    gaps = [(other, find_difference(effect.values, best, other)) for other in others]
    compared = [(other, gap) for other, gap in gaps if gap]
    if not compared:
        yield f"{subject}: no two levels were tried with all else alike, so they are not compared."
        return
    (_, next_), *rest = compared
    unclear = [other.label for other, gap in rest if gap.half is not None and not gap.distinguishable]
    if unclear and len(unclear) == len(rest) and not next_.distinguishable:
        yield f"{subject}: {_against(next_, metric)}, nor is {unclear[0] if len(unclear) == 1 else 'any other level'}."
        return
    yield f"{subject}: {_against(next_, metric)}."
    if unclear:
        also = f"{'is' if len(unclear) == 1 else 'are'} also {join_words(unclear)}"
        yield f"{subject}: not distinguishable from {best.label} {also}."
    for other, gap in rest[-1:]:
        if gap.worse == other.label and (gap.half is None or gap.distinguishable):
            yield f"{subject}: {other.label} is last, {_distance(gap, metric)} {_below(metric)} {best.label}."


def _against(difference: Difference, metric: str) -> str:
    said = _distance(difference, metric)
    above = "above" if metric == "val_accuracy" else "below"
    if difference.amount == 0:
        return f"{difference.better} and {difference.worse} end alike"
    if difference.half is not None and not difference.distinguishable:
        return f"{difference.better} ends {said} {above} {difference.worse}: not distinguishable"
    return f"{difference.better} ends {said} {above} {difference.worse}"


def _below(metric: str) -> str:
    return "below" if metric == "val_accuracy" else "above"


def _distance(difference: Difference, metric: str) -> str:
    return format_amount(difference.amount, difference.half, metric)


def _lost(effects: Sequence[Effect]) -> Iterator[str]:
    """Levels where half of the trials or more had to be given up."""
    for effect in effects:
        for each in effect.levels:
            lost = each.endings["diverged"] + each.endings["out of memory"]
            ended = sum(each.endings.values())
            if lost and 2 * lost >= ended:
                kinds = " or ".join(kind for kind in ("diverged", "out of memory") if each.endings[kind])
                said = kinds.replace("out of memory", "ran out of memory")
                yield f"{_subject(effect)}: with {each.label}, {lost} of {format_count(ended, 'trial')} {said}."


def _costs(effect: Effect, metric: str) -> Iterator[str]:
    """Levels that take longer than the base model's, or than the fastest one."""
    timed = {each.label: each.seconds for each in effect.levels if each.seconds}
    if len(timed) < 2:
        return
    usual = format_value(TABLE[effect.name].default) if effect.name in TABLE else ""
    reference = usual if usual in timed else min(timed, key=lambda label: timed[label].mean)
    for label, seconds in timed.items():
        if label == reference or seconds.mean < COSTLY * timed[reference].mean:
            continue
        slower = find_difference(effect.seconds, effect.level(label), effect.level(reference))
        if slower is None or (slower.half is not None and not slower.distinguishable):
            continue
        time = f"the time of {reference}" if " " in reference else f"{reference}'s time"
        times = f"{seconds.mean / timed[reference].mean:.1f}× {time} an epoch"
        yield f"{_subject(effect)}: {label} costs {times}" + _gain(
            find_difference(effect.values, effect.level(label), effect.level(reference)), label, metric
        )


def _gain(difference: Difference | None, label: str, metric: str) -> str:
    if difference is None:
        return "."
    better = difference.better == label
    does = ("gains", "loses") if metric == "val_accuracy" else ("ends lower by", "ends higher by")
    doubt = ": not distinguishable" if difference.half is not None and not difference.distinguishable else ""
    return f" and {does[not better]} {_distance(difference, metric)}{doubt}."


def _rate(effect: Effect) -> Iterator[str]:
    """The quickest and the slowest level to the highest accuracy that most trials of two levels reached."""
    for steps in reversed(list(zip(*(each.reached for each in effect.levels), strict=True))):
        entries = zip(effect.levels, steps, strict=True)
        most = [
            (step.epoch, step.seconds, each.label, step.accuracy)
            for each, step in entries
            if step.epoch is not None and step.seconds is not None and 2 * step.trials >= len(each.trials)
        ]
        if len(most) < 2:
            continue
        (quick, soon, first, accuracy), (slow, late, last, _) = min(most), max(most)
        if slow >= QUICKER * quick:
            yield (
                f"{_subject(effect)}: {first} reaches {accuracy:.0%} validation accuracy after {format_epochs(quick)} "
                f"({soon:.3g} s), {last} after {format_epochs(slow)} ({late:.3g} s)."
            )
        return


def _gap(effect: Effect) -> Iterator[str]:
    """The levels with the widest and the narrowest gap, where they can be told apart."""
    gaps = sorted((each for each in effect.levels if each.gap), key=lambda each: each.gap.mean if each.gap else 0.0)
    if not gaps or gaps[0].gap is None or gaps[-1].gap is None:
        return
    narrow, wide = gaps[0], gaps[-1]
    apart = find_difference(effect.gaps, narrow, wide)
    if (
        narrow is wide
        or apart is None
        or apart.amount < WORTH
        or (apart.half is not None and not apart.distinguishable)
    ):
        return
    yield (
        f"{_subject(effect)}: {wide.label} ends with training accuracy {_signed(wide.gap)} validation accuracy, "
        f"{narrow.label} with {_signed(narrow.gap)}: {_distance(apart, 'val_accuracy')} apart."
    )


def _signed(gap: Estimate | None) -> str:
    assert gap is not None
    return f"{format_amount(abs(gap.mean), gap.half, 'val_accuracy')} {'above' if gap.mean >= 0 else 'below'}"


def _subject(effect: Effect) -> str:
    return f"{effect.name} (with {effect.when})" if effect.when else effect.name


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
