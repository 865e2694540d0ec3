"""Tables of profiles, identities, subscribers and erasures."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from prosperstack_destination.store.tables.base import metadata

#: Profile of each email.
profiles = Table(
    "profiles",
    metadata,
    # 64-bit integer. SQLite generates IDs only for a column of exactly this type.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_id", Text),
    # {"kind": {"id": event time}}: external IDs of the email with their latest event times
    Column("ids", Text, nullable=False, server_default="{}"),
    # {"event time": {"trait": value}}: see `store.timed_traits`
    Column("traits", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    # Reason of a rejection, or of the latest failed attempt.
    Column("status_reason", Text),
    Column("pending_since", BigInteger),
    # Arrival time of the newest change: older observations of subscribers say nothing about it.
    Column("changed_at", BigInteger, nullable=False, server_default="0"),
    # Priority while pending: see `store.models.Lane`.
    Column("lane", Integer, nullable=False, server_default="1"),
    # Time of the next evaluation; null: after the next change.
    Column("due_at", BigInteger),
    Column("looked_up_at", BigInteger),
    # Time when a subscriber was forgotten without a listing: an incremental listing would not return it again.
    # Null: never.
    Column("lost_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    # Time of the latest call about the person, to the day; null: unknown.
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
#: Condition for a profile whose email ProsperStack rejects. Few have it, so their index costs nothing. SQLite uses
#: the index only for queries with exactly this condition.
is_rejected = profiles.c.status == literal_column("'set_aside'")
Index(
    "ix_profiles_set_aside",
    profiles.c.account_id,
    profiles.c.email,
    sqlite_where=is_rejected,
    postgresql_where=is_rejected,
)
#: Condition for a profile without a subscriber. Its index may have most profiles, and serves pages of them.
is_unmatched = profiles.c.status == literal_column("'unmatched'")
Index(
    "ix_profiles_unmatched",
    profiles.c.account_id,
    profiles.c.email,
    sqlite_where=is_unmatched,
    postgresql_where=is_unmatched,
)
#: Condition for a profile whose latest attempt failed or whose email is rejected. Its index has few rows, too.
has_failed = profiles.c.status_reason.is_not(None)
Index(
    "ix_profiles_failed",
    profiles.c.account_id,
    profiles.c.status,
    profiles.c.due_at,
    sqlite_where=has_failed,
    postgresql_where=has_failed,
)

#: ProsperStack's subscribers: last observed values, and the values that this service applied.
subscribers = Table(
    "subscribers",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    # ID in the billing platform, if ProsperStack returned one.
    Column("platform_id", Text),
    # {"property": value} as last observed, and the time.
    Column("observed", Text, nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    # {"property": value} as last desired and applied, by a request or without one.
    Column("applied", Text, nullable=False),
    # ["property"] that was sent, or is about to be, without a known result.
    Column("unsure", Text, nullable=False, server_default="[]"),
    # {"property": [value, reason]} that ProsperStack rejected; not sent again until the value changes.
    Column("set_aside", Text, nullable=False),
    Index("ix_subscribers_email", "account_id", "email"),
    Index("ix_subscribers_platform_id", "account_id", "platform_id"),
)

#: Listing state of each account, its listings' and sweeps' progress: see `store.listing_state.ListingState`.
directories = Table(
    "directories",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("as_of", BigInteger),
    Column("watermark", BigInteger),
    Column("size", Integer),
    # Listing in progress.
    Column("began_at", BigInteger),
    # Start by ProsperStack's clock.
    Column("began_there", BigInteger),
    Column("since", BigInteger),
    Column("cursor", Text),
    Column("pages", Integer, nullable=False, server_default="0"),
    # Number of new or changed subscribers so far.
    Column("news", Integer, nullable=False, server_default="0"),
    Column("found", Integer, nullable=False, server_default="0"),
    # Requests since the end of the latest listing.
    Column("lookups", Integer, nullable=False, server_default="0"),
    Column("writes", Integer, nullable=False, server_default="0"),
    # Time of the next listing at the latest, and the number of consecutive unchanged listings.
    Column("refresh_at", BigInteger),
    Column("quiet", Integer, nullable=False, server_default="0"),
    # Start of the latest complete sweep; start and cursor of the one in progress; due time of its next page. See
    # `store.listing_state`.
    Column("swept_at", BigInteger),
    Column("sweep_began_at", BigInteger),
    Column("sweep_cursor", Text),
    Column("sweep_at", BigInteger),
)

#: Values applied to subscribers' subscriptions, for accounts with rules for them.
subscription_states = Table(
    "subscription_states",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("subscriber_id", Text, primary_key=True),
    # {"property": value} as last desired and applied to every active subscription.
    Column("applied", Text, nullable=False),
    # {"property": [value, reason]} that ProsperStack rejected; not sent again until the value changes.
    Column("set_aside", Text, nullable=False),
    # ["property"] that was sent, or is about to be, without a known result.
    Column("unsure", Text, nullable=False, server_default="[]"),
    Column("settled_at", BigInteger, nullable=False),
)

#: Attempts to create properties for traits.
creations = Table(
    "creations",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("trait", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    # Reason of the failure; null: created.
    Column("reason", Text),
    # Time of the retry after a temporary failure; null: no retry.
    Column("retry_at", BigInteger),
)

#: Mapping problems of a profile's latest evaluation.
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

#: Present and former emails of external IDs.
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
    sqlite_with_rowid=False,  # found by its key only
)

#: Held calls: traits from Engage for IDs whose email is not known yet.
held = Table(
    "held",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    # {"event time": {"trait": value}}: see `store.timed_traits`
    Column("traits", Text, nullable=False),
    Column("held_at", BigInteger, nullable=False),
    Index("ix_held_held_at", "account_id", "held_at"),
)

#: Tombstones: keyed hashes of erased IDs and emails, with the event time of the deletion.
erasures = Table(
    "erasures",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

#: Remote erasures: the queue of erasures in ProsperStack: properties to clear, or subscribers to delete.
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
    # Reason of the latest failure.
    Column("reason", Text),
    Index("ix_clearings_due_at", "account_id", "due_at"),
)

#: Sources of calls: Segment sources, Engage audiences and computed traits.
sources = Table(
    "sources",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    # "source", "audience" or "trait"
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Name of the library in the latest call of a source.
    Column("name", Text, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    # Present number of members of an audience.
    Column("members", BigInteger, nullable=False),
)
