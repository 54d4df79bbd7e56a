"""How an attempt leaves the database: its trial ended, with its files or without, or released to the next attempt."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Connection

from hpsearch.errors import DatabaseError, first_line
from hpsearch.outcomes import AttemptEnd, TrainingEnd, TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import plots
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.worker.db_retry import DatabaseRetry


class TrialCompletion:
    """Closes one attempt, however long the database is away meanwhile.

    Each method raises LostError where it was closed already, and UnreachableError where the worker was told to stop
    while the database was away.
    """

    def __init__(
        self, held: Attempt, patience: DatabaseRetry, depot: StudyArtifacts, note: Callable[[str], None]
    ) -> None:
        self._held, self._patience, self._depot, self._note = held, patience, depot, note
        self.released = False

    def release(self, why: str) -> None:
        """Leave the trial to another attempt."""

        def release(connection: Connection) -> None:
            if attempts.release(connection, self._held, AttemptEnd(why)):
                plots.attach_plots(connection, self._held.trial_id)

        self._patience.transact(release)
        self.released = True

    def end(self, ending: TrialOutcome, described: Mapping[str, object]) -> None:
        """End the trial."""

        def end(connection: Connection) -> None:
            plots.attach_plots(connection, self._held.trial_id)
            attempts.finish(connection, self._held, ending, described)

        self._patience.transact(end)

    def finish(self, outcome: TrainingEnd) -> TrainingEnd:
        """End the trial as its training ended; with which outcome in the end."""
        described: dict[str, object] = {"detail": outcome.detail} if outcome.detail else {}
        if outcome.traceback:
            described["traceback"] = outcome.traceback
        complete = outcome.outcome is TrialOutcome.COMPLETED
        if complete and (outcome.model or outcome.predictions) and self._finish_with_files(described, outcome):
            return outcome
        if complete and outcome.predictions:  # without them the trial says nothing
            outcome = TrainingEnd(TrialOutcome.ERROR, "what its model predicts for the test images could not be stored")
            described = {"detail": outcome.detail}
        self.end(outcome.outcome, described)
        return outcome

    def _finish_with_files(self, described: Mapping[str, object], outcome: TrainingEnd) -> bool:
        """End a complete trial and keep its files, or neither: a model that cannot be stored is not worth the trial."""
        model, predictions = (Path(name) if name else None for name in (outcome.model, outcome.predictions))
        try:
            self._patience.keep(lambda: self._depot.finish(self._held, described, model, predictions))
        except (DatabaseError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            what = "predictions" if predictions else "model"
            self._note(f"the {what} cannot be stored ({first_line(error)}): the trial ends without")
            return False
        return True
