"""Add public keys with their allowed origins."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("inbound_keys", sa.Column("origins", sa.Text(), nullable=True))
