"""The jobs of the trainer process, one after another: what it does with each, and the messages it sends."""

import functools
import gc
import logging
import platform
import traceback
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil

from hpsearch import settings
from hpsearch.errors import HpsearchError, NotFoundError, UserCodeError
from hpsearch.formatting import strip_escapes
from hpsearch.metrics import METRICS, EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd, TrialOutcome
from hpsearch.spec.datasets import list_datasets
from hpsearch.training import backends, fit, loading, preparation
from hpsearch.training.checks import sanity_checks
from hpsearch.training.connection import SupervisorConnection
from hpsearch.training.images import downloads
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.downloads import StoppedError
from hpsearch.training.pretrained.weights import add_file
from hpsearch.training.protocol import (
    BatchProgress,
    Calling,
    Check,
    Checked,
    CodeFailed,
    DataPrepared,
    DataProgress,
    Ended,
    EpochReport,
    Explore,
    FromTrainer,
    Job,
    Loaded,
    Notice,
    PrepareData,
    Ready,
    Refused,
    Released,
    Stop,
    Train,
)
from hpsearch.training.requests import DataRequest
from hpsearch.training.user.code import describe_error, explain_error, is_in_user_code, load_function
from hpsearch.training.user.declarations import Explored
from hpsearch.training.user_models.exploration import Explorer
from hpsearch.version import __version__


def serve(connection: SupervisorConnection) -> None:
    """Do one job after another; never return."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("hpsearch").setLevel(logging.INFO)
    logging.getLogger("hpsearch").addHandler(NoticeHandler(connection))
    # TensorFlow warns that functions are compiled again and again: every trial is another model.
    logging.getLogger(keras.backend.backend()).setLevel(logging.ERROR)
    keras.config.disable_interactive_logging()
    with suppress(NotFoundError):  # without a home there is no cache
        backends.current.keep_compiled(settings.find_cache_dir() / "compiled")
    _freeze_imports()
    while True:
        job = connection.wait_for_job()
        with downloads.report_to(_report_loading(connection, is_download=True)):
            answer = _do(job, connection)
        backends.current.free_memory()
        if isinstance(answer, Ended):
            memory = psutil.Process().memory_info().rss
            answer = Ended(replace(answer.end, memory=memory))
        connection.send(answer)


def describe_process() -> Ready:
    """Return what this process computes with: backend, device and versions."""
    limit = settings.read_trainer_memory()
    if limit is not None:
        backends.current.limit_memory(limit)  # before the first look at the device, which takes hold of it
    framework = keras.backend.backend()
    versions = {
        "hpsearch": __version__,
        "python": platform.python_version(),
        "keras": keras.version(),
        framework: backends.read_version(),
        "numpy": np.__version__,
        "scikit-learn": metadata.version("scikit-learn"),
    }
    return Ready(framework, backends.name_device(), versions)


class NoticeHandler(logging.Handler):
    """Sends what is logged to the supervisor too; the stream of a root handler is stored with the trial."""

    def __init__(self, connection: SupervisorConnection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send the line."""
        self._connection.send(Notice(record.getMessage()))


def _do(job: Job, connection: SupervisorConnection) -> FromTrainer:
    """Return an answer for the supervisor, whatever the study's own code does."""
    if isinstance(job, Train):
        return _attempt(job, connection)
    try:
        if isinstance(job, Explore):
            return _explore(job, connection)
        return _check(job, connection) if isinstance(job, Check) else _prepare_data(job, connection)
    except (Exception, SystemExit) as error:
        if failure := _explain(error, job):
            return CodeFailed(str(failure), failure.traceback)
        if isinstance(error, HpsearchError):
            return Refused(str(error))
        raise


def _explain(error: BaseException, job: Job) -> UserCodeError | None:
    """Return how the study's own code failed; None where `error` is not its."""
    is_theirs = job.code is not None and (isinstance(error, UserCodeError) or is_in_user_code(error))
    return explain_error(error, Path(str(job.code))) if is_theirs else None


