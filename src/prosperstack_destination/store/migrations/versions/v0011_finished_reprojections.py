"""Clear the emails in finished remaps."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("UPDATE reprojections SET \"after\" = '' WHERE finished_at IS NOT NULL")
