"""How an attempt leaves the database: its trial ended, with its files or without, or left to the next attempt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpsearch.errors import DatabaseError, first_line
from hpsearch.outcomes import AttemptEnd, TrainingEnd, TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import plots
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Connection
from hpsearch.worker.db_retry import DatabaseRetry


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended, with a line about it; `released` is whether its trial was left to another attempt."""

    end: AttemptEnd
    detail: str = ""
    released: bool = False

    @property
    def ended_trial(self) -> bool:
        """Whether its trial has ended."""
        return self.end.outcome is not None and not self.released


@dataclass(frozen=True)
class TrialCompletion:
    """Closes one attempt, however long the database is unreachable meanwhile.

    `before_end` stores what must be there before: from then on, nothing of the attempt is.

    Each method raises LostError where it was closed already, and UnreachableError where the worker was told to stop
    while the database was unreachable.
    """

    attempt: Attempt
    retry: DatabaseRetry
    artifacts: StudyArtifacts
    note: Callable[[str], None]
    before_end: Callable[[], None]

    def release(self, end: AttemptEnd, detail: str = "") -> AttemptResult:
        """Leave the trial to another attempt."""

        def release(connection: Connection) -> None:
            if attempts.release(connection, self.attempt, end):
                plots.attach_plots(connection, self.attempt.trial_id)

        self.retry.retry(self.before_end)
        self.retry.transact(release)
        return AttemptResult(end, detail, released=True)

    def release_out_of_memory(self, end: TrainingEnd) -> AttemptResult:
        """Leave the trial to an attempt that has the device to itself; end it where this one had."""
        if self.attempt.short_of_memory:
            return self.finish(end)
        return self.release(AttemptEnd(end.outcome), end.detail)

    def end(self, outcome: TrialOutcome, attributes: Mapping[str, object]) -> AttemptResult:
        """End the trial; `attributes` are stored with it."""

        def end(connection: Connection) -> None:
            plots.attach_plots(connection, self.attempt.trial_id)
            attempts.finish(connection, self.attempt, outcome, attributes)

        self.retry.retry(self.before_end)
        self.retry.transact(end)
        return AttemptResult(AttemptEnd(outcome), str(attributes.get("detail", "")))

    def finish(self, end: TrainingEnd) -> AttemptResult:
        """End the trial as its training ended; one whose predictions cannot be stored ends as an error."""
        attributes: dict[str, object] = {"detail": end.detail} if end.detail else {}
        if end.traceback:
            attributes["traceback"] = end.traceback
        lost = end.lost
        if end.outcome is TrialOutcome.COMPLETED and (end.model or end.predictions):
            lost = self._finish_with_files(attributes, end)
            if not lost:
                return AttemptResult(AttemptEnd(end.outcome), end.detail)
            if end.predictions:  # without them the trial measures nothing
                lacking = f"what its model predicts for the test images could not be stored ({lost})"
                return self.end(TrialOutcome.ERROR, {"detail": lacking})
        if lost and self.retry.transact(lambda connection: attempts.is_among_best(connection, self.attempt)):
            remark = f"its model, one of the study's best, is not kept: {lost}"
            attributes["detail"] = f"{end.detail}; {remark}" if end.detail else remark
        return self.end(end.outcome, attributes)

    def read_end(self) -> AttemptResult:
        """Return how an attempt ended that was closed already.

        Where the connection broke during a commit, an end of ours stands although it looked as if it had failed.
        """
        end = self.retry.transact(lambda connection: attempts.read_end(connection, self.attempt)) or AttemptEnd.LOST
        lost = "another worker has it, or it was ended from outside"
        return AttemptResult(end, lost if end is AttemptEnd.LOST else "")

    def _finish_with_files(self, attributes: Mapping[str, object], end: TrainingEnd) -> str:
        """End a complete trial and keep its files, or neither: a model that cannot be stored is not worth the trial.

        Return why the files cannot be stored; an empty text where they are.
        """
        model, predictions = (Path(name) if name else None for name in (end.model, end.predictions))
        self.retry.retry(self.before_end)
        try:
            self.retry.retry(lambda: self.artifacts.finish(self.attempt, attributes, model, predictions))
        except (DatabaseError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            what = "predictions" if predictions else "model"
            self.note(f"the {what} cannot be stored ({first_line(error)}): the trial ends without")
            return first_line(error)
        return ""
