"""Evaluations: which study was tested by which, how often, and what came out."""

from alembic import op

revision = "0003"
down_revision = "0002"

# The row outlives the study that trained it: a test set that was looked at stays so.
STATEMENT = """
create table hpsearch.evaluations (
    evaluated integer not null references hpsearch.studies on delete cascade,
    number integer not null check (number > 0),
    study_id integer unique references hpsearch.studies on delete set null,
    configurations json not null,
    asked_at timestamptz not null default clock_timestamp(),
    result json,
    primary key (evaluated, number)
)
"""


def upgrade() -> None:
    op.execute(STATEMENT)


def downgrade() -> None:
    op.execute("drop table hpsearch.evaluations")
