"""What traits mean to an account: its catalog and its rules, from the database."""

from collections.abc import Set
from dataclasses import dataclass

from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.person import Person
from prosperstack_destination.mapping.projection import Plan
from prosperstack_destination.mapping.rules import Rules, load_rules
from prosperstack_destination.state import mappings, sources
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.profile import Profile


@dataclass(frozen=True, slots=True)
class Meaning:
    """What traits mean, at one time."""

    catalog: Catalog
    #: The properties of subscriptions, where a rule asks for them.
    subscription: Catalog
    rules: Rules
    #: The version of the rules; 0: none were ever applied.
    version: int
    #: The traits that are Engage's audiences.
    audiences: Set[str]

    def plan(self) -> Plan:
        """The same, ready to map people."""
        return Plan(self.catalog, self.rules, subscription=self.subscription, audiences=self.audiences)

    def under(self, rules: Rules) -> Plan:
        """What other rules would make of it."""
        return Plan(self.catalog, rules, subscription=self.subscription, audiences=self.audiences)


def of_account(connection: Connection, account: Account) -> Meaning:
    """What traits mean to an account now."""
    mapping = mappings.in_force(connection, account.id)
    return Meaning(
        catalog=load_catalog(account.catalog),
        subscription=load_catalog(account.subscription_catalog),
        rules=load_rules(mapping.rules),
        version=mapping.version,
        audiences=sources.audiences(connection, account.id),
    )


def person_of(profile: Profile) -> Person:
    """A profile as the mapping sees it."""
    return Person(profile.values(), profile.user_id, profile.anonymous_id)
