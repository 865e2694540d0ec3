"""Account of one API key: its data, its rate limit and its part of the journal."""

from collections.abc import Callable
from typing import Any

from prosperstack_destination.sandbox.rate_limit import FixedWindow
from prosperstack_destination.sandbox.store import AccountData

Shown = dict[str, object]


class SandboxAccount:
    """Account whose writes all pass `write`, so that the journal can record and replay them."""

    def __init__(
        self,
        name: str,
        data: AccountData,
        window: FixedWindow,
        record: Callable[[dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.data = data
        self.window = window
        self._record = record

    def write(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Apply a write and record it in the journal. Raises `Refused`, in which case nothing is written."""
        shown = self.apply(operation, arguments)
        self._record({"account": self.name, "operation": operation, "arguments": arguments})
        return shown

    def apply(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Apply a write; return the created or changed resource, or an empty one after a deletion."""
        data = self.data
        match operation:
            case "create_property":
                return data.create_property(**arguments).shown()
            case "delete_property":
                data.delete_property(**arguments)
            case "update_subscriber":
                return data.update(data.subscribers, "subscriber", **arguments).shown()
            case "update_subscription":
                return data.update(data.subscriptions, "subscription", **arguments).shown()
            case "delete_subscriber":
                data.delete_subscriber(**arguments)
            case _:
                raise ValueError(f"unknown write operation {operation!r}")
        return {}
