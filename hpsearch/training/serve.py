"""One trial after another: what the trainer does with each job, and what it says about it."""

import gc
import logging
import platform
import textwrap
import traceback
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

import keras
import numpy as np
import psutil

from hpsearch import settings
from hpsearch.errors import HpsearchError, NotFoundError
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd, TrialOutcome
from hpsearch.training import backend, fit, sanity_checks
from hpsearch.training.datasets import arrays
from hpsearch.training.protocol import (
    Check,
    Checked,
    Ended,
    EpochReport,
    FromTrainer,
    Loaded,
    Ready,
    Refused,
    Stop,
    Train,
)
from hpsearch.version import __version__

if TYPE_CHECKING:
    from hpsearch.training.process import SupervisorLine


def serve(line: "SupervisorLine") -> None:
    """Trains what it is given, one job after another; never returns."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("hpsearch").setLevel(logging.INFO)
    # TensorFlow warns that functions are compiled again and again: every trial is another model.
    logging.getLogger(keras.backend.backend()).setLevel(logging.ERROR)
    keras.config.disable_interactive_logging()
    _settle()
    while True:
        job = line.job()
        last = _check(job, line) if isinstance(job, Check) else _attempt(job, line)
        backend.here.forget()
        if isinstance(last, Ended):
            memory = psutil.Process().memory_info().rss
            last = Ended(replace(last.end, memory=memory))
        line.send(last)


def describe_process() -> Ready:
    """What this process computes with."""
    share = settings.read_trainer_memory()
    if share is not None:
        backend.here.take_share(share)  # before the first look at the device, which takes hold of it
    framework = keras.backend.backend()
    versions = {
        "hpsearch": __version__,
        "python": platform.python_version(),
        "keras": keras.version(),
        framework: backend.read_version(),
        "numpy": np.__version__,
        "scikit-learn": metadata.version("scikit-learn"),
    }
    return Ready(framework, backend.name_device(), versions)


def _attempt(job: Train, line: "SupervisorLine") -> FromTrainer:
    """Trains, and whatever happens has an answer for the supervisor."""
    try:
        return _train(job, line)
    except NotFoundError as error:
        return Refused(str(error))
    except HpsearchError as error:
        return Ended(TrainingEnd(TrialOutcome.ERROR, str(error)))
    except Exception as error:  # noqa: BLE001 a configuration may break in any way, and the next one must not suffer
        detail = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        if backend.is_out_of_memory(error):
            return Ended(TrainingEnd(TrialOutcome.OUT_OF_MEMORY, detail))
        return Ended(TrainingEnd(TrialOutcome.ERROR, detail, traceback.format_exc()))


def _check(job: Check, line: "SupervisorLine") -> Checked | Refused:
    try:
        for answer in sanity_checks.check(job):
            line.send(answer)
    except NotFoundError as error:
        return Refused(str(error))
    return Checked()


def _train(job: Train, line: "SupervisorLine") -> FromTrainer:
    dataset = arrays.load(job.data)
    training = fit.prepare(job, dataset)
    confusion = (training.start.confusion or None) if training.start else None
    weights, precision = training.model.count_params(), fit.choose_precision(job.hyperparameters)
    line.send(Loaded(dataset.fingerprint, weights, precision, training.epochs, confusion))

    def report(metrics: EpochMetrics, path: str | None, confusion: Confusion | None) -> Stop | None:
        line.send(EpochReport(metrics, path, confusion))
        return line.answer()

    stop = line.answer()
    if stop:
        return fit.leave(training, stop)
    end = fit.train(training, report, line.progress)
    return Ended(end) if isinstance(end, TrainingEnd) else end


def _settle() -> None:
    """Takes what importing made out of the garbage collector's sight: it would look at it after every trial."""
    gc.collect()
    gc.freeze()
