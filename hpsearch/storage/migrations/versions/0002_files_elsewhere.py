"""Files may be kept elsewhere: a row for each still, and what is left over there once a row is gone."""

from alembic import op

revision = "0002"
down_revision = "0001"

# External, because weights do not compress, and so that a piece of a file can be read without the rest.
STATEMENTS = (
    "alter table hpsearch.studies add column artifacts text",
    "alter table hpsearch.files add column artifacts text",
    "alter table hpsearch.files alter column content drop not null",
    "alter table hpsearch.files alter column content set storage external",
    "alter table hpsearch.files add constraint files_somewhere check ((content is null) = (artifacts is not null))",
    """
    create table hpsearch.leftovers (
        leftover_id bigint generated always as identity primary key,
        artifacts text not null,
        key text,
        left_at timestamptz not null default clock_timestamp(),
        removed boolean not null default false
    )
    """,
    # By triggers, because rows go in many ways: Optuna's own tools and its dashboard delete studies too.
    """
    create function hpsearch.leave_file() returns trigger language plpgsql as $$
    begin
        insert into hpsearch.leftovers (artifacts, key) values (old.artifacts, old.key);
        return null;
    end
    $$
    """,
    """
    create function hpsearch.leave_home() returns trigger language plpgsql as $$
    begin
        insert into hpsearch.leftovers (artifacts) values (old.artifacts);
        return null;
    end
    $$
    """,
    """
    create trigger files_left after delete on hpsearch.files
       for each row when (old.artifacts is not null) execute function hpsearch.leave_file()
    """,
    """
    create trigger studies_left after delete on hpsearch.studies
       for each row when (old.artifacts is not null) execute function hpsearch.leave_home()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop trigger studies_left on hpsearch.studies")
    op.execute("drop trigger files_left on hpsearch.files")
    op.execute("drop function hpsearch.leave_home")
    op.execute("drop function hpsearch.leave_file")
    op.execute("drop table hpsearch.leftovers")
    op.execute("delete from hpsearch.files where artifacts is not null")
    op.execute("alter table hpsearch.files drop constraint files_somewhere")
    op.execute("alter table hpsearch.files drop column artifacts, alter column content set not null")
    op.execute("alter table hpsearch.studies drop column artifacts")
