"""hpsearch's commands, run in a process of their own."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hpsearch.errors import ExitCode

DEADLINE = 240.0
"""Seconds until a command is given up, however busy the machine is."""


def hpsearch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hpsearch.cli.main", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def one_line(ended: subprocess.CompletedProcess[str], code: ExitCode) -> str:
    """The only line of a command that failed with `code`; nothing on stdout, no traceback."""
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


@contextmanager
def run_dashboard(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `hpsearch dashboard` on a free port: its process and the address it prints; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "hpsearch.cli.main", "dashboard", "--port", "0", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = threading.Timer(DEADLINE, running.kill)
        deadline.start()
        try:
            assert running.stderr is not None
            line = running.stderr.readline()
            address = re.search(r"http://\S+", line)
            assert address, line + running.stderr.read()
            yield running, address[0]
        finally:
            deadline.cancel()
            running.kill()
