"""What an explanation of a call rests on, from the database."""

from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import load
from prosperstack_destination.errors import MissingEmail
from prosperstack_destination.segment.explain import ExplainContext
from prosperstack_destination.state import accounts, profiles
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.identities import Identities
from prosperstack_destination.state.profile import Identify


def load_explain_context(connection: Connection, account: Account, call: Identify) -> ExplainContext:
    """What is known for an account, and of the person that a call speaks of.

    Raises `MissingEmail` where nobody is known by its ids, and it is none of Engage's.
    """
    row = accounts.get(connection, account.id) or account
    email = call.email or Identities(connection, account.id, call.ids).email(call.ids)
    if email is None and not call.from_engage:
        raise MissingEmail(has_ids=True)
    profile = None if email is None else profiles.find(connection, account.id, email)
    meaning = load(connection, row)
    return ExplainContext(
        catalog=meaning.catalog,
        catalog_known=row.catalog is not None,
        rules=meaning.rules,
        audiences=meaning.audiences,
        email=email,
        stored={} if profile is None else profile.traits,
    )
