"""Backends from the A and AAAA records of a name.

Rules of this module:

* every address is a backend of weight 1, sorted by address;
* the port is the one that was written; the name stays known, for TLS and for Host.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from revproxy.config import model
from revproxy.config.endpoints import client_endpoint, host_and_port, name_server
from revproxy.config.errors import Wrong
from revproxy.config.hosts import host_name
from revproxy.upstream.discovery.lookup import Lookup
from revproxy.upstream.discovery.report import Answer, Asking


def endpoint_at(address: str, port: int) -> str:
    """The endpoint string of an address and a port: ``tcp:10.0.0.1:9000``."""
    return client_endpoint(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def wire_name(text: str) -> str:
    """A host name as it is asked for: A-labels, lower case; a final dot stays, it says that the name is whole.

    :raises ValueError: when it is no host name.
    """
    try:
        return host_name(text) + ("." if text.endswith(".") else "")
    except Wrong as error:
        raise ValueError(str(error)) from None


class DnsSource(Asking):
    """A name that is asked again when the TTL of its answer has passed.

    :param lookup: finds addresses; made of ``written.servers`` when it is not given.
    :raises ValueError: when the name is no ``host:port``, or a server is no address.
    :ivar host: the host that was written, as it is on the wire. :ivar hosts: the same, by endpoint string.
    """

    def __init__(self, written: model.Dns, reactor: Any, lookup: Lookup | None = None) -> None:
        host, self._port = host_and_port(written.name)
        self.hosts: dict[str, str] = {}
        self._lookup = lookup or Lookup(reactor, [name_server(server) for server in written.servers])
        try:
            self._literal = self._name = str(ip_address(host))
        except ValueError:
            self._literal = ""
            self._name = wire_name(host)
        self.host = self._name.removesuffix(".")
        super().__init__(f"dns {host}", self._look, reactor, at_least=written.at_least, at_most=written.at_most)

    async def _look(self) -> Answer:
        addresses: tuple[str, ...]
        if self._literal:
            addresses, lasts = (self._literal,), float("inf")
        else:
            found = await self._lookup.addresses(self._name)
            addresses, lasts = found.addresses, found.lasts
        endpoints = [endpoint_at(address, self._port) for address in addresses]
        self.hosts = dict.fromkeys(endpoints, self.host)
        return Answer(tuple(model.Backend(endpoint=endpoint) for endpoint in endpoints), lasts)
