"""The user that Postgres runs as: it refuses to be root, so root runs it as another user, and opens up no directory."""

import os
import pwd
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.errors import DatabaseError

NAME = "hpsearch"
SYSTEM_DIRECTORY = Path("/var/lib/hpsearch")
"""What root keeps where the account can reach it."""


@dataclass(frozen=True)
class Account:
    """A user's numbers, and whether this process has to change to that user to be it."""

    uid: int
    gid: int
    switch: bool

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end as this user, detached from our terminal and without our environment."""
        if self.switch:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        # libraries and PG* variables of the user's environment are meant for other programs
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(command, check=False, cwd="/", env=environment, start_new_session=True, **options)

    def reaches(self, directory: Path) -> bool:
        """Return whether this user may enter the directory."""
        return not self.switch or self.run(["/bin/sh", "-c", 'test -x "$0"', str(directory)]).returncode == 0

    def own(self, directory: Path) -> Path:
        """Make the directory, which may be new, this user's alone.

        Raises:
            DatabaseError: it is somebody else's, or others may enter it.
        """
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        if self.switch and directory.lstat().st_uid == 0:
            os.chown(directory, self.uid, self.gid, follow_symlinks=False)
        status = directory.lstat()
        if directory.is_symlink() or status.st_uid != self.uid or status.st_mode & 0o077:
            raise DatabaseError(
                f"{directory} is not private to user {self.uid}: remove it, or name a server with --storage"
            )
        return directory


def find_account(directory: Path, cluster: Path) -> Account:
    """Return this process's user; for root the user that the cluster or its directory belongs to, else `hpsearch`.

    Raises:
        DatabaseError: there is no such user and none can be made.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for path in (cluster, directory):
        if path.exists() and path.stat().st_uid != 0:
            return Account(path.stat().st_uid, path.stat().st_gid, switch=True)
    return _system_account()


def make_public(directory: Path) -> Path:
    """Make a directory that everyone may enter, whatever the umask; one that exists is left as it is."""
    if not directory.exists():
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    return directory


def _system_account() -> Account:
    reason = "useradd is missing"
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    for _ in range(20):
        with suppress(KeyError):
            entry = pwd.getpwnam(NAME)
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
        if useradd is None:
            break
        # others may be doing the same, and useradd does not wait for its lock
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
        created = subprocess.run(command, check=False, capture_output=True)
        reason = created.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        time.sleep(0.1 if created.returncode else 0)
    raise DatabaseError(
        f"Postgres does not run as root, and the user {NAME} cannot be made ({reason}): "
        "run this as another user, or name a server with --storage"
    )
