"""Clients and backends as a test plays them: what they expect, and how they read messages.

Rules of this module:

* an expectation that is not met raises :class:`Unexpected` with the whole conversation;
* the reading of messages is its own, so that it does not repeat a mistake of the proxy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from attrs import define, field

from revproxy.testing.memory import Note, Peer


class Unexpected(AssertionError):
    """A conversation went otherwise; the text ends with all of it."""


@define
class Message:
    """A request or response as a peer got it.

    :ivar first: method, target and version; or version, status and reason.
    :ivar fields: names as sent and values. :ivar body: decoded. :ivar trailers: as ``fields``.
    """

    first: tuple[bytes, ...]
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(factory=list)

    @property
    def status(self) -> int:
        return int(self.first[1])

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """The only value of a field, or ``None``. :raises Unexpected: when there are several."""
        values = self.all(name)
        if len(values) > 1:
            raise Unexpected(f"{name!r} is there {len(values)} times: {values!r}")
        return values[0] if values else None


class _Talker(Peer):
    """A peer that knows what to expect. ``_at`` is where the unread bytes begin."""

    def __init__(self, name: str, note: Note, conversation: Callable[[], str], single_bytes: bool) -> None:
        super().__init__(name, note, single_bytes)
        self._conversation = conversation
        self._at = 0
        self._left = 0  # of the body; -1: chunked, -2: to the end of the connection
        self._trailers: list[tuple[bytes, bytes]] = []
        self._over = True

    @property
    def unread(self) -> bytes:
        """What came and was not expected yet."""
        return self.received[self._at :]

    def fail(self, why: str) -> NoReturn:
        """:raises Unexpected: always, with the conversation."""
        raise Unexpected(f"{self.name}: {why}\n\n{self._conversation()}")

    def expect(self, data: bytes) -> None:
        """These very bytes come next."""
        if not self.unread.startswith(data):
            self.fail(f"expected {data!r}, but there is {self.unread[:2000]!r}")
        self._at += len(data)

    def expect_nothing(self) -> None:
        """Nothing more came, and the connection is open."""
        if self.unread:
            self.fail(f"expected nothing, but there is {self.unread[:2000]!r}")
        self.expect_open()

    def expect_open(self) -> None:
        """The proxy has not ended its side."""
        if self.ended:
            self.fail(f"expected an open connection; it was {self.ended}")

    def expect_closed(self) -> None:
        """The proxy ended its side in good order, and nothing unread is left."""
        if self.unread:
            self.fail(f"expected the end, but there is {self.unread[:2000]!r}")
        if self.ended != "closed":
            self.fail(f"expected a closed connection; it is {self.ended or 'open'}")

    def expect_reset(self) -> None:
        """The proxy cut the connection, and nothing unread is left."""
        if self.unread:
            self.fail(f"expected the end, but there is {self.unread[:2000]!r}")
        if self.ended != "reset":
            self.fail(f"expected a cut connection; it is {self.ended or 'open'}")

    def expect_body(self, body: bytes) -> None:
        """Of the message whose head was read, exactly this much body came by now."""
        found = self._body()
        if found != body:
            self.fail(f"expected the body {body[:2000]!r}, but there is {found[:2000]!r}")

    def expect_end(self, trailers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """The message whose head was read is complete."""
        rest = self._body()
        if rest:
            self.fail(f"expected the end of the message, but there is {rest[:2000]!r}")
        if not self._over:
            self.fail("expected the end of the message, but it is not complete")
        if self._trailers != list(trailers):
            self.fail(f"expected the trailers {list(trailers)!r}, but there are {self._trailers!r}")

    def expect_unfinished(self) -> None:
        """The message whose head was read is not complete, whatever came of it."""
        self._body()
        if self._over:
            self.fail("expected a message that is not complete, but it is")

    # -- reading messages

    def _head(self, what: str) -> Message:
        end = self.unread.find(b"\r\n\r\n")
        if end < 0:
            self.fail(f"expected {what}, but there is {self.unread[:2000]!r}")
        first, *lines = self.unread[:end].split(b"\r\n")
        self._at += end + 4
        parts = tuple(first.split(b" ", 2))
        if len(parts) < 3:
            self.fail(f"expected {what}, but there is {first!r}")
        return Message(parts, _fields(lines))

    def _begin(self, message: Message, rest: int) -> None:
        """``rest``: the length of the body where no field says it."""
        length = message.get(b"content-length")
        coding = message.get(b"transfer-encoding")
        if length is not None and coding is not None:
            self.fail("a message with Content-Length and Transfer-Encoding")
        self._left = -1 if coding is not None else rest if length is None else int(length)
        self._trailers = []
        self._over = self._left == 0

    def _body(self) -> bytes:
        if self._left == -2:
            found, self._at = self.unread, len(self.received)
            self._over = self.ended == "closed"
            return found
        if self._left >= 0:
            found = self.unread[: self._left]
            self._at += len(found)
            self._left -= len(found)
            self._over = self._left == 0
            return found
        found = b""
        while not self._over:
            line, mark, rest = self.unread.partition(b"\r\n")
            if not mark:
                break
            size = int(line, 16)
            if size == 0:
                section, mark, _ = (b"\r\n" + rest).partition(b"\r\n\r\n")
                if not mark:
                    break
                self._at += len(line) + 2 + len(section) + 2
                self._trailers = _fields(section.split(b"\r\n")[1:])
                self._over = True
                self._left = 0
                break
            if len(rest) < size + 2:
                break
            if rest[size : size + 2] != b"\r\n":
                self.fail("a chunk that does not end where it should")
            found += rest[:size]
            self._at += len(line) + 2 + size + 2
        return found

    def _check(self, message: Message, headers: Mapping[bytes, bytes | None]) -> None:
        for name, value in headers.items():
            found = message.all(name)
            if found != ([] if value is None else [value]):
                self.fail(f"expected {name!r} to be {value!r}, but there is {found!r}")


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


class Client(_Talker):
    """A client's connection to the proxy."""

    def expect_head(
        self, status: int, headers: Mapping[bytes, bytes | None] | None = None, head: bool = False
    ) -> Message:
        """The head of a response; 1xx heads are responses of their own.

        :param headers: fields with the values they must have, ``None`` for those that must not be there.
        :param head: whether it answers a HEAD request.
        """
        message = self._head(f"a response with status {status}")
        if message.status != status:
            self.fail(f"expected status {status}, but it is {message.status}")
        bare = head or status < 200 or status in (204, 304)
        if bare:
            self._left, self._over = 0, True
        else:
            self._begin(message, -2)
        self._check(message, headers or {})
        return message

    def expect_response(
        self,
        status: int,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes | None] | None = None,
        head: bool = False,
        trailers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Message:
        """A whole response, with this body if one is given."""
        message = self.expect_head(status, headers, head)
        message.body = self._body()
        message.trailers = self._trailers
        if body is not None and message.body != body:
            self.fail(f"expected the body {body[:2000]!r}, but there is {message.body[:2000]!r}")
        self.expect_end(trailers)
        return message


class Connection(_Talker):
    """A connection of the proxy to a backend, the backend's end of it."""

    def expect_head(self, method: bytes, target: bytes, headers: Mapping[bytes, bytes | None] | None = None) -> Message:
        """The head of a request."""
        message = self._head(f"{method.decode()} {target.decode()}")
        if message.first != (method, target, b"HTTP/1.1"):
            self.fail(f"expected {method!r} {target!r}, but there is {message.first!r}")
        self._begin(message, 0)
        self._check(message, headers or {})
        return message

    def expect_request(
        self,
        method: bytes,
        target: bytes,
        body: bytes = b"",
        headers: Mapping[bytes, bytes | None] | None = None,
        trailers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Message:
        """A whole request."""
        message = self.expect_head(method, target, headers)
        message.body = self._body()
        message.trailers = self._trailers
        if message.body != body:
            self.fail(f"expected the body {body[:2000]!r}, but there is {message.body[:2000]!r}")
        self.expect_end(trailers)
        return message
