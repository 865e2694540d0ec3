"""A ProsperStack of our own to develop against.

It stands in for the REST API v1 as the published reference describes it, and shares no code with the client, so
that a wrong belief in one cannot hide in the other.
"""

from prosperstack_destination.sandbox.app import create_sandbox
from prosperstack_destination.sandbox.config import SandboxConfig

__all__ = ["SandboxConfig", "create_sandbox"]
