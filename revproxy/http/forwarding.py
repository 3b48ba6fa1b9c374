"""What is sent on: the fields of a request for a backend and of a response for a client.

Rules of this module:

* hop-by-hop fields, and those that Connection names, end here (RFC 9110 7.6.1); framing is
  written anew from ``length`` and never copied, so that what is sent is what was read;
* Connection names away neither Host, Content-Length, Via, nor what says where a request came
  from, nor a field that we or the user's code made;
* what says where a request came from is replaced for strangers and continued for trusted proxies;
* a request of a stranger without special fields is one comprehension over its fields: 2.5 us for
  13 of them, where parsing the same head takes 7.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address

from revproxy.http.mapping import Names, map_field
from revproxy.http.message import (
    CODING,
    CONNECTION,
    EXPECT,
    FORWARDED,
    HOP,
    HOST,
    LENGTH,
    MAPPED,
    OURS,
    OWN,
    TE,
    UPGRADE,
    Field,
    Headers,
    Request,
    Response,
)

_WRITTEN = HOP | LENGTH | CODING | EXPECT  # left out and, where due, written by us
_STRANGER = _WRITTEN | FORWARDED
_RARE = CONNECTION | EXPECT | UPGRADE | TE  # kinds that need a closer look
_PLAIN_OPTIONS = frozenset({b"", b"keep-alive", b"close"})
_KEPT = OWN | {b"host", b"content-length", b"via"}
#: Of the fields that say where a request came from, those that are continued for a trusted peer.
_CONTINUED = frozenset({b"x-forwarded-for", b"x-request-id"})
#: What a request's client is where a trusted proxy forwards it and does not say whose it is: in no network, and one
#: client for all that count.
UNKNOWN = "unknown"
#: Fields by which proxies name a client; without X-Forwarded-For they say that there is one.
_NAMES_CLIENT = frozenset(
    b"forwarded x-real-ip x-client-ip x-cluster-client-ip true-client-ip cf-connecting-ip cf-connecting-ipv6"
    b" fastly-client-ip fly-client-ip x-azure-clientip x-azure-socketip x-appengine-user-ip"
    b" x-original-forwarded-for".split()
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@\-]{1,128}")
_WITH_PORT = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
#: RFC 7230 3.2.6 token: what RFC 7239 lets stand without quotes.
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


# -- where a request came from


def plain_address(text: str) -> str | None:
    """An IP address in its normal form, of ``1.2.3.4``, ``1.2.3.4:80``, ``::1`` or ``[::1]:80``.

    Quotes are left out and IPv4 in IPv6 becomes IPv4; ``None`` for anything else.
    """
    text = text.strip(' \t"')
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2] or ""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def forwarded_lines(peer: str, port: int, scheme: bytes, via: str | None, received: str = "1.1") -> bytes:
    """What a connection says to backends of where its requests come from: ``Arrival.forwarded``.

    :param peer: the client's address, ``""`` for a Unix socket.
    :param port: the port of ours that it connected to, 0 where there is none.
    :param via: our name in Via (RFC 9110 7.6.3), ``None`` for no Via.
    :param received: the version in which its requests come, for Via: ``2.0`` for HTTP/2.
    :return: X-Forwarded-For, -Proto, -Port and Via, each line with its CRLF.
    """
    lines = [b"X-Forwarded-For: " + _name_of(peer), b"X-Forwarded-Proto: " + scheme]
    if port:
        lines.append(b"X-Forwarded-Port: %d" % port)
    if via is not None:
        lines.append(f"Via: {received} {via}".encode("ascii"))
    return b"".join([line + b"\r\n" for line in lines])


def _name_of(peer: str) -> bytes:
    if peer and ":" not in peer:  # IPv4, in the only form the kernel gives it
        return peer.encode("ascii")
    return (plain_address(peer) or "unknown").encode("ascii")


def _element(request: Request) -> bytes:
    """Our element of Forwarded (RFC 7239 4)."""
    arrival = request.arrival
    peer = _name_of(arrival.peer)
    parts = [b'for="[%b]"' % peer if b":" in peer else b"for=" + peer]
    host = request.authority
    if host:
        parts.append(b"host=" + (host if _TOKEN.fullmatch(host) else b'"%b"' % host))
    parts.append(b"proto=" + arrival.scheme)
    return b";".join(parts)


def client_address(request: Request, is_trusted: Callable[[str], bool]) -> str:
    """The client's address: the peer's, or what trusted proxies say it is.

    That is the right-most entry of X-Forwarded-For that is no trusted proxy itself. Where that is no address
    (``unknown``, a name, garbage, nothing), or only other fields name somebody, it is :data:`UNKNOWN`: never the proxy,
    for whom doors may be open. A request without any such field is the peer's own.

    :param is_trusted: whether an address in its normal form is a trusted proxy's.
    """
    client = request.arrival.peer
    if not request.arrival.trusted or not request.kinds & FORWARDED:
        return client
    headers = request.headers
    entries = headers.get_list(b"x-forwarded-for")
    if not entries:
        told = any(f[0] == b"x-forwarded-for" or f[0] in _NAMES_CLIENT for f in headers.fields)
        return UNKNOWN if told else client
    for entry in reversed(entries):
        address = plain_address(entry.decode("latin-1"))
        if address is None:
            return UNKNOWN
        client = address
        if not is_trusted(address):
            break
    return client


def given_request_id(request: Request) -> bytes | None:
    """The X-Request-ID that a trusted proxy gave: 1 to 128 characters of a plain kind, else ``None``."""
    if not request.arrival.trusted or not request.kinds & FORWARDED:
        return None
    values = request.headers.get_all(b"x-request-id")
    return values[0] if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]) else None


# -- requests


def request_head(request: Request, section: bytes, request_id: bytes) -> bytes:
    """The whole head that a backend gets, ready to be written.

    :param section: what :func:`request_section` gives for the request.
    :param request_id: the value of X-Request-ID (see :func:`given_request_id`).
    """
    path = request.path if request.query is None else b"%b?%b" % (request.path, request.query)
    return b"%b %b HTTP/1.1\r\n%bX-Request-ID: %b\r\n\r\n" % (request.method, path, section, request_id)


def request_section(request: Request, host: bytes | None = None, forwarded: bool = False) -> bytes:
    """The field lines that a backend gets, each with its CRLF, but for X-Request-ID.

    The caller has decided before: ``request.upgrade`` is ``None`` unless the route lets it switch,
    and ``request.length`` is the length of the body that will follow.

    :param host: the value of Host; ``None`` preserves the client's.
    :param forwarded: whether Forwarded (RFC 7239) is written too.
    """
    arrival = request.arrival
    kinds = request.kinds
    rare = kinds & _RARE
    if rare == CONNECTION and not _named(request.headers):  # most say no more than keep-alive
        rare = 0
    if rare or not (kinds & HOST and request.authority) or host is not None or arrival.trusted or forwarded:
        return _rare_section(request, host, forwarded)
    lines = [f[2] for f in request.headers.fields if not f[3] & _STRANGER]
    length = request.length
    if length != 0 or kinds & LENGTH:
        lines.append(_framing(length))
    lines += (b"X-Forwarded-Host: " + request.authority, arrival.forwarded)
    return b"\r\n".join(lines)


def _framing(length: int | None) -> bytes:
    return b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length


def _named(headers: Headers) -> frozenset[bytes]:
    """The lower-case names that Connection removes."""
    named: set[bytes] = set()
    for f in headers.fields:
        if f[3] & CONNECTION:
            value = f[1].lower()
            if value not in _PLAIN_OPTIONS:
                named.update([option.strip(b" \t") for option in value.split(b",")])
    return frozenset(named - _KEPT) if named else frozenset()


def _rare_section(request: Request, host: bytes | None, forwarded: bool) -> bytes:
    arrival = request.arrival
    kinds = request.kinds
    headers = request.headers
    left_out = _WRITTEN if arrival.trusted else _STRANGER
    lines = []
    if host is not None or not (kinds & HOST and request.authority):
        left_out |= HOST
        # HTTP/1.0 need not name a host; a backend that is spoken to in HTTP/1.1 needs one
        lines.append(b"Host: " + (host or request.authority or arrival.local.encode("ascii") or b"localhost"))
    fields = [f for f in headers.fields if not f[3] & left_out]
    named = _named(headers) if kinds & CONNECTION else None
    if named:
        fields = [f for f in fields if f[0] not in named or f[3] & OURS]
    if arrival.trusted:
        lines += _continued(fields, request, forwarded)
        block = b""
    else:
        lines += [f[2] for f in fields]
        if request.authority:
            lines.append(b"X-Forwarded-Host: " + request.authority)
        if forwarded:
            lines.append(b"Forwarded: " + _element(request))
        block = arrival.forwarded
    if request.expects_continue:
        lines.append(b"Expect: 100-continue")
    if request.length != 0 or kinds & LENGTH:
        lines.append(_framing(request.length))
    options = []
    if request.upgrade is not None:
        lines.append(b"Upgrade: " + request.upgrade)
        options.append(b"Upgrade")
    if kinds & TE and b"trailers" in [item.lower() for item in headers.get_list(b"te")]:
        lines.append(b"TE: trailers")
        options.append(b"TE")
    if options:
        lines.append(b"Connection: " + b", ".join(options))
    lines.append(block)
    return b"\r\n".join(lines)


def _continued(fields: list[Field], request: Request, forwarded: bool) -> list[bytes]:
    """A trusted peer's fields, its account of where the request came from continued by ours."""
    continued = _CONTINUED | {b"forwarded"} if forwarded else _CONTINUED
    lines = [f[2] for f in fields if f[0] not in continued]
    there = {f[0] for f in fields if f[3] & FORWARDED}
    if request.authority and b"x-forwarded-host" not in there:
        lines.append(b"X-Forwarded-Host: " + request.authority)
    if forwarded:
        elements = [f[1] for f in fields if f[0] == b"forwarded" and f[1]]
        lines.append(b"Forwarded: " + b", ".join([*elements, _element(request)]))
    for line in request.arrival.forwarded.splitlines():
        name, _, value = line.partition(b": ")
        name = name.lower()
        if name == b"x-forwarded-for":
            before = [f[1] for f in fields if f[0] == name and f[1]]
            lines.append(b"X-Forwarded-For: " + b", ".join([*before, value]))
        elif name not in there:
            lines.append(line)
    return lines


