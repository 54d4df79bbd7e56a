"""The end of a trial as the dashboard shows it."""

from collections.abc import Callable

import optuna
import optuna_dashboard
import pytest
from sqlalchemy import text

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec.datasets import DataFacts
from hpsearch.storage import attempts, studies, study_creation
from hpsearch.storage.attempts import Attempt, PrunerVerdict
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import study_files
from tests.support.small_study import claim

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

TRACEBACK = 'Traceback (most recent call last):\n  File "model.py", line 3\nValueError: ```bad``` <b>shape</b>'


def seen(database: Database, number: int = 0) -> optuna.Trial:
    """A trial as plain Optuna has it."""
    loaded = optuna.load_study(study_name="small", storage=database.url.render_as_string(hide_password=False))
    return optuna.Trial(loaded, loaded.trials[number]._trial_id)


def note(database: Database, number: int = 0) -> str:
    return str(optuna_dashboard.get_note(seen(database, number)))


def finish(database: Database, attempt: Attempt | None, ending: TrialOutcome, **attributes: object) -> None:
    assert attempt is not None
    database.transact(lambda c: attempts.finish(c, attempt, ending, attributes))


def test_dashboard_says_why_a_trial_failed(database: Database, started: Started, holder: Enrol) -> None:
    """The note of a failed trial has outcome, detail and traceback, in a fence that its own backticks do not close."""
    attempt = claim(database, started(), holder("w"))
    finish(database, attempt, TrialOutcome.ERROR, detail="ValueError: bad shape", traceback=TRACEBACK)
    assert note(database) == f"**Failed: error**\n\n````\nValueError: bad shape\n\n{TRACEBACK}\n````"


def test_long_traceback_keeps_its_end(database: Database, started: Started, holder: Enrol) -> None:
    """A traceback longer than a note shows is cut at its beginning, whatever characters it holds."""
    attempt = claim(database, started(), holder("w"))
    finish(database, attempt, TrialOutcome.ERROR, traceback="é✓\x00\n" * 5_000 + "the last line")
    shown = note(database)
    assert 7_900 < len(shown) < 8_100
    assert shown.endswith("é✓\x00\nthe last line\n```")


def test_first_trial_on_own_images_names_what_was_confused(database: Database, holder: Enrol) -> None:
    """Its worker claimed it before anybody had recorded the classes, and ends it with them."""
    spec = study_files.read('[data]\nload = "my_data.py:load"\n')
    attempt = claim(database, study_creation.start(database, spec).study, holder("w"))
    assert attempt is not None
    facts = DataFacts((8, 8, 3), ("cat", "dog"), (9, 9), (5, 5), (1, 1))
    database.transact(lambda c: studies.record_data(c, attempt.study.study_id, "images", facts))
    epoch, verdict = EpochMetrics(1, 0.6, 0.6, 0.6, 0.6, 0.1, 1.0), PrunerVerdict(False, {})
    database.transact(lambda c: attempts.store_epoch(c, attempt, epoch, verdict, ((1, 4), (0, 5))))
    finish(database, attempt, TrialOutcome.COMPLETED)
    ended = optuna.load_study(study_name="x", storage=database.url.render_as_string(hide_password=False)).trials[0]
    assert ended.state == optuna.trial.TrialState.COMPLETE
    assert "cat" in ended.user_attrs["worst_confused"]


def test_note_of_a_person_stays(database: Database, started: Started, holder: Enrol) -> None:
    """What somebody wrote beside a running trial stands above why it failed."""
    attempt = claim(database, started(), holder("w"))
    optuna_dashboard.save_note(seen(database), "mine, " * 600)
    finish(database, attempt, TrialOutcome.CRASHED, detail="signal 11")
    assert note(database).startswith("mine, mine, ")
    assert note(database).endswith("mine, \n\n**Failed: crashed**\n\n```\nsignal 11\n```")


@pytest.mark.parametrize("ending", [outcome for outcome in TrialOutcome if outcome.state is not TrialState.FAILED])
def test_trial_that_did_not_fail_has_no_note(
    database: Database, started: Started, holder: Enrol, ending: TrialOutcome
) -> None:
    """Only a failure is explained in a note."""
    finish(database, claim(database, started(), holder("w")), ending, detail="a word")
    assert note(database) == ""


@pytest.mark.usefixtures("server_long_up")
def test_trial_that_was_given_up_has_a_note(database: Database, started: Started, holder: Enrol) -> None:
    """A trial whose attempts are spent tells them in its note."""
    study = started(budget={"trials": 1, "epochs": 3, "attempts": 1})
    assert claim(database, study, holder("w")) is not None
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = '-infinity'")))
    assert claim(database, study, holder("v")) is None
    assert note(database) == "**Failed: crashed**\n\n```\ngiven up after 1 attempts: lost\n```"
