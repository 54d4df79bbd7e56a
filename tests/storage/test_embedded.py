"""The embedded Postgres under real processes: started once, shared, killed, recovered, stopped by the last."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest

from hpsearch.errors import DatabaseError
from hpsearch.storage import embedded
from hpsearch.storage.embedded import cluster as cluster_module
from hpsearch.storage.embedded import server as server_module
from hpsearch.storage.embedded.account import Account
from hpsearch.storage.embedded.locks import is_free, locked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")

USER = """
import pathlib, sys
from hpsearch.storage import embedded
with embedded.start(pathlib.Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def user(directory: Path) -> subprocess.Popen[str]:
    """A process, in a group of its own, that uses the server until its input ends."""
    command = [sys.executable, "-c", USER, str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


@contextmanager
def using(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A user that has the server; it is told to leave at the end, if it still lives."""
    process = user(directory)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.communicate(timeout=60)


def ask(url: str, question: str) -> str:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else ""


def postmaster(server: embedded.Server) -> int:
    return int((server.cluster.data / "postmaster.pid").read_text().split()[0])


def runs(directory: Path) -> bool:
    """Whether any process of a server is left, by its lock and by the list of processes."""
    data = str(directory.resolve() / "postgres-18")
    return not is_free(directory / "server.lock") or any(
        data in (process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=10)


def modes(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mode for path in (directory, *directory.parents)}


@pytest.fixture
def fresh(scratch: Path) -> Path:
    """Where no server has been."""
    return scratch / "home"


@pytest.fixture(scope="session")
def template(session_scratch: Path) -> Path:
    with embedded.start(session_scratch / "home"):
        return session_scratch / "home"


@pytest.fixture
def directory(template: Path, fresh: Path) -> Path:
    """Where a server has been, and stopped: a copy, as initdb is most of a first start."""
    subprocess.run(["cp", "-a", str(template), str(fresh)], check=True)
    return fresh


def test_first_start_makes_a_database_that_the_next_finds(fresh: Path) -> None:
    """The first start makes cluster and database, the last stop ends the server, the next start has the data."""
    with embedded.start(fresh) as server:
        ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert ask(server.url, "SELECT current_database()") == "hpsearch"
    assert not runs(fresh)
    began = time.monotonic()
    with embedded.start(fresh) as server:
        assert time.monotonic() - began < 3
        assert ask(server.url, "SELECT answer FROM kept") == "42"
    assert not runs(fresh)


def test_the_cluster_is_utf8_and_takes_no_network(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any name can be stored, sixty workers connect, and neither a port is opened nor PG* variables heeded."""
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with embedded.start(directory) as server:
        assert ask(server.url, "SHOW server_encoding") == "UTF8"
        assert ask(server.url, "SELECT lower('ÄÉЖ')") == "äéж"
        assert ask(server.url, "SHOW listen_addresses") == ""
        assert ask(server.url, "SHOW max_connections") == "200"
        listening = psutil.Process(postmaster(server)).net_connections("inet")
        assert listening == []
        assert stat.S_IMODE((directory / "sockets").stat().st_mode) == 0o700


def test_settings_are_for_the_server_started_with_them(directory: Path) -> None:
    """A test may trade safety for speed on its own server."""
    with embedded.start(directory, {"fsync": "off"}) as server:
        assert ask(server.url, "SHOW fsync") == "off"


def test_the_last_user_stops_the_server(directory: Path) -> None:
    """Whoever leaves first leaves it running, the starter too; stopping twice does nothing."""
    first = embedded.start(directory)
    with using(directory):
        first.stop()
        first.stop()
        assert runs(directory)
        with embedded.start(directory) as again:
            assert again.url == first.url
        assert runs(directory)
    assert not runs(directory)


def test_a_killed_user_leaves_a_server_that_the_next_uses_and_stops(directory: Path) -> None:
    """kill -9 of the only user: the next finds the same server, and, being the last, stops it."""
    with using(directory) as process:
        kill(process)
    assert runs(directory)
    with embedded.start(directory) as server:
        assert ask(server.url, "SELECT 1") == "1"
    assert not runs(directory)


def test_a_killed_user_does_not_keep_the_server_up(directory: Path) -> None:
    """The kernel forgets a killed user, so the last living one still stops the server."""
    with embedded.start(directory), using(directory) as process:
        kill(process)
    assert not runs(directory)


def test_a_killed_postmaster_recovers(directory: Path) -> None:
    """After kill -9 of the server, while it is used, a start recovers what was committed."""
    with embedded.start(directory) as first:
        ask(first.url, "CREATE TABLE kept AS SELECT generate_series(1, 10000) AS n")
        killed = postmaster(first)
        os.kill(killed, signal.SIGKILL)
        with embedded.start(directory) as second:
            assert postmaster(second) != killed
            assert ask(second.url, "SELECT count(*) FROM kept") == "10000"
        assert runs(directory), "the first user is still there"
    assert not runs(directory)


def test_a_stale_pid_of_another_program_is_not_believed(directory: Path) -> None:
    """postmaster.pid left by a crash, its pid now a program that lives: the server starts all the same."""
    with embedded.start(directory) as server:
        pid_file = server.cluster.data / "postmaster.pid"
        left = pid_file.read_text()
    with subprocess.Popen(["sleep", "60"]) as other, embedded.start(directory.with_name("other")) as busy:
        for pid in (other.pid, postmaster(busy), 2**22 + 1):
            pid_file.write_text(left.replace(left.split()[0], str(pid), 1))
            with embedded.start(directory) as server:
                assert ask(server.url, "SELECT 1") == "1"
        assert other.poll() is None
        assert ask(busy.url, "SELECT 1") == "1"
        other.kill()


def test_ten_at_once_get_one_server(fresh: Path) -> None:
    """Ten processes that start on an empty directory get the same server, and the last one stops it."""
    processes = [user(fresh) for _ in range(10)]
    urls = {process.stdout.readline() for process in processes if process.stdout}
    assert len(urls) == 1
    started = ask(urls.pop().strip(), "SELECT pg_postmaster_start_time()")
    with embedded.start(fresh) as server:
        assert ask(server.url, "SELECT pg_postmaster_start_time()") == started
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert not runs(fresh)


@pytest.mark.parametrize("seconds", [0.12, 0.3, 0.5, 0.7])
def test_a_killed_first_start_leaves_nothing_half_made(fresh: Path, seconds: float) -> None:
    """kill -9 at any moment of the first start: the next one makes or finds a whole cluster."""
    process = user(fresh)
    time.sleep(seconds)
    kill(process)
    process.communicate()
    with embedded.start(fresh) as server:
        assert ask(server.url, "SELECT current_database()") == "hpsearch"
    assert not runs(fresh)
    with embedded.start(fresh):
        assert [path.name for path in fresh.glob("postgres-18*")] == ["postgres-18"]


def test_ctrl_c_in_a_terminal_does_not_reach_the_server(directory: Path) -> None:
    """The whole process group of the starter is interrupted; the server goes on for the others."""
    with using(directory) as process, embedded.start(directory) as server:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=30)
        assert ask(server.url, "SELECT 1") == "1"


def test_a_long_path_gets_a_short_socket(fresh: Path) -> None:
    """A directory too deep for a socket's address has its socket in a private one under the system's tmp."""
    deep = fresh.joinpath(*["a-long-name-é, of a fresh"] * 4)
    with embedded.start(deep) as server:
        assert ask(server.url, "SELECT 1") == "1"
        sockets = Path(ask(server.url, "SHOW unix_socket_directories").strip('"'))
        assert sockets.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        with embedded.start(deep) as again:
            assert again.url == server.url
    assert not runs(deep)
    assert not sockets.exists()


def test_a_socket_directory_of_somebody_else_is_refused(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    """What another user put in the shared tmp, or opened to others, is not trusted."""
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    deep = fresh.joinpath(*["a-long-name-of-a-directory"] * 4)
    with embedded.start(deep):
        (sockets,) = scratch.glob("hpsearch-*")
    sockets.mkdir(mode=0o755)
    with pytest.raises(DatabaseError, match=r"is not private to user \d+: remove it, or name a server"):
        embedded.start(deep)


def test_odd_names_are_quoted(fresh: Path) -> None:
    """Spaces, quotes, commas and percent signs in a path reach the server and the URL whole."""
    with embedded.start(fresh / "a \"b\", 50% 'c' é") as server:
        assert ask(server.url, "SELECT 1") == "1"


def test_two_directories_two_servers(fresh: Path) -> None:
    """Each directory has its own server and data, stopped on its own."""
    with embedded.start(fresh / "a") as a, embedded.start(fresh / "b") as b:
        ask(a.url, "CREATE TABLE only_here ()")
        assert ask(b.url, "SELECT to_regclass('only_here')") == "None"
        a.stop()
        assert not runs(fresh / "a")
        assert ask(b.url, "SELECT 1") == "1"


def test_two_names_of_one_directory_are_one_server(fresh: Path) -> None:
    """A symbolic link to the directory leads to the same server."""
    fresh.mkdir()
    alias = fresh.with_name("alias")
    alias.symlink_to(fresh)
    with embedded.start(fresh) as server, embedded.start(alias) as same:
        assert same.url == server.url


def one_line(raised: pytest.ExceptionInfo[DatabaseError]) -> str:
    line = str(raised.value)
    assert "\n" not in line
    assert "--storage" in line
    return line


def test_a_directory_that_cannot_be_made_is_one_line(scratch: Path) -> None:
    """Where the directory cannot be, one line names it and the way out."""
    (scratch / "file").write_text("")
    for wrong in (scratch / "file", scratch / "file" / "home"):
        with pytest.raises(DatabaseError) as raised:
            embedded.start(wrong)
        assert one_line(raised).startswith(f"the embedded Postgres cannot use {wrong} (")


def test_a_server_that_dies_at_once_is_one_line(directory: Path) -> None:
    """Postgres's own FATAL line is the reason given, and its log is named."""
    with pytest.raises(DatabaseError) as raised:
        embedded.start(directory, {"shared_buffers": "plenty"})
    line = one_line(raised)
    assert 'FATAL:  invalid value for parameter "shared_buffers": "plenty"' in line
    assert str(directory / "postgres.log") in line
    assert not runs(directory)


def test_a_broken_cluster_is_one_line(directory: Path) -> None:
    """A data directory without its files is not made anew over what may be left of it."""
    with embedded.start(directory) as server:
        pass
    (server.cluster.data / "PG_VERSION").unlink()
    with pytest.raises(DatabaseError, match="is not a valid data directory"):
        embedded.start(directory)


def test_a_server_on_another_host_is_one_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a shared file system the lock is held but no such process is here: nothing is started over it."""
    monkeypatch.setattr(server_module, "_ELSEWHERE", 0.2)
    with embedded.start(directory) as server:
        pass
    with locked(directory / "server.lock", 60), pytest.raises(DatabaseError) as raised:
        embedded.start(directory)
    assert "runs on another host or in another container" in one_line(raised)
    assert not (server.cluster.data / "postmaster.pid").exists()


def test_a_slow_start_is_waited_for(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lives but is not ready, as in a long crash recovery, is waited for, not started again."""
    with embedded.start(directory) as server:
        pid_file = server.cluster.data / "postmaster.pid"
        ready = pid_file.read_text()
        pid_file.write_text(ready.replace("ready   ", "starting"))
        with ExitStack() as later:
            process = user(directory)
            later.callback(process.communicate, timeout=60)
            time.sleep(1.5)
            assert process.poll() is None
            pid_file.write_text(ready)
            assert process.stdout is not None
            assert process.stdout.readline().strip() == server.url


def test_the_log_does_not_grow_for_ever(directory: Path) -> None:
    """A log of more than a megabyte is put aside once."""
    with embedded.start(directory) as server:
        pass
    server.cluster.log.write_bytes(b"x" * 1_000_001)
    with embedded.start(directory):
        assert server.cluster.log.stat().st_size < 100_000
        assert (directory / "postgres.log.1").stat().st_size == 1_000_001


@as_root
def test_root_changes_no_parents_mode(fresh: Path) -> None:
    """Under root Postgres runs as a user of its own, in its own directory; those above stay as they are."""
    fresh.parent.chmod(0o711)
    fresh.mkdir(mode=0o751)
    before = modes(fresh)
    with embedded.start(fresh) as server:
        assert psutil.Process(postmaster(server)).username() == "hpsearch"
        assert server.cluster.home == fresh
    assert modes(fresh) == before


@as_root
def test_root_keeps_the_cluster_elsewhere_where_its_user_cannot_go(
    fresh: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory closed to others stays closed: the cluster is under /var/lib, found again by a link."""
    monkeypatch.setattr(cluster_module, "SYSTEM_DIRECTORY", scratch / "system")
    fresh.mkdir(mode=0o700)
    before = modes(fresh)
    with embedded.start(fresh) as server:
        ask(server.url, "CREATE TABLE kept ()")
        assert server.cluster.home.parent == scratch / "system"
    assert modes(fresh) == before
    assert not runs(fresh)
    fresh.chmod(0o755)
    with embedded.start(fresh) as server:
        assert ask(server.url, "SELECT to_regclass('kept')") == "kept"
    (scratch / "system").rename(scratch / "lost")
    with pytest.raises(DatabaseError, match=r"is gone: bring it back, or remove .* to begin anew"):
        embedded.start(fresh)
    assert not runs(fresh)


@as_root
def test_root_copies_binaries_that_its_user_cannot_reach(
    fresh: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the package is in a closed directory, a whole copy of the programs serves, made once."""
    monkeypatch.setattr(cluster_module, "SYSTEM_DIRECTORY", scratch / "system")
    reaches = Account.reaches
    monkeypatch.setattr(Account, "reaches", lambda self, path: "pginstall18" not in str(path) and reaches(self, path))
    before = os.umask(0o077)
    try:
        with embedded.start(fresh) as server:
            program = Path(psutil.Process(postmaster(server)).exe())
            assert program.is_relative_to(scratch / "system")
            assert program.with_name("psql").exists()
    finally:
        os.umask(before)
    assert len(list((scratch / "system").iterdir())) <= 2


@as_root
def test_root_in_a_users_directory_leaves_it_to_the_user(fresh: Path) -> None:
    """Root (sudo) runs the server as the directory's owner and leaves no file that locks the owner out."""
    fresh.mkdir()
    os.chown(fresh, 65534, 65534)
    with embedded.start(fresh) as server:
        assert psutil.Process(postmaster(server)).uids().real == 65534
    assert {path.stat().st_uid for path in fresh.iterdir()} == {65534}
