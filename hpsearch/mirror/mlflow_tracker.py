"""MLflow: an experiment named as the study, its run the parent of a run for each trial.

MLflow gives runs their ids itself, so a run is found again by its tag. Its SQL stores take a metric of the same name,
step and time only once; other stores append it, so what a run has is read before anything is logged to it.
"""

import hashlib
import logging
import math
import os
import posixpath
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hpsearch.errors import HpsearchError, TrackerError, TrackerUnreachableError, first_line, shorten
from hpsearch.mirror.runs import Fact, StudyRun, TrialRun
from hpsearch.mirror.tracker import RunRemovedError, StudyText, TrialFiles
from hpsearch.outcomes import OVER, StudyStatus, TrialState
from hpsearch.version import __version__

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""What the environment may set otherwise.

MLflow itself tells its makers of its use, prints two lines for each run, and tries a server for minutes.
"""

TAG = "hpsearch."
KEY_TAG = f"{TAG}run"
METRICS_AT_ONCE = 1000
"""MLflow's limit for a request; that for parameters is 100."""
PARAMS_AT_ONCE = 100
MAX_TAG = 5000
MAX_PARAM = 6000
MAX_NOTE = 5000
"""Characters that MLflow's stores take."""

STUDY_STATES = {
    StudyStatus.RUNNING: "RUNNING",
    StudyStatus.PAUSED: "SCHEDULED",
    StudyStatus.STOPPED: "KILLED",
    StudyStatus.FINISHED: "FINISHED",
}
TRIAL_STATES = {
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}
EXAMPLE = "write http://HOST:PORT or sqlite:///FILE"

SECRET = re.compile(r"(?<=://)[^/?#@]*@")
"""User and password in a URI."""

UNREACHABLE = re.compile(
    r"failed with exception|too many|timed out|temporarily|database is locked|could not connect|connection", re.I
)
"""In the line of an error of MLflow's that the same request may not have later."""


MAX_PARAM_NAME = 250
PARAM_NAME = re.compile(rf"[/\w.\- :]{{1,{MAX_PARAM_NAME}}}")
"""What MLflow takes as a parameter's name, if it is also a path of a file below a directory, in its shortest form
(mlflow.utils.validation)."""


def name_param(name: str) -> str:
    """Return what a hyperparameter is called in MLflow: its name, or where MLflow refuses that one like no other's."""
    is_path = posixpath.normpath(name) == name != "." and not name.startswith(("/", ".."))
    if is_path and PARAM_NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^\w -]", "_", name)[: MAX_PARAM_NAME // 2]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def mask(uri: str) -> str:
    """Return a URI without user, password and query."""
    return SECRET.sub("", uri).partition("?")[0] if "://" in uri else uri