# -- responses


def hidden_names(names: Iterable[str]) -> frozenset[bytes]:
    """The names of fields to hide, as :func:`response_fields` takes them."""
    return frozenset(name.lower().encode("ascii") for name in names)


def response_fields(
    response: Response, hide: frozenset[bytes], request: Request | None = None, names: Names | None = None
) -> list[Field]:
    """The fields of a backend's response that go on to the client, in their order and case.

    Connection and Transfer-Encoding are for the writer of the head to add; a 101 keeps its Upgrade.

    :param hide: lower-case names that are left out.
    :param request: the request it answers; with ``names`` it says how Location, Content-Location,
        Refresh and Set-Cookie are mapped back.
    :param names: the backend's own names, ``None`` to map nothing.
    """
    kinds = response.kinds
    fields = [f for f in response.headers.fields if not f[3] & HOP and f[0] not in hide]
    if kinds & (CONNECTION | MAPPED | LENGTH | UPGRADE):
        status = response.status
        if kinds & LENGTH and (status < 200 or status == 204):  # RFC 9110 8.6
            fields = [f for f in fields if not f[3] & LENGTH]
        if kinds & CONNECTION:
            named = _named(response.headers)
            if named:
                fields = [f for f in fields if f[0] not in named or f[3] & OURS]
        if kinds & MAPPED and names is not None and request is not None:
            fields = [map_field(f, names, request) if f[3] & MAPPED else f for f in fields]
        if kinds & UPGRADE and status == 101:
            fields += [f for f in response.headers.fields if f[3] & UPGRADE]
    return fields
