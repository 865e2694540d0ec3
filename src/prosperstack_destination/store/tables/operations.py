"""Tables of operations: replicas and leases, the activity feed, rollups, sessions, imports."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text

from prosperstack_destination.store.tables.base import metadata

#: Audit log, without personal data.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    # {"detail": value}
    Column("details", Text, nullable=False),
)

#: Reconciling processes with their expiry times, by the database's clock.
replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)

#: Replica that spends an account's requests. A released lease keeps its row, since its fence must only grow.
leases = Table(
    "leases",
    metadata,
    # No foreign key: a lock here must not block writers of the account.
    Column("account_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    # By the database's clock; 0: released.
    Column("expires_at", BigInteger, nullable=False),
)

#: Imported exports by ID, with their progress.
imports = Table(
    "imports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lines", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
)

#: Activity feed: bounded, without a guarantee of completeness.
events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    # See `store.activity.EventKind`.
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    # Pseudonym of the person, if known: a keyed hash of the email, so that an erasure leaves nothing.
    Column("subject", Text),
    # {"detail": value}
    Column("details", Text, nullable=False),
    Index("ix_events_account_id", "account_id", "id"),
)

#: Recent calls as received. Bounded, and a sample at a high rate.
recent_calls = Table(
    "recent_calls",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    # Type in the call: "identify", "delete", or any other text.
    Column("type", Text, nullable=False),
    # See `store.recent_calls.Channel`.
    Column("way", Text, nullable=False),
    # See `store.recent_calls.CallOutcome`; and the message in the response.
    Column("outcome", Text, nullable=False),
    Column("message", Text, nullable=False),
    # "kind:key" of the source, audience or computed trait, if the call names one.
    Column("source", Text),
    # Pseudonyms of the email and of the best ID, by which an erasure finds it: see `Vault.pseudonym`.
    Column("subject", Text),
    Column("user_subject", Text),
    # JSON text of the call, cut at a bound, and its full length in bytes.
    Column("body", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Index("ix_recent_calls_account_id", "account_id", "id"),
)

#: Rollups per minute and per hour, for charts.
tallies = Table(
    "tallies",
    metadata,
    # "" for calls whose key opens no account.
    Column("account_id", Text, primary_key=True),
    # Length in seconds, 60 or 3600; and the start.
    Column("span", Integer, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    # Accepted and rejected calls.
    Column("accepted", BigInteger, nullable=False, server_default="0"),
    Column("refused", BigInteger, nullable=False, server_default="0"),
    # Settled profiles: by an update, without a difference, without a subscriber.
    Column("delivered", BigInteger, nullable=False, server_default="0"),
    Column("unchanged", BigInteger, nullable=False, server_default="0"),
    Column("unmatched", BigInteger, nullable=False, server_default="0"),
    # Values in those updates.
    Column("properties", BigInteger, nullable=False, server_default="0"),
    # Requests to ProsperStack, and the failed ones among them.
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    # Calls that the account's mapping left out, and those without the consent that it requires.
    Column("filtered", BigInteger, nullable=False, server_default="0"),
    Column("no_consent", BigInteger, nullable=False, server_default="0"),
    # Histogram of times from accepted to delivered: see `store.rollups.DELIVERY_TIME_BOUNDS`.
    Column("freshness", Text, nullable=False, server_default="[]"),
    # Largest observed number of waiting profiles.
    Column("backlog", BigInteger, nullable=False, server_default="0"),
)

#: Dashboard sessions.
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    # Hash of the password at login: a changed password closes the session.
    Column("password_mark", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

#: Imported files with their progress.
file_imports = Table(
    "file_imports",
    metadata,
    # Hash of the file's content and of the way it was read.
    Column("id", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    # Name of the file, without its folder.
    Column("name", Text, nullable=False),
    # Number of rows on disk, of the rejected ones among them, and of all rows.
    Column("done", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
)

#: Secrets that belong to no account, encrypted with SECRET_KEY.
kept_secrets = Table(
    "kept_secrets",
    metadata,
    # See `store.encrypted_texts`.
    Column("name", Text, primary_key=True),
    Column("encrypted", Text, nullable=False),
)
