"""What the database says about trials, and whether it adds up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from hpsearch.outcomes import StudyStatus
from hpsearch.settings import Setting
from hpsearch.spec import loader
from hpsearch.storage import studies, study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study

TINY: Mapping[str, Any] = {
    "learning_rate": 0.003,
    "optimizer": "adam",
    "filters": 4,
    "dense_units": 16,
}


def start(
    database: Database,
    name: str = "small",
    *,
    trials: int = 1,
    epochs: int = 8,
    keep_models: int = 1,
    budget: Mapping[str, Any] | None = None,
    place: Setting | None = None,
    **sections: Any,
) -> Study:
    """A study of tiny models on the digits, an epoch of which takes a fraction of a second."""
    described = {
        "study": {"name": name, "keep_models": keep_models},
        "budget": {"trials": trials, "epochs": epochs, "patience": 1000, **(budget or {})},
        "data": {"name": "digits", "train_limit": 400, "validation": 100},
        "fixed": dict(TINY),
        "space": {"dropout": {"low": 0.0, "high": 0.5}},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        **sections,
    }
    return study_creation.start(database, loader.from_dict(described), place).study


@dataclass(frozen=True)
class StoredAttempt:
    """An attempt as it is stored."""

    trial: int
    number: int
    worker: str
    epochs: int
    checkpoint: str | None
    open: bool
    why: str | None


class StoredRecords:
    """Reads what is stored about trials, and what it must add up to."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def rows(self, query: str, **arguments: object) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        rows = self.database.transact(lambda connection: connection.execute(text(query), arguments).all())
        return [tuple(row) for row in rows]

    def execute(self, statement: str, **arguments: object) -> None:
        """Change something that the workers do not know of."""
        self.database.transact(lambda connection: connection.execute(text(statement), arguments))

    def status(self, study_id: int, status: str) -> None:
        """Pause, resume or stop a study."""
        self.database.transact(lambda connection: studies.set_status(connection, study_id, StudyStatus(status)))

    def state(self, trial: int = 0) -> str | None:
        """A trial's state in Optuna's table."""
        rows = self.rows("select state::text from trials where number = :number", number=trial)
        return rows[0][0] if rows else None

    def all_ended(self) -> bool:
        """Whether every study is over."""
        return not self.rows("select 1 from hpsearch.studies where status <> 'finished'")

    def attempts(self, trial: int = 0) -> list[StoredAttempt]:
        """The attempts at a trial, in order."""
        rows = self.rows(
            "select t.number, a.number, worker_id, a.epochs, checkpoint, a.ended_at is null, why "
            "from hpsearch.attempts a join trials t using (trial_id) where t.number = :number order by a.number",
            number=trial,
        )
        return [StoredAttempt(*row) for row in rows]

    def list_ends(self, trial: int = 0) -> list[str | None]:
        """Return how each attempt at a trial ended."""
        return [attempt.why for attempt in self.attempts(trial)]

    def epochs(self, trial: int = 0) -> list[int]:
        """The epochs stored of a trial."""
        query = "select epoch from hpsearch.epochs join trials using (trial_id) where number = :number order by epoch"
        return [row[0] for row in self.rows(query, number=trial)]

    def epochs_stored(self) -> int:
        """The epochs of all trials."""
        return self.counts()["epochs"]

    def params(self, trial: int = 0) -> dict[str, float]:
        """A trial's parameters."""
        query = "select param_name, param_value from trial_params join trials using (trial_id) where number = :number"
        return dict(self.rows(query, number=trial))

    def attributes(self, trial: int = 0) -> dict[str, str]:
        """Return a trial's user and system attributes, as JSON."""
        return dict(
            self.rows(
                "select key, value_json from trial_user_attributes join trials using (trial_id) where number = :number "
                "union all select key, value_json from trial_system_attributes join trials using (trial_id) "
                "where number = :number",
                number=trial,
            )
        )

    def files(self) -> list[str]:
        """The keys of all stored files but the pictures of ended trials."""
        return [row[0] for row in self.rows("select key from hpsearch.files where key like '%/%' order by key")]

    def counts(self) -> dict[str, int]:
        """How much there is of everything."""
        query = """
            select (select sum(trials) from hpsearch.studies),
                   (select count(*) from trials where state in ('COMPLETE', 'PRUNED', 'FAIL')),
                   (select count(*) from trials where state in ('RUNNING', 'WAITING')),
                   (select count(*) from hpsearch.epochs),
                   (select count(*) from trial_intermediate_values),
                   (select count(*) from hpsearch.attempts),
                   (select count(*) from hpsearch.attempts where ended_at is null),
                   (select count(*) from hpsearch.files where key like '%/%')
        """
        names = "budgeted", "ended", "unfinished", "epochs", "steps", "attempts", "open attempts", "files"
        return dict(zip(names, self.rows(query)[0], strict=True))

    def discrepancies(self) -> list[str]:
        """Return every invariant that what is stored violates, once all studies are finished."""
        return [f"{kind}: {row}" for kind, query in INVARIANTS.items() for row in self.rows(query)]


