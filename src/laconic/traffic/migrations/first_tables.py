"""The first tables: requests, texts, feedback, forgotten users and tombstones, labels, and exports with what is in them."""

import sqlalchemy as sa
from alembic import op

revision = "first_tables"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "requests",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("route", sa.String(200), nullable=False),
        sa.Column("model", sa.String(400), nullable=False),
        sa.Column("version", sa.String(200), nullable=False),
        sa.Column("tag", sa.String(100), nullable=False),
        sa.Column("user", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("finish", sa.String(20), nullable=False),
        sa.Column("is_streamed", sa.Boolean, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("thinking_tokens", sa.Integer),
        sa.Column("budget", sa.Integer),
        sa.Column("is_cut", sa.Boolean),
        sa.Column("first_token_seconds", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("cost", sa.Double),
    )
    op.create_index("ix_requests_at", "requests", ["at"])
    op.create_index("ix_requests_user", "requests", ["user"])
    op.create_table(
        "texts",
        sa.Column("request_id", sa.String(64), sa.ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
    )
    op.create_index("ix_texts_at", "texts", ["at"])
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.String(64), sa.ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("user", sa.String(32), nullable=False),
        sa.Column("rating", sa.String(10), nullable=False),
        sa.Column("length", sa.String(10), nullable=False),
        sa.Column("correction", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_index("ix_feedback_user", "feedback", ["user"])
    op.create_table(
        "forgotten", sa.Column("user", sa.String(32), primary_key=True), sa.Column("at", sa.Double, nullable=False)
    )
    op.create_table(
        "tombstones",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "labels",
        sa.Column("labeller", sa.String(100), primary_key=True),
        sa.Column("first", sa.String(64), sa.ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("second", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("first_right", sa.String(10), nullable=False),
        sa.Column("second_right", sa.String(10), nullable=False),
        sa.Column("first_length", sa.String(10), nullable=False),
        sa.Column("second_length", sa.String(10), nullable=False),
        sa.Column("is_swapped", sa.Boolean, nullable=False),
    )
    op.create_table(
        "exports",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("num_rows", sa.Integer, nullable=False),
    )
    op.create_table(
        "exported",
        sa.Column("path", sa.Text, sa.ForeignKey("exports.path", ondelete="CASCADE"), primary_key=True),
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("user", sa.String(32), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("ix_exported_user", "exported", ["user"])
    op.create_table(
        "decisions",
        sa.Column("route", sa.String(200), primary_key=True),
        sa.Column("version", sa.String(200), primary_key=True),
        sa.Column("at", sa.Double, primary_key=True),
        sa.Column("action", sa.String(10), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
    )
