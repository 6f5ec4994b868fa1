"""That a response was corrected, which outlives the text of the correction.

A feedback of before has its correction, or it is known that it had none: nothing that is newer than the oldest text of a feedback
that still stands was deleted. What is older is unknown, and stays null.
"""

import sqlalchemy as sa
from alembic import op

revision = "corrections_made"
down_revision = "first_tables"


def upgrade() -> None:
    """Add the column, and fill it where its value is known."""
    op.add_column("feedback", sa.Column("is_corrected", sa.Boolean))
    feedback = sa.table(
        "feedback",
        sa.column("at", sa.Double),
        sa.column("correction", sa.Text),
        sa.column("comment", sa.Text),
        sa.column("is_corrected", sa.Boolean),
    )
    spoken = op.get_bind().execute(
        sa.select(sa.func.min(feedback.c.at)).where(feedback.c.correction + feedback.c.comment != "")
    )
    oldest = spoken.scalar()
    if oldest is not None:
        known = feedback.update().where(feedback.c.at >= oldest)
        op.execute(known.values(is_corrected=feedback.c.correction != ""))
