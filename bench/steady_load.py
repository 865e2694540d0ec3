"""Calls at a fixed rate, evenly spaced, whether they are answered or not: ``steady_load PORT RATE SECONDS SEED``.

A call's time counts from the moment when it was due. Prints the results as JSON, and runs in a process of its own:
it needs a core.
"""

import base64
import json
import select
import socket
import sys
import time
from collections import deque
from typing import Final

from bench.payload import events

CONNECTIONS: Final = 64
KEY: Final = "segment-key"
_HEAD: Final = (
    "POST /identify HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {key}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


def main() -> None:
    """Send the calls, and print what came of them."""
    port, rate, seconds, seed = (int(each) for each in sys.argv[1:])
    key = base64.b64encode(f"{KEY}:".encode()).decode()
    requests = [(_HEAD.format(key=key, length=len(each)) + each).encode() for each in events(rate * seconds, seed)]
    begun = time.perf_counter()
    waits = sorted(_send(port, requests, rate))
    took = time.perf_counter() - begun
    p50, p99 = (waits[int(len(waits) * part)] * 1000 for part in (0.5, 0.99))
    print(json.dumps({"per_second": len(waits) / took, "p50_ms": p50, "p99_ms": p99}))


def _send(port: int, requests: list[bytes], rate: int) -> list[float]:
    """Send the requests, and return how long each took, in seconds."""
    idle = deque(socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS))
    busy: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    waits: list[float] = []
    begun, sent = time.perf_counter(), 0
    while sent < len(requests) or busy:
        while sent < len(requests) and idle and (due := begun + sent / rate) <= time.perf_counter():
            connection = idle.popleft()
            connection.sendall(requests[sent])
            busy[connection] = due
            sent += 1
        more = sent < len(requests) and idle
        pause = max(begun + sent / rate - time.perf_counter(), 0) if more else 0.05
        for connection in select.select(list(busy), [], [], pause)[0]:
            received[connection] = received.get(connection, b"") + connection.recv(65_536)
            if _is_whole(received[connection]):
                assert received.pop(connection).startswith(b"HTTP/1.1 2")
                waits.append(time.perf_counter() - busy.pop(connection))
                idle.append(connection)
    for connection in idle:
        connection.close()
    return waits


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"\r\ncontent-length: ")
    return bool(rest) and len(body) >= int(rest.partition(b"\r\n")[0])


if __name__ == "__main__":
    main()
