"""Checkpoints, models, predictions and pictures: a row for each in Postgres, with the content or with where that is.

In Postgres two hosts need nothing else to share. A row goes with its trial, in whatever way that goes; what it named
elsewhere becomes a leftover then, and is removed there by whoever next looks after the place.
"""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hpsearch.storage.database import Database

if TYPE_CHECKING:  # it brings Optuna and boto3 in, and most who use these tables need neither
    pass

PIECE = 2**20
"""Bytes of a file that are in memory at once."""

COPY_TIMEOUT = "10min"
"""For a file on its way to the server: a statement of any other kind takes less than a second."""

COPY = "copy hpsearch.files (key, trial_id, content) from stdin with (format binary)"
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = struct.pack("!h", -1)


def make_checkpoint_key(trial_id: int, attempt: int, epoch: int) -> str:
    """Return the key of a checkpoint. No other attempt writes to it: a worker that was given up overwrites nothing."""
    return f"checkpoint/{trial_id}/{attempt}/{epoch}"


def make_model_key(trial_id: int, attempt: int) -> str:
    """Return the key of the model of a trial's best epoch."""
    return f"model/{trial_id}/{attempt}"


def make_predictions_key(trial_id: int, attempt: int) -> str:
    """Return the key of what a trial of an evaluation predicted for the test images."""
    return f"predictions/{trial_id}/{attempt}"


def save(connection: Connection, key: str, trial_id: int, path: Path) -> None:
    """Store a local file in Postgres under `key`, for a trial whose deletion takes it along."""
    with path.open("rb") as file:
        _copy(connection, key, trial_id, file, path.stat().st_size)


def announce(connection: Connection, key: str, trial_id: int, artifacts: str) -> None:
    """Insert the row of a file that is about to be written to the store of the URL `artifacts`.

    With its row before it, no file is left in a store unknown.
    """
    connection.execute(
        text(
            "insert into hpsearch.files (key, trial_id, artifacts) values (:key, :trial_id, :artifacts) "
            "on conflict (key) do update set created_at = clock_timestamp()"
        ),
        {"key": key, "trial_id": trial_id, "artifacts": artifacts},
    )


def withdraw(connection: Connection, key: str) -> None:
    """Delete the row of `key`; the file of one in another store becomes a leftover there."""
    connection.execute(text("delete from hpsearch.files where key = :key"), {"key": key})


def find_store(connection: Connection, key: str) -> str | None:
    """Return the URL of the store that has the content of `key`; None where Postgres has it, or nobody."""
    url: str | None = connection.scalar(text("select artifacts from hpsearch.files where key = :key"), {"key": key})
    return url


def list_keys(connection: Connection, study_id: int, kind: str) -> dict[int, str]:
    """Return the keys of a study's files of a kind (`model`, `predictions`), by the number of the trial."""
    rows = connection.execute(
        text(
            "select t.number, f.key from hpsearch.files f join trials t using (trial_id) "
            "where t.study_id = :study_id and starts_with(f.key, :kind || '/') order by f.created_at"
        ),
        {"study_id": study_id, "kind": kind},
    )
    return {row.number: row.key for row in rows}


def fetch(connection: Connection, key: str, path: Path) -> bool:
    """Write what Postgres has under `key` to a local file; return False where there is nothing."""
    size = connection.scalar(text("select length(content) from hpsearch.files where key = :key"), {"key": key})
    if size is None:
        return False
    with path.open("wb") as file:
        while (done := file.tell()) < size:
            piece = _piece(connection, key, done)
            if piece is None:
                return False
            file.write(piece)
    return True


def _piece(connection: Connection, key: str, done: int) -> bytes | None:
    piece: bytes | None = connection.scalar(
        text("select substring(content from :start for :length) from hpsearch.files where key = :key"),
        {"start": done + 1, "length": PIECE, "key": key},
    )
    return piece


def remove_predictions(connection: Connection, trial_id: int, keep: str) -> None:
    """Remove the predictions of earlier attempts at a trial."""
    connection.execute(
        text("delete from hpsearch.files where trial_id = :trial_id and key like 'predictions/%' and key <> :keep"),
        {"trial_id": trial_id, "keep": keep},
    )


def remove_checkpoints(connection: Connection, trial_id: int, keep: str | None = None) -> None:
    """Remove a trial's checkpoints but `keep`."""
    connection.execute(
        text(
            "delete from hpsearch.files where trial_id = :trial_id and key like 'checkpoint/%' "
            "and key is distinct from :keep"
        ),
        {"trial_id": trial_id, "keep": keep},
    )


class _Joined(io.RawIOBase):
    """Several streams, read one after the other."""

    def __init__(self, *parts: BinaryIO) -> None:
        self._parts = list(parts)

    def read(self, size: int = -1) -> bytes:
        while self._parts:
            if content := self._parts[0].read(size):
                return content
            self._parts.pop(0)
        return b""


def _copy(connection: Connection, key: str, trial_id: int | None, content: BinaryIO, size: int) -> None:
    """Insert a row by COPY, which streams the content: an insert holds it in memory three times, as hexadecimal."""
    withdraw(connection, key)
    connection.execute(text(f"set local statement_timeout = '{COPY_TIMEOUT}'"))
    name = key.encode()
    trial = struct.pack("!i", -1) if trial_id is None else struct.pack("!ii", 4, trial_id)
    row = struct.pack("!hi", 3, len(name)) + name + trial + struct.pack("!i", size)
    stream = _Joined(io.BytesIO(COPY_HEADER + row), content, io.BytesIO(COPY_TRAILER))
    driver = connection.connection.dbapi_connection
    assert driver is not None
    try:
        driver.cursor().copy_expert(COPY, stream, PIECE)
    except psycopg2.Error as error:  # as SQLAlchemy would have raised it
        raise DBAPIError.instance(COPY, None, error, psycopg2.Error) from None


class PostgresStore:
    """Optuna's artifact protocol over the table `hpsearch.files`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the content of an artifact.

        Raises:
            ArtifactNotFound: there is none of that id.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        content = self.database.transact(
            lambda connection: connection.scalar(
                text("select content from hpsearch.files where key = :key"), {"key": artifact_id}
            )
        )
        if content is None:
            raise ArtifactNotFound(f"no artifact {artifact_id} in {self.database.name}")
        return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store an artifact, whole or not at all."""
        content = content_body.read()
        self.database.transact(
            lambda connection: _copy(connection, artifact_id, None, io.BytesIO(content), len(content))
        )

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact; one that is gone already is fine."""
        self.database.transact(lambda connection: withdraw(connection, artifact_id))
