"""What was found, in sentences with figures; plain text, which whoever shows it must escape."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpsearch.effects import Effect, Facts, Level
from hpsearch.estimate import Difference, Estimate
from hpsearch.hyperparameters import TABLE
from hpsearch.label import short, shown
from hpsearch.results import Summary, Trial

ADAPTIVE = frozenset({"tpe", "cmaes", "gp"})
COSTLY = 1.1
"""How many times another's seconds an epoch are worth a sentence."""


@dataclass(frozen=True)
class Sentences:
    """The answer first, then what it costs, how much is learnt by heart, and what to be careful about."""

    answer: tuple[str, ...]
    cost: tuple[str, ...] = ()
    gap: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def write(
    summary: Summary, best: Trial | None, found: Sequence[Facts], effects: Sequence[Effect], whole: Effect | None
) -> Sentences:
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
        return Sentences((_nothing(found),), cautions=tuple(_cautions(summary, found, complete)))
    metric = summary.study.spec.study.metric
    compared = [*([whole] if whole else []), *effects]
    answer = [_best(best, metric, len(complete)), *_configurations(whole, metric), *_answers(effects, metric)]
    return Sentences(
        (*answer, *_ends(effects)),
        tuple(line for effect in compared for line in _costs(effect, metric)),
        tuple(line for effect in compared for line in _gap(effect)),
        tuple(_cautions(summary, found, complete)),
    )


def amount(value: float, half: float | None, metric: str) -> str:
    """`2.1 ± 0.6 points`, `0.21 ± 0.06 nats`; without the ± where there is no interval."""
    factor, unit, places = (100, "points", 1) if metric == "val_accuracy" else (1, "nats", 2)
    if half and half * factor > 10 ** -(places + 2):
        places = max(places, math.ceil(-math.log10(half * factor)))
    interval = "" if half is None else f" ± {half * factor:.{places}f}"
    return f"{value * factor:.{places}f}{interval} {unit}"


def level(value: Estimate, metric: str) -> str:
    """`71.2 ± 0.6% (n = 3)`, `0.81 ± 0.02 nats (n = 3)`."""
    said = amount(value.mean, value.half, metric).replace(" points", "%")
    return f"{said} (n = {value.n})"


def ranked(effect: Effect, metric: str) -> list[Level]:
    """The levels that have a value, the best mean first; those of a single trial come after those of several."""
    sign = -1 if metric == "val_accuracy" else 1
    valued = [(each.value.n == 1, sign * each.value.mean, each) for each in effect.levels if each.value]
    return [each for *_, each in sorted(valued, key=lambda entry: entry[:2])]


def pair(differences: Sequence[Difference], first: Level, second: Level) -> Difference | None:
    """The difference of two levels, whichever is better; None where they were never tried alike."""
    wanted = {first.label, second.label}
    return next((each for each in differences if {each.better, each.worse} == wanted), None)


def _nothing(found: Sequence[Facts]) -> str:
    ended = [each for each in found if each.ended]
    if not ended:
        return "No trial has ended: there is nothing to tell yet."
    return (
        f"None of the {_count(len(ended), 'ended trial')} is complete ({_kinds(ended)}): there is nothing to compare."
    )


def _kinds(ended: Sequence[Facts]) -> str:
    kinds = [each.ended for each in ended if each.ended]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _best(best: Trial, metric: str, complete: int) -> str:
    assert best.value is not None
    said = amount(best.value, None, metric).replace(" points", "%")
    others = f", the {'highest' if metric == 'val_accuracy' else 'lowest'} of {complete}" if complete > 1 else ""
    return (
        f"Trial {best.number} is best: {metric} {said} at epoch {best.best_epoch}{others}, with {shown(best.params)}."
    )


def _configurations(whole: Effect | None, metric: str) -> Iterator[str]:
    order = ranked(whole, metric) if whole else []
    if not whole or not order or order[0].value is None:
        return
    value = level(order[0].value, metric)
    if len(whole.levels) == 1:
        yield f"{_capital(order[0].label)} reaches {metric} {value}."
        return
    yield f"The best configuration is {order[0].label}: {metric} {value}."
    yield from _leads(whole, order, metric)


def _answers(effects: Sequence[Effect], metric: str) -> Iterator[str]:
    """The clearest and largest effect first."""

    def weight(effect: Effect) -> tuple[bool, float]:
        order = ranked(effect, metric)
        widest = pair(effect.values, order[0], order[-1]) if len(order) > 1 else None
        return (not (widest and widest.distinguishable), -widest.amount if widest else 0.0)

    for effect in sorted(effects, key=weight):
        yield from _leads(effect, ranked(effect, metric), metric)


def _leads(effect: Effect, order: Sequence[Level], metric: str) -> Iterator[str]:
    """How far the best level is ahead of the next, of those it cannot be told from, and of the last."""
    subject = _subject(effect)
    if len(order) < 2:
        if order and len(effect.levels) > 1:
            yield f"{subject}: only {order[0].label} has a complete trial, so nothing can be compared."
        return
    best, *others = order
    gaps = [(other, pair(effect.values, best, other)) for other in others]
    compared = [(other, gap) for other, gap in gaps if gap]
    if not compared:
        yield f"{subject}: no two levels were tried with all else alike; see the whole configurations."
        return
    (_, next_), *rest = compared
    unclear = [other.label for other, gap in rest if gap.half is not None and not gap.distinguishable]
    if len(unclear) > 1 and len(unclear) == len(rest) and not next_.distinguishable:
        yield f"{subject}: {_against(next_, metric)}, nor is any other level."
        return
    yield f"{subject}: {_against(next_, metric)}."
    if unclear:
        also = f"{'is' if len(unclear) == 1 else 'are'} also {_list(unclear)}"
        yield f"{subject}: not distinguishable from {best.label} {also}."
    for other, gap in rest[-1:]:
        if gap.half is None or gap.distinguishable:
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
    return amount(difference.amount, difference.half, metric)


