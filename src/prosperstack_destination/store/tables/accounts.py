"""Accounts, what opens them, and what belongs to each as a whole."""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, Table, Text

from prosperstack_destination.store.tables.base import metadata

#: Whose ProsperStack is written to. Live and test mode are accounts of their own.
accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    # SHA-256 of the ProsperStack key: finds the account of a key without reading the key.
    Column("key_hash", Text, nullable=False, unique=True),
    Column("encrypted_key", Text, nullable=False),
    # The short form of the key that people and logs may see.
    Column("fingerprint", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    # Why it is not active, in words, and until when it is left alone.
    Column("status_reason", Text),
    Column("status_until", BigInteger),
    # ProsperStack's subscriber properties, as JSON, and when they were listed.
    Column("catalog", Text),
    Column("catalog_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    # What a deletion does in ProsperStack: see `store.accounts.OnDelete`.
    Column("on_delete", Text, nullable=False, server_default="clear"),
    # The properties of subscriptions, as JSON; null: no rule has asked for them yet.
    Column("subscription_catalog", Text),
    # The part of each window that is left for the account's owner; null: as the service is set.
    Column("reserve", Float),
)

#: Keys that callers show us.
inbound_keys = Table(
    "inbound_keys",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    # Where it comes from: see `store.accounts.KeyOrigin`.
    Column("origin", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # What the operator calls it, and when it was last shown, to the minute.
    Column("name", Text, nullable=False, server_default=""),
    Column("last_used_at", BigInteger),
    # Of a public key, as JSON: the origins of the pages that may show it; [] for apps. Null: the key is secret.
    Column("origins", Text),
)

#: Secrets that sign webhooks, encrypted; any that is not revoked may have signed.
shared_secrets = Table(
    "shared_secrets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("encrypted", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)

#: Tokens in the URLs that ProsperStack calls: its data connector, and its webhooks.
connector_tokens = Table(
    "connector_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # To the minute.
    Column("last_used_at", BigInteger),
)

#: Every mapping that was ever applied to an account; the highest version is in force.
mappings = Table(
    "mappings",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rules", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("applied_at", BigInteger, nullable=False),
    # The file that it came in, with its comments; and what it was for, as in "back to version 3".
    Column("source", Text),
    Column("note", Text, nullable=False, server_default=""),
)

#: Going through an account's profiles because what their traits mean has changed; the latest of each account.
reprojections = Table(
    "reprojections",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # Counts up: a change that comes in the middle begins anew.
    Column("run", Integer, nullable=False),
    # [{"version", "catalog", "subscription"}]: what they may have been judged by; []: nothing known
    Column("before", Text, nullable=False),
    # The email of the last one that was looked at; "" before the first one, and when it is finished.
    Column("after", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
)

#: What operators' programs show to the API.
operator_tokens = Table(
    "operator_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    # Who it is for: the author of what is done with it.
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

#: Sources of Segment's that were connected from here, each by a destination that was made there.
segment_connections = Table(
    "segment_connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    # See `store.segment_connections.Region`.
    Column("region", Text, nullable=False),
    Column("workspace_id", Text, nullable=False),
    Column("workspace_name", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("destination_id", Text, nullable=False),
    # See `store.segment_connections.Kind`.
    Column("kind", Text, nullable=False),
    # The inbound key, by its fingerprint, or the shared secret, by its id, that was issued for it.
    Column("credential", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: Tokens of Segment workspaces that an operator asked to be kept, encrypted.
segment_tokens = Table(
    "segment_tokens",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("region", Text, nullable=False),
    Column("encrypted", Text, nullable=False),
    Column("workspace_name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: What ProsperStack told of each account's rate limit last, for those who look from another process.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # Requests of a window, and what was left of them.
    Column("limit", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    # The longest time to a reset that was told: how long a window is, as far as is known.
    Column("window_seconds", Float, nullable=False),
    Column("told_at", BigInteger, nullable=False),
)
