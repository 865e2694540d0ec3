"""The server's protocol, which closes idle connections with less ado.

uvicorn sets a timer after each answer, and takes it back when the next request comes. Here a timer that is set goes
on; where it fires, it is looked at how long the connection has been idle by then.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Idling(HttpToolsProtocol):
    """Has one timer at a time for a connection, however many requests come on it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        #: When the latest answer was complete, by the event loop's clock; None: there is a request.
        self._idle_since: float | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Take back the timer: nothing more will come."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def on_response_complete(self) -> None:
        """Go on with the next request that is there; or else the connection is idle from now on."""
        if self.timeout_keep_alive_task is None or self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        if self.cycle.response_complete:
            self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, if it has been idle for as long as it may be."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:  # a timer is set anew after the answer
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None