class MlflowTracker:
    """The MLflow at a tracking URI, for one study.

    Raises:
        TrackerError: its client is not installed, a package that it needs is not, or the URI is none of MLflow's.
    """

    kind = "mlflow"

    def __init__(self, uri: str) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise TrackerError("--mlflow needs the extra hpsearch[mlflow]: pip install mlflow-skinny") from None
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._mlflow: Any = mlflow
        self._exception: type[Exception] = MlflowException
        _check_uri(uri)
        self._uri = _make_absolute(uri)
        local = "://" not in self._uri or self._uri.startswith(("sqlite:", "file:"))
        self.destination = mask(self._uri) + (f" on {socket.gethostname()}" if local else "")
        self._experiment = ""
        self._parent = ""
        self._logged: dict[str, dict[str, set[int]]] = {}
        """The steps of each metric of a run, as far as they were read or written since `forget`."""
        self._new: set[str] = set()
        """The runs that were made since then."""
        with self._translate():
            self._client = mlflow.MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def open_study(self, study: StudyRun, run_id: str | None) -> str:
        """Return the id of the study's run; see `Tracker`."""
        with self._translate():
            self._experiment = self._find_experiment(study.name)
            self._parent = self._open_run(study.key, study.title, study.began, run_id, {})
        return self._parent

    def open_trial(self, trial: TrialRun, run_id: str | None) -> str:
        """Return the id of a trial's run; see `Tracker`."""
        if run_id is not None and run_id in self._logged:
            return run_id
        with self._translate():
            tags = {"mlflow.parentRunId": self._parent, f"{TAG}trial": str(trial.number)}
            return self._open_run(trial.key, trial.title, trial.began, run_id, tags)

    def write_trial(self, run_id: str, trial: TrialRun, files: TrialFiles | None) -> None:
        """Log the epochs that a trial's run lacks, and all else; see `Tracker`."""
        figures = [(name, value, each.at, each.epoch) for each in trial.epochs for name, value in each.figures.items()]
        with self._translate():
            self._log_figures(run_id, figures)
        if files is not None:
            self._describe_trial(run_id, trial, files)

    def _describe_trial(self, run_id: str, trial: TrialRun, files: TrialFiles) -> None:
        at = trial.ended or trial.began
        with self._translate():
            self._log_params(run_id, trial.params)
            self._set_tags(run_id, trial.facts)
            self._log_figures(run_id, [(name, value, at, trial.best_epoch) for name, value in trial.best.items()])
            for picture in files.pictures.values():
                self._upload(run_id, picture, "plots")
            if files.model is not None:
                self._upload(run_id, files.model, "model")
            self._set_state(run_id, TRIAL_STATES[trial.state], trial.ended)
        if trial.ended:  # nothing more will come
            self._forget_run(run_id)

    def write_study(self, run_id: str, study: StudyRun, shown: StudyText) -> None:
        """Show a study's state, question, answer and report; see `Tracker`."""
        over = study.status in OVER
        with self._translate():
            self._log_params(run_id, study.fixed)
            self._set_tags(run_id, study.facts)
            self._client.set_tag(run_id, "mlflow.note.content", shown.answer[:MAX_NOTE])
            for name, value in study.best.items():  # a step for each number of trials that have ended
                self._log_figures(run_id, [(name, value, study.now, study.ended)])
            self._client.log_text(run_id, shown.answer, "answer.md")
            self._upload(run_id, shown.report, "report")
            self._set_state(run_id, STUDY_STATES[study.status], study.now if over else None)

    def forget(self) -> None:
        """Read anew what the runs have; see `Tracker`."""
        self._logged.clear()
        self._new.clear()

    def _forget_run(self, run_id: str) -> None:
        self._logged.pop(run_id, None)
        self._new.discard(run_id)

    def close(self) -> None:
        """End what is open, which is nothing."""

    def _find_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name))
        if experiment.lifecycle_stage != "active":
            raise TrackerError(f"MLflow's experiment {name} was deleted: restore it, or remove it for good (mlflow gc)")
        return str(experiment.experiment_id)

    def _open_run(self, key: str, title: str, began: datetime, run_id: str | None, tags: Mapping[str, str]) -> str:
        run = self._find_run(key, run_id)
        if run is None:
            made = {
                **tags,
                KEY_TAG: key,
                "mlflow.source.name": "hpsearch mirror",
                "mlflow.source.type": "JOB",
                f"{TAG}version": __version__,
            }
            run = self._client.create_run(self._experiment, start_time=_to_ms(began), tags=made, run_name=title)
            self._new.add(run.info.run_id)
        elif run.info.lifecycle_stage != "active":
            raise RunRemovedError(f"{title} was deleted in MLflow: restore it there to have it mirrored again")
        self._logged.setdefault(run.info.run_id, {})
        return str(run.info.run_id)

    def _find_run(self, key: str, run_id: str | None) -> Any:
        if run_id is not None:
            try:
                return self._client.get_run(run_id)
            except self._exception as error:
                if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                    raise
        runs = self._client.search_runs([self._experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        return runs[0] if runs else None

    def _log_figures(self, run_id: str, figures: Sequence[tuple[str, float, datetime, int]]) -> None:
        from mlflow.entities import Metric

        logged = self._logged.setdefault(run_id, {})
        for name in {name for name, *_ in figures} - logged.keys():
            logged[name] = set() if run_id in self._new else self._read_steps(run_id, name)
        lacking = [
            Metric(name, value if math.isfinite(value) else math.nan, _to_ms(at), step)
            for name, value, at, step in figures
            if step not in logged[name]
        ]
        for start in range(0, len(lacking), METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=lacking[start : start + METRICS_AT_ONCE])
        for metric in lacking:
            logged[metric.key].add(metric.step)

    def _read_steps(self, run_id: str, name: str) -> set[int]:
        return {metric.step for metric in self._client.get_metric_history(run_id, name)}

    def _log_params(self, run_id: str, params: Mapping[str, Fact]) -> None:
        from mlflow.entities import Param

        logged = [Param(name_param(name), str(value)[:MAX_PARAM]) for name, value in params.items()]
        for start in range(0, len(logged), PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=logged[start : start + PARAMS_AT_ONCE])

    def _set_tags(self, run_id: str, facts: Mapping[str, Fact]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(f"{TAG}{name}", str(value)[:MAX_TAG]) for name, value in facts.items()]
        self._client.log_batch(run_id, tags=tags)

    def _set_state(self, run_id: str, state: str, ended: datetime | None) -> None:
        if ended is None:
            self._client.update_run(run_id, status=state)
        else:
            self._client.set_terminated(run_id, state, end_time=_to_ms(ended))

    def _upload(self, run_id: str, path: Path, place: str) -> None:
        """Upload a file, or what is in a directory, in place of what is there."""
        upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        try:
            upload(run_id, str(path), place)
        except (self._exception, ImportError):
            raise
        except Exception as error:  # noqa: BLE001 - each kind of store has errors of its own
            raise TrackerUnreachableError(f"MLflow's artifacts cannot be written: {self._hide(error)}") from None

    @contextmanager
    def _translate(self) -> Iterator[None]:
        """Turn MLflow's errors into a line each.

        Raises:
            TrackerError: it refuses the request, or (`TrackerUnreachableError`) does not answer.
        """
        try:
            yield
        except HpsearchError:
            raise
        except ImportError as error:  # of a database's driver, or of what a store of artifacts needs
            raise TrackerError(
                f"MLflow at {mask(self._uri)} needs a package that is missing: {self._hide(error)}"
            ) from None
        except Exception as error:
            if not isinstance(error, self._exception | OSError) and "sqlalchemy" not in type(error).__module__:
                raise
            raise self._describe(error) from None

    def _describe(self, error: Exception) -> TrackerError:
        status = getattr(error, "get_http_status_code", lambda: 500)()
        line = self._hide(error)
        if status in {401, 403} or re.search(r"error code 40[13]\b", line):
            return TrackerError(
                f"MLflow at {mask(self._uri)} refuses access ({line}): set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        passing = isinstance(error, OSError) or status in {429, 503, 504} or UNREACHABLE.search(line)
        if passing:
            return TrackerUnreachableError(f"MLflow at {mask(self._uri)} does not answer ({line})")
        return TrackerError(f"MLflow at {mask(self._uri)} refuses it: {line}")

    def _hide(self, error: Exception) -> str:
        return shorten(SECRET.sub("", first_line(error)), 160)


def _check_uri(uri: str) -> None:
    """Refuse a URI that is none, or whose password could not be told from the rest, which is shown and stored.

    Raises:
        TrackerError: it is one of these. The line has nothing of the URI.
    """
    try:
        urlsplit(uri)
    except ValueError:
        raise TrackerError(f"--mlflow is no tracking URI: {EXAMPLE}") from None
    local = uri.startswith(("sqlite:", "file:", "/", ".", "~"))
    if not local and "@" in (SECRET.sub("", uri, count=1) if "://" in uri else uri):
        raise TrackerError(
            f"--mlflow is no tracking URI: {EXAMPLE}, with what is special in the password percent-encoded, such as "
            "%40 for @ and %2F for /"
        )


def _make_absolute(uri: str) -> str:
    """Return a URI that means the same in every directory."""
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().absolute()}"
    if "://" not in uri and uri != "databricks":
        return str(Path(uri).expanduser().absolute())
    return uri


def _to_ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
