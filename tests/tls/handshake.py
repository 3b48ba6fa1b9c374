"""A client of the standard library and a server's connection, talking in memory; and hellos written by hand."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable
from typing import Any

from revproxy.tls.hello import Hello
from tests.certificates import Certified

TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3


def client_context(
    *roots: Certified,
    protocols: Iterable[str] = (),
    version: ssl.TLSVersion | None = None,
    shows: tuple[str, str] | None = None,
    ciphers: str | None = None,
    group: str | None = None,
) -> ssl.SSLContext:
    """What a client goes by; without roots it takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots:
        context.load_verify_locations(cadata="".join(root.pem.decode() for root in roots))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shows is not None:
        context.load_cert_chain(*shows)
    if ciphers is not None:
        context.set_ciphers(ciphers)
    if group is not None:
        context.set_ecdh_curve(group)
    return context


class Client:
    """A client before its handshake. :ivar hello: its first bytes."""

    def __init__(self, context: ssl.SSLContext, name: str | None = "a.example", session: Any = None) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.turn()
        self.hello = self.outgoing.read()

    def turn(self) -> bool:
        """Go on with the handshake; whether it is complete."""
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


def shake(client: Client, server: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> int:
    """Shake hands and send a byte each way, so that tickets arrive; how many flights of the client it took.

    :raises ssl.SSLError: what either side raises.
    """
    incoming.write(client.hello)
    done = [False, False]
    flights = 0
    while not all(done):
        assert flights < 6, "no handshake comes of it"
        if not done[1]:
            flights += 1
            try:
                server.do_handshake()
                done[1] = True
            except ssl.SSLWantReadError:
                pass
        client.incoming.write(outgoing.read())
        done[0] = client.turn()
        incoming.write(client.outgoing.read())
    server.write(b"s")
    client.incoming.write(outgoing.read())
    assert client.ssl.read(2) == b"s"
    client.ssl.write(b"c")
    incoming.write(client.outgoing.read())
    assert server.read(2) == b"c"
    return flights


def hello(**offered: Any) -> Hello:
    """What a client of today offers, and what it offers otherwise."""
    fields: dict[str, Any] = {
        "server_name": "a.example",
        "protocols": (),
        "versions": (0x0304,),
        "groups": (29, 23),
        "key_shares": (29,),
        "signatures": (0x0403, 0x0804),
        "ciphers": (0x1301,),
    }
    return Hello(**(fields | offered))


def vector(size: int, content: bytes) -> bytes:
    """What TLS writes with a length of ``size`` bytes before it."""
    return len(content).to_bytes(size, "big") + content


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def server_name(name: bytes) -> tuple[int, bytes]:
    return 0, vector(2, b"\0" + vector(2, name))


def hello_body(
    extensions: Iterable[tuple[int, bytes]] | None = (),
    *,
    version: int = 0x0303,
    session: bytes = b"",
    ciphers: bytes = b"\x13\x01",
    compression: bytes = b"\0",
) -> bytes:
    """The handshake message."""
    body = numbers(version) + bytes(32) + vector(1, session) + vector(2, ciphers) + vector(1, compression)
    if extensions is not None:
        body += vector(2, b"".join(numbers(kind) + vector(2, content) for kind, content in extensions))
    return b"\x01" + vector(3, body)


def records(message: bytes, *sizes: int) -> bytes:
    """A message in records of these sizes; the last takes the rest."""
    data, at = b"", 0
    for size in (*sizes, len(message)):
        if message[at : at + size]:
            data += b"\x16\x03\x01" + vector(2, message[at : at + size])
        at += size
    return data


def chrome() -> bytes:
    """A hello as a browser sends it today: a post-quantum key share, reserved values, 1.8 KB."""
    shares = numbers(0x1A1A) + vector(2, b"\0") + numbers(4588) + vector(2, bytes(1216)) + numbers(29)
    shares += vector(2, bytes(32))
    schemes = numbers(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
    extensions = [
        (0x0A0A, b""),
        server_name(b"www.example.com"),
        (23, b""),
        (65281, b"\0"),
        (10, vector(2, numbers(0x1A1A, 4588, 29, 23, 24))),
        (11, b"\1\0"),
        (35, b""),
        (16, vector(2, vector(1, b"h2") + vector(1, b"http/1.1"))),
        (5, b"\1\0\0\0\0"),
        (13, vector(2, schemes)),
        (18, b""),
        (51, vector(2, shares)),
        (45, b"\1\1"),
        (43, vector(1, numbers(0x2A2A, 0x0304, 0x0303))),
        (27, b"\2\0\2"),
        (17613, vector(2, vector(1, b"h2"))),
        (65037, bytes(250)),
        (0x3A3A, b"\0"),
    ]
    suites = (0x4A4A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0x9C, 0x2F)
    return records(hello_body(extensions, session=bytes(32), ciphers=numbers(*suites)))