def _ends(effects: Sequence[Effect]) -> Iterator[str]:
    """Levels where half of the trials or more had to be given up."""
    for effect in effects:
        for each in effect.levels:
            lost = each.endings["diverged"] + each.endings["out of memory"]
            ended = sum(each.endings.values())
            if lost and 2 * lost >= ended:
                kinds = " or ".join(kind for kind in ("diverged", "out of memory") if each.endings[kind])
                said = kinds.replace("out of memory", "ran out of memory")
                yield f"{_subject(effect)}: with {each.label}, {lost} of {_count(ended, 'trial')} {said}."


def _costs(effect: Effect, metric: str) -> Iterator[str]:
    """Levels that take longer than the base model's, or than the fastest one."""
    timed = {each.label: each.seconds for each in effect.levels if each.seconds}
    if len(timed) < 2:
        return
    usual = short(TABLE[effect.name].default) if effect.name in TABLE else ""
    reference = usual if usual in timed else min(timed, key=lambda label: timed[label].mean)
    for label, seconds in timed.items():
        if label == reference or seconds.mean < COSTLY * timed[reference].mean:
            continue
        slower = pair(effect.seconds, effect.level(label), effect.level(reference))
        if slower is None or (slower.half is not None and not slower.distinguishable):
            continue
        times = f"{seconds.mean / timed[reference].mean:.1f}×"
        yield f"{_subject(effect)}: {label} costs {times} {reference}'s time an epoch" + _gain(
            pair(effect.values, effect.level(label), effect.level(reference)), label, metric
        )


def _gain(difference: Difference | None, label: str, metric: str) -> str:
    if difference is None:
        return "."
    does = "gains" if difference.better == label else "loses"
    doubt = ": not distinguishable" if difference.half is not None and not difference.distinguishable else ""
    return f" and {does} {_distance(difference, metric)}{doubt}."


def _gap(effect: Effect) -> Iterator[str]:
    """The levels with the widest and the narrowest gap, where they can be told apart."""
    gaps = sorted((each for each in effect.levels if each.gap), key=lambda each: each.gap.mean if each.gap else 0.0)
    if not gaps or gaps[0].gap is None or gaps[-1].gap is None:
        return
    narrow, wide = gaps[0], gaps[-1]
    apart = pair(effect.gaps, narrow, wide)
    if narrow is wide or apart is None or not apart.distinguishable:
        return
    yield (
        f"{_subject(effect)}: {wide.label} ends with training accuracy {_signed(wide.gap)} validation accuracy, "
        f"{narrow.label} with {_signed(narrow.gap)}: {_distance(apart, 'val_accuracy')} apart."
    )


def _signed(gap: Estimate | None) -> str:
    assert gap is not None
    return f"{amount(abs(gap.mean), gap.half, 'val_accuracy')} {'above' if gap.mean >= 0 else 'below'}"


def _cautions(summary: Summary, found: Sequence[Facts], complete: Sequence[Facts]) -> Iterator[str]:
    spec = summary.study.spec
    ended = [each for each in found if each.ended]
    if summary.status not in {"finished", "stopped"}:
        yield f"The search is {summary.status}: {len(ended)} of {_count(spec.budget.trials, 'trial')} have ended."
    if not complete:
        return
    if spec.sampler.name == "grid":
        yield from _grid_cautions(spec.budget.repeats, len(spec.space))
    elif spec.space:
        yield "Seed noise was not measured: no configuration was trained twice on purpose (a grid with repeats does)."
        if spec.sampler.name in ADAPTIVE:
            yield (
                f"The sampler ({spec.sampler.name}) chose what to try: what it gave up on was tried less often and "
                "with other partners, so differences between levels are not those of levels alone."
            )
        else:
            yield "Each level was tried with other partners, which widens the intervals."
    pruned = sum(each.ended == "pruned" for each in found)
    if pruned:
        yield (
            f"{pruned} of {_count(len(ended), 'ended trial')} were pruned and are left out of the means, which "
            "flatters levels that are often pruned."
        )
    lost = [each for each in ended if each.ended not in {"complete", "pruned"}]
    if lost:
        yield f"Left out of the means too: {_kinds(lost)}."
    if len(complete) > 1:
        yield (
            "The best trial was chosen by the validation images that measured it, so on others expect less; hpsearch "
            "evaluate trains it afresh and tests it."
        )


def _grid_cautions(repeats: int, searched: int) -> Iterator[str]:
    if repeats == 1:
        said = "Seed noise was not measured: every configuration was trained once (budget.repeats trains it again)."
        yield said if searched == 1 else f"{said} The intervals hold what differs between settings of the others."
    else:
        yield (
            f"± is a 95% interval over {repeats} seeds, for differences one that holds for all pairs of a "
            "hyperparameter's levels at once; with so few seeds it is a rough one."
            if repeats < 5
            else "± is a 95% interval over seeds, for differences one that holds for all pairs of levels at once."
        )


def _subject(effect: Effect) -> str:
    return f"{effect.name} (with {effect.when})" if effect.when else effect.name


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _list(labels: Sequence[str]) -> str:
    *most, last = labels
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
