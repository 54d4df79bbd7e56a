"""hpsearch's commands, run in a process of their own."""

import os
import subprocess
import sys

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
