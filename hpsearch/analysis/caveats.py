"""What limits a study's conclusions, in sentences."""

from collections.abc import Iterator, Sequence

from hpsearch.analysis import class_balance, statistics
from hpsearch.analysis.effects import GUESSES, TrialFacts
from hpsearch.formatting import format_count, join_words
from hpsearch.metrics import METRICS
from hpsearch.outcomes import FOREIGN, OVER, TrialState
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary

ADAPTIVE_SAMPLERS = frozenset({"tpe", "cmaes", "gp"})
FEW_SEEDS = 5
"""Seeds below which an interval is called rough."""


def write_caveats(summary: Summary, facts: Sequence[TrialFacts], *, is_modelled: bool) -> Iterator[str]:
    """Yield each caveat that applies to this study.

    Args:
        summary: the study.
        facts: its trials that have begun.
        is_modelled: levels are compared by the model of all trials, and not by their means.
    """
    spec = summary.study.spec
    ended = [trial for trial in facts if trial.ending]
    complete = [trial for trial in facts if trial.complete]
    if summary.status not in OVER:
        budget = format_count(spec.budget.trials, "trial")
        yield f"The search is {summary.status}: {len(ended):,} of {budget} have ended."
    if is_modelled:
        yield from _describe_model(ended)
    if not complete:
        return
    if not is_modelled:
        if sum(trial.value is not None for trial in facts) > 1:
            yield _describe_intervals(spec)
            yield from _describe_search(spec)
        yield from _describe_left_out(ended)
    devices = sorted({trial.device for trial in facts if trial.device})
    if len(devices) > 1:
        yield f"Trials ran on {join_words(devices)}: their seconds per epoch are not comparable."
    if spec.facts and class_balance.is_unequal(spec.facts):
        yield class_balance.describe_guess(spec, spec.facts)
    if not spec.evaluation:
        yield _describe_selection(spec, [trial.value for trial in complete if trial.value is not None])
    elif len(spec.baselines) > spec.budget.repeats:
        yield "The test images cannot both choose among these configurations and measure the choice."


def count_endings(ended: Sequence[TrialFacts]) -> str:
    """Return how many trials came to which ending, as `3 pruned, 1 failed`."""
    endings = [trial.ending for trial in ended if trial.ending]
    return ", ".join(f"{endings.count(ending)} {ending.label}" for ending in dict.fromkeys(endings))


def _describe_intervals(spec: StudySpec) -> str:
    """Return what the intervals stand for, or why there are none."""
    if spec.repeats > 1:
        rough = "; with so few they are rough" if spec.repeats < FEW_SEEDS else ""
        return (
            f"± is a 95% confidence interval over {spec.repeats} seeds, that of a difference one that holds for all "
            f"pairs of levels at once{rough}."
        )
    if spec.sampler.name == "grid":
        return "Seed noise was not measured: a configuration was trained once only (budget.repeats trains it again)."
    if spec.listed:
        return "Seed noise was not measured: a configuration was trained once only (listed twice, it is trained twice)."
    if not spec.space:
        return "± is a 95% confidence interval over the seeds of the trials."
    return "Seed noise was not measured: no configuration was trained again with another seed."


def _describe_search(spec: StudySpec) -> Iterator[str]:
    """Yield what else the differences contain where no configuration was repeated."""
    if spec.repeats > 1 or not spec.space or spec.listed:
        return
    if spec.sampler.name == "grid":
        if len(spec.space) > 1:
            yield "± comes from how much a difference varies with the other hyperparameters' values."
    elif spec.sampler.name in ADAPTIVE_SAMPLERS:
        yield (
            f"The sampler ({spec.sampler.name}) chose what to try: it tried unpromising levels less often and with "
            "other values of the other hyperparameters, so a difference between levels is not due to them alone."
        )
    else:
        yield (
            "Every trial has its own values of the other hyperparameters, so the intervals include the effects of "
            "these too."
        )


def _describe_model(ended: Sequence[TrialFacts]) -> Iterator[str]:
    yield (
        "Levels are compared by a model of all trials, pruned ones too; each of its intervals holds by itself with a "
        "probability of 95%."
    )
    lost = [trial for trial in ended if trial.ending not in {TrialState.COMPLETE, TrialState.PRUNED, *GUESSES}]
    if lost:
        yield f"Without a part in it: {count_endings(lost)}."


def _describe_left_out(ended: Sequence[TrialFacts]) -> Iterator[str]:
    pruned = sum(trial.ending == TrialState.PRUNED for trial in ended)
    if pruned:
        were, are = ("was", "is") if pruned == 1 else ("were", "are")
        yield (
            f"{pruned:,} of {format_count(len(ended), 'ended trial')} {were} pruned and {are} left out of the "
            "means, which flatters levels that are often pruned."
        )
    lost = [trial for trial in ended if trial.ending not in {TrialState.COMPLETE, TrialState.PRUNED, *GUESSES}]
    if lost:
        yield f"Left out of the means{' too' if pruned else ''}: {count_endings(lost)}."
    guesses = [trial for trial in ended if trial.ending in GUESSES]
    if guesses:
        yield f"In the means as no better than guessing: {count_endings(guesses)}."


def _describe_selection(spec: StudySpec, values: Sequence[float]) -> str:
    """Return that the best one of the complete trials' values is measured on the images that selected it."""
    images = spec.validation_images
    interval = ""
    if METRICS[spec.study.metric].is_proportion:
        low, high = statistics.compute_wilson_interval(round(max(values) * images), images)
        interval = f" (95% confidence interval from their number alone: {low:.1%} to {high:.1%})"
    selected = "the trial and its epoch" if len(values) > 1 else "the epoch"
    return (
        f"The best value is measured on {format_count(images, 'validation image')}{interval}, which also selected "
        f"{selected}: expect less on other images. hpsearch evaluate tests it."
    )


def describe_foreign(count: int) -> Iterator[str]:
    """Yield that so many trials were not trained here."""
    if count:
        were = "was" if count == 1 else "were"
        yield f"Without a part in all of this: {format_count(count, 'trial')} that {were} {FOREIGN}."
