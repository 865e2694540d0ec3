"""What goes on: who works, who looks, what happened."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text

from prosperstack_destination.store.tables.base import metadata

#: Who did what, without personal data.
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

#: Processes that reconcile, each until when it counts as alive, by the database's clock.
replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)

#: Which replica spends an account's requests. A row stays when its lease is given up: its fence only grows.
leases = Table(
    "leases",
    metadata,
    # No foreign key: what is locked here concerns nobody who writes to the account.
    Column("account_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    # By the database's clock; 0: it was given up.
    Column("expires_at", BigInteger, nullable=False),
)

#: Exports that were read in, by their ids, and how far.
imports = Table(
    "imports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lines", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
)

#: What happened lately: a feed for people, bounded, and no record of anything.
events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    # See `store.events.EventKind`.
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    # What stands for the person, where one is known: a keyed hash of the email, so that a deletion leaves nothing.
    Column("subject", Text),
    # {"detail": value}
    Column("details", Text, nullable=False),
    Index("ix_events_account_id", "account_id", "id"),
)

#: The calls that came in lately, as they came, for whoever looks why one did what it did. Bounded, and a sample
#: where more come in than people can look at.
recent_calls = Table(
    "recent_calls",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    # As it calls itself: "identify", "delete", or anything.
    Column("type", Text, nullable=False),
    # The way that it came: see `store.recent_calls.Way`.
    Column("way", Text, nullable=False),
    # See `store.recent_calls.Fate`; and what its sender was told.
    Column("outcome", Text, nullable=False),
    Column("message", Text, nullable=False),
    # "kind:key" of the source, audience or computed trait that it comes from, where it names one.
    Column("source", Text),
    # What stands for its email and for its user id, so that a deletion finds it: see `Vault.pseudonym`.
    Column("subject", Text),
    Column("user_subject", Text),
    # The call's JSON text, up to a bound, and how long it was, in bytes.
    Column("body", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Index("ix_recent_calls_account_id", "account_id", "id"),
)

#: How much happened in each minute and in each hour, for charts.
tallies = Table(
    "tallies",
    metadata,
    # "" for calls whose key opens no account.
    Column("account_id", Text, primary_key=True),
    # How long, in seconds: 60 or 3600; and when it began.
    Column("span", Integer, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    # Calls that were accepted, and refused.
    Column("accepted", BigInteger, nullable=False, server_default="0"),
    Column("refused", BigInteger, nullable=False, server_default="0"),
    # Profiles that were settled: by an update, because nothing had to be sent, because nobody has the email.
    Column("delivered", BigInteger, nullable=False, server_default="0"),
    Column("unchanged", BigInteger, nullable=False, server_default="0"),
    Column("unmatched", BigInteger, nullable=False, server_default="0"),
    # Values that were sent by those updates.
    Column("properties", BigInteger, nullable=False, server_default="0"),
    # Requests to ProsperStack, and those of them that did not succeed.
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    # Deliveries by the time from accept to delivered: see `store.rollups.FRESHNESS`.
    Column("freshness", Text, nullable=False, server_default="[]"),
    # The most profiles that were seen to wait.
    Column("backlog", BigInteger, nullable=False, server_default="0"),
)

#: Who is logged in to the dashboard.
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    # What the password was, hashed: with another one nobody is logged in any more.
    Column("password_mark", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

#: Files that were imported, and how far.
file_imports = Table(
    "file_imports",
    metadata,
    # A hash of the file's content, and of how it was read.
    Column("id", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    # The file's name, without its folder.
    Column("name", Text, nullable=False),
    # Rows that are on disk, those among them that were refused, and how many there are.
    Column("done", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
)

#: What has to outlive SECRET_KEY, encrypted with it.
kept_secrets = Table(
    "kept_secrets",
    metadata,
    # "pseudonyms"
    Column("name", Text, primary_key=True),
    Column("encrypted", Text, nullable=False),
)
