"""What a connection is made with: parameters of the URL, and variables of libpq."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text

from hpsearch.errors import DatabaseError
from hpsearch.storage import embedded
from hpsearch.storage.database import Database, EmbeddedDatabase
from tests.conftest import FAST_SETTINGS
from tests.support.worker_processes import wait_until

HOSTILE = {
    "PGHOST": "no-such-host.invalid",
    "PGHOSTADDR": "203.0.113.1",
    "PGPORT": "1",
    "PGDATABASE": "absent",
    "PGUSER": "nobody",
    "PGPASSFILE": "/dev/null",
    "PGREQUIREPEER": "nobody",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGGSSENCMODE": "require",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "/absent",
    "PGOPTIONS": "-c search_path=absent -c statement_timeout=1",
    "PGCLIENTENCODING": "LATIN1",
    "PGAPPNAME": "another",
}
"""Values that refuse, redirect or change a connection; any other variable of libpq is set to nonsense."""


def list_libpq_variables() -> set[str]:
    """Return the names of every variable that the libpq of this process has in its code."""
    maps = Path("/proc/self/maps").read_text()
    files = {line.split()[-1] for line in maps.splitlines() if re.search(r"/libpq[^/]*\.so", line)}
    contents = [Path(file).read_bytes() for file in files]
    return {name.decode() for content in contents for name in re.findall(rb"\0(PG[A-Z]{2,})(?=\0)", content)}


@pytest.fixture(scope="module")
def home(server: str, session_scratch: Path) -> Iterator[Path]:
    """Yield the directory of an embedded server that runs: the tests' own, if that is one."""
    assert server
    directory = session_scratch / "server"
    with embedded.start(directory, FAST_SETTINGS):
        yield directory


def ask(home: Path) -> tuple[str, ...]:
    """Return what a new connection to the embedded server says of itself."""
    names = ("application_name", "client_encoding", "search_path", "statement_timeout", "timezone", "datestyle", "geqo")
    settings = ", ".join(f"current_setting('{name}')" for name in names)
    with closing(EmbeddedDatabase(home, "a test")) as database:
        row = database.execute(lambda c: c.execute(text(f"select current_user, current_database(), {settings}")).one())
    return tuple(row)


