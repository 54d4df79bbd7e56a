"""What a report is written from: a study's trials, evaluations and ablation, and what the analysis finds in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hpsearch.analysis.answer import Answer
from hpsearch.analysis.effects import Effect
from hpsearch.evaluation import answers
from hpsearch.evaluation.ablation import AblationResult
from hpsearch.evaluation.answers import AnswerSource
from hpsearch.evaluation.results import EvaluationStatus, read_statuses
from hpsearch.storage.database import Connection, read_clock
from hpsearch.storage.results import Summary, Trial


@dataclass(frozen=True)
class ReportSource:
    """What a report is about, all read in one transaction; `now` is the server's clock."""

    answered: AnswerSource
    evaluations: Sequence[EvaluationStatus]
    now: datetime


@dataclass(frozen=True)
class ReportMaterial:
    """The source of a report, with what was computed from it."""

    summary: Summary
    trials: Sequence[Trial]
    evaluations: Sequence[EvaluationStatus]
    ablation: AblationResult | None
    now: datetime
    answer: Answer

    @property
    def metric(self) -> str:
        """What the study optimizes."""
        return self.answer.findings.metric

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the data's classes."""
        return self.summary.study.spec.classes

    @property
    def compared(self) -> tuple[Effect, ...]:
        """The whole configurations, where they are few, then each hyperparameter; those that trials have begun for."""
        configurations = self.answer.findings.configurations
        effects = (*([configurations] if configurations else []), *self.answer.findings.effects)
        return tuple(effect for effect in effects if any(level.trials for level in effect.levels))

    @property
    def names_by_importance(self) -> tuple[str, ...]:
        """The searched hyperparameters, the most important ones first where that is known."""
        return tuple(share.name for share in self.answer.importance.shares) or self.summary.study.spec.searched


def read_source(connection: Connection, name: str) -> ReportSource:
    """Read what there is to report of a study.

    Raises:
        NotFoundError: there is no such study.
    """
    answered = answers.read_answer_source(connection, name)
    return ReportSource(answered, read_statuses(connection, answered.summary), read_clock(connection))


def prepare_material(source: ReportSource) -> ReportMaterial:
    """Analyze the source of a report; this takes seconds, so it is not done in the transaction."""
    answered = source.answered
    return ReportMaterial(
        answered.summary,
        answered.trials,
        source.evaluations,
        answered.result,
        source.now,
        answers.answer(answered),
    )
