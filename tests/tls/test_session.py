"""Plain bytes to records and back: how either side ends."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from revproxy.tls.session import Session
from tests.certificates import Certified
from tests.tls.handshake import TLS12, TLS13, Client, client_context, shake


@pytest.fixture(params=[TLS12, TLS13])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Session, Client]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Certified("a.example").write(tmp_path, "a"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_side=True)
    session = Session(connection, incoming, outgoing)
    client = Client(client_context(version=request.param))
    shake(client, connection, incoming, outgoing)
    return session, client


def ends(client: Client) -> bytes:
    try:
        client.ssl.unwrap()
    except ssl.SSLError:
        pass
    return client.outgoing.read()


def test_the_peers_end(pair: tuple[Session, Client]) -> None:
    session, client = pair
    client.ssl.write(b"last")
    assert session.open(client.outgoing.read() + ends(client)) == b"last"
    assert session.ended


@pytest.mark.parametrize("last", [b"", b"last", b"x" * 40_000])
def test_the_peers_end_after_ours(pair: tuple[Session, Client], last: bytes) -> None:
    session, client = pair
    assert session.close()
    client.ssl.write(last) if last else None
    assert session.open(client.outgoing.read() + ends(client)) == last
    assert session.ended
    assert session.close() == b"", "it was said"


def test_what_is_no_record(pair: tuple[Session, Client]) -> None:
    with pytest.raises(ssl.SSLError):
        pair[0].open(b"GET / HTTP/1.1\r\n\r\n")
