"""What the errors of psycopg2 and Postgres mean here, each in one line without the statement and its parameters."""

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from hpsearch.errors import DatabaseError, HpsearchError, StatementError, UnreachableError

# SQLSTATE codes, and classes of them: https://www.postgresql.org/docs/current/errcodes-appendix.html
RETRYABLE = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
}
UNREACHABLE = {
    "25006",  # read_only_sql_transaction: a standby, which a failover will promote
    "25P03",  # idle_in_transaction_session_timeout
    "55P03",  # lock_not_available
    "57014",  # query_canceled, by statement_timeout
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
UNREACHABLE_CLASSES = {
    "08",  # connection_exception
    "53",  # insufficient_resources: too many connections, no memory, a full disk
}


def is_retryable(error: DBAPIError) -> bool:
    """Return whether the same transaction may succeed when it is run again at once."""
    return _read_code(error) in RETRYABLE


def make_unreachable(database: str, source: str, reason: str) -> UnreachableError:
    """Return the error of a database that does not answer now; `source` says where its URL came from."""
    return UnreachableError(f"cannot reach the database {database}: {reason}: check {source}")


def translate(error: DBAPIError, database: str, source: str, password: object = None) -> HpsearchError:
    """Return the error to raise for one of the driver's, on a database whose URL came from `source`.

    Never the driver's own: SQLAlchemy shows the statement and its parameters with it.
    """
    code, reason = _read_code(error), _redact(error, password)
    if code in {"42P01", "3F000", "42703"}:
        return DatabaseError(f"{database} has no tables of this hpsearch ({reason}): run hpsearch db upgrade")
    if code == "42501":
        return DatabaseError(
            f"the database {database} does not let its user do this ({reason}): "
            f"make that user its owner, or name another one in {source}"
        )
    connecting = isinstance(error, OperationalError) and code is None
    if connecting or error.connection_invalidated or code in UNREACHABLE or str(code)[:2] in UNREACHABLE_CLASSES:
        return make_unreachable(database, source, reason)
    if isinstance(error, ProgrammingError) and code is None:
        return DatabaseError(f"{source} is not a usable database URL: {reason}")
    shown = f"{reason} ({code})" if code else reason
    return StatementError(f"the database {database} failed: {shown}: its server's log says more", reason)


def _redact(error: DBAPIError, password: object) -> str:
    lines = [line.strip() for line in str(error.orig).strip().splitlines() if line.strip()]
    reason = lines[0] if lines else type(error.orig).__name__
    return reason.replace(str(password), "***") if password else reason


def _read_code(error: DBAPIError) -> str | None:
    code: str | None = getattr(error.orig, "pgcode", None)
    return code
