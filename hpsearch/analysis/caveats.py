"""What keeps a study's figures from being the last word, in sentences."""

from collections.abc import Iterator, Sequence

from hpsearch.analysis import statistics
from hpsearch.analysis.effects import TrialFacts
from hpsearch.formatting import format_count, join_words
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary

ADAPTIVE = frozenset({"tpe", "cmaes", "gp"})
FEW_SEEDS = 5


def write_caveats(summary: Summary, found: Sequence[TrialFacts]) -> Iterator[str]:
    """Each caution that this study calls for.

    Args:
        summary: the study.
        found: its trials that have begun.
    """
    spec = summary.study.spec
    ended = [each for each in found if each.ended]
    complete = [each for each in found if each.value is not None]
    if summary.status not in {"finished", "stopped"}:
        budget = format_count(spec.budget.trials, "trial")
        yield f"The search is {summary.status}: {len(ended):,} of {budget} have ended."
    if not complete:
        return
    if len(complete) > 1:
        yield from _noise(spec)
    yield from _left_out(ended)
    devices = sorted({each.device for each in found if each.device})
    if len(devices) > 1:
        yield f"Trials ran on {join_words(devices)}: their seconds are not like for like."
    if not spec.evaluation:
        yield from _chosen(summary, spec, len(complete))
    elif len(spec.baselines) > spec.budget.repeats:
        yield "Whoever chooses among these configurations by the test images has none left to measure the choice by."


def count_endings(ended: Sequence[TrialFacts]) -> str:
    """`3 pruned, 1 failed`."""
    told = [each.ended for each in ended if each.ended]
    return ", ".join(f"{told.count(kind)} {kind}" for kind in dict.fromkeys(told))


def _noise(spec: StudySpec) -> Iterator[str]:
    """What the intervals hold, or why there are none."""
    if spec.repeats > 1:
        rough = "; with so few they are rough" if spec.repeats < FEW_SEEDS else ""
        yield (
            f"± is a 95% interval over {spec.repeats} seeds, that of a difference one that holds for all pairs "
            f"of levels at once{rough}."
        )
    elif spec.sampler.name == "grid" or spec.listed:
        remedy = (
            "budget.repeats trains it again" if spec.sampler.name == "grid" else "listed twice, it is trained twice"
        )
        yield f"Seed noise was not measured: a configuration was trained once only ({remedy})."
        if len(spec.space) > 1 and not spec.listed:
            yield "± comes from how much a difference varies with the other hyperparameters' values."
    elif spec.space:
        yield "Seed noise was not measured: no configuration was trained again with another seed."
        if spec.sampler.name in ADAPTIVE:
            yield (
                f"The sampler ({spec.sampler.name}) chose what to try: what it gave up on was tried less often and "
                "with other partners, so a difference between levels is not due to them alone."
            )
        else:
            yield "Every trial has other partners, so the intervals hold the effects of all other hyperparameters too."
    else:
        yield "± is a 95% interval over the seeds of the trials."


def _left_out(ended: Sequence[TrialFacts]) -> Iterator[str]:
    pruned = sum(each.ended == "pruned" for each in ended)
    if pruned:
        were, are = ("was", "is") if pruned == 1 else ("were", "are")
        yield (
            f"{pruned:,} of {format_count(len(ended), 'ended trial')} {were} pruned and {are} left out of the "
            "means, which flatters levels that are often pruned."
        )
    lost = [each for each in ended if each.ended not in {"complete", "pruned"}]
    if lost:
        yield f"Left out of the means{' too' if pruned else ''}: {count_endings(lost)}."


def _chosen(summary: Summary, spec: StudySpec, complete: int) -> Iterator[str]:
    """The best value is that of the images that chose it."""
    images, best = spec.data.validation, summary.best
    alone = ""
    if spec.study.metric == "val_accuracy" and best is not None:
        low, high = statistics.compute_wilson_interval(round(best["value"] * images), images)
        alone = f" (so many alone make it {low:.1%} to {high:.1%})"
    yield f"The best value is measured on {format_count(images, 'validation image')}{alone}" + (
        ", which also chose the trial and its epoch: on others expect less. hpsearch evaluate tests it."
        if complete > 1
        else ", which also chose the epoch: on others expect less. hpsearch evaluate tests it."
    )
