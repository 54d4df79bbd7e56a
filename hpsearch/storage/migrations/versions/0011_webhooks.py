"""Webhooks: each change of a study's status, which the study's row forgets, and the events that a webhook is told."""

from alembic import op

revision = "0011"
down_revision = "0010"

# A study of before that is not running has one change, of the time when something last happened to its trials: it was
# finished then, and paused or stopped some seconds before a worker let go of its trial.
UPGRADE = (
    """
    create table hpsearch.status_changes (
        change_id integer generated always as identity primary key,
        study_id integer not null references hpsearch.studies on delete cascade,
        status text not null,
        reason text,
        changed_at timestamptz not null default clock_timestamp()
    )
    """,
    "create index status_changes_study on hpsearch.status_changes (study_id)",
    """
    insert into hpsearch.status_changes (study_id, status, reason, changed_at)
    select study_id, status, reason,
           coalesce(greatest((select max(datetime_complete) at time zone 'utc' from public.trials t
                               where t.study_id = h.study_id),
                             (select max(ended_at) from hpsearch.attempts a where a.study_id = h.study_id)),
                    created_at)
      from hpsearch.studies h where status <> 'running' order by 4
    """,
    """
    create table hpsearch.webhook_events (
        mirror_id integer not null references hpsearch.mirrors on delete cascade,
        sequence integer not null,
        key text not null,
        body text not null,
        delivered_at timestamptz,
        primary key (mirror_id, sequence),
        unique (mirror_id, key)
    )
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table hpsearch.webhook_events")
    op.execute("drop table hpsearch.status_changes")
