"""What trials print: the last 64 kB of each, over all of its attempts, and where a reader finds it.

The dashboard shows it as an artifact of the trial, whose content is read from here when somebody opens it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from hpsearch.errors import NotFoundError
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.storage import attempts, optuna_tables, studies, trials
from hpsearch.storage.artifacts import plots
from hpsearch.storage.attempts import Attempt

LIMIT = 64 << 10
"""Bytes that are kept of a trial's output."""

FILE = "output.txt"
"""The file name of the artifact that the dashboard shows."""

CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 with which no character begins."""


def keep_end(content: bytes) -> bytes:
    """Return the last `LIMIT` bytes of UTF-8, from the first whole character on."""
    return content if len(content) <= LIMIT else content[-LIMIT:].lstrip(CONTINUATION_BYTES)


@dataclass(frozen=True)
class Output:
    """The end of what was printed, as UTF-8 without control characters; `written` is how many bytes there were."""

    content: bytes = b""
    written: int = 0

    @property
    def dropped(self) -> int:
        """How many bytes before `content` were not kept."""
        return self.written - len(self.content)

    def append(self, later: "Output") -> "Output":
        """Return the output of both, one after the other."""
        content = later.content if later.dropped else keep_end(self.content + later.content)
        return Output(content, self.written + later.written)

    def format(self) -> str:
        """Return it as text; a line says how much is missing before it."""
        head = f"[the first {self.dropped:,} bytes were not kept]\n" if self.dropped else ""
        return head + self.content.decode()


def read_earlier(connection: Connection, attempt: Attempt) -> Output:
    """Return what earlier attempts at the trial printed, and a line that says where this one begins."""
    if attempt.number == 1:
        return Output()
    row = connection.execute(
        text("""
            select a.host, coalesce(o.content, '') as content, coalesce(o.written, 0) as written
              from hpsearch.attempts a left join hpsearch.output o using (trial_id)
             where a.trial_id = :trial_id and a.number = :number
        """),
        attempt.key,
    ).one_or_none()
    if row is None:  # deleted meanwhile, as the next write will find
        return Output()
    earlier = Output(row.content.encode(), row.written)
    line = f"--- attempt {attempt.number}, on {row.host} ---\n".encode()
    mark = line if not earlier.content or earlier.content.endswith(b"\n") else b"\n" + line
    return earlier.append(Output(mark, len(mark)))


STORE = """
output as (
    insert into hpsearch.output (trial_id, content, written) select fence.trial_id, :content, :written from fence
    on conflict (trial_id) do update set content = excluded.content, written = excluded.written
)
"""


def store(connection: Connection, attempt: Attempt, output: Output, *, attach: bool) -> None:
    """Store all of the trial's output so far, in a single statement; with `attach`, let the dashboard show it.

    Raises:
        LostError: the attempt was closed; nothing is written.
    """
    attributes = _make_attachment(attempt.trial_id) if attach else {}
    attempts.write_fenced(
        connection,
        attempt,
        (STORE, optuna_tables.SYSTEM),
        {
            "content": output.content.decode(),
            "written": output.written,
            **optuna_tables.bind_attributes("system", attributes),
        },
    )


def _make_attachment(trial_id: int) -> Mapping[str, str]:
    """Return the attribute that makes the output an artifact of the trial: the same for each of its attempts."""
    # Plain text to a browser, which is told not to guess (`access.HEADERS`): no HTML in it is run.
    key = str(uuid.uuid5(uuid.NAMESPACE_OID, f"hpsearch output of trial {trial_id}"))
    return plots.make_attachment(key, FILE, "text/plain; charset=utf-8")


def read(connection: Connection, trial_id: int) -> Output:
    """Return a trial's output; empty where it printed nothing."""
    row = connection.execute(
        text("select content, written from hpsearch.output where trial_id = :trial_id"), {"trial_id": trial_id}
    ).one_or_none()
    return Output(row.content.encode(), row.written) if row else Output()


@dataclass(frozen=True)
class TrialOutput:
    """A trial's output, and how the trial ended, as its attributes say; `outcome` is None where hpsearch did not."""

    number: int
    state: TrialState
    output: Output
    outcome: TrialOutcome | None
    detail: str
    traceback: str

    @property
    def missing_traceback(self) -> str:
        """The traceback of the error that ended the trial, unless it was printed."""
        return "" if self.traceback.strip() in self.output.content.decode() else self.traceback.rstrip() + "\n"


ATTRIBUTES = """
    select key, value_json from trial_user_attributes where trial_id = :trial_id and key in ('outcome', 'detail')
    union all
    select key, value_json from trial_system_attributes where trial_id = :trial_id and key = :traceback
"""


def find(connection: Connection, name: str, number: int) -> TrialOutput:
    """Return the output of the trial of that number of the study of that name.

    Raises:
        NotFoundError: there is no such study, or no such trial of it.
    """
    study = studies.find(connection, name)
    trial = connection.execute(
        text("select trial_id, state::text from trials where study_id = :study_id and number = :number"),
        {"study_id": study.study_id, "number": number},
    ).one_or_none()
    if trial is None:
        raise NotFoundError(f"{study.name} has no trial {number}: hpsearch results lists those it has")
    # The state was read first, so that the output of a trial that has ended is whole.
    arguments = {"trial_id": trial.trial_id, "traceback": trials.TRACEBACK}
    attributes = optuna_tables.parse_attributes(connection.execute(text(ATTRIBUTES), arguments))
    return TrialOutput(
        number,
        TrialState.from_optuna(trial.state) or TrialState.FAILED,
        read(connection, trial.trial_id),
        trials.parse_outcome(attributes.get("outcome")),
        str(attributes.get("detail") or ""),
        str(attributes.get(trials.TRACEBACK) or ""),
    )
