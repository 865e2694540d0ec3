"""Tables of accounts, their credentials, and data of an account as a whole."""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, Table, Text

from prosperstack_destination.store.tables.base import metadata

#: ProsperStack accounts. Live and test mode are separate accounts.
accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    # SHA-256 of the ProsperStack key: finds a key's account without decrypting keys.
    Column("key_hash", Text, nullable=False, unique=True),
    Column("encrypted_key", Text, nullable=False),
    # Short form of the key for people and logs.
    Column("fingerprint", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    # Reason of an inactive status, and the end of the pause.
    Column("status_reason", Text),
    Column("status_until", BigInteger),
    # ProsperStack's subscriber properties as JSON, and the time of their listing.
    Column("catalog", Text),
    Column("catalog_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    # Effect of a deletion in ProsperStack: see `store.accounts.OnDelete`.
    Column("on_delete", Text, nullable=False, server_default="clear"),
    # Subscription properties as JSON; null: no rule needs them.
    Column("subscription_catalog", Text),
    # Part of the rate limit that is kept free for the owner's tools; null: the service's setting.
    Column("reserve", Float),
    # IANA name of the zone in which rules see the day, and the end of the day by which profiles were mapped, for a
    # mapping that depends on the day.
    Column("time_zone", Text, nullable=False, server_default="UTC"),
    Column("day_ends_at", BigInteger),
    # Key of the keyed hashes that rules make.
    Column("hash_secret", Text, nullable=False, server_default=""),
    # Call rules of the current mapping, as JSON: see `mapping.call_rules`. Null: nothing.
    Column("intake", Text),
    # See `store.accounts.HoldUnknown`.
    Column("hold_unknown", Text, nullable=False, server_default="engage"),
)

#: Inbound keys of callers.
inbound_keys = Table(
    "inbound_keys",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    # See `store.credentials.KeyOrigin`.
    Column("origin", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # Name given by the operator, and the time of the latest use, rounded to the minute.
    Column("name", Text, nullable=False, server_default=""),
    Column("last_used_at", BigInteger),
    # JSON list of allowed origins of web pages for a public key; [] for apps. Null: a secret key.
    Column("origins", Text),
)

#: Shared secrets that sign webhooks, encrypted; every active one is accepted.
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

#: Tokens in the URLs that ProsperStack calls: the data connector and the flow webhook.
connector_tokens = Table(
    "connector_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # Rounded to the minute.
    Column("last_used_at", BigInteger),
)

#: All mapping versions of an account; the highest version is current.
mappings = Table(
    "mappings",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rules", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("applied_at", BigInteger, nullable=False),
    # Text of the mapping file, with comments; and the reason, such as "back to version 3".
    Column("source", Text),
    Column("note", Text, nullable=False, server_default=""),
)

#: Draft of each account's next mapping.
mapping_drafts = Table(
    "mapping_drafts",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # Grows with each save.
    Column("revision", Integer, nullable=False),
    # Mapping version that the draft changes.
    Column("based_on", Integer, nullable=False),
    # Text of the mapping file.
    Column("source", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("saved_at", BigInteger, nullable=False),
)

#: Latest remap of each account.
reprojections = Table(
    "reprojections",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # Grows with each start: a change in the middle starts again.
    Column("run", Integer, nullable=False),
    # [{"version", "catalog", "subscription", "as_of"}] that profiles may have been evaluated by; []: unknown
    Column("before", Text, nullable=False),
    # Email of the last processed profile; "" before the first one, and when finished.
    Column("after", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
)

#: Operator tokens for the API.
operator_tokens = Table(
    "operator_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    # Name of the operator: the author in the audit log.
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

#: Segment sources that were connected here, each by a destination created for it.
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
    # Credential issued for it: fingerprint of the inbound key, or ID of the shared secret.
    Column("credential", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: Stored tokens of Segment workspaces, encrypted.
segment_tokens = Table(
    "segment_tokens",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("region", Text, nullable=False),
    Column("encrypted", Text, nullable=False),
    Column("workspace_name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: Latest rate limit that ProsperStack reported for each account, for other processes.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # Requests per window, and the remaining ones.
    Column("limit", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    # Longest reported time to a reset: the length of a window, as far as known.
    Column("window_seconds", Float, nullable=False),
    Column("told_at", BigInteger, nullable=False),
)
