"""What a study found, with how sure that is: figures for tables and charts, and sentences for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.analysis import effects, narrative
from hpsearch.analysis.effects import Effect
from hpsearch.analysis.narrative import Narrative
from hpsearch.outcomes import TrialState
from hpsearch.spec.study_spec import StudySpec
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


def rank_trials(spec: StudySpec, trials: Iterable[Trial]) -> list[Trial]:
    """Return the complete trials that have a value, the best first; of equals the earlier one."""
    sign = spec.direction.sign
    valued = [
        (trial.value, trial) for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    return [trial for _, trial in sorted(valued, key=lambda pair: (-sign * pair[0], pair[1].number))]


def analyze_study(summary: Summary, trials: Sequence[Trial]) -> Findings:
    """Return what the trials of a study say, from what `results.read` returns."""
    spec = summary.study.spec
    accuracies = effects.choose_milestones(trials, len(spec.data.classes))
    facts = effects.collect_facts(spec, trials, accuracies)
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
