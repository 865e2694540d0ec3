"""Add mapping files, remaps, operator tokens, subscriptions, and created properties."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "creations",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("trait", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_creations_account_id"),
        sa.PrimaryKeyConstraint("account_id", "key", name="pk_creations"),
    )
    op.create_table(
        "operator_tokens",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name="pk_operator_tokens"),
    )
    op.create_table(
        "reprojections",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_reprojections_account_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_reprojections"),
    )
    op.create_table(
        "subscription_states",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subscriber_id", sa.Text(), nullable=False),
        sa.Column("applied", sa.Text(), nullable=False),
        sa.Column("set_aside", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_subscription_states_account_id"),
        sa.PrimaryKeyConstraint("account_id", "subscriber_id", name="pk_subscription_states"),
    )
    op.add_column("accounts", sa.Column("subscription_catalog", sa.Text(), nullable=True))
    op.add_column("mappings", sa.Column("source", sa.Text(), nullable=True))
    op.add_column("mappings", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.drop_index("ix_problems_account_id", "problems")
    op.create_index("ix_problems_grouped", "problems", ["account_id", "property", "reason", "since"])
