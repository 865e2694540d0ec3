"""A connection without a network."""

import asyncio
from typing import Any


class Wire(asyncio.Transport):
    """The other end of a connection: each piece that was sent to it, and whether it was hung up."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False
        #: True if more is read of what it sends.
        self.reading = True
        self._news = asyncio.Event()

    async def answered(self, answers: int) -> None:
        """Wait until so many answers have begun."""
        async with asyncio.timeout(10):
            while b"".join(self.pieces).count(b"HTTP/1.1 ") < answers:
                self._news.clear()
                await self._news.wait()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Be sent a piece; as with uvloop, that fails once it was hung up."""
        if self.closed:
            raise RuntimeError("the handler is closed")
        self.pieces.append(bytes(data))
        self._news.set()

    def close(self) -> None:
        """Be hung up."""
        self.closed = True

    def is_closing(self) -> bool:
        """True if it was hung up."""
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Where it is connected."""
        return {"sockname": ("127.0.0.1", 8700), "peername": ("127.0.0.1", 50_000)}.get(name, default)

    def pause_reading(self) -> None:
        """Be asked for no more."""
        self.reading = False

    def resume_reading(self) -> None:
        """Be asked for more."""
        self.reading = True
