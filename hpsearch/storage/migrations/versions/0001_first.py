"""The first tables: studies, attempts, epochs, workers, files."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
create table hpsearch.studies (
    study_id integer primary key references public.studies on delete cascade,
    spec json not null,
    fingerprint text not null,
    status text not null default 'running' check (status in ('running', 'paused', 'stopped', 'finished')),
    reason text,
    priority integer not null,
    trials integer not null check (trials > 0),
    data_fingerprint text,
    created_at timestamptz not null default clock_timestamp(),
    running_since timestamptz default clock_timestamp(),
    ran interval not null default '0'
);

create table hpsearch.workers (
    worker_id text primary key,
    host text not null,
    pid integer not null,
    device text not null,
    doing text,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);

create table hpsearch.attempts (
    trial_id integer not null references public.trials on delete cascade,
    number integer not null,
    study_id integer not null references hpsearch.studies on delete cascade,
    worker_id text not null,
    host text not null,
    device text not null,
    opened_at timestamptz not null default clock_timestamp(),
    held_until timestamptz not null,
    epochs integer not null default 0,
    checkpoint text,
    ended_at timestamptz,
    why text,
    primary key (trial_id, number)
);
create unique index attempts_open on hpsearch.attempts (trial_id) where ended_at is null;
create index attempts_study on hpsearch.attempts (study_id);

create table hpsearch.epochs (
    trial_id integer not null references public.trials on delete cascade,
    epoch integer not null check (epoch > 0),
    attempt integer not null,
    train_loss double precision not null,
    train_accuracy double precision not null,
    val_loss double precision not null,
    val_accuracy double precision not null,
    learning_rate double precision not null,
    seconds double precision not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (trial_id, epoch)
);

create table hpsearch.files (
    key text primary key,
    trial_id integer references public.trials on delete cascade,
    content bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
create index files_trial on hpsearch.files (trial_id);
"""


def upgrade() -> None:
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("files", "epochs", "attempts", "workers", "studies"):
        op.execute(f"drop table hpsearch.{table}")
