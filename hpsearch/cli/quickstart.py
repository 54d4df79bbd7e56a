"""The newcomer's first search: one study, one worker, to the end, and what it says."""

import subprocess
import sys
from dataclasses import dataclass

from sqlalchemy import Connection

from hpsearch import settings
from hpsearch.analysis import importance
from hpsearch.analysis.importance import Share
from hpsearch.cli.training_progress import PlainProgress
from hpsearch.devices import Gpu
from hpsearch.formatting import format_params
from hpsearch.spec import study_spec
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import results, studies
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.worker.worker import Worker

DIGITS = ("data.name=digits", "data.train_limit=1000", "data.validation=300")


@dataclass(frozen=True)
class QuickstartAnswer:
    """What the search found: a line about the best trial, each hyperparameter's importance, and how sure that is."""

    headline: str
    importance: tuple[Share, ...]
    caution: tuple[str, ...]


def run(database: Database, display: PlainProgress, gpu: Gpu | None) -> QuickstartAnswer:
    """Start the quickstart study, or go on with it, and train it to its end in this process's worker."""
    started = studies.start(database, _spec(display), settings.read_artifacts())
    display.note(
        f"study {started.study.name}: {started.study.spec.budget.trials} trials of up to "
        f"{started.study.spec.budget.epochs} epochs on {started.study.spec.data.name}"
    )
    Worker(database, display, gpu=gpu, study_names=[started.study.name], drain=True).serve()
    return database.transact(lambda connection: read_answer(connection, started.study))


def _spec(display: PlainProgress) -> StudySpec:
    if _have_cifar10():
        return study_spec.load(study_spec.QUICKSTART)
    display.note(
        "CIFAR-10 is neither on disk nor downloadable: this quickstart searches on scikit-learn's digits, resized to "
        "32×32×3, instead (HPSEARCH_DATA_DIR says where cifar-10-python.tar.gz is)"
    )
    return study_spec.load(study_spec.QUICKSTART, DIGITS, name="quickstart-digits")


def _have_cifar10() -> bool:
    """Whether it is on disk, or could be downloaded now."""
    # In a process of its own, because it is Keras that downloads.
    asked = subprocess.run(
        [sys.executable, "-m", "hpsearch.training.download"],
        env=dict(settings.make_trainer_environment(None)),
        stdout=sys.stderr,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return asked.returncode == 0


def read_answer(connection: Connection, found: Study) -> QuickstartAnswer:
    """The best trial and the importance of each searched hyperparameter."""
    summary, trials = results.read(connection, found.name)
    ended = sum(summary.counts[state] for state in ("complete", "pruned", "failed"))
    budget = found.spec.budget.trials
    if ended < budget:
        again = "the same command goes on with it"
        return QuickstartAnswer(
            f"{found.name} has ended {ended} of its {budget} trials: {again}", (), ("no answer yet",)
        )
    if summary.best is None:
        return QuickstartAnswer(f"no trial of {found.name} is complete", (), ("there is no importance to compute",))
    value, params = summary.best["value"], format_params(summary.best["params"])
    measured = importance.measure(summary, trials)
    headline = f"best: {found.spec.study.metric} {value:.4f} in trial {summary.best['number']} with {params}"
    return QuickstartAnswer(headline, measured.shares, measured.sentences)
