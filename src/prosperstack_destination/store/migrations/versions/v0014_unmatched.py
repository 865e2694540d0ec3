"""Add an index of unmatched profiles, ordered by email."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    is_unmatched = sa.text("status = 'unmatched'")
    op.create_index(
        "ix_profiles_unmatched",
        "profiles",
        ["account_id", "email"],
        sqlite_where=is_unmatched,
        postgresql_where=is_unmatched,
    )
