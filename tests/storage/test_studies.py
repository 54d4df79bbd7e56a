"""Putting studies into the database."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import optuna
import pytest
from sqlalchemy import text

from hpsearch.errors import NotFoundError, RefusedError
from hpsearch.outcomes import StudyStatus
from hpsearch.spec import loader
from hpsearch.spec.datasets import DataFacts
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import studies, study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.small_study import SMALL, claim

Enrol = Callable[[str], WorkerIdentity]


def small(**sections: object) -> StudySpec:
    return loader.from_dict({**copy.deepcopy(SMALL), **sections})


def url(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def test_new_study_is_one_that_optuna_reads(database: Database) -> None:
    """Plain Optuna loads the study by name, with its direction and metric."""
    study_creation.start(database, small())
    seen = optuna.load_study(study_name="small", storage=url(database))
    assert seen.direction is optuna.study.StudyDirection.MAXIMIZE
    assert seen.metric_names == ["val_accuracy"]


def test_val_loss_is_minimized(database: Database) -> None:
    """A study of the validation loss is one that Optuna minimizes."""
    study_creation.start(database, small(study={"name": "small", "metric": "val_loss"}))
    seen = optuna.load_study(study_name="small", storage=url(database))
    assert seen.direction is optuna.study.StudyDirection.MINIMIZE


def test_same_study_again_updates_budget_and_priority_only(database: Database) -> None:
    """The second start finds the study, and says what changed and what was left."""
    study_creation.start(database, small())
    again = study_creation.start(
        database,
        small(
            study={"name": "small", "priority": 3, "description": "another text"},
            budget={"trials": 9, "epochs": 3, "failures": 7},
        ),
    )
    assert not again.created
    assert set(again.changes) == {
        "budget.trials: 4 becomes 9",
        "budget.failures: 5 becomes 7",
        "study.priority: 0 becomes 3",
    }
    assert again.kept == ('study.description: "" becomes "another text"',)
    assert again.study.spec.budget.trials == 9
    assert again.study.priority == 3


def test_same_name_with_another_search_is_refused_with_the_differences(database: Database) -> None:
    """A changed space is refused key by key, and nothing is changed."""
    study_creation.start(database, small())
    other = small(space={"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}, budget={"trials": 7, "epochs": 3})
    with pytest.raises(RefusedError) as refused:
        study_creation.start(database, other)
    assert "space.learning_rate.low: 0.0001 in the database, 0.001 in the file" in str(refused.value)
    assert database.transact(lambda c: studies.find(c, "small")).spec.budget.trials == 4


def test_finished_study_opens_again_with_a_larger_budget(database: Database, holder: Enrol) -> None:
    """More trials for a finished study set it running, and they can be claimed."""
    study = study_creation.start(database, small()).study
    database.transact(lambda c: studies.set_status(c, study.study_id, StudyStatus.FINISHED))
    again = study_creation.start(database, small(budget={"trials": 5, "epochs": 3}))
    assert again.study.status == "running"
    assert claim(database, again.study, holder("w")) is not None


def test_finished_study_with_nothing_left_stays_finished(database: Database) -> None:
    """Starting a used-up study again does not set it running."""
    study = study_creation.start(database, small(budget={"trials": 1, "epochs": 3})).study
    database.transact(lambda c: c.execute(text("insert into trials (number, study_id, state) values (0, 1, 'FAIL')")))
    database.transact(lambda c: studies.set_status(c, study.study_id, StudyStatus.FINISHED))
    again = study_creation.start(database, small(budget={"trials": 1, "epochs": 3}))
    assert again.study.status == "finished"


def test_study_of_another_program_is_left_alone(database: Database) -> None:
    """A name that plain Optuna uses is refused."""
    optuna.create_study(study_name="small", storage=url(database))
    with pytest.raises(RefusedError, match="another program"):
        study_creation.start(database, small())


def test_many_starts_of_one_name_make_one_study(database: Database) -> None:
    """Of eight starts at once, one makes the study and seven find it."""

    def start(_: int) -> bool:
        own = Database(url(database))
        try:
            return study_creation.start(own, small()).created
        finally:
            own.close()

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(start, range(8)))
    assert sorted(created) == [False] * 7 + [True]


def test_baselines_are_tried_first(database: Database, holder: Enrol) -> None:
    """Baselines wait as enqueued trials that plain Optuna would pop, and count within the budget."""
    study = study_creation.start(database, small(baseline=[{"optimizer": "adam", "learning_rate": 0.01}])).study
    seen = optuna.load_study(study_name="small", storage=url(database))
    assert seen.trials[0].system_attrs["fixed_params"] == {"learning_rate": 0.01, "optimizer": "adam"}
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    assert attempt.trial_number == 0
    assert database.transact(lambda c: studies.measure_progress(c, study)).total == 1


def test_grid_is_enumerated_once_times_its_repeats(database: Database) -> None:
    """A grid of six points with two repeats waits as twelve trials; a third repeat adds six."""
    grid = {"optimizer": ["sgd", "adam"], "batch_norm": [True, False], "activation": ["relu"]}
    sections = {"space": grid, "sampler": {"name": "grid"}}
    study_creation.start(database, small(**sections, budget={"epochs": 3, "repeats": 2}))
    counted = database.transact(lambda c: studies.measure_progress(c, studies.find(c, "small")))
    assert (counted.total, counted.waiting) == (8, 8)
    study_creation.start(database, small(**sections, budget={"epochs": 3, "repeats": 3}))
    counted = database.transact(lambda c: studies.measure_progress(c, studies.find(c, "small")))
    assert counted.waiting == 12


@pytest.mark.parametrize(
    "name", ["a b", "ünïcode ✓", "'; drop table studies; --", "%s %(x)s :y", '<b>"x"</b>', "a/b\\c"]
)
def test_names_may_hold_any_printable_character(database: Database, name: str) -> None:
    """A study is found again under whatever printable name it was given."""
    study_creation.start(database, small(study={"name": name}))
    assert database.transact(lambda c: studies.find(c, name)).name == name


def test_unknown_study_names_those_there_are(database: Database) -> None:
    """Looking for a study that is not there lists the ones that are."""
    study_creation.start(database, small())
    with pytest.raises(NotFoundError, match="there is no study tiny: there are small"):
        database.transact(lambda c: studies.find(c, "tiny"))


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\udcff"])
def test_a_name_that_no_study_can_have_is_not_found(database: Database, name: str) -> None:
    """What is not printable, or no text at all, is looked for in vain, and said in one line."""
    with pytest.raises(NotFoundError, match="there is no study") as failed:
        database.transact(lambda c: studies.find(c, name))
    assert str(failed.value).isprintable()


FACTS = DataFacts((8, 8, 1), ("cat", "dog"), (90, 10), (18, 2), (9, 1))


def test_data_are_those_of_the_first_worker(database: Database) -> None:
    """The first recorded fingerprint and facts stay, and every later worker is shown them."""
    study: Study = study_creation.start(database, small()).study
    others = replace(FACTS, classes=("yes", "no"))
    assert study.spec.facts is None
    assert database.transact(lambda c: studies.record_data(c, study.study_id, "first", FACTS)) == "first"
    assert database.transact(lambda c: studies.record_data(c, study.study_id, "second", others)) == "first"
    assert database.transact(lambda c: studies.record_data(c, study.study_id, "first", others)) == "first"
    spec = database.transact(lambda c: studies.read(c, study.study_id)).spec
    assert (spec.facts, spec.classes, spec.class_counts) == (FACTS, ("cat", "dog"), (18, 2))
    assert pickle.loads(pickle.dumps(spec)).facts == FACTS
    assert spec == study.spec
    assert "facts" not in spec.to_json()


def test_facts_are_added_to_a_study_of_an_older_version(database: Database) -> None:
    """A fingerprint without facts gets those of the next worker that has the same images."""
    study: Study = study_creation.start(database, small()).study
    assert database.transact(lambda c: studies.record_data(c, study.study_id, "first", None)) == "first"
    old = database.transact(lambda c: studies.read(c, study.study_id)).spec
    assert old.classes == tuple("0123456789")
    assert set(old.class_counts) == {old.validation_images / 10}
    database.transact(lambda c: studies.record_data(c, study.study_id, "second", FACTS))
    assert database.transact(lambda c: studies.read(c, study.study_id)).spec.facts is None
    database.transact(lambda c: studies.record_data(c, study.study_id, "first", FACTS))
    assert database.transact(lambda c: studies.read(c, study.study_id)).spec.facts == FACTS
