"""The command `hpsearch check`, and the process behind it."""

import re
import tempfile
from pathlib import Path

import psutil
import pytest

from hpsearch.cli import precheck_view
from hpsearch.devices import Gpu
from hpsearch.errors import ExitCode, NotFoundError
from hpsearch.spec import branches, loader
from hpsearch.training.protocol import Checking, DataProgress, Finding
from hpsearch.worker.local import precheck
from hpsearch.worker.local.precheck import PrecheckReport
from tests.support.commands import hpsearch

pytestmark = pytest.mark.tensorflow

SMALL = """
[study]
name = "small"
[budget]
trials = 4
epochs = 2
[data]
name = "digits"
train_limit = 200
[fixed]
filters = 4
dense_units = 16
optimizer = "sgd"
[space]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
batch_norm = [true, false]
"""

WRONG = ("space.learning_rate=[5.0, 10.0]", "space.batch_norm=[false]")


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A small study's file."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


@pytest.mark.slow
def test_a_sound_study_is_told_what_it_costs(study_file: Path) -> None:
    """Tables and estimate are on stdout, a line for each check on stderr, and the exit code is 0."""
    ended = hpsearch("check", "--cpu", str(study_file), "--trials", "5")
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert ended.stderr.splitlines() == [
        "  builds: 2 of 2",
        "  a plausible loss at the start: 2 of 2",
        "  the right gradient: 2 of 2",
        "  overfits a batch of 32 images: 2 of 2",
        "  lowers the loss: 1 of 1",
        "  resumes and loads as it was: 1 of 1",
        "  seconds per epoch: 2 of 2",
        "small: no fault found",
    ]
    assert "Conv2D 3×3 valid   30 × 30 × 4" in ended.stdout
    assert "activation=relu batch_norm=true " in ended.stdout
    *_, estimate, less = ended.stdout.splitlines()
    assert estimate.startswith("5 trials × 2 epochs × ")
    assert estimate.count(" worker") == 3
    assert less == "less with pruning and trials at chance"


def test_one_is_no_plural(study_file: Path) -> None:
    """The estimate of one trial of one epoch, from the seconds that an epoch took."""
    spec = loader.load(study_file, ("budget.epochs=1", "budget.trials=1"))
    every = branches.list_branches(spec)
    findings = [
        Finding("speed", branch.format_name(branches.list_axes(spec)[1:]), {"seconds": 2.0}) for branch in every
    ]
    estimate, *_ = precheck_view.describe_cost(PrecheckReport(spec, every, "CPU", findings=findings))
    assert estimate.startswith(
        "1 trial × 1 epoch × 2.0 s, the mean of the branches on this device (CPU): 2 s on 1 work"
    )


@pytest.mark.slow
def test_a_fault_is_a_line_with_its_branch(study_file: Path) -> None:
    """A study that cannot learn ends with 2, as any study file at fault; all checks ran and the tables are printed."""
    ended = hpsearch("check", "--cpu", str(study_file), *(word for override in WRONG for word in ("--set", override)))
    assert ended.returncode == ExitCode.USAGE
    *done, fault = ended.stderr.splitlines()
    assert fault.startswith("hpsearch: optimizer=sgd activation=relu batch_norm=false: the loss of 4 batches is not ")
    assert (len(done), done[-3], done[-1]) == (7, "  lowers the loss: 0 of 1", "  seconds per epoch: 1 of 1")
    assert "4 trials × 2 epochs" in ended.stdout


def test_what_cannot_be_checked_is_one_line(study_file: Path) -> None:
    """An invalid file and images that are nowhere to be had end as they do elsewhere, before anything is checked."""
    invalid = hpsearch("check", "--cpu", str(study_file), "--set", "space.dropout=[2.0]")
    assert (invalid.returncode, invalid.stdout) == (ExitCode.USAGE, "")
    assert invalid.stderr == "hpsearch: space.dropout: 2.0 is out of bounds: from 0 to 0.95\n"
    with tempfile.TemporaryDirectory() as directory:  # of a short name, for which the line has room
        nowhere = {"HPSEARCH_DATA_DIR": directory, "XDG_CACHE_HOME": directory, "https_proxy": "http://127.0.0.1:9"}
        missing = hpsearch("check", "--cpu", str(study_file), "--set", "data={name='cifar10'}", **nowhere)
    assert (missing.returncode, missing.stdout) == (ExitCode.NOT_FOUND, "")
    notice, line = missing.stderr.splitlines()
    assert "downloading CIFAR-10" in notice
    assert line.startswith(f"hpsearch: CIFAR-10 is not in {directory}")


def test_a_gpu_that_the_framework_does_not_see_is_no_device(study_file: Path) -> None:
    """The CPU's times are not reported as the GPU's: the check ends before anything is measured."""
    calls: list[object] = []
    with pytest.raises(NotFoundError, match="does not see the GPU and would train on the CPU"):
        precheck.run(
            loader.load(study_file),
            Gpu(0, "GPU-none", "NVIDIA H200", 2**37),
            lambda *arguments: calls.append(arguments),
        )
    assert calls == []


def test_a_process_that_dies_is_a_fault_of_the_branch(study_file: Path) -> None:
    """What was found before is kept, and the fault says during which check of which branch the process died."""

    def kill_trainer(report: PrecheckReport, checking: DataProgress | Checking | None) -> None:
        if isinstance(checking, Checking) and checking.check == "start":
            for child in psutil.Process().children():
                if "hpsearch.training.process" in child.cmdline():
                    child.kill()

    report = precheck.run(loader.load(study_file), None, kill_trainer)
    assert [finding.check for finding in report.findings][:2] == ["build", "build"]
    (fault,) = report.faults
    # It may have been a message further when it was killed.
    died = r"the trainer process died \(SIGKILL\) during the check \w+; what was still to be checked is not"
    assert re.fullmatch(rf"activation=relu batch_norm=\w+: {died}", fault)
    assert not report.list_findings("speed")
