"""What Segment says of people, and what ProsperStack has of them."""

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
    # How urgent it is while it is pending: see `store.models.Lane`.
    Column("lane", Integer, nullable=False, server_default="1"),
    # When the reconciler has to look at it; null: not before something changes.
    Column("due_at", BigInteger),
    Column("looked_up_at", BigInteger),
    # When a subscriber with the email was forgotten, though no listing said so: one of what was updated since then
    # would not show it again. Null: never.
    Column("lost_at", BigInteger),
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
#: The latest attempt failed, or ProsperStack rejects the email. The index has few rows, as above.
has_failed = profiles.c.status_reason.is_not(None)
Index(
    "ix_profiles_failed",
    profiles.c.account_id,
    profiles.c.status,
    profiles.c.due_at,
    sqlite_where=has_failed,
    postgresql_where=has_failed,
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
    # ["property"] that was sent, or is about to be, while it is not known what came of it.
    Column("unsure", Text, nullable=False, server_default="[]"),
    # {"property": [value, reason]} that ProsperStack rejected; not sent again until the value is another.
    Column("set_aside", Text, nullable=False),
    Index("ix_subscribers_email", "account_id", "email"),
    Index("ix_subscribers_platform_id", "account_id", "platform_id"),
)

#: How far each account's directory is: see `store.listing_state.Directory`.
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
    # When the newest sweep through all subscribers that came to its end began; the one in progress, and where its
    # next page begins; when that is due. See `store.sweep_state`.
    Column("swept_at", BigInteger),
    Column("sweep_began_at", BigInteger),
    Column("sweep_cursor", Text),
    Column("sweep_at", BigInteger),
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
    # ["property"] that was sent, or is about to be, while it is not known what came of it.
    Column("unsure", Text, nullable=False, server_default="[]"),
    Column("settled_at", BigInteger, nullable=False),
)

#: Properties that were created for traits, or could not be.
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
    # When it is tried again, where ProsperStack did not answer as it should; null: it is not.
    Column("retry_at", BigInteger),
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
