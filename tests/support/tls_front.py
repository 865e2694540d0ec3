"""A TLS front of a server, as poolers of hosting companies have one: the tests' PostgreSQL is built without TLS."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_TLS_REQUEST = struct.pack("!ii", 8, 80877103)
_HANDSHAKE = b"\x16"


@dataclass
class TlsFront:
    """A port that takes TLS alone, by PostgreSQL's request for it or at once, and passes the rest on."""

    port: int
    #: Of each connection: the protocol that its client named in the handshake.
    protocols: list[str | None] = field(default_factory=list)


@contextmanager
def tls_front(server_port: int, certificate: tuple[Path, Path], clients: Path | None = None) -> Iterator[TlsFront]:
    """Listen until the end of the block. Clients need a certificate of the authority ``clients``, if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["postgresql"])
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:
        front = TlsFront(listening.getsockname()[1])

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with suppress(OSError), client:
                if client.recv(1, socket.MSG_PEEK) != _HANDSHAKE:
                    if client.recv(8) != _TLS_REQUEST:
                        return
                    client.sendall(b"S")
                with (
                    context.wrap_socket(client, server_side=True) as inside,
                    socket.create_connection(("127.0.0.1", server_port)) as server,
                ):
                    front.protocols.append(inside.selected_alpn_protocol())
                    threading.Thread(target=_pump, args=(server, inside), daemon=True).start()
                    _pump(inside, server)

        threading.Thread(target=accept, daemon=True).start()
        yield front
        listening.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError, ValueError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
