"""Add the listing progress, and lanes of profiles that wait for a request."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "directories",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=True),
        sa.Column("watermark", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("began_there", sa.BigInteger(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("pages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("news", sa.Integer(), server_default="0", nullable=False),
        sa.Column("found", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lookups", sa.Integer(), server_default="0", nullable=False),
        sa.Column("writes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refresh_at", sa.BigInteger(), nullable=True),
        sa.Column("quiet", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_directories_account_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_directories"),
    )
    op.add_column("profiles", sa.Column("changed_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("profiles", sa.Column("lane", sa.Integer(), server_default="1", nullable=False))
    op.drop_index("ix_profiles_due", table_name="profiles")
    op.create_index(
        "ix_profiles_due",
        "profiles",
        ["account_id", "status", "lane", "due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    # What was pending is judged anew, whatever it waited for.
    op.execute("UPDATE profiles SET changed_at = COALESCE(pending_since, due_at, 0)")
