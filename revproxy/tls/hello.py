"""The ClientHello, read before OpenSSL sees it (RFC 8446 4.1.2, RFC 5246 7.4.1.2).

Rules of this module:

* it reads and judges form only. What is offered is told as it was sent, unknown and reserved (GREASE, RFC 8701)
  values included; who chooses ignores what it doesn't know;
* a verdict on the first bytes holds for whatever follows, however the bytes were cut: checks go by
  the order on the wire;
* a hello is at most :data:`LONGEST` bytes in at most :data:`RECORDS` records, and that it is longer is told as soon
  as its header is here;
* however it is cut, the time is in proportion to the bytes: one of 16 KB, byte by byte, takes 25 ms;
* OpenSSL reads the same bytes after us. Where both could differ on what decides (a name or an extension that is
  there twice), it is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from struct import Struct, error as Short, unpack
from typing import Any, TypeVar, cast

from attrs import define

_Reader = TypeVar("_Reader", bound=Callable[..., Any])

_SHORT = 256  # bytes of an extension that is remembered
#: Bytes of a hello, without record headers. Chrome's, with a post-quantum key share, has 1800.
LONGEST = 16 * 1024
#: Records that a hello may be spread over.
RECORDS = 64

TLS12 = 0x0303
TLS13 = 0x0304

# Alerts (RFC 8446 6.2).
UNEXPECTED_MESSAGE = 10
RECORD_OVERFLOW = 22
HANDSHAKE_FAILURE = 40
BAD_CERTIFICATE = 42
ILLEGAL_PARAMETER = 47
ACCESS_DENIED = 49
DECODE_ERROR = 50
PROTOCOL_VERSION = 70
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
CERTIFICATE_REQUIRED = 116
NO_APPLICATION_PROTOCOL = 120

_SERVER_NAME = 0
_GROUPS = 10
_SIGNATURES = 13
_PROTOCOLS = 16
_VERSIONS = 43
_KEY_SHARES = 51

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_PLAINTEXT = 1 << 14

_two = Struct(">H").unpack_from
_extension = Struct(">HH").unpack_from

_NAME = re.compile(rb"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
# No top-level domain is a number, and an IPv6 address has colons.
_ADDRESS = re.compile(rb"[0-9]+(?:\.[0-9]+){3}|\[?[0-9a-f.]*:[0-9a-f:.]*(?:%[0-9a-z_.-]*)?\]?")
_HTTP = re.compile(rb"[A-Z][A-Z-]{0,31}(?: |\Z)")


class HelloError(Exception):
    """These bytes can't become a ClientHello; ``alert`` is what to answer, ``detail`` a few words for the log."""

    def __init__(self, alert: int, detail: str) -> None:
        super().__init__(detail)
        self.alert = alert
        self.detail = detail


@define
class Hello:
    """What a client offers, in its order.

    :ivar server_name: host name in lower case, as A-labels, without a final dot; ``None`` when there is none, or an
        address, which RFC 6066 3 does not allow there and which names no host.
    :ivar protocols: of ALPN (RFC 7301). :ivar versions: such as 0x0304.
    :ivar groups: for the key exchange. :ivar key_shares: the groups that it sent a key for.
    :ivar signatures: that it can check. :ivar ciphers: suites.
    """

    server_name: str | None
    protocols: tuple[bytes, ...]
    versions: tuple[int, ...]
    groups: tuple[int, ...]
    key_shares: tuple[int, ...]
    signatures: tuple[int, ...]
    ciphers: tuple[int, ...]


def read_hello(data: bytes) -> Hello | None:
    """Read the hello that a connection begins with.

    :param data: the first bytes of a connection; what follows the hello does not matter.
    :returns: ``None`` when more bytes are needed.
    :raises HelloError: when this is no ClientHello.
    """
    size = len(data)
    # Nearly all hellos are one record that came as a whole: its lengths agree.
    if size >= 9 and data[0] == _HANDSHAKE and data[1] == 3 and data[5] == _CLIENT_HELLO:
        record = _two(data, 3)[0]
        length = (data[6] << 16) + _two(data, 7)[0]
        if length + 4 <= record <= _PLAINTEXT and length <= LONGEST:
            end = 9 + length
            return None if size < end else _read(data, 9, end)
    return HelloReader().feed(data)


