"""Ablations: which study trains the neighbours of which trial's configuration of which other study."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Gone with the study that trained it: what came out is in its trials.
STATEMENT = """
create table hpsearch.ablations (
    study_id integer primary key references hpsearch.studies on delete cascade,
    ablated integer not null references hpsearch.studies on delete cascade,
    number integer not null check (number > 0),
    design json not null,
    requested_at timestamptz not null default clock_timestamp(),
    unique (ablated, number)
)
"""


def upgrade() -> None:
    op.execute(STATEMENT)


def downgrade() -> None:
    op.execute("drop table hpsearch.ablations")