def test_no_variable_of_libpq_has_a_say_in_the_embedded_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever each variable is set to, and all together, a connection is the same, and the variables stay."""
    variables = list_libpq_variables()
    assert set(HOSTILE) | {"PGSERVICE", "PGTZ", "PGDATESTYLE"} <= variables
    untouched = ask(home)
    for name in sorted(variables):
        with monkeypatch.context() as alone:
            alone.setenv(name, HOSTILE.get(name, "nonsense"))
            assert ask(home) == untouched, name
            if name in {"PGHOST", "PGSERVICE", "PGTZ"}:
                with pytest.raises(psycopg2.Error):  # another program's connection still obeys it
                    psycopg2.connect("")
    for name in variables:
        monkeypatch.setenv(name, HOSTILE.get(name, "nonsense"))
    assert ask(home) == untouched


def test_no_file_of_libpq_has_a_say_in_the_embedded_server(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a service file nor a password file that libpq would warn of is looked at."""
    (tmp_path / ".pg_service.conf").write_text("[elsewhere]\nhost=no-such-host.invalid\nno such key=1\n")
    (tmp_path / ".pgpass").write_text("*:*:*:*:secret\n")
    (tmp_path / ".pgpass").chmod(0o644)
    untouched = ask(home)
    for name, value in (("HOME", str(tmp_path)), ("PGSERVICE", "elsewhere"), ("PGSYSCONFDIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    assert ask(home) == untouched
    assert capfd.readouterr().err == ""


@pytest.mark.timeout(60)
def test_an_error_of_the_embedded_server_that_will_not_pass_is_said_at_once(home: Path) -> None:
    """A server that refuses its only user is not asked again for ten minutes."""
    with embedded.start(home) as server, closing(psycopg2.connect(server.url)) as connection:
        file = server.cluster.data / "pg_hba.conf"
        rules = file.read_text()
        refused = "takes no connection .*pg_hba.conf.*: mend that, or name a server with --storage"
        try:
            reload_rules(connection, server.url, file, "local all all reject\n")
            with pytest.raises(DatabaseError, match=refused) as error:
                embedded.start(home)
        finally:
            reload_rules(connection, server.url, file, rules)
    assert "\n" not in str(error.value)


def reload_rules(connection: Any, url: str, file: Path, rules: str) -> None:
    """Have the server follow other rules of who may connect."""
    before = refuses(url)
    file.write_text(rules)
    with connection.cursor() as cursor:
        cursor.execute("select pg_reload_conf()")
    wait_until(lambda: refuses(url) is not before, "the server has read it")


def refuses(url: str) -> bool:
    """Return whether the server at a URL lets nobody in."""
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return True
    return False


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("options=-csearch_path%3Dapp", "has options that set search_path, which hpsearch sets itself: remove it"),
        ("options=-c%20Statement_Timeout%3D5", "has options that set statement_timeout, which hpsearch sets itself"),
        ("options=--lock-timeout%3D5", "has options that set lock_timeout, which hpsearch sets itself"),
        ("options=-c%20work_mem%3D9MB%20-c%20TimeZone%3DUTC", "has options that set timezone"),
        ("options=-cclient_encoding%3DLATIN1", "has options that set client_encoding"),
        ("client_encoding=LATIN1", "has a client_encoding, and hpsearch needs UTF-8: remove it"),
        ("connect_timeout=0", "has a connect_timeout that is not a number of at least 1"),
        ("keepalives_idle=soon", "has a keepalives_idle that is not a number of at least 1"),
        ("pgbouncer=true", "has a parameter 'pgbouncer', which Postgres's client does not know: remove it"),
        ("cursor_factory=x", "has a parameter 'cursor_factory', which Postgres's client does not know"),
        ("async=1", "has a parameter 'async', which Postgres's client does not know"),
        ("dbname=other", "has a parameter 'dbname': write the database's name behind the host instead"),
        ("sslmode=require&sslmode=disable", "has the parameter 'sslmode' more than once: keep one"),
    ],
)
def test_parameters_that_contradict_ours_are_refused_by_name(query: str, line: str) -> None:
    """A parameter of the URL is not lost without a word."""
    with pytest.raises(DatabaseError) as error:
        Database(f"postgresql://someone:s3cret@host/db?{query}", "--storage")
    assert str(error.value).startswith(f"--storage {line}")
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)


def test_other_parameters_are_merged(storage: str) -> None:
    """What the URL says of the connection holds, beside our settings."""
    parameters = "options=-c%20work_mem%3D9MB&application_name=mine&connect_timeout=3&client_encoding=UTF-8"
    names = ("work_mem", "application_name", "search_path", "client_encoding")
    with closing(Database(f"{storage}{'&' if '?' in storage else '?'}{parameters}")) as database:
        shown = database.transact(lambda c: [c.scalar(text(f"show {name}")) for name in names])
        assert shown == ["9MB", "mine", "public", "UTF8"]
        with database.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            assert raw.info.dsn_parameters["connect_timeout"] == "3"
            assert raw.info.dsn_parameters["keepalives_idle"] == "30"


def test_any_text_is_stored_whatever_the_client_says_of_its_encoding(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGCLIENTENCODING decides neither what can be written nor what is read."""
    for encoding in ("LATIN1", "SQL_ASCII", "EUC_JP"):
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        with closing(Database(storage)) as database:
            name = json.dumps("Größe 模型 🜚", ensure_ascii=False)
            assert database.execute(lambda c, name=name: c.scalar(text("select cast(:n as text)"), {"n": name})) == name  # type: ignore[misc]
