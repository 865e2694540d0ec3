"""What traits mean to an account: its catalog and its rules, from the database."""

from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.person import MappingInput
from prosperstack_destination.mapping.projection import CompiledMapping
from prosperstack_destination.mapping.rules import Rules, load_rules
from prosperstack_destination.state import accounts, mappings, sources
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.merging import Reads, reads_none
from prosperstack_destination.state.profile import Profile

#: Meanings that are kept ready, of all accounts together.
READY: Final = 128


@dataclass(frozen=True, slots=True)
class AccountMapping:
    """What traits mean, at one time."""

    catalog: Catalog
    #: The properties of subscriptions, where a rule asks for them.
    subscription: Catalog
    rules: Rules
    #: The version of the rules; 0: none were ever applied.
    version: int
    #: The traits that are Engage's audiences.
    audiences: Set[str]
    #: The same, ready to map people.
    compiled: CompiledMapping

    def with_rules(self, rules: Rules) -> CompiledMapping:
        """What other rules would make of it."""
        return CompiledMapping(self.catalog, rules, subscription=self.subscription, audiences=self.audiences)


def load(connection: Connection, account: Account) -> AccountMapping:
    """What traits mean to an account now. Made ready once for as long as nothing changes: ask for each person."""
    mapping = mappings.current(connection, account.id)
    audiences = sources.audiences(connection, account.id)
    return build(account.catalog, account.subscription_catalog, mapping.rules, mapping.version, audiences)


def reads_of(connection: Connection, account_id: str) -> Reads:
    """Which traits the properties and rules of an account read."""
    account = accounts.get(connection, account_id)
    return reads_none if account is None else load(connection, account).compiled.reads


@lru_cache(maxsize=READY)
def build(
    catalog: str | None, subscription: str | None, rules: str, version: int, audiences: frozenset[str]
) -> AccountMapping:
    """What traits mean, from how it is stored."""
    known, theirs, loaded = load_catalog(catalog), load_catalog(subscription), load_rules(rules)
    plan = CompiledMapping(known, loaded, subscription=theirs, audiences=audiences)
    return AccountMapping(known, theirs, loaded, version, audiences, plan)


def mapping_input(profile: Profile) -> MappingInput:
    """A profile as the mapping sees it."""
    return MappingInput(profile.values(), profile.user_id, profile.anonymous_id)
