"""What the quickstart answers."""

from collections.abc import Callable

from hpsearch.cli import quickstart
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def train(database: Database, found: Study, worker: WorkerIdentity, trials: int) -> None:
    """End that many trials, the larger their learning rate the better."""
    history = ReadOnlyStorage(found.study_id, found.spec.direction)
    for _ in range(trials):
        held = claim(database, found, worker)
        assert held is not None
        database.transact(history.refresh)
        params, writes = suggest.suggest(found.spec, history, held.trial_id, held.trial_number)
        database.transact(lambda c, h=held, w=writes: attempts.sample(c, h, w))
        value = params["learning_rate"]
        database.transact(lambda c, h=held, v=value: simulation.record(c, h, metrics(1, v), history))
        database.transact(lambda c, h=held: attempts.finish(c, h, TrialOutcome.COMPLETED, {}))


def test_answer_names_the_best_trial_and_what_mattered(database: Database, started: Started, holder: Enrol) -> None:
    """With every trial ended, the best one is named, and the hyperparameter that made it leads the table."""
    space = {"learning_rate": {"low": 0.1, "high": 0.9}, "batch_norm": [True, False]}
    found = started(budget={"trials": 40, "epochs": 3}, space=space, sampler={"name": "random"})
    train(database, found, holder("w"), 40)
    told = database.transact(lambda c: quickstart.read_answer(c, found))
    assert told.headline.startswith("best: val_accuracy 0.8")
    assert told.importance[0].name == "learning_rate"
    assert told.importance[0].share > 0.9
    assert "Computed from the 40 complete of 40 ended trials" in told.caution[1]
    assert "40 complete trials are few" in told.caution[2]


def test_answer_to_a_search_cut_short_says_how_to_go_on(database: Database, started: Started, holder: Enrol) -> None:
    """An unfinished search gets no importance, but the way on."""
    found = started(budget={"trials": 4, "epochs": 3})
    train(database, found, holder("w"), 1)
    told = database.transact(lambda c: quickstart.read_answer(c, found))
    assert told.headline == "small has ended 1 of its 4 trials: the same command goes on with it"
    assert told.importance == ()
