"""A ProsperStack of our own to develop against.

It stands in for the REST API v1 as the published reference describes it, and shares no code with the client, so
that a wrong belief in one cannot hide in the other.
"""

from prosperstack_destination.sandbox.app import create_sandbox
from prosperstack_destination.sandbox.config import SandboxConfig
from prosperstack_destination.sandbox.journal import JournalMismatch

__all__ = ["JournalMismatch", "SandboxConfig", "create_sandbox"]
