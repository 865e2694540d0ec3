"""One API key's account: its data, its rate limit, and its part of the journal."""

from collections.abc import Callable
from typing import Any

from prosperstack_destination.sandbox.rate_limit import FixedWindow
from prosperstack_destination.sandbox.store import Account

Shown = dict[str, object]


class SandboxAccount:
    """An account; every write goes through `write`, so that it can be kept and replayed."""

    def __init__(
        self,
        name: str,
        data: Account,
        window: FixedWindow,
        keep: Callable[[dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.data = data
        self.window = window
        self._keep = keep

    def write(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Carry out a write, then keep it. Raises `Refused`, and then nothing was written."""
        shown = self.apply(operation, arguments)
        self._keep({"account": self.name, "operation": operation, "arguments": arguments})
        return shown

    def apply(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Carry out a write; what it made or changed."""
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
                raise ValueError(f"there is no write {operation!r}")
        return {}
