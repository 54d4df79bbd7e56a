"""The file with the database's URL that jobs read: no command line and no job's environment shows a password."""

import hashlib
import os
import stat
from pathlib import Path

from hpsearch import settings
from hpsearch.errors import RefusedError, UsageError
from hpsearch.settings import Setting
from hpsearch.storage.database import Database


def require_server(setting: Setting | None) -> Setting:
    """Return where the database is.

    Raises:
        RefusedError: it is the embedded server, which other hosts do not reach.
    """
    if setting is None:
        raise RefusedError(
            "the embedded Postgres serves this host only, and jobs run on others: name a server in "
            "HPSEARCH_STORAGE_FILE or with --storage postgresql://user:password@host/database"
        )
    return setting


def keep_storage(setting: Setting, database: Database, directory: Path) -> Path:
    """Return a file with the URL that this user alone can read: the one HPSEARCH_STORAGE_FILE names, or a new one.

    Args:
        setting: where the database is, as the user said it.
        database: the same, connected to.
        directory: where a new file goes.

    Raises:
        UsageError: others can use the user's file, or the password is in PGPASSWORD.
    """
    if database.url.password is None and "PGPASSWORD" in settings.list_libpq_variables():
        raise UsageError("jobs do not get PGPASSWORD: put the password into the URL, in HPSEARCH_STORAGE_FILE")
    file = settings.find_storage_file() if setting.source == "HPSEARCH_STORAGE_FILE" else None
    if file is None:
        place = database.url.set(password=None).render_as_string()
        file = directory / f"storage-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
        _write_private(file, setting.value + "\n")
    elif stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise UsageError(f"HPSEARCH_STORAGE_FILE is open to other users, and may hold a password: chmod 600 {file}")
    return file


def _write_private(file: Path, content: str) -> None:
    """Write a file, all of it or nothing, that this user alone can read."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writer:
        writer.write(content)
    draft.replace(file)
