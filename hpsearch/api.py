"""The Python API, for notebooks: start a study, and read its trials, epochs and findings.

Each call connects to the database and leaves it again. Errors are those of `hpsearch.errors`, a line of text each.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpsearch import settings
from hpsearch.analysis import dataframes
from hpsearch.analysis.answer import Answer
from hpsearch.analysis.importance import Importance
from hpsearch.evaluation import answers
from hpsearch.report import report
from hpsearch.report.material import prepare_material, read_source
from hpsearch.spec import loader
from hpsearch.storage import results, study_creation
from hpsearch.storage.artifacts import output
from hpsearch.storage.database import connect
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.study_creation import StartResult

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def start_study(study: Mapping[str, Any], storage: str | None = None) -> StartResult:
    """Put a study into the database, or extend the one that is there.

    Args:
        study: shaped as its file: `{"study": {"name": ...}, "space": {...}, ...}`; paths of the user's own code count
            from the current directory.
        storage: the URL of the Postgres to use; else HPSEARCH_STORAGE, else an embedded one on this host.

    Raises:
        StudyFileError: with every fault of `study`, a line each.
        RefusedError: the name belongs to another search.
        DatabaseError: the database cannot be reached or used.
    """
    spec = loader.from_dict(study)
    with connect(storage, "hpsearch notebook") as database:
        return study_creation.start(database, spec, settings.read_artifacts())


def trials(name: str, storage: str | None = None) -> "pd.DataFrame":
    """Return a row per trial of the study, with a column for each searched hyperparameter.

    The columns are those of `dataframes.build_trial_frame`.

    Raises:
        NotFoundError: there is no such study.
        DatabaseError: the database cannot be reached or used.
    """
    return dataframes.build_trial_frame(_read(name, storage)[1])


def epochs(name: str, storage: str | None = None) -> "pd.DataFrame":
    """Return a row per epoch of the study, `trial` being the trial's number; raises as `trials` does."""
    return dataframes.build_epoch_frame(_read(name, storage)[1])


def logs(name: str, trial: int, storage: str | None = None) -> str:
    """Return what the trial of that number printed so far: the last 64 kB, and the traceback of its error.

    Raises:
        NotFoundError: there is no such study, or no such trial.
        DatabaseError: the database cannot be reached or used.
    """
    with connect(storage, "hpsearch notebook") as database:
        printed = database.transact(lambda connection: output.find(connection, name, trial))
    return printed.output.format() + printed.missing_traceback


def answer(name: str, storage: str | None = None) -> Answer:
    """Return what the study found, in figures with intervals and in sentences; raises as `trials` does."""
    with connect(storage, "hpsearch notebook") as database:
        source = database.transact(lambda connection: answers.read_answer_source(connection, name))
    return answers.answer(source)


def importances(name: str, storage: str | None = None) -> Importance:
    """Return each hyperparameter's share of the variance, with its interval; raises as `trials` does."""
    return answer(name, storage).importance


def figures(name: str, storage: str | None = None) -> "dict[str, go.Figure]":
    """Return every plot of the study's report, by the name its picture has there; raises as `trials` does."""
    with connect(storage, "hpsearch notebook") as database:
        source = database.transact(lambda connection: read_source(connection, name))
    return {figure.name: figure.plotly() for figure in report.list_figures(prepare_material(source))}


def _read(name: str, storage: str | None) -> tuple[Summary, list[Trial]]:
    with connect(storage, "hpsearch notebook") as database:
        return database.transact(lambda connection: results.read(connection, name))
