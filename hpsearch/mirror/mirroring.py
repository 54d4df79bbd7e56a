"""One pass over a study: what a tracker lacks of it is written there, then the mark of it is stored.

The tracker comes first and the mark second, so that a process that was killed in between writes the same again; a
tracker takes that without a double step (see `tracker.Tracker`). A pass is made by one process at a time: it holds the
mirror by a lease (`leases`).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from hpsearch import scratch
from hpsearch.dashboard import notes
from hpsearch.errors import StoreError
from hpsearch.evaluation import answers
from hpsearch.mirror.following import PassResult, StopRequestedError, Tell
from hpsearch.mirror.leases import MirrorLease, make_taken_over_error
from hpsearch.mirror.runs import StudyRun, TrialRun, make_study_key, make_study_run, make_trial_run
from hpsearch.mirror.tracker import RunRemovedError, StudyText, Tracker, TrialFiles
from hpsearch.outcomes import OVER, TrialState
from hpsearch.plotting import trial_plots
from hpsearch.report import report
from hpsearch.report.material import read_source
from hpsearch.storage import results, studies
from hpsearch.storage.artifacts import plots, study_artifacts, table
from hpsearch.storage.database import Connection, Database, read_clock
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import mirrors
from hpsearch.storage.tables.mirrors import MirrorHold, RunMark


@dataclass(frozen=True)
class StudySnapshot:
    """What a pass has read of a study, in one transaction."""

    summary: Summary
    trials: tuple[Trial, ...]
    created_at: datetime
    now: datetime
    times: Mapping[int, Mapping[int, datetime]]
    models: Mapping[int, str]
    marks: Mapping[int | None, RunMark]

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come: a stopped study's trials have ended, too."""
        over = self.summary.status in OVER
        return over and not self.summary.counts[TrialState.RUNNING]


