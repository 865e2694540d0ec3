"""Add an index of failed profiles, and retries of property creations."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    has_failed = sa.text("status_reason IS NOT NULL")
    op.create_index(
        "ix_profiles_failed",
        "profiles",
        ["account_id", "status", "due_at"],
        sqlite_where=has_failed,
        postgresql_where=has_failed,
    )
    op.add_column("creations", sa.Column("retry_at", sa.BigInteger(), nullable=True))
