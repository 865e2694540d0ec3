"""Add sweeps, the times of forgotten subscribers, and unconfirmed values."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("profiles", sa.Column("lost_at", sa.BigInteger(), nullable=True))
    for name in ("swept_at", "sweep_began_at", "sweep_at"):
        op.add_column("directories", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("directories", sa.Column("sweep_cursor", sa.Text(), nullable=True))
    op.execute("UPDATE directories SET sweep_at = as_of")  # a directory that is complete is swept from now on
    for table in ("subscribers", "subscription_states"):
        op.add_column(table, sa.Column("unsure", sa.Text(), nullable=False, server_default="[]"))
