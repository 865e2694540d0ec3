"""Add the time of a shared secret's latest use."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("shared_secrets", sa.Column("last_used_at", sa.BigInteger))
