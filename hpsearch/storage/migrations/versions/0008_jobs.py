"""The batch engine's job that a worker runs in; of workers that an older hpsearch stored it is not known."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("alter table hpsearch.workers add column job text")


def downgrade() -> None:
    op.execute("alter table hpsearch.workers drop column job")