def _explore(job: Explore, connection: SupervisorConnection) -> Explored:
    assert job.code is not None
    assert job.model.build is not None
    if job.data.name:  # known without reading an image
        shape, classes = list_datasets()[job.data.name].shape, list_datasets()[job.data.name].classes
    else:
        _announce_loading(job.data, connection)
        facts = loading.load(job.data, Path(job.code), _report_loading(connection)).facts
        shape, classes = facts.shape, facts.classes
    build = job.model.build
    connection.send(Calling(f"importing {build}"))
    builder = load_function(Path(job.code), build)

    @functools.wraps(builder)
    def announced(*arguments: Any, **keywords: Any) -> Any:
        connection.send(Calling(build))
        return builder(*arguments, **keywords)

    explorer = Explorer(announced, shape, len(classes))
    return Explored(explorer.explore(), explorer.is_compiled)


def _announce_loading(data: DataRequest, connection: SupervisorConnection) -> None:
    if data.load is not None:
        connection.send(Calling(data.load))


def _report_loading(connection: SupervisorConnection, *, is_download: bool = False) -> Progress:
    def report(done: int, total: int) -> None:
        if connection.report_progress(DataProgress(done, total, is_download)):
            raise StoppedError

    return report


def _attempt(job: Train, connection: SupervisorConnection) -> FromTrainer:
    """Train, and return an answer for the supervisor whatever happens."""
    try:
        return _train(job, connection)
    except NotFoundError as error:
        return Refused(str(error))
    except StoppedError:
        return Released(0, None, loaded=False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 a configuration may break in any way, and the next one must not suffer
        if backends.is_out_of_memory(error):
            return Ended(TrainingEnd(TrialOutcome.OUT_OF_MEMORY, describe_error(error)))
        if failure := _explain(error, job):
            return Ended(TrainingEnd(TrialOutcome.ERROR, str(failure), failure.traceback or None))
        if isinstance(error, HpsearchError):
            return Ended(TrainingEnd(TrialOutcome.ERROR, str(error)))
        written = strip_escapes("".join(traceback.format_exception(error)))
        return Ended(TrainingEnd(TrialOutcome.ERROR, describe_error(error), written))


def _check(job: Check, connection: SupervisorConnection) -> Checked:
    _announce_loading(job.data, connection)
    for message in sanity_checks.check(job, _report_loading(connection)):
        connection.send(message)
    return Checked()


def _prepare_data(job: PrepareData, connection: SupervisorConnection) -> DataPrepared:
    _announce_loading(job.data, connection)
    return loading.summarize(job.data, _find_code(job), _report_loading(connection))


def _find_code(job: Job) -> Path | None:
    return Path(job.code) if job.code else None


def _train(job: Train, connection: SupervisorConnection) -> FromTrainer:
    dataset = loading.load(job.data, _find_code(job), _report_loading(connection))
    least, classes = METRICS[job.metric].least_classes, len(dataset.classes)
    if classes < least:
        return Refused(f"{job.metric} needs {least} classes or more, and there are {classes}: choose another metric")
    training = preparation.prepare(job, dataset)
    confusion = (training.start.confusion or None) if training.start else None
    weights = training.model.count_params()
    fingerprint = add_file(dataset.fingerprint, job.model.weights)
    connection.send(Loaded(fingerprint, weights, training.precision, training.epochs, confusion, dataset.facts))

    def report(metrics: EpochMetrics, path: str | None, confusion: Confusion | None) -> Stop | None:
        connection.send(EpochReport(metrics, path, confusion))
        return connection.wait_for_answer()

    stop = connection.wait_for_answer()
    if stop:
        return fit.release(training, stop)
    end = fit.train(training, report, lambda *counts: connection.report_progress(BatchProgress(*counts)))
    return Ended(end) if isinstance(end, TrainingEnd) else end


def _freeze_imports() -> None:
    """Exempt what importing made from garbage collection, which would traverse it after every trial."""
    gc.collect()
    gc.freeze()
