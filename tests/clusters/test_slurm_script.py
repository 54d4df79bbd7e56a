"""The batch script, as bash runs it and as sbatch reads it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.clusters.slurm_script import SlurmArray, check_time, write_script
from hpsearch.errors import UsageError

ARRAY = SlurmArray(
    name="hpsearch-1",
    workers=8,
    gpus=1,
    slots=1,
    study_names=(),
    partition=None,
    time=None,
    account=None,
    options=(),
    storage_file=Path("/home/me/storage file"),
    logs="/home/me/logs/%A_%a.log",
    environment={},
)

HOSTILE = ("it's", '"; touch pwned; "', "$(touch pwned)", "`touch pwned`", "-rf", "a\\", "two  words", "é{}%#SBATCH")

STUB = r"""#!/bin/bash
printf "%s\0" "${0##*/}" "$@" >>"$CALLS"
printf "%s" "$HPSEARCH_STORAGE_FILE" >"$CALLS.file"
exit "${CODE:-0}"
"""


def run(script: str, directory: Path, code: int = 0) -> tuple[int, list[list[str]]]:
    """Run a script as a job would be; its exit code, and what it called: srun ends with `code`."""
    for name in ("srun", "scontrol"):
        stub = directory / name
        stub.write_text(STUB if name == "srun" else STUB.replace("${CODE:-0}", "0"))
        stub.chmod(0o755)
    (directory / "calls").unlink(missing_ok=True)
    environment = {
        "PATH": f"{directory}:{os.defpath}",
        "CALLS": str(directory / "calls"),
        "CODE": str(code),
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "3",
        "HPSEARCH_STORAGE": "postgresql://of-another-shell",
    }
    file = directory / "script.sh"
    file.write_text(script)
    ended = subprocess.run(["/bin/bash", str(file)], env=environment, cwd=directory, check=False, timeout=60)
    words = (directory / "calls").read_text().split("\0")[:-1]
    starts = [place for place, word in enumerate(words) if word in {"srun", "scontrol"}]
    return ended.returncode, [words[a:b] for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]


def list_options(script: str) -> list[str]:
    """Return the lines that sbatch reads."""
    return [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_script_tells_slurm_all_that_it_has_to_know() -> None:
    """An array, queued again and warned before its end; what the user asks of Slurm comes last, and so wins."""
    array = replace(
        ARRAY, partition="gpu", time="4:00:00", account="lab", options=("qos=high", "gres=gpu:a100:1", "hold")
    )
    assert list_options(write_script(array)) == [
        "job-name=hpsearch-1",
        "array=0-7",
        "ntasks=1",
        "gres=gpu:1",
        "requeue",
        "open-mode=append",
        "signal=USR1@120",
        "output=/home/me/logs/%A_%a.log",
        "partition=gpu",
        "time=4:00:00",
        "account=lab",
        "qos=high",
        "gres=gpu:a100:1",
        "hold",
    ]
    assert "gres=gpu:1" not in list_options(write_script(replace(ARRAY, gpus=0)))
    assert 'comment="two words # 3"' in list_options(write_script(replace(ARRAY, options=("comment=two words # 3",))))


def test_worker_gets_names_and_settings_as_they_are(tmp_path: Path) -> None:
    """Whatever is in a study's name or a path stays one word of the worker's command line, and runs nothing."""
    array = replace(ARRAY, gpus=0, slots=2, study_names=HOSTILE, environment={"HPSEARCH_DATA_DIR": "/data/it's $HOME"})
    code, calls = run(write_script(array), tmp_path)
    assert code == 0
    (command,) = calls
    options = ["worker", "--drain", "--no-wait", "--unfinished-code", "75", "--cpu", "--slots", "2"]
    assert command[command.index("worker") :] == [*options, *(f"--study={name}" for name in HOSTILE)]
    assert (tmp_path / "calls.file").read_text() == "/home/me/storage file"
    assert not (tmp_path / "pwned").exists()
    assert "export HPSEARCH_DATA_DIR='/data/it'\"'\"'s $HOME'" in write_script(array)


@pytest.mark.parametrize(
    ("code", "is_requeued"), [(0, False), (75, True), (143, True), (4, False), (130, False), (137, False)]
)
def test_element_is_queued_again_only_while_there_is_work(tmp_path: Path, code: int, *, is_requeued: bool) -> None:
    """The script ends as its worker did, and asks for this one element of the array where that left work."""
    ended, calls = run(write_script(ARRAY), tmp_path, code)
    assert ended == code
    assert calls[1:] == ([["scontrol", "requeue", "12_3"]] if is_requeued else [])


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("qos=high\n#SBATCH --uid=0", "line breaks"),
        ("qos=high\ntouch pwned", "line breaks"),
        ("comment=\x1b[2J", "line breaks"),
        ('comment="; touch pwned', "quotes"),
        ("comment=$(touch pwned)", "quotes"),
        ("comment=`touch pwned`", "quotes"),
        ("comment=a\\", "backslashes"),
        ("qos=", "empty"),
        ("--qos=high", "without its dashes"),
        ("qos high", "without its dashes"),
        ("", "without its dashes"),
        ("array=0-100", "hpsearch sets it, from --workers"),
        ("time=1", "hpsearch sets it, from --time"),
        ("job-name=x", "hpsearch sets it itself"),
        ("no-requeue", "hpsearch sets it itself"),
    ],
)
def test_option_that_is_none_is_refused(option: str, reason: str) -> None:
    """What no line of a script could hold, or hpsearch relies on, is a line that says so."""
    with pytest.raises(UsageError, match=reason) as refusal:
        write_script(replace(ARRAY, options=(option,)))
    assert str(refusal.value).isprintable()


def test_values_of_partition_and_account_are_checked_likewise() -> None:
    """The line names the option that was given."""
    with pytest.raises(UsageError, match="--partition is 'a\\\\nb'"):
        write_script(replace(ARRAY, partition="a\nb"))
    with pytest.raises(UsageError, match="--account is ''"):
        write_script(replace(ARRAY, account=""))
    with pytest.raises(UsageError, match="XDG_DATA_HOME"):
        write_script(replace(ARRAY, logs="/home/me's/%A_%a.log"))


@pytest.mark.parametrize("time", ["5", "5:00", "4:00:00", "1-0", "1-12", "2-0:30", "0-1:00:00", "unlimited"])
def test_time_limits_as_slurm_writes_them(time: str) -> None:
    """Each form of sbatch's manual is taken."""
    check_time(time)


@pytest.mark.parametrize("time", ["", "4h", "0", "4", "4:59", "0:4:59", "0-0:4", "-1", "1:2:3:4", "٥٥", "99\n"])
def test_time_limits_that_are_none_or_leave_no_time_to_train(time: str) -> None:
    """A worker that is told to leave before its first epoch would be queued again for ever."""
    with pytest.raises(UsageError, match="--time is"):
        check_time(time)
