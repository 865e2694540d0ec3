"""Creating properties in ProsperStack for audiences and traits that none takes, where the mapping says so."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.clock import MINUTE
from prosperstack_destination.errors import (
    ProsperStackAuthError,
    ProsperStackNotFound,
    ProsperStackRejected,
    ProsperStackUnavailable,
)
from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coverage import TraitCoverage
from prosperstack_destination.mapping.name_matching import property_key, property_name
from prosperstack_destination.mapping.rules import CreateMissing
from prosperstack_destination.reconcile.coverage_scan import coverage
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import audit_log, property_creations
from prosperstack_destination.store.property_creations import PropertyCreation

log = structlog.get_logger(__name__)

#: Properties that are created together, each for one request; the rest comes with the next look at the catalog.
AT_ONCE: Final = 10
#: Properties that are ever created for an account: a script that makes up traits must not fill ProsperStack.
MOST: Final = 200
#: A property whose creation got no answer is tried again after this, in microseconds.
CREATE_AGAIN: Final = 10 * MINUTE
#: Traits that are nobody's property: they say who somebody is.
_IDENTITY: Final = frozenset({"email", "id", "user_id", "anonymous_id"})


@dataclass(frozen=True, slots=True)
class NewProperty:
    """A property that is to be created."""

    key: str
    name: str
    type: PropertyType
    #: What it is for.
    trait: str


def missing_audiences(audiences: Iterable[str], known: Collection[str]) -> Iterator[NewProperty]:
    """Properties for audiences, in their order; ``known``: names, keys and traits that are not to be created."""
    for trait in sorted(audiences):
        key = property_key(trait)
        if key and key not in known and trait not in known:
            yield NewProperty(key, property_name(trait), PropertyType.BOOLEAN, trait)


def missing_traits(traits: Iterable[TraitCoverage], known: Collection[str]) -> Iterator[NewProperty]:
    """Properties for traits that none takes and whose values one could, the most frequent first."""
    for each in traits:
        key = property_key(each.trait)
        if each.feeds or each.type is None or not key or key in _IDENTITY or {key, each.trait} & set(known):
            continue
        kind = PropertyType.BOOLEAN if each.audience else each.type
        yield NewProperty(key, property_name(each.trait), kind, each.trait)


async def create_missing(ctx: WorkerContext, meaning: AccountMapping, *, look: bool) -> bool:
    """Create what the mapping asks for; whether anything was. ``look``: go through the profiles for traits as well.

    Each property is tried once: one that is there already (409) is as good as created, one that is rejected is
    noted with ProsperStack's words. Where ProsperStack does not answer as it should that is noted, and it is tried
    again later: deliveries do not wait for it. Raises `ProsperStackRateLimited` and `ProsperStackAuthError`.
    """
    wanted = meaning.rules.create_missing
    if wanted is CreateMissing.NONE:
        return False
    now = ctx.clock()
    every = await ctx.database.read(property_creations.every, ctx.account_id)
    tried = [each for each in every if each.retry_at is None or each.retry_at > now]
    look = look or len(tried) < len(every)
    known = {name for each in meaning.catalog for name in (each.key, each.name)}
    known |= {name for each in tried for name in (each.key, each.trait)}
    known |= {rule.property for rule in meaning.rules.rules}
    new = list(missing_audiences(meaning.audiences, known))
    if wanted is CreateMissing.TRAITS and look:
        counted, _ = await coverage(ctx.database, ctx.account_id)
        new += missing_traits(counted.traits(), known | {each.key for each in new})
    unique = {each.key: each for each in reversed(new)}.values()
    room = max(min(AT_ONCE, MOST - len(tried)), 0)
    created = False
    for each in list(reversed(unique))[:room]:
        reason, retry_at = await _create(ctx, each)
        creation = PropertyCreation(each.key, each.trait, each.type.value, ctx.clock(), reason, retry_at)
        await ctx.database.write(_note, ctx.account_id, creation)
        created = created or reason is None
        if retry_at is not None:
            break
    return created


async def _create(ctx: WorkerContext, new: NewProperty) -> tuple[str | None, int | None]:
    """Create one property; why it cannot be, or None, and when to try again (microseconds), or None."""
    try:
        about = RequestInfo("POST /properties")
        await ctx.send(about, partial(ctx.prosperstack.create_property, new.key, new.name, new.type.value))
    except ProsperStackRejected as rejection:
        return None if rejection.status_code == 409 else reason_of(rejection), None
    except (ProsperStackUnavailable, ProsperStackNotFound) as error:
        return reason_of(error), ctx.clock() + CREATE_AGAIN
    except ProsperStackAuthError as refusal:
        if refusal.status_code != 403:
            raise
        return reason_of(refusal), None  # the key may do all else: the account goes on
    return None, None


def _note(connection: Connection, account_id: str, new: PropertyCreation) -> None:
    property_creations.note(connection, account_id, new)
    details: dict[str, JsonValue] = {"key": new.key, "type": new.type, "trait": new.trait, "refused": new.reason}
    audit_log.record(
        connection, account_id, new.at, actor="create_missing", action="create property", details=details
    )
    log.info("property created" if new.reason is None else "property not created", key=new.key, type=new.type)