class Mirror:
    """A study's mirror in a tracker. `leave` asks for the end of a pass, `tell` takes lines for the user."""

    def __init__(self, database: Database, study: Study, tracker: Tracker, leave: threading.Event, tell: Tell) -> None:
        self._database = database
        self._study = study
        self._tracker = tracker
        self._leave = leave
        self._tell = tell
        self._lease = MirrorLease(database, study, tracker.kind, tracker.destination)
        self._told: set[str] = set()

    def run_pass(self, *, describes_study: bool = True) -> PassResult:
        """Write what the tracker lacks; of the study itself where `describes_study`, or nothing more is to come.

        Raises:
            HeldElsewhereError: another process is at it.
            StopRequestedError: the process was told to leave.
            TrackerError: the tracker refuses it, or (`TrackerUnreachableError`) does not answer.
            NotFoundError: the study was deleted.
            DatabaseError: the database does not answer, or refuses us.
        """
        try:
            with self._lease.take() as hold:
                if self._lease.others_wrote:
                    self._tracker.forget()
                return self._write(hold, describes_study)
        except BaseException:
            self._tracker.forget()  # of a call that failed nobody knows whether it was carried out
            raise

    def _write(self, hold: MirrorHold, describes_study: bool) -> PassResult:
        snapshot = self._database.transact(lambda connection: self._read(connection, hold))
        study = self._make_study_run(snapshot)
        mark = snapshot.marks.get(None)
        run_id = self._tracker.open_study(study, mark.run_id if mark else None)
        if mark is None or mark.run_id != run_id:
            if mark is not None:  # the tracker has lost them all
                self._database.transact(lambda connection: mirrors.forget_runs(connection, hold.mirror_id))
                snapshot = replace(snapshot, marks={})
            mark = RunMark(run_id)
            self._store(hold, None, mark)
        runs = epochs = 0
        for trial in snapshot.trials:
            self._check_leave()
            if trial.state is TrialState.WAITING:
                continue
            try:
                written = self._write_trial(hold, snapshot, study, trial)
            except RunRemovedError as error:
                self._tell_once(str(error))
                continue
            runs, epochs = runs + (written is not None), epochs + (written or 0)
        if (describes_study or snapshot.is_over) and mark.described != study.digest:
            self._describe_study(hold, study, mark)
        return PassResult(snapshot.is_over, runs, epochs)

    def _read(self, connection: Connection, hold: MirrorHold) -> StudySnapshot:
        study_id = self._study.study_id
        summary, trials = results.read(connection, studies.read(connection, study_id).name)
        return StudySnapshot(
            summary,
            tuple(trials),
            mirrors.read_created_at(connection, study_id),
            read_clock(connection),
            mirrors.read_epoch_times(connection, study_id),
            table.list_keys(connection, study_id, "model"),
            mirrors.read_marks(connection, hold.mirror_id),
        )

    def _make_study_run(self, snapshot: StudySnapshot) -> StudyRun:
        key = make_study_key(self._study.study_id, self._study.name, snapshot.created_at)
        return make_study_run(snapshot.summary, key, snapshot.created_at, snapshot.now)

    def _write_trial(self, hold: MirrorHold, snapshot: StudySnapshot, study: StudyRun, trial: Trial) -> int | None:
        """Write what the tracker lacks of a trial and return how many epochs that were; None where it has all."""
        number, times = trial.number, snapshot.times.get(trial.number, {})
        run = make_trial_run(self._study.spec, trial, study.key, times, snapshot.models.get(number), snapshot.now)
        mark = snapshot.marks.get(number)
        if mark is not None and mark.epochs == len(run.epochs) and mark.described == run.digest:
            return None
        run_id = self._tracker.open_trial(run, mark.run_id if mark else None)
        if mark is None or mark.run_id != run_id:
            mark = RunMark(run_id)
            self._store(hold, number, mark)
        with scratch.make_directory("mirror") as directory:
            files = None if mark.described == run.digest else self._make_files(run, directory)
            self._tracker.write_trial(run_id, run, files)
        self._store(hold, number, RunMark(run_id, len(run.epochs), run.digest))
        return max(0, len(run.epochs) - mark.epochs)

    def _make_files(self, run: TrialRun, directory: Path) -> TrialFiles:
        if not run.state.is_finished:
            return TrialFiles({}, None)
        pictures, spec, trial = {}, self._study.spec, run.trial
        images = "test" if spec.evaluation else "validation"
        if trial.epochs:
            pictures[plots.CURVES] = trial_plots.draw_learning_curves(trial.epochs, images, spec.study.metric)
        if trial.confusion:
            pictures[plots.MATRIX] = trial_plots.draw_confusion_matrix(trial.confusion, spec.classes, images)
        for name, content in pictures.items():
            (directory / name).write_bytes(content)
        return TrialFiles({name: directory / name for name in pictures}, self._fetch_model(run, directory))

    def _fetch_model(self, run: TrialRun, directory: Path) -> Path | None:
        path = directory / "model.keras"
        try:
            if run.model and study_artifacts.read_artifact(self._database, run.model, path):
                return path
        except StoreError as error:
            self._tell_once(f"the models are not mirrored: {error}")
        return None

    def _describe_study(self, hold: MirrorHold, study: StudyRun, mark: RunMark) -> None:
        source = self._database.transact(lambda connection: read_source(connection, self._study.name))
        summary = source.answered.summary
        if summary.study.spec.evaluation:
            note = notes.write_evaluation_note(summary)
        else:
            note = notes.write_study_note(summary, answers.answer(source.answered))
        with scratch.make_directory("mirror") as directory:
            page = report.write(source, directory / "report")
            self._tracker.write_study(mark.run_id, study, StudyText(note, page.parent))
        self._store(hold, None, replace(mark, described=study.digest))

    def _store(self, hold: MirrorHold, trial: int | None, mark: RunMark) -> None:
        if not self._database.transact(lambda connection: mirrors.store_mark(connection, hold, trial, mark)):
            raise make_taken_over_error()

    def _check_leave(self) -> None:
        if self._leave.is_set():
            raise StopRequestedError

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)
