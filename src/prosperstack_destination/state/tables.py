"""The tables. Times are in microseconds since the epoch; JSON texts are written by `state.json_text`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

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
    # What a deletion does in ProsperStack: see `state.accounts.OnDelete`.
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
    # Where it comes from: see `state.accounts.KeyOrigin`.
    Column("origin", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # What the operator calls it, and when it was last shown, to the minute.
    Column("name", Text, nullable=False, server_default=""),
    Column("last_used_at", BigInteger),
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
    # The email of the last one that was looked at.
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

#: What was settled on the subscriptions of subscribers, for accounts whose rules ask for that.
subscription_states = Table(
    "subscription_states",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("subscriber_id", Text, primary_key=True),
    # {"property": value} as last desired and settled on every active subscription.
    Column("applied", Text, nullable=False),
    # {"property": [value, reason]} that ProsperStack rejected; not sent again until the value is another.
    Column("set_aside", Text, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
)

#: Properties that were created for traits, or could not be: each is tried once.
creations = Table(
    "creations",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("trait", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    # Why it could not be created; null: it was.
    Column("reason", Text),
)

#: What Segment says of each email.
profiles = Table(
    "profiles",
    metadata,
    # A 64-bit integer that SQLite counts up by itself only under this exact name.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_id", Text),
    # {"kind": {"id": event time}}: the ids that came with the email, and when last
    Column("ids", Text, nullable=False, server_default="{}"),
    # {"trait": [value, event time]}
    Column("traits", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    # Why it is set aside, or why the latest attempt failed.
    Column("status_reason", Text),
    Column("pending_since", BigInteger),
    # When the newest change came in: what was observed of its subscribers before tells nothing against it.
    Column("changed_at", BigInteger, nullable=False, server_default="0"),
    # How urgent it is while it is pending: see `state.profile.Lane`.
    Column("lane", Integer, nullable=False, server_default="1"),
    # When the reconciler has to look at it; null: not before something changes.
    Column("due_at", BigInteger),
    Column("looked_up_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    # When a call about the person came last, to the day; null: before this was noted.
    Column("touched_at", BigInteger),
    UniqueConstraint("account_id", "email"),
)
Index(
    "ix_profiles_due",
    profiles.c.account_id,
    profiles.c.status,
    profiles.c.lane,
    profiles.c.due_at,
    sqlite_where=profiles.c.due_at.is_not(None),
    postgresql_where=profiles.c.due_at.is_not(None),
)
#: Whose email ProsperStack rejects: few, so that an index of them alone costs nothing. SQLite looks into it only
#: where a query has this condition as it stands.
is_set_aside = profiles.c.status == literal_column("'set_aside'")
Index(
    "ix_profiles_set_aside",
    profiles.c.account_id,
    profiles.c.email,
    sqlite_where=is_set_aside,
    postgresql_where=is_set_aside,
)

#: The directory: what ProsperStack has, as last seen, and what we last settled there.
subscribers = Table(
    "subscribers",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    # The subscriber's id in the billing platform, where ProsperStack showed one.
    Column("platform_id", Text),
    # {"property": value} as ProsperStack last showed it, and when.
    Column("observed", Text, nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    # {"property": value} as last desired and settled, whether it had to be sent or was there already.
    Column("applied", Text, nullable=False),
    # {"property": [value, reason]} that ProsperStack rejected; not sent again until the value is another.
    Column("set_aside", Text, nullable=False),
    Index("ix_subscribers_email", "account_id", "email"),
    Index("ix_subscribers_platform_id", "account_id", "platform_id"),
)

#: How far each account's directory is: see `state.listing.Directory`.
directories = Table(
    "directories",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("as_of", BigInteger),
    Column("watermark", BigInteger),
    Column("size", Integer),
    # The listing in progress.
    Column("began_at", BigInteger),
    Column("began_there", BigInteger),
    Column("since", BigInteger),
    Column("cursor", Text),
    Column("pages", Integer, nullable=False, server_default="0"),
    Column("news", Integer, nullable=False, server_default="0"),
    Column("found", Integer, nullable=False, server_default="0"),
    # What was spent since the newest listing came to its end.
    Column("lookups", Integer, nullable=False, server_default="0"),
    Column("writes", Integer, nullable=False, server_default="0"),
    # When it is brought up to date if nothing else asks for it, and how often that brought nothing, in a row.
    Column("refresh_at", BigInteger),
    Column("quiet", Integer, nullable=False, server_default="0"),
)

#: Traits that feed a property and cannot, as of the profile's last projection.
problems = Table(
    "problems",
    metadata,
    Column("profile_id", ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("property", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("trait", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Index("ix_problems_grouped", "account_id", "property", "reason", "since"),
)

#: Which email each id has, and which it had.
identities = Table(
    "identities",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # "user" or "anonymous"
    Column("kind", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    # ["email"], the oldest first
    Column("former", Text, nullable=False),
    sqlite_with_rowid=False,  # it is found by its key alone
)

#: What Engage said of ids whose email is not known yet.
held = Table(
    "held",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    # {"trait": [value, event time]}
    Column("traits", Text, nullable=False),
    Column("held_at", BigInteger, nullable=False),
    Index("ix_held_held_at", "account_id", "held_at"),
)

#: Who was erased and when (event time), by keyed hashes of ids and emails: older calls do not bring them back.
erasures = Table(
    "erasures",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

#: Subscribers of erased people, to be cleared of what this service wrote, or deleted.
clearings = Table(
    "clearings",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("subscriber_id", Text, primary_key=True),
    # ["property"] whose values are to be deleted
    Column("properties", Text, nullable=False),
    Column("delete_subscriber", Boolean, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Why the latest attempt failed.
    Column("reason", Text),
    Index("ix_clearings_due_at", "account_id", "due_at"),
)

#: Where calls come from: Segment sources, and Engage's audiences and computed traits.
sources = Table(
    "sources",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # "source", "audience" or "trait"
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # The library that sent the latest call of a source.
    Column("name", Text, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    # How many are in an audience now.
    Column("members", BigInteger, nullable=False),
)

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
    # See `state.events.EventKind`.
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
    # The way that it came: see `state.recent_calls.Way`.
    Column("way", Text, nullable=False),
    # See `state.recent_calls.Fate`; and what its sender was told.
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
    # Deliveries by the time from accept to delivered: see `state.tallies.FRESHNESS`.
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

#: Sources of Segment's that were connected from here, each by a destination that was made there.
segment_connections = Table(
    "segment_connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    # See `state.segment_connections.Region`.
    Column("region", Text, nullable=False),
    Column("workspace_id", Text, nullable=False),
    Column("workspace_name", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("destination_id", Text, nullable=False),
    # See `state.segment_connections.Kind`.
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
