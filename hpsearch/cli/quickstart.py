"""A first search: one study and one worker, to the end, and its answer."""

import contextlib
import io
import subprocess
import sys
from dataclasses import replace
from typing import cast

import psutil

from hpsearch import settings
from hpsearch.analysis.answer import Answer
from hpsearch.cli.console import print_line
from hpsearch.cli.context import open_search_display
from hpsearch.devices import Gpu
from hpsearch.errors import RefusedError
from hpsearch.evaluation import answers
from hpsearch.spec import loader
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.training.images.stores import count_cores
from hpsearch.worker.worker import Worker

DIGITS = ("data.name=digits", "data.train_limit=1020", "data.validation=300")

MOST_SLOTS = 4
"""Beyond these a sampler would choose too many of fifty trials before it has seen any."""

MOST_NAMES = 9
"""Of quickstart studies in a database: a version of hpsearch may have another search than those before."""

TRAINER_BYTES = 1.5e9
"""What a trainer of this study takes of the host's memory, with room to spare."""


def run(database: Database, gpu: Gpu | None) -> Answer | None:
    """Start the quickstart study, or go on with it, and train it in this process's worker.

    Return what it found; None where it was left before its end.
    """
    study = _start_study(database, _choose_spec())
    budget, slots = study.spec.budget, 1 if gpu else _choose_slots()
    print_line(f"study {study.name}: {budget.trials} trials of {budget.epochs} epochs on {study.spec.data.title}")
    with open_search_display(database, study) as display:
        Worker(database, display, gpu=gpu, study_names=[study.name], drain=True, slots=slots).serve()
    return read_answer(database, study)


def _start_study(database: Database, spec: StudySpec) -> Study:
    """Start the study, or go on with it; as NAME-2 and so on where another search has its name.

    Raises:
        RefusedError: MOST_NAMES other searches have these names.
    """

    def start(name: str) -> Study:
        section = spec.study.model_copy(update={"name": name})
        return study_creation.start(database, replace(spec, study=section), settings.read_artifacts()).study

    *names, last = (spec.study.name, *(f"{spec.study.name}-{number}" for number in range(2, MOST_NAMES + 1)))
    for name in names:
        with contextlib.suppress(RefusedError):  # of an earlier version's search, say: the command takes no --name
            return start(name)
    return start(last)


def _choose_slots() -> int:
    """Return how many trials to train at once: models this small train no faster on two cores than on one."""
    fitting = int(psutil.virtual_memory().available / TRAINER_BYTES)
    return max(1, min(count_cores(), MOST_SLOTS, fitting))


def _choose_spec() -> StudySpec:
    if _have_cifar10():
        return loader.load(loader.QUICKSTART)
    print_line(
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
