"""What a study found, with how sure that is: figures for tables and charts, and sentences for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.analysis import effects, narrative
from hpsearch.analysis.effects import Effect
from hpsearch.analysis.narrative import Narrative
from hpsearch.spec.sections import DATASETS
from hpsearch.storage.results import Summary, Trial


@dataclass(frozen=True)
class Findings:
    """What a study's trials say so far.

    `best` is the best complete trial, None while there is none. `accuracies` are the validation accuracies for which
    each level's `reached` says how soon. `effects` has one entry for each searched hyperparameter; `configurations`
    compares whole configurations (None unless the study is a small grid of several hyperparameters, a list, or searches
    nothing). `repeated` says whether seed noise was measured.
    """

    metric: str
    best: Trial | None
    accuracies: tuple[float, ...]
    effects: tuple[Effect, ...]
    configurations: Effect | None
    repeated: bool
    sentences: Narrative


def analyze_study(summary: Summary, trials: Sequence[Trial]) -> Findings:
    """Return what the trials of a study say, from what `results.read` returns."""
    spec = summary.study.spec
    accuracies = effects.choose_milestones(trials, len(DATASETS[spec.data.name].classes))
    facts = effects.collect_facts(trials, accuracies)
    measured = effects.measure_effects(spec, facts, accuracies)
    configurations = effects.compare_configurations(spec, facts, accuracies)
    number = summary.best["number"] if summary.best else None
    best = next((trial for trial in trials if trial.number == number and trial.value is not None), None)
    return Findings(
        spec.study.metric,
        best,
        accuracies,
        measured,
        configurations,
        spec.repeats > 1 or (not spec.space and len(facts) > 1),
        narrative.write_narrative(summary, best, facts, measured, configurations),
    )
