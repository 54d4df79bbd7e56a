"""The batch script of an array of workers: Slurm's options, the settings of the workers, and what each element runs."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpsearch import settings
from hpsearch.clusters import worker_commands
from hpsearch.errors import UsageError

WARNING_SECONDS = 120
"""How long before the end of its time a worker is told to leave; Slurm may do so another minute earlier."""

SHORTEST_MINUTES = 5
"""Of a job: with less a worker would be told to leave before it has trained an epoch, and queued again for ever."""

OWN_OPTIONS = {
    "account": "--account",
    "array": "--workers",
    "job-name": None,
    "open-mode": None,
    "no-requeue": None,
    "partition": "--partition",
    "requeue": None,
    "time": "--time",
}
"""Options of sbatch that are not for `--option`, and what says the same, if anything does."""

_OPTION = re.compile(r"([a-z][a-z-]*[a-z])(?:=(.*))?", re.DOTALL)
_PLAIN = re.compile(r"[\w@%+=:,./\[\]*&|!-]+")
_TIME = re.compile(
    r"(?P<minutes>\d{1,9})(:\d{1,9})?"
    r"|(?P<h>\d{1,9}):(?P<m>\d{1,9}):\d{1,9}"
    r"|(?P<days>\d{1,9})-(?P<hours>\d{1,9})(:(?P<min>\d{1,9})(:\d{1,9})?)?",
    re.ASCII,
)
"""The forms that sbatch's --time takes."""


@dataclass(frozen=True)
class SlurmArray:
    """An array of workers, one for each element.

    `name` is the job's; `time`, `partition`, `account` and `options` go to sbatch as they are; `environment` is set for
    the workers, which read the database's URL from `storage_file`. `%` in `logs` is Slurm's.
    """

    name: str
    workers: int
    gpus: int
    slots: int
    study_names: tuple[str, ...]
    partition: str | None
    time: str | None
    account: str | None
    options: tuple[str, ...]
    storage_file: Path
    logs: str
    environment: Mapping[str, str]


def write_script(array: SlurmArray) -> str:
    """Return the script.

    Raises:
        UsageError: an option is not one that sbatch could take, or would mean more than an option.
    """
    head = "\n".join(f"#SBATCH --{option}" for option in _list_options(array))
    variables = {"HPSEARCH_STORAGE_FILE": str(array.storage_file), **array.environment}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    # no job holds a GPU to wait for trials that others train: one that is preempted is queued again
    arguments = worker_commands.make_arguments(gpus=array.gpus, slots=array.slots, study_names=array.study_names)
    command = shlex.join(settings.make_python_command("hpsearch.cli.main", *arguments))
    return _SCRIPT.format(head=head, exports=exports, command=command, unfinished=worker_commands.UNFINISHED)


_SCRIPT = """#!/bin/bash
# hpsearch's workers, one for each element of the array. Made by hpsearch launch slurm; edit it and use it with sbatch.
{head}

unset HPSEARCH_STORAGE
{exports}
export SRUN_CPUS_PER_TASK="${{SLURM_CPUS_PER_TASK:-1}}"  # else the worker gets one core, however many the job has

# Slurm tells the worker when the time runs out (USR1) and before a preemption (TERM). It saves its trial and leaves:
# with {unfinished} while there is work, and then this element is queued again. 143: told before it could listen.
srun {command}
code=$?
case "$code" in
{unfinished} | 143) scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" ;;
esac
exit "$code"
"""


def _list_options(array: SlurmArray) -> Iterator[str]:
    """Yield options of sbatch; the user's come last, and so win."""
    yield f"job-name={array.name}"
    yield f"array=0-{array.workers - 1}"
    yield "ntasks=1"
    if array.gpus:
        yield f"gres=gpu:{array.gpus}"
    yield "requeue"
    yield "open-mode=append"
    yield f"signal=USR1@{WARNING_SECONDS}"
    yield _join_option("output", array.logs, "the directory of the logs (XDG_DATA_HOME)")
    if array.time is not None:
        check_time(array.time)
    named = {"partition": array.partition, "time": array.time, "account": array.account}
    for name, value in named.items():
        if value is not None:
            yield _join_option(name, value, f"--{name}")
    for option in array.options:
        yield _parse_option(option)


def _parse_option(option: str) -> str:
    match = _OPTION.fullmatch(option)
    if match is None:
        raise UsageError(f"--option {option!r}: write an option of sbatch without its dashes, such as 'qos=high'")
    name, value = match[1], match[2]
    if name in OWN_OPTIONS:
        instead = OWN_OPTIONS[name]
        raise UsageError(f"--option {name}: hpsearch sets it" + (f", from {instead}" if instead else " itself"))
    return name if value is None else _join_option(name, value, f"--option {name}")


def _join_option(name: str, value: str, source: str = "") -> str:
    """Return an option of sbatch as a script holds it; what a line of one cannot hold is refused."""
    if not value.strip() or not value.isprintable() or re.search(r"[\"'\\`$]", value):
        raise UsageError(
            f"{source or name} is {value!r}: it must not be empty, or have quotes, $, backslashes or line breaks in it"
        )
    return f"{name}={value}" if _PLAIN.fullmatch(value) else f'{name}="{value}"'


def check_time(time: str) -> None:
    """Refuse a time limit that sbatch does not take, or that is too short for a worker.

    Raises:
        UsageError: it is one of these.
    """
    if time.upper() in {"UNLIMITED", "INFINITE"}:
        return
    match = _TIME.fullmatch(time)
    if match is None:
        raise UsageError(f"--time is {time!r}: write hours:minutes:seconds, such as 4:00:00, or days-hours")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["h"] + 24 * part["days"] + part["hours"]
    minutes = 60 * hours + part["minutes"] + part["m"] + part["min"]
    if minutes < SHORTEST_MINUTES:
        raise UsageError(
            f"--time is {time}: a worker is told to leave up to 3 minutes before the end, so give it at least "
            f"{SHORTEST_MINUTES} minutes, and more than its longest epoch"
        )
