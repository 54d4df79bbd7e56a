"""A real PgBouncer in transaction mode, in front of a server of the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import sqlalchemy

from tests.support.worker_processes import wait_until

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
pool_mode = transaction
default_pool_size = {pool_size}
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
server_round_robin = 1
logfile = {directory}/pgbouncer.log
"""
"""`* = ...` passes any database on; `server_round_robin` gives each transaction another session than the last."""


@contextmanager
def run_pgbouncer(server: str, pool_size: int) -> Iterator[str]:
    """Run one in front of the server at a URL; yield its own URL, with the same database."""
    assert BINARY is not None
    url = sqlalchemy.make_url(server)
    host = url.host or str(url.query["host"])
    parts = {
        "host": host,
        "port": url.port or url.query.get("port") or 5432,
        "user": url.username,
        "password": url.password,
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="hps-"))
    shown = " ".join(f"{name}='{value}'" for name, value in parts.items() if value)
    file = directory / "pgbouncer.ini"
    file.write_text(CONFIGURATION.format(server=shown, pool_size=pool_size, port=port, directory=directory))
    # it refuses to be root, as Postgres does, whose socket others may not reach
    user = os.geteuid() or (Path(host).stat().st_uid if host.startswith("/") else pwd.getpwnam("nobody").pw_uid)
    for path in (directory, file):
        os.chown(path, user, -1)
    process = subprocess.Popen([BINARY, "-q", str(file)], user=user)
    pooled = f"postgresql://{url.username}@127.0.0.1:{port}/{url.database}"

    def answers() -> bool:
        assert process.poll() is None, (directory / "pgbouncer.log").read_text()
        try:
            psycopg2.connect(pooled).close()
        except psycopg2.OperationalError:
            return False
        return True

    try:
        wait_until(answers, "PgBouncer answers")
        yield pooled
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
