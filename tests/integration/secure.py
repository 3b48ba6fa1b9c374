"""Clients in TLS, and what a listener with TLS is made of; for the integration tests."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.certificates import Certified, authority
from tests.integration.harness import PATIENCE, Client, requests_on
from tests.tls.handshake import client_context

__all__ = ["ROOT", "TlsClient", "client_context", "curl", "openssl", "rsa_key", "tells", "write_certificates"]

ROOT = authority("Integration CA")


def rsa_key() -> rsa.RSAPrivateKey:
    """A key for those who can't ECDSA."""
    return rsa.generate_private_key(65537, 2048)


def write_certificates(folder: Path) -> Path:
    """``certs`` with ECDSA and RSA for a.example, ECDSA for *.b.example and other.example; ``root.pem`` beside it."""
    certificates = folder / "certs"
    certificates.mkdir(parents=True)
    ROOT.issues("a.example", "also.example").write(certificates, "a")
    ROOT.issues("a.example", key=rsa_key()).write(certificates, "a-rsa")
    ROOT.issues("*.b.example").write(certificates, "b")
    ROOT.issues("other.example").write(certificates, "other")
    (folder / "root.pem").write_bytes(ROOT.pem)
    return certificates


class TlsClient(Client):
    """A client connection in TLS that reads one response after another.

    :param name: of the host, for SNI and Host. :param context: by default one that trusts :data:`ROOT`.
    :raises ssl.SSLError: when there is no handshake.
    """

    socket: Any

    def __init__(
        self,
        port: int,
        name: str | None = "a.example",
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
        first: bytes = b"",
    ) -> None:
        super().__init__(port, receive_buffer)
        self.name = name or "a.example"
        if first:
            self.send(first)
        if context is None:
            context = client_context(ROOT)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname=name, session=session)
        except BaseException:
            self.socket.close()
            raise

    def get(self, target: str = "/", *fields: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
        self.send("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host or self.name}", *fields, "", ""]).encode())
        return self.read()

    @property
    def certificate(self) -> bytes:
        """What the server showed, in DER."""
        return bytes(self.socket.getpeercert(binary_form=True))


def shown(certified: Certified) -> bytes:
    """What a client sees of this one, in DER."""
    return ssl.PEM_cert_to_DER_cert(certified.pem.decode())


def tells(connection: socket.socket) -> None:
    """A backend that answers each request with its head."""
    for head, _body in requests_on(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(head) + head)


def curl(command: str, folder: Path, port: int, url: str, *options: str) -> str:
    """What curl prints for a URL of ``https://NAME/…``, all names being at this port."""
    name = url.split("/")[2]
    where = url.replace(name, f"{name}:{port}", 1)
    line = [
        command,
        "-sS",
        "--cacert",
        str(folder / "root.pem"),
        "--connect-to",
        f"::127.0.0.1:{port}",
        *options,
        where,
    ]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def openssl(command: str, port: int, *options: str, says: str = "Q\n", name: str | None = "a.example") -> str:
    """What ``openssl s_client`` prints, whether or not it got a connection."""
    line = [command, "s_client", "-connect", f"127.0.0.1:{port}"]
    line += ["-noservername"] if name is None else ["-servername", name]
    done = subprocess.run([*line, *options], input=says, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr


def lines_with(text: str, words: Sequence[str] | str) -> list[str]:
    """The lines of a log that have these words."""
    wanted = [words] if isinstance(words, str) else words
    return [line for line in text.splitlines() if all(word in line for word in wanted)]
