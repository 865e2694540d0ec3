"""Stand-in for ProsperStack's REST API v1, for development and tests.

It follows the published reference and shares no code with the client, so that a misreading in one shows in the
other.
"""

from prosperstack_destination.sandbox.account import JournalMismatch, SandboxConfig
from prosperstack_destination.sandbox.app import create_sandbox

__all__ = ["JournalMismatch", "SandboxConfig", "create_sandbox"]
