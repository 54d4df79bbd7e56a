"""What a worker keeps of a study's trials, wherever the study keeps its files: checkpoints, and the best models."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from hpsearch.errors import StoreError, UnreachableError
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, studies
from hpsearch.storage.artifacts import cleanup, plots, table
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database

if TYPE_CHECKING:  # it brings Optuna and boto3 in, and most studies keep their files in Postgres
    from hpsearch.storage.artifacts.stores import StudyStore


def read_artifact(database: Database, key: str, path: Path) -> bool:
    """Write a stored file, wherever its study keeps it, to a local one; return False where there is nothing.

    Raises:
        StoreError: its store cannot be read from here.
    """
    url = database.transact(lambda connection: table.find_store(connection, key))
    if url is None:
        return database.transact(lambda connection: table.fetch(connection, key, path))
    from hpsearch.storage.artifacts import stores

    store = stores.open_store(url)
    store.verify()
    return store.get(key, path)


class StudyArtifacts:
    """The files of one study; `artifacts` is the URL of its store, None for Postgres."""

    def __init__(self, database: Database, artifacts: str | None) -> None:
        self.database = database
        self.artifacts = artifacts
        self._store: StudyStore | None = None

    def open(self) -> None:
        """Check, once, that the study's store can be used from here.

        Raises:
            StoreError: it cannot.
        """
        if self.artifacts is not None and self._store is None:
            from hpsearch.storage.artifacts import stores

            store = stores.open_store(self.artifacts)
            store.check()
            self._store = store

    def fetch(self, attempt: Attempt, path: Path) -> bool:
        """Write the checkpoint that the trial goes on from to a local file; return False where there is none.

        Raises:
            StoreError: it cannot be read now.
            UnreachableError: the database does not answer.
        """
        key = attempt.checkpoint
        if key is None:
            return False
        if self._store is not None and self.database.transact(lambda connection: table.find_store(connection, key)):
            return self._store.get(key, path)
        return self.database.transact(lambda connection: table.fetch(connection, key, path))

    def save_checkpoint(self, attempt: Attempt, epoch: int, path: Path) -> None:
        """Store a checkpoint and make it the one to go on from; the earlier ones go.

        Raises:
            LostError: the attempt was closed.
            StoreError: the store did not take it.
            UnreachableError: the database does not answer.
        """
        key = table.make_checkpoint_key(attempt.trial_id, attempt.number, epoch)
        self._upload(attempt, key, path)

        def set_checkpoint(connection: Connection) -> None:
            # The content before the fence: on a slow line it takes long, and nobody shall wait for the locks meanwhile.
            if self._store is None:
                table.save(connection, key, attempt.trial_id, path)
            attempts.fence(connection, attempt)
            attempts.set_checkpoint(connection, attempt, key)

        self._commit(set_checkpoint, key)
        self.remove_leftovers()

    def finish(
        self, attempt: Attempt, attributes: Mapping[str, object], model: Path | None, predictions: Path | None = None
    ) -> None:
        """End a trial as completed; keep its predictions, and its model where it is among the study's best.

        Raises:
            LostError: the attempt was closed.
            StoreError: the store did not take them; the trial has not ended.
            UnreachableError: the database does not answer.
        """
        model_key = table.make_model_key(attempt.trial_id, attempt.number)
        predictions_key = table.make_predictions_key(attempt.trial_id, attempt.number)
        paths: dict[str, Path] = {}
        if model is not None and self.database.transact(lambda connection: attempts.is_among_best(connection, attempt)):
            paths[model_key] = model
        if predictions is not None:
            paths[predictions_key] = predictions
        for key, path in paths.items():
            self._upload(attempt, key, path)

        def finish(connection: Connection) -> None:
            if self._store is None:
                for key, path in paths.items():
                    table.save(connection, key, attempt.trial_id, path)
            # Of two that end at once, each would count itself among the best without the other.
            studies.lock(connection, attempt.study.study_id)
            attempts.finish(connection, attempt, TrialOutcome.COMPLETED, attributes)
            plots.attach_plots(connection, attempt.trial_id)
            attempts.drop_models(connection, attempt, model_key)
            table.remove_predictions(connection, attempt.trial_id, keep=predictions_key)

        self._commit(finish, *paths)

    def remove_leftovers(self) -> None:
        """Remove what trials have left in a store outside Postgres; what cannot be removed now is removed later."""
        if self._store is not None:
            with contextlib.suppress(StoreError, UnreachableError):
                cleanup.remove_leftovers(self.database, self._store)

    def _upload(self, attempt: Attempt, key: str, path: Path) -> None:
        """Put a file into a store outside Postgres, its row before it; into Postgres it goes with what names it."""

        def announce(connection: Connection) -> None:
            attempts.fence(connection, attempt)
            if self._store is not None:
                table.announce(connection, key, attempt.trial_id, self._store.url)

        self.database.transact(announce)
        if self._store is None:
            return
        try:
            self._store.put(key, path)
        except StoreError:
            self.database.transact(lambda connection: table.withdraw(connection, key))
            raise

    def _commit(self, work: Callable[[Connection], None], *keys: str) -> None:
        """Run the transaction that names the files `keys`; where the attempt was closed, remove them again."""
        try:
            self.database.transact(work)
        except LostError:
            # Whoever has the trial now may have removed the leftovers before this was there.
            if self._store is not None:
                with contextlib.suppress(StoreError):
                    for key in keys:
                        self._store.remove(key)
            raise