METRIC = "val_accuracy"

INVARIANTS = {
    "a study is not finished": "select study_id, status, reason from hpsearch.studies where status <> 'finished'",
    "a study has not ended its budget of trials exactly": """
        select h.study_id, h.trials, count(t.trial_id), min(t.number), max(t.number) from hpsearch.studies h
          left join trials t on t.study_id = h.study_id and t.state in ('COMPLETE', 'PRUNED', 'FAIL')
         group by h.study_id
        having count(t.trial_id) <> h.trials or min(t.number) <> 0 or max(t.number) <> h.trials - 1
            or count(distinct t.number) <> h.trials
    """,
    "a trial is left over": "select trial_id, state::text from trials where state in ('RUNNING', 'WAITING')",
    "an attempt is open": "select trial_id, number, worker_id from hpsearch.attempts where ended_at is null",
    "a trial's epochs are not 1..n once each": """
        select trial_id, array_agg(epoch order by epoch) from hpsearch.epochs group by trial_id
        having min(epoch) <> 1 or max(epoch) <> count(*)
    """,
    "an epoch is not the same in both tables": f"""
        select trial_id, coalesce(e.epoch, i.step), {METRIC}, intermediate_value from hpsearch.epochs e
          full join trial_intermediate_values i on i.trial_id = e.trial_id and i.step = e.epoch
         where {METRIC} is distinct from intermediate_value
    """.replace("select trial_id,", "select coalesce(e.trial_id, i.trial_id),"),
    "a complete trial has not all its epochs": """
        select t.trial_id, count(e.epoch) from trials t join hpsearch.studies h using (study_id)
          left join hpsearch.epochs e using (trial_id)
         where t.state = 'COMPLETE' group by t.trial_id, h.spec::text
        having count(e.epoch) <> (h.spec::text::json -> 'budget' ->> 'epochs')::int
    """,
    "a complete trial's value is not its best epoch's": f"""
        select v.trial_id, v.value, max({METRIC}) from trial_values v join hpsearch.epochs using (trial_id)
          join trials t using (trial_id) where t.state = 'COMPLETE' group by v.trial_id, v.value
        having v.value <> max({METRIC})
    """,
    "attempts of a trial have not counted its epochs": """
        select trial_id, sum(a.epochs) from hpsearch.attempts a group by trial_id
        having sum(a.epochs) < (select count(*) from hpsearch.epochs e where e.trial_id = a.trial_id)
    """,
    "a file is left over": """
        select f.key from hpsearch.files f left join trials t using (trial_id)
         where f.key not like 'model/%' and (f.key like '%/%' or t.state is null or t.state in ('RUNNING', 'WAITING'))
    """,
    "a trial that we ended has not its two pictures": """
        select t.trial_id, count(f.key) from trials t left join trial_system_attributes f
            on f.trial_id = t.trial_id and starts_with(f.key, 'artifacts:') and f.value_json like '%image/png%'
         where exists (select 1 from hpsearch.epochs e where e.trial_id = t.trial_id)
           and exists (select 1 from trial_user_attributes a where a.trial_id = t.trial_id and key = 'outcome')
         group by t.trial_id having count(f.key) <> 2
    """,
    "a confusion matrix is not its trial's best epoch's": f"""
        select trial_id, right_answers, top from (
          select trial_id, (select max({METRIC}) from hpsearch.epochs e where e.trial_id = a.trial_id) as top,
                 (select sum((value_json::jsonb -> i ->> i)::int) from generate_series(0, 9) i) as right_answers
            from trial_system_attributes a where key = 'hpsearch:confusion') as counted
         where abs(right_answers - 100 * top) > 0.01
    """,
    "a study keeps other models than those of its best trials": """
        select study_id, key, best from (
          select t.study_id, f.key, rank() over (partition by t.study_id order by v.value desc, t.trial_id) as best,
                 (h.spec -> 'study' ->> 'keep_models')::int as keep
            from trials t join hpsearch.studies h using (study_id) join trial_values v using (trial_id)
            left join hpsearch.files f on f.trial_id = t.trial_id and f.key like 'model/%'
           where t.state = 'COMPLETE') as ranked
         where (key is not null) <> (best <= keep)
    """,
}
