"""Count the calls that a mapping leaves out."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for name in ("filtered", "no_consent"):
        op.add_column("tallies", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
