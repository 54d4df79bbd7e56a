"""Workers as jobs of a real Slurm, which preempts, ends and cancels them."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpsearch.cli.main import app
from hpsearch.errors import ExitCode, UsageError
from hpsearch.spec import loader
from hpsearch.storage import study_creation
from hpsearch.storage.database import Database
from tests.conftest import skip_or_fail
from tests.support.attempt_records import StoredRecords
from tests.support.commands import hpsearch
from tests.support.slurm import DAEMONS, Slurm, run_slurm
from tests.support.worker_processes import ONE_THREAD, TEST_TIMEOUT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TEST_TIMEOUT)]

WORKERS = 3
EPOCHS = 25

MODEL = """
import os
import time

import keras


class Gated(keras.Sequential):
    def reset_metrics(self):  # as each epoch begins
        if not os.path.exists(os.environ["GATE"]):
            time.sleep(1.5)
        super().reset_metrics()


def build(hp, input_shape, classes):
    model = Gated([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")])
    model.compile(keras.optimizers.SGD(hp["rate"]), "sparse_categorical_crossentropy")
    return model
"""
"""Its epochs take three seconds while the file that GATE names is not there: time for faults, without work."""

STUDY = "it's -a $(study)"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A Slurm whose CPUs three workers fill."""
    if not all(DAEMONS.values()):
        skip_or_fail("there is no Slurm with munge (slurm-wlm, munge)")
    with tempfile.TemporaryDirectory(prefix="hps-") as directory, run_slurm(Path(directory), WORKERS) as running:
        yield running


@pytest.fixture
def records(slurm: Slurm, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoredRecords]:
    """A migrated database of the test's own, in the environment of somebody who uses Slurm; its jobs are gone after it.

    A job's environment is that of who submits it.
    """
    variables = {**ONE_THREAD, **slurm.environment, "HPSEARCH_STORAGE": storage, "XDG_DATA_HOME": str(tmp_path)}
    for name, value in {**variables, "GATE": str(tmp_path / "gate")}.items():
        monkeypatch.setenv(name, value)
    with closing(Database(storage)) as database:
        yield StoredRecords(database)
        slurm.end_jobs()
    for log in sorted(tmp_path.glob("hpsearch/slurm/logs/*")):
        print(f"--- {log.name}\n{log.read_text()}")


def start_study(records: StoredRecords, directory: Path) -> None:
    (directory / "gated.py").write_text(MODEL)
    described = {
        "study": {"name": STUDY, "keep_models": 0},
        "budget": {"trials": WORKERS, "epochs": EPOCHS, "patience": 1000, "attempts": 1},
        "data": {"name": "digits", "train_limit": 100, "validation": 100},
        "model": {"build": "gated.py:build"},
        "space": {"rate": {"low": 0.001, "high": 0.01}},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
    }
    study_creation.start(records.database, loader.from_dict(described, directory=directory), None)


def launch(*options: str) -> None:
    """Run the command in this process."""
    app(["launch", "slurm", "--gpus", "0", *options], standalone_mode=False)


def find_trial(records: StoredRecords, job: str) -> int:
    """Return the number of the trial that a job's worker holds."""
    query = """
        select t.number from hpsearch.attempts a
          join hpsearch.workers w using (worker_id) join trials t using (trial_id)
         where a.ended_at is null and w.job = :job
    """
    [(number,)] = records.rows(query, job=f"slurm {job}")
    return int(number)


def wait_for_epoch(records: StoredRecords, trial: int) -> None:
    """Wait until the trial has trained on."""
    before = len(records.epochs(trial))
    wait_until(lambda: len(records.epochs(trial)) > before, f"trial {trial} has another epoch")


def test_array_trains_a_study_whatever_happens_to_its_jobs(
    slurm: Slurm, records: StoredRecords, tmp_path: Path
) -> None:
    """Of three workers one is preempted, one reaches its time limit and one is cancelled, each in an epoch.

    The first two are queued again and come back, all trials are trained whole without an attempt spent, and no job is
    left.
    """
    start_study(records, tmp_path)
    launched = hpsearch(
        "launch", "slurm", "--workers", str(WORKERS), "--gpus", "0", "--study", STUDY, "--time", "1:00:00"
    )
    assert launched.returncode == ExitCode.DONE, launched.stderr
    assert f"{WORKERS} workers" in launched.stderr
    jobs = wait_until(slurm.list_jobs, "the array is queued")
    wait_until(lambda: all(records.epochs(trial) for trial in range(WORKERS)), "each trial has an epoch")
    workers = json.loads(hpsearch("status", "--json").stdout)["workers"]
    assert sorted(worker["job"] for worker in workers) == sorted(f"slurm {job}" for job in jobs)

    urgent = slurm.run("sbatch", "--parsable", "--partition=high", "--output=/dev/null", "--wrap=true").strip()
    [preempted] = wait_until(lambda: slurm.list_queued(jobs), "a worker is preempted")
    limited, cancelled = sorted(set(jobs) - {preempted})
    slurm.limit(limited)
    trial = find_trial(records, cancelled)
    wait_for_epoch(records, trial)
    slurm.run("scancel", cancelled)
    wait_until(lambda: records.list_ends(trial)[0] == "preempted", "a cancelled worker has released its trial")
    wait_until(lambda: slurm.list_queued([limited]), "a worker whose time is over is queued again")
    slurm.run("scontrol", "update", f"JobId={limited}", "TimeLimit=60")  # as at first
    wait_until(lambda: count_workers(records) == WORKERS + 2, "the preempted and the limited worker come back")
    (tmp_path / "gate").touch()

    wait_until(lambda: not slurm.list_jobs(), "no job is left")
    assert records.discrepancies() == []
    assert {end for trial in range(WORKERS) for end in records.list_ends(trial)} == {"preempted", "completed"}
    assert [len(records.epochs(trial)) for trial in range(WORKERS)] == [EPOCHS] * WORKERS
    ended = {job: slurm.describe(job) for job in (preempted, limited, cancelled, urgent)}
    assert {job: fields["JobState"] for job, fields in ended.items()} == {
        preempted: "COMPLETED",
        limited: "COMPLETED",
        cancelled: "CANCELLED",
        urgent: "COMPLETED",
    }
    assert [ended[job]["Restarts"] for job in (preempted, limited, cancelled)] == ["1", "1", "0"]

    launch("--workers", "1")  # for nothing: the study is over
    [job] = slurm.list_jobs()
    wait_until(lambda: not slurm.list_jobs(), "a worker without work leaves")
    assert slurm.describe(job)["ExitCode"] == "0:0"
    assert slurm.describe(job)["Restarts"] == "0"


def count_workers(records: StoredRecords) -> int:
    """Return how many workers have held a trial."""
    return int(records.rows("select count(distinct worker_id) from hpsearch.attempts")[0][0])


def test_cancel_ends_what_was_submitted_and_nothing_else(
    slurm: Slurm, records: StoredRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names each job that it cancels, or says that there is none; other jobs of the same user go on."""
    other = slurm.run(
        "sbatch", "--parsable", "--hold", "--output=/dev/null", "--job-name=hpsearch", "--wrap=true"
    ).strip()
    launch("--cancel")
    assert "nothing to cancel" in capsys.readouterr().err
    launch("--workers", "2", "--option", "hold", "--option", "comment=a & b # c")
    launch("--workers", "1", "--option", "hold")
    first, second = sorted({job.partition("_")[0] for job in slurm.list_jobs()} - {other}, key=int)
    assert slurm.describe(f"{first}_1")["Comment"] == "a"  # up to the first space of what is shown
    capsys.readouterr()
    launch("--cancel")
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines) == [f"cancelled job {first}: 2 workers", f"cancelled job {second}: 1 worker"]
    assert list(slurm.list_jobs()) == [other]
    launch("--cancel")
    assert "nothing to cancel" in capsys.readouterr().err


def test_slurms_refusal_is_a_line_in_its_own_words(
    slurm: Slurm, records: StoredRecords, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown partition, and GPUs where there are none; no script stays behind."""
    with pytest.raises(UsageError, match=r"^sbatch refuses: .*Invalid partition name specified"):
        launch("--workers", "1", "--partition", "nowhere")
    with pytest.raises(UsageError, match=r"^sbatch refuses: .*gres.*--gpus 0"):
        app(["launch", "slurm", "--workers", "1"], standalone_mode=False)
    assert not list(tmp_path.glob("hpsearch/slurm/*.sh"))
    assert not slurm.list_jobs()
