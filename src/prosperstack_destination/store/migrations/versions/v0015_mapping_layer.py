"""Add time zones, hash secrets, call filters and held calls of accounts, and drafts of mappings."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("time_zone", sa.Text(), nullable=False, server_default="UTC"))
    op.add_column("accounts", sa.Column("day_ends_at", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("hash_secret", sa.Text(), nullable=False, server_default=""))
    op.add_column("accounts", sa.Column("intake", sa.Text(), nullable=True))
    op.add_column("accounts", sa.Column("hold_unknown", sa.Text(), nullable=False, server_default="engage"))
    accounts = sa.table("accounts", sa.column("id", sa.Text()), sa.column("hash_secret", sa.Text()))
    connection = op.get_bind()
    for account_id in connection.scalars(sa.select(accounts.c.id)).all():
        mine = accounts.c.id == account_id
        connection.execute(sa.update(accounts).where(mine).values(hash_secret=secrets.token_hex(32)))
    op.create_table(
        "mapping_drafts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("based_on", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_mapping_drafts_account_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_mapping_drafts"),
    )
