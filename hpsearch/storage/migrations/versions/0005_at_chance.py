"""An attempt may end at chance. What older code stored of such trials stays as it is: diverged."""

from alembic import op

revision = "0005"
down_revision = "0004"

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
    _check((*ENDS, "at_chance"))


def downgrade() -> None:
    op.execute("update hpsearch.attempts set why = 'diverged' where why = 'at_chance'")
    _check(ENDS)


def _check(ends: tuple[str, ...]) -> None:
    values = ", ".join(f"'{end}'" for end in ends)
    op.execute("alter table hpsearch.attempts drop constraint attempts_why")
    op.execute(f"alter table hpsearch.attempts add constraint attempts_why check (why in ({values}))")
