"""A study's own code, what is known of its images, its own metric in each epoch, and what its trials print."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Archives are shared by the studies that have the same code; whoever deletes a study deletes what no other has.
UPGRADE = (
    """
    create table hpsearch.code (
        sha256 text primary key,
        archive bytea not null,
        created_at timestamptz not null default clock_timestamp()
    )
    """,
    """
    alter table hpsearch.studies
        add column code text references hpsearch.code,
        add column packages jsonb,
        add column data_facts jsonb
    """,
    "alter table hpsearch.epochs add column val_metric double precision",
    """
    create table hpsearch.output (
        trial_id integer primary key references trials on delete cascade,
        content text not null,
        written bigint not null
    )
    """,
)

DOWNGRADE = (
    "drop table hpsearch.output",
    "alter table hpsearch.epochs drop column val_metric",
    "alter table hpsearch.studies drop column code, drop column packages, drop column data_facts",
    "drop table hpsearch.code",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
