"""Submit arrays of workers to Slurm, and cancel them."""

import os
import re
import secrets
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpsearch import settings
from hpsearch.clusters.slurm_script import SlurmArray, write_script
from hpsearch.errors import HpsearchError, NotFoundError, UsageError

PATIENCE = 120.0
"""Seconds in which a command of Slurm answers; it repeats by itself what a busy controller does not."""

_PREFIX = "hpsearch-"
"""Of the jobs' names, which are the scripts' too: squeue shows the first eight characters."""


@dataclass(frozen=True)
class SlurmDirectory:
    """Where the scripts of this user's arrays are, what their workers print, and the files with URLs."""

    path: Path

    @property
    def logs(self) -> str:
        """Return what sbatch takes for the file of an element, in which `%` has a meaning."""
        return f"{self.path / 'logs'}".replace("%", "%%") + "/%A_%a.log"

    def make(self) -> None:
        """Make it, for this user alone.

        Raises:
            UsageError: it cannot be made.
        """
        try:
            for path in (self.path, self.path / "logs"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be made ({error.strerror}): set XDG_DATA_HOME") from None

    def find_script(self, name: str) -> Path:
        """Return the file of an array's script."""
        return self.path / f"{name}.sh"

    def list_names(self) -> list[str]:
        """Return the names of the arrays that were submitted from here."""
        return sorted(script.stem for script in self.path.glob(f"{_PREFIX}*.sh"))


@dataclass(frozen=True)
class SubmittedArray:
    """An array that Slurm took, by its job id, and its script."""

    job: str
    script: Path


def find_directory() -> SlurmDirectory:
    """Return the directory, in the user's data directory.

    Raises:
        NotFoundError: the user has no home directory.
    """
    return SlurmDirectory(settings.find_home_dir() / "slurm")


def make_name() -> str:
    """Return a name for an array that no other has."""
    return f"{_PREFIX}{secrets.token_hex(4)}"


def submit(array: SlurmArray, directory: SlurmDirectory) -> SubmittedArray:
    """Keep the array's script in the directory, and have Slurm take it.

    Raises:
        NotFoundError: there is no sbatch.
        UsageError: an option is bad, or Slurm refuses it.
    """
    content = write_script(array)
    _find("sbatch")
    script = directory.find_script(array.name)
    script.write_text(content, errors="surrogateescape")
    try:
        answer = _run("sbatch", "--parsable", str(script), environment=_make_environment(content))
    except HpsearchError:
        script.unlink()
        raise
    return SubmittedArray(answer.split(";")[0].strip(), script)


def cancel(directory: SlurmDirectory) -> Mapping[str, int]:
    """Cancel what was submitted from the directory; return how many elements of each job were queued or running.

    Raises:
        NotFoundError: there is no scancel.
        UsageError: Slurm does not do it.
    """
    _find("scancel")
    names = directory.list_names()
    if not names:
        return {}
    mine = f"--user={os.geteuid()}"
    elements = Counter(
        _run("squeue", "--noheader", "--array", "--format=%F", mine, f"--name={','.join(names)}").split()
    )
    if elements:
        _run("scancel", mine, *elements)  # by number, as its --name takes only one
    return elements


def _make_environment(script: str) -> dict[str, str]:
    """Return the environment of sbatch, which its jobs inherit.

    Without what would say otherwise than the script, as sbatch's own variables do, and without what belongs to the job
    in which this command may run.
    """
    options = re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)
    overruling = {f"SBATCH_{option.upper().replace('-', '_')}" for option in options}
    overruling |= {"SBATCH_ARRAY_INX", "SBATCH_NO_REQUEUE"} | ({"SBATCH_TIMELIMIT"} if "time" in options else set())
    return {
        name: value
        for name, value in settings.make_submission_environment().items()
        if name not in overruling and (name == "SLURM_CONF" or not name.startswith(("SLURM_", "SRUN_")))
    }


def _find(program: str) -> None:
    if shutil.which(program) is None:
        raise NotFoundError(
            f"there is no {program} on the PATH: run this where Slurm's commands are, such as on a login node "
            "(--print shows the script)"
        )


def _run(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a program of Slurm prints; where it fails, its own words are the error's."""
    try:
        ended = subprocess.run(
            [program, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        raise NotFoundError(f"there is no {program} on the PATH, though other commands of Slurm are") from None
    except subprocess.TimeoutExpired:
        raise HpsearchError(
            f"{program} has not answered in {PATIENCE:g} s: see that scontrol ping finds Slurm"
        ) from None
    if ended.returncode:
        words = _quote_words(program, ended.stderr) or f"exit code {ended.returncode}"
        raise UsageError(f"{program} refuses: {words}" + (" (--gpus 0 trains on the CPU)" if "gres" in words else ""))
    return ended.stdout


def _quote_words(program: str, output: str) -> str:
    """Return what a program of Slurm says, in one line."""
    lines = (re.sub(rf"^{program}: (error: |fatal: )?", "", line).strip() for line in output.splitlines())
    return "; ".join(dict.fromkeys(filter(None, lines)))
