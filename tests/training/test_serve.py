"""What a trainer does before it says Ready."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpsearch import settings
from hpsearch.outcomes import TrialOutcome
from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends, loading, serve
from hpsearch.training.protocol import Calling, Check, CodeFailed, Explore, Finding, Notice, Refused, Train
from hpsearch.training.requests import ModelRequest
from hpsearch.training.user import code
from tests.support.training_jobs import DIGITS, MakeJob

pytestmark = pytest.mark.tensorflow


def test_memory_is_limited_before_the_device_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer limits itself to its share of the GPU before the framework takes hold of it."""
    # No GPU runs the suite, so the order of the two calls stands for what they would do there.
    calls: list[str] = []

    def name_device() -> str:
        calls.append("device")
        return "CPU"

    monkeypatch.setenv(settings.TRAINER_MEMORY, str(2**30))
    monkeypatch.setattr(backends.current, "limit_memory", lambda limit: calls.append(f"limit of {limit >> 20} MiB"))
    monkeypatch.setattr(backends, "name_device", name_device)
    serve.describe_process()
    assert calls == ["limit of 1024 MiB", "device"]


def test_what_is_logged_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    """A warning of a live trainer, and that something is downloaded, reach the worker as a line."""
    sent: list[object] = []
    connection: Any = SimpleNamespace(send=sent.append)
    handler, logger = serve.NoticeHandler(connection), logging.getLogger("hpsearch")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, logger="hpsearch"):
            logging.getLogger("hpsearch.training.images.downloads").info("downloading %s", "CIFAR-10")
            logging.getLogger("hpsearch.training.files.checkpoint").warning("no checkpoint")
    finally:
        logger.removeHandler(handler)
    assert sent == [Notice("downloading CIFAR-10"), Notice("no checkpoint")]


def answer(monkeypatch: pytest.MonkeyPatch, job: Train, fail: Callable[[], object]) -> Any:
    """Return what the supervisor is told of a job whose training calls `fail`."""
    monkeypatch.setattr(serve, "_train", lambda job, connection: fail())
    connection: Any = None
    return serve._attempt(job, connection)


def test_an_error_of_the_users_code_is_shown_in_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an attempt stores of it begins and ends there; an error of ours keeps its traceback, whole."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(code, "_directories", [])
    (tmp_path / "failing_model.py").write_text("def build():\n    return 1 / 0\n")
    job: Any = SimpleNamespace(code=str(tmp_path))
    end = answer(monkeypatch, job, code.load_function(tmp_path, "failing_model.py:build")).end
    assert (end.outcome, end.detail) == (
        TrialOutcome.ERROR,
        "failing_model.py, line 2: ZeroDivisionError: division by zero",
    )
    assert end.traceback.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "failing_model.py", line 2, in build',
        "    return 1 / 0",
    ]
    assert "serve.py" not in end.traceback
    assert "serve.py" in answer(monkeypatch, job, lambda: 1 / 0).end.traceback
    (tmp_path / "broken_model.py").write_text("import surely_absent\n")
    end = answer(monkeypatch, job, lambda: code.load_function(tmp_path, "broken_model.py:build")).end
    assert end.detail == ("broken_model.py cannot be imported: ModuleNotFoundError: No module named 'surely_absent'")
    assert '  File "broken_model.py", line 1, in <module>' in end.traceback.splitlines()


FAILING = {
    "import surely_absent\n": "MODULE.py cannot be imported: ModuleNotFoundError: No module named 'surely_absent'",
    "def build(hp): raise RuntimeError('no')": "MODULE.py, line 1: RuntimeError: no",
    "def build(hp): hp.Int('width', 4, 8)": "build returns nothing, not a keras.Model: end it with `return model`",
    "def build(hp, a, b, c, d): ...": "build cannot be called as build(hp, input_shape, classes): take these arguments",
    "def build(hp):\n    hp['width']\n    hp['typo']": "MODULE.py, line",
    "import sys\ndef build(hp): sys.exit(3)": "MODULE.py, line 2: SystemExit: 3",
}
"""Builders, and the line that a user is shown."""


@pytest.mark.parametrize("source", FAILING)
@pytest.mark.parametrize("command", ["init", "check"])
def test_a_builder_that_fails_is_told_of_alike(
    source: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever command builds: the line with file and line number, and a traceback of their files where there is one.

    `init` ends with it. Of `check` it is a fault of each branch, which is not checked further, or its end.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(code, "_directories", [])
    module = f"{command}_{list(FAILING).index(source)}"
    (tmp_path / f"{module}.py").write_text(source)
    sent: list[Any] = []
    connection: Any = SimpleNamespace(send=sent.append, report_progress=lambda progress: None)
    model, line = ModelRequest(None, f"{module}.py:build"), FAILING[source].replace("MODULE", module)
    values = {**BASE_TABLE.fill_defaults({}), "width": 4}
    branches = tuple(Branch({**values, "width": width}, (0.1,)) for width in (4, 8))
    jobs: dict[str, Explore | Check] = {
        "init": Explore(DIGITS, model, str(tmp_path)),
        "check": Check(DIGITS, 1, values, branches, ("optimizer", "width"), model, str(tmp_path), ("width",)),
    }
    said: Any = serve._do(jobs[command], connection)
    assert Calling(f"importing {module}.py:build") in sent
    failures = [said]
    if not isinstance(said, CodeFailed):
        findings = [message for message in sent if isinstance(message, Finding)]
        assert [finding.check for finding in findings] == ["build", "build"]
        failures = [CodeFailed(str(finding.fault), finding.traceback) for finding in findings]
    for failure in failures:
        assert failure.detail.startswith(line)
        assert ("serve.py" in failure.traceback, "in build" in failure.traceback) == (False, ", line" in line)


def test_a_metric_that_says_nothing_of_so_few_classes_is_refused(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true class is always among the five most probable of five: no trial is trained for that."""
    five: Any = SimpleNamespace(classes=tuple("abcde"))
    monkeypatch.setattr(loading, "load", lambda *_: five)
    connection: Any = None
    assert serve._attempt(job(metric="val_top5_accuracy"), connection) == Refused(
        "val_top5_accuracy needs 6 classes or more, and there are 5: choose another metric"
    )
