"""What a worker keeps of a study's trials, wherever the study keeps its files: checkpoints, and the best models."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from hpsearch.errors import StoreError, UnreachableError
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, studies
from hpsearch.storage.artifacts import plots, table
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database

if TYPE_CHECKING:  # it brings Optuna and boto3 in, and most studies keep their files in Postgres
    from hpsearch.storage.artifacts.stores import StudyStore

CLEANUP_SECONDS = 3600.0


class ArtifactCleanup:
    """Sweeps files that belong to nothing at a worker's start and every `interval` seconds; its slots share it."""

    def __init__(self, database: Database, interval: float = CLEANUP_SECONDS) -> None:
        self._database = database
        self._interval = interval
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def sweep(self) -> None:
        """Sweep where it is time to.

        Raises:
            UnreachableError: the database is away.
        """
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + self._interval
        table.sweep(self._database)


def read_artifact(database: Database, key: str, path: Path) -> bool:
    """Write a stored file, wherever its study keeps it, to a local one; False where there is nothing.

    Raises:
        StoreError: where it is cannot be read from here.
    """
    home = database.transact(lambda connection: table.find_store(connection, key))
    if home is None:
        return database.transact(lambda connection: table.fetch(connection, key, path))
    from hpsearch.storage.artifacts import stores

    place = stores.open_store(home)
    place.see()
    return place.get(key, path)


class StudyArtifacts:
    """The files of one study; `artifacts` is where they are, None in Postgres."""

    def __init__(self, database: Database, artifacts: str | None) -> None:
        self.database = database
        self.artifacts = artifacts
        self._store: StudyStore | None = None

    def open(self) -> None:
        """See, once, that the study's store can be used from here.

        Raises:
            StoreError: it cannot.
        """
        if self.artifacts is not None and self._store is None:
            from hpsearch.storage.artifacts import stores

            found = stores.open_store(self.artifacts)
            found.check()
            self._store = found

    def fetch(self, held: Attempt, path: Path) -> bool:
        """Write the checkpoint that the trial goes on from to a local file; False where there is none.

        Raises:
            StoreError: it cannot be read now.
            UnreachableError: the database is away.
        """
        key = held.checkpoint
        if key is None:
            return False
        if self._store is not None and self.database.transact(lambda connection: table.find_store(connection, key)):
            return self._store.get(key, path)
        return self.database.transact(lambda connection: table.fetch(connection, key, path))

    def save_checkpoint(self, held: Attempt, epoch: int, path: Path) -> None:
        """Store a checkpoint and make it the one to go on from; the earlier ones go.

        Raises:
            LostError: the attempt was closed.
            StoreError: the store did not take it.
            UnreachableError: the database is away.
        """
        key = table.make_checkpoint_key(held.trial_id, held.number, epoch)
        self._bring(held, key, path)

        def point(connection: Connection) -> None:
            # The content before the fence: on a slow line it takes long, and nobody shall wait for the locks meanwhile.
            if self._store is None:
                table.save(connection, key, held.trial_id, path)
            attempts.fence(connection, held)
            attempts.point_at(connection, held, key)

        self._commit(point, key)
        self.clear()

    def finish(
        self, held: Attempt, attributes: Mapping[str, object], model: Path | None, predictions: Path | None = None
    ) -> None:
        """End a trial as completed; keep its predictions, and its model where it is among the study's best.

        Raises:
            LostError: the attempt was closed.
            StoreError: the store did not take them; the trial has not ended.
            UnreachableError: the database is away.
        """
        key = table.make_model_key(held.trial_id, held.number)
        kept: dict[str, Path] = {}
        if model is not None and self.database.transact(lambda connection: attempts.is_among_best(connection, held)):
            kept[key] = model
        predicted = table.make_predictions_key(held.trial_id, held.number)
        if predictions is not None:
            kept[predicted] = predictions
        for each, path in kept.items():
            self._bring(held, each, path)

        def finish(connection: Connection) -> None:
            if self._store is None:
                for each, path in kept.items():
                    table.save(connection, each, held.trial_id, path)
            # Of two that end at once, each would count itself among the best without the other.
            studies.lock(connection, held.study.study_id)
            attempts.finish(connection, held, TrialOutcome.COMPLETED, attributes)
            plots.announce(connection, held.trial_id)
            attempts.drop_models(connection, held, key)
            table.remove_predictions(connection, held.trial_id, keep=predicted)

        self._commit(finish, *kept)

    def clear(self) -> None:
        """Remove what trials have left over in a store outside Postgres; what cannot be removed now is later."""
        if self._store is not None:
            with contextlib.suppress(StoreError, UnreachableError):
                table.clear(self.database, self._store)

    def _bring(self, held: Attempt, key: str, path: Path) -> None:
        """Put a file into a store outside Postgres, known before it is there; into Postgres it goes with what it is."""

        def announce(connection: Connection) -> None:
            attempts.fence(connection, held)
            if self._store is not None:
                table.announce(connection, key, held.trial_id, self._store.url)

        self.database.transact(announce)
        if self._store is None:
            return
        try:
            self._store.put(key, path)
        except StoreError:
            self.database.transact(lambda connection: table.withdraw(connection, key))
            raise

    def _commit(self, work: Callable[[Connection], None], *keys: str) -> None:
        try:
            self.database.transact(work)
        except LostError:
            # Whoever has the trial now may have cleared before this was there.
            if self._store is not None:
                with contextlib.suppress(StoreError):
                    for key in keys:
                        self._store.remove(key)
            raise
