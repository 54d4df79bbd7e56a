"""How an attempt may end: the values that `hpsearch.outcomes.AttemptEnd` has, and no other."""

from alembic import op

revision = "0004"
down_revision = "0003"

ENDS = (
    "completed",
    "pruned",
    "diverged",
    "out_of_memory",
    "crashed",
    "stalled",
    "error",
    "preempted",
    "paused",
    "released",
    "refused",
    "lost",
)


def upgrade() -> None:
    # What older code stored where a trainer hung while its study was stopped, and the study was resumed meanwhile.
    op.execute("update hpsearch.attempts set why = 'released' where why = 'stopped'")
    values = ", ".join(f"'{end}'" for end in ENDS)
    op.execute(f"alter table hpsearch.attempts add constraint attempts_why check (why in ({values}))")


def downgrade() -> None:
    op.execute("alter table hpsearch.attempts drop constraint attempts_why")
