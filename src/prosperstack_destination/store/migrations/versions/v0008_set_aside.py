"""Add an index of profiles whose email ProsperStack rejects."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    is_set_aside = sa.text("status = 'set_aside'")
    op.create_index(
        "ix_profiles_set_aside",
        "profiles",
        ["account_id", "email"],
        sqlite_where=is_set_aside,
        postgresql_where=is_set_aside,
    )
