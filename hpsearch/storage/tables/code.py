"""The table `hpsearch.code`: the archives of studies' own code, each stored once for all studies that have it."""

import json

from sqlalchemy import Connection, text

from hpsearch.errors import RefusedError
from hpsearch.spec.code.archive import CodeReference
from hpsearch.spec.code.packages import Packages


def store(connection: Connection, code: CodeReference) -> None:
    """Store the archive, if the database has it not yet, and keep it from being removed until the transaction ends.

    Raises:
        RefusedError: neither `code` nor the database has it, as where somebody deleted its last study just now.
    """
    if code.archive is None:
        row = connection.execute(
            text("select 1 from hpsearch.code where sha256 = :sha256 for key share"), {"sha256": code.sha256}
        ).one_or_none()
        if row is None:
            raise RefusedError(
                f"the code {code.sha256[:12]} is no longer in the database: start the study's file again"
            )
        return
    # The update repairs an archive that was changed, and locks the row, which `remove_unused` would else delete.
    connection.execute(
        text(
            "insert into hpsearch.code (sha256, archive) values (:sha256, :archive) "
            "on conflict (sha256) do update set archive = excluded.archive"
        ),
        {"sha256": code.sha256, "archive": code.archive},
    )


def fetch(connection: Connection, sha256: str) -> bytes | None:
    """Return an archive as the database has it, not verified; None where it has none."""
    archive = connection.scalar(text("select archive from hpsearch.code where sha256 = :sha256"), {"sha256": sha256})
    return None if archive is None else bytes(archive)


def remove_unused(connection: Connection, sha256: str) -> None:
    """Remove an archive that no study has any more."""
    # Locked by a statement of its own: the next one then sees the study of a transaction that this one waited for.
    connection.execute(text("select 1 from hpsearch.code where sha256 = :sha256 for update"), {"sha256": sha256})
    connection.execute(
        text(
            "delete from hpsearch.code where sha256 = :sha256 "
            "and not exists (select 1 from hpsearch.studies where code = :sha256)"
        ),
        {"sha256": sha256},
    )


def set_packages(connection: Connection, study_id: int, packages: Packages) -> None:
    """Store the versions that workers need for a study, its evaluations and its ablations."""
    connection.execute(
        text(
            "update hpsearch.studies set packages = :packages where study_id = :study_id "
            "or study_id in (select study_id from hpsearch.evaluations where evaluated = :study_id) "
            "or study_id in (select study_id from hpsearch.ablations where ablated = :study_id)"
        ),
        {"study_id": study_id, "packages": json.dumps(dict(packages))},
    )
