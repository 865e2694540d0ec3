"""Creation of ProsperStack properties for audiences and traits without one, where the mapping asks for it."""

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
from prosperstack_destination.reconcile.preview import coverage
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import activity, problems
from prosperstack_destination.store.problems import PropertyCreation

log = structlog.get_logger(__name__)

#: Properties created in one run, each by one request; the next run continues.
MAX_PER_RUN: Final = 10
#: Properties ever created for an account: a script that invents traits must not fill ProsperStack.
MAX_CREATED: Final = 200
#: Time after which a creation without a usable response is retried, in microseconds.
CREATE_RETRY: Final = 10 * MINUTE
#: Traits that identify a person and never become a property.
_IDENTITY: Final = frozenset({"email", "id", "user_id", "anonymous_id"})


@dataclass(frozen=True, slots=True)
class NewProperty:
    """A property to create."""

    key: str
    name: str
    type: PropertyType
    #: The trait or audience that it is for.
    trait: str


def missing_audiences(audiences: Iterable[str], known: Collection[str]) -> Iterator[NewProperty]:
    """Yield properties for audiences, sorted; ``known`` holds names, keys and traits to leave out."""
    for trait in sorted(audiences):
        key = property_key(trait)
        if key and key not in known and trait not in known:
            yield NewProperty(key, property_name(trait), PropertyType.BOOLEAN, trait)


def missing_traits(traits: Iterable[TraitCoverage], known: Collection[str]) -> Iterator[NewProperty]:
    """Yield properties for unmapped traits whose values fit a property type, the most frequent first."""
    for each in traits:
        key = property_key(each.trait)
        if each.feeds or each.type is None or not key or key in _IDENTITY or {key, each.trait} & set(known):
            continue
        kind = PropertyType.BOOLEAN if each.audience else each.type
        yield NewProperty(key, property_name(each.trait), kind, each.trait)


async def create_missing(ctx: WorkerContext, mapping: AccountMapping, *, look: bool) -> bool:
    """Create the properties that the mapping asks for; return whether any was created.

    ``look``: scan the profiles for traits as well. Each property is tried once: one that exists (409) counts as
    created, and a rejection is stored with ProsperStack's reason. Any other failure is stored and retried later:
    deliveries do not wait for it. Raises `ProsperStackRateLimited` and `ProsperStackAuthError`.
    """
    wanted = mapping.rules.create_missing
    if wanted is CreateMissing.NONE:
        return False
    now = ctx.clock()
    creations = await ctx.database.read(problems.property_creations, ctx.account_id)
    tried = [candidate for candidate in creations if candidate.retry_at is None or candidate.retry_at > now]
    look = look or len(tried) < len(creations)
    known = {name for candidate in mapping.catalog for name in (candidate.key, candidate.name)}
    known |= {name for candidate in tried for name in (candidate.key, candidate.trait)}
    known |= {rule.property for rule in mapping.rules.rules}
    new = list(missing_audiences(mapping.audiences, known))
    if wanted is CreateMissing.TRAITS and look:
        covered, _ = await coverage(ctx.database, ctx.account_id, ctx.clock())
        new += missing_traits(covered.traits(), known | {candidate.key for candidate in new})
    unique = {candidate.key: candidate for candidate in reversed(new)}.values()
    limit = max(min(MAX_PER_RUN, MAX_CREATED - len(tried)), 0)
    created = False
    for candidate in list(reversed(unique))[:limit]:
        reason, retry_at = await _create(ctx, candidate)
        creation = PropertyCreation(
            candidate.key, candidate.trait, candidate.type.value, ctx.clock(), reason, retry_at
        )
        await ctx.database.write(_store_creation, ctx.account_id, creation)
        created = created or reason is None
        if retry_at is not None:
            break
    return created


async def _create(ctx: WorkerContext, new: NewProperty) -> tuple[str | None, int | None]:
    """Create one property; return why it failed and when to retry (microseconds), each None where there is none."""
    try:
        info = RequestInfo("POST /properties")
        await ctx.send(info, partial(ctx.prosperstack.create_property, new.key, new.name, new.type.value))
    except ProsperStackRejected as rejection:
        return None if rejection.status_code == 409 else reason_of(rejection), None
    except (ProsperStackUnavailable, ProsperStackNotFound) as error:
        return reason_of(error), ctx.clock() + CREATE_RETRY
    except ProsperStackAuthError as refusal:
        if refusal.status_code != 403:
            raise
        return reason_of(refusal), None  # the key may do everything else: the account continues
    return None, None


def _store_creation(connection: Connection, account_id: str, new: PropertyCreation) -> None:
    problems.record_creation(connection, account_id, new)
    details: dict[str, JsonValue] = {"key": new.key, "type": new.type, "trait": new.trait, "refused": new.reason}
    activity.record_action(
        connection, account_id, new.at, actor="create_missing", action="create property", details=details
    )
    log.info("property created" if new.reason is None else "property not created", key=new.key, type=new.type)