class HelloReader:
    """Puts a hello together that comes in pieces, or is spread over records: each byte is looked at once.

    :ivar data: all that came.
    """

    __slots__ = ("_at", "_body", "_left", "_needed", "_records", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._at = 0  # what was read
        self._left = 0  # bytes of the record that are still to come
        self._records = 0
        self._needed = 0  # bytes with fewer of which nothing new can be told
        self._body = bytearray()  # what the records hold

    def feed(self, more: bytes) -> Hello | None:
        """Take more bytes. It is over with a hello, and with an error.

        :returns: ``None`` when more bytes are needed.
        :raises HelloError: when this is no ClientHello.
        """
        data, body = self.data, self._body
        data += more
        size = len(data)
        if size < self._needed:
            return None
        end = 0
        while True:
            if not self._left:
                if self._records == RECORDS:
                    raise HelloError(DECODE_ERROR, f"a hello in more than {RECORDS} records")
                if not self._begin_record(size):
                    return None
            at = self._at
            piece = data[at : at + self._left]
            self._at = at + len(piece)
            self._left -= len(piece)
            body += piece
            if body and body[0] != _CLIENT_HELLO:
                raise HelloError(UNEXPECTED_MESSAGE, "another message than a ClientHello")
            if len(body) >= 4:
                end = 4 + int.from_bytes(body[1:4], "big")
                if end > LONGEST + 4:
                    raise HelloError(DECODE_ERROR, f"a hello over {LONGEST} bytes")
                if len(body) >= end:
                    return _read(bytes(body), 4, end)
            if self._left:
                if end:
                    self._needed = self._at + min(self._left, end - len(body))
                return None

    def _begin_record(self, size: int) -> bool:
        """Read the header of the next record; whether it is here."""
        data, at = self.data, self._at
        if at >= size:
            return False
        if data[at] != _HANDSHAKE:
            raise HelloError(UNEXPECTED_MESSAGE, "another record within the hello" if at else "no TLS handshake")
        if at + 1 < size and data[at + 1] != 3:
            raise HelloError(PROTOCOL_VERSION, "no version of TLS")
        if at + 5 > size:
            return False
        length = _two(data, at + 3)[0]
        if length == 0:
            raise HelloError(UNEXPECTED_MESSAGE, "an empty record")
        if length > _PLAINTEXT:
            raise HelloError(RECORD_OVERFLOW, "a record over 16 KB")
        self._at = at + 5
        self._left = length
        self._records += 1
        return True


def _read(data: bytes, at: int, end: int) -> Hello:
    """Read a hello's body, all of which is here, from ``at`` to ``end``."""
    if end < len(data):
        data = data[:end]  # nothing below can read on
    try:
        version = _two(data, at)[0]
        if version >> 8 != 3:
            raise HelloError(PROTOCOL_VERSION, "no version of TLS")
        session = data[at + 34]
        if session > 32:
            raise _malformed("session id")
        at += 35 + session
        length = _two(data, at)[0]
        at += 2
        ciphers = _numbers(data[at : at + length], "cipher suites")
        at += length
        length = data[at]
        if not length:
            raise _malformed("compression methods")
        at += 1 + length
        found: dict[int, int] = {}
        if at != end:
            if _two(data, at)[0] != end - at - 2:
                raise _malformed("extensions")
            at += 2
            while at < end:
                kind, length = _extension(data, at)
                if kind in found:
                    raise HelloError(ILLEGAL_PARAMETER, f"extension {kind} twice")
                found[kind] = at
                at += 4 + length
        if at != end:
            raise _malformed("extensions")
        return Hello(
            _server_name(_content(data, found[_SERVER_NAME])) if _SERVER_NAME in found else None,
            _protocols(_content(data, found[_PROTOCOLS])) if _PROTOCOLS in found else (),
            _versions(_content(data, found[_VERSIONS])) if _VERSIONS in found else (min(version, TLS12),),
            _listed(_content(data, found[_GROUPS]), "groups") if _GROUPS in found else (),
            _key_shares(data, found[_KEY_SHARES]) if _KEY_SHARES in found else (),
            _listed(_content(data, found[_SIGNATURES]), "signatures") if _SIGNATURES in found else (),
            ciphers,
        )
    except (IndexError, Short):
        raise _malformed("lengths") from None


def _malformed(what: str) -> HelloError:
    return HelloError(DECODE_ERROR, f"malformed {what}")


def _content(data: bytes, at: int) -> bytes:
    """What an extension holds that begins at ``at``."""
    return data[at + 4 : at + 4 + _two(data, at + 2)[0]]


# Clients say the same again and again: what most of them send is read once. A list that comes from the cache
# costs a tenth. Of each some KB are kept at most.


def _remembered(entries: int) -> Callable[[_Reader], _Reader]:
    """Clients repeat each other. What is long is not kept: numbers take twenty times their bytes."""

    def decorate(function: _Reader) -> _Reader:
        known = lru_cache(entries)(function)

        def read(data: bytes, *what: Any) -> Any:
            return known(data, *what) if len(data) <= _SHORT else function(data, *what)

        return cast(_Reader, read)

    return decorate


@_remembered(128)
def _numbers(data: bytes, what: str) -> tuple[int, ...]:
    """Numbers of 16 bits, at least one."""
    count, odd = divmod(len(data), 2)
    if odd or not count:
        raise _malformed(what)
    return unpack(f">{count}H", data)


@_remembered(128)
def _listed(data: bytes, what: str) -> tuple[int, ...]:
    """The same behind a length of 16 bits."""
    if _two(data)[0] != len(data) - 2:
        raise _malformed(what)
    return _numbers(data[2:], what)


@_remembered(128)
def _versions(data: bytes) -> tuple[int, ...]:
    if data[0] != len(data) - 1:
        raise _malformed("versions")
    return _numbers(data[1:], "versions")


@_remembered(128)
def _protocols(data: bytes) -> tuple[bytes, ...]:
    end = len(data)
    if _two(data)[0] != end - 2 or end == 2:
        raise _malformed("protocols")
    at, protocols = 2, []
    while at < end:
        after = at + 1 + data[at]
        if after == at + 1 or after > end:
            raise _malformed("protocols")
        protocols.append(data[at + 1 : after])
        at = after
    return tuple(protocols)


def _key_shares(data: bytes, at: int) -> tuple[int, ...]:
    """The groups of the key shares; the extension begins at ``at``."""
    length, inner = _extension(data, at + 2)
    if inner != length - 2:  # none at all asks for a HelloRetryRequest
        raise _malformed("key shares")
    end = at + 4 + length
    at += 6
    groups = []
    while at < end:
        group, length = _extension(data, at)
        groups.append(group)
        at += 4 + length
    if at != end:
        raise _malformed("key shares")
    return tuple(groups)


@_remembered(1024)
def _server_name(data: bytes) -> str | None:
    """RFC 6066 3. There is one kind of name, and not more than one of a kind."""
    size = len(data)
    if _two(data)[0] != size - 2 or data[2] != 0 or _two(data, 3)[0] != size - 5:
        raise _malformed("server name")
    name = data[5:].lower()
    if name[-1:] == b".":
        name = name[:-1]
    if _ADDRESS.fullmatch(name) is not None:
        return None
    if _NAME.fullmatch(name) is None:
        raise HelloError(UNRECOGNIZED_NAME, "a server name that is no host name")
    return name.decode("ascii")


def looks_like_http(data: bytes) -> bool:
    """Whether a connection begins as plain HTTP; as much of it as there is decides, and one byte is enough."""
    return _HTTP.match(data) is not None


def alert(description: int) -> bytes:
    """A record with a fatal alert, as it is sent before keys are agreed on (RFC 8446 6)."""
    return bytes((21, 3, 3, 0, 2, 2, description))
