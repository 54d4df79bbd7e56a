"""A first search: one study and one worker, to the end, and its answer."""

import io
import subprocess
import sys
from typing import cast

from hpsearch import settings
from hpsearch.analysis.answer import Answer
from hpsearch.cli.training_progress import PlainProgress
from hpsearch.devices import Gpu
from hpsearch.evaluation import answers
from hpsearch.spec import loader
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.worker.worker import Worker

DIGITS = ("data.name=digits", "data.train_limit=1000", "data.validation=300")


def run(database: Database, display: PlainProgress, gpu: Gpu | None) -> Answer | None:
    """Start the quickstart study, or go on with it, and train it in this process's worker.

    Return what it found; None where it was left before its end.
    """
    started = study_creation.start(database, _choose_spec(display), settings.read_artifacts())
    display.note(
        f"study {started.study.name}: {started.study.spec.budget.trials} trials of up to "
        f"{started.study.spec.budget.epochs} epochs on {started.study.spec.data.title}"
    )
    Worker(database, display, gpu=gpu, study_names=[started.study.name], drain=True).serve()
    return read_answer(database, started.study)


def _choose_spec(display: PlainProgress) -> StudySpec:
    if _have_cifar10():
        return loader.load(loader.QUICKSTART)
    display.note(
        "CIFAR-10 is neither on disk nor downloadable: this quickstart searches on scikit-learn's digits, resized to "
        "32×32×3, instead (HPSEARCH_DATA_DIR says where cifar-10-python.tar.gz is)"
    )
    return loader.load(loader.QUICKSTART, DIGITS, name="quickstart-digits")


def _have_cifar10() -> bool:
    """Return whether CIFAR-10 is on disk, or can be downloaded now."""
    # In a process of its own, because it is Keras that downloads.
    with subprocess.Popen(
        settings.make_python_command("hpsearch.training.download"),
        env=dict(settings.make_trainer_environment(None)),
        stdout=subprocess.PIPE,  # not our stderr, which may be one that cannot be written to
        stderr=subprocess.DEVNULL,
    ) as download:
        progress = cast("io.BufferedReader", download.stdout)
        while text := progress.read1():
            sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()
    return download.returncode == 0


def read_answer(database: Database, study: Study) -> Answer | None:
    """Return what the study found; None while it has trials left."""
    source = database.transact(lambda connection: answers.read_answer_source(connection, study.name))
    return answers.answer(source) if source.summary.ended >= study.spec.budget.trials else None
