"""Mirrors: which trackers a study is written to, who writes now, and what each tracker has of it."""

from alembic import op

revision = "0010"
down_revision = "0009"

# A run of no trial is the study's own. Trackers number and name runs as they like, so a run's id is any text.
UPGRADE = (
    """
    create table hpsearch.mirrors (
        mirror_id integer generated always as identity primary key,
        study_id integer not null references hpsearch.studies on delete cascade,
        tracker text not null,
        destination text not null,
        holder text,
        held_until timestamptz,
        created_at timestamptz not null default clock_timestamp(),
        unique (study_id, tracker, destination)
    )
    """,
    """
    create table hpsearch.mirrored_runs (
        mirror_id integer not null references hpsearch.mirrors on delete cascade,
        trial integer,
        run_id text not null,
        epochs integer not null default 0,
        described text
    )
    """,
    "create unique index mirrored_runs_key on hpsearch.mirrored_runs (mirror_id, coalesce(trial, -1))",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table hpsearch.mirrored_runs")
    op.execute("drop table hpsearch.mirrors")
