"""Heads that were parsed before, kept for the next message that repeats them.

A connection keeps the field section of its last request, a pool the response heads that came
twice. Nothing here is changed once it is made, but for the serialised forms that are added.
"""

from __future__ import annotations

from typing import Any, Protocol

from revproxy.http.message import Field, Response


class RequestBlock:
    """The field section of a request, parsed: what the next request of a connection most likely repeats.

    :ivar raw: its bytes, without the final CRLF; empty for HTTP/2. :ivar version: 10, 11 or 20.
    :ivar sender: who serialised it for a backend last. :ivar sent: and what that gave.
    :ivar plain_for: the rules of a cache by which it asks for nothing special.
    :ivar accepts: its Accept-Encoding, and whether it forbids that a response is transformed; made on first use.
    """

    __slots__ = (
        "accepts", "authority", "expects_continue", "fields", "host", "keep_alive", "kinds", "length", "plain_for",
        "raw", "sender", "sent", "upgrade", "version",
    )  # fmt: skip

    def __init__(self, raw: bytes, fields: list[Field], kinds: int, version: int) -> None:
        self.raw = raw
        self.fields = fields
        self.kinds = kinds
        self.version = version
        self.authority = b""
        self.host = b""
        self.length: int | None = 0
        self.keep_alive = version != 10
        self.expects_continue = False
        self.upgrade: bytes | None = None
        self.sender: object = None
        self.plain_for: object = None
        self.accepts: tuple[bytes | None, bool] | None = None
        self.sent = b""


class Lines(Protocol):
    """Response fields and what they are on the wire, :class:`ResponseBlock` for one."""

    @property
    def fields(self) -> list[Field]:
        """The fields for which ``wire`` holds."""

    wire: bytes
    pairs: list[tuple[bytes, bytes, bool]]


class ResponseBlock:
    """A response head, parsed and cleaned: what a backend's next response may repeat.

    :ivar size: bytes of the body, for any method but HEAD. :ivar keep: the backend keeps the connection.
    :ivar cleaner: who took out what clients don't get; ``response`` is what was left. Where no hook
        may change it, exchanges share it.
    :ivar wire: the head as clients get it in HTTP/1.1, but for Connection and the final CRLF; made on first use.
    :ivar pairs: and what clients get in HTTP/2, for HPACK; made on first use.
    :ivar recoder: who compresses bodies of this head, the last to do so; ``recoded`` is its own.
    """

    __slots__ = ("cleaner", "fields", "keep", "pairs", "recoded", "recoder", "response", "size", "wire")

    def __init__(self, response: Response, size: int, keep: bool, cleaner: object) -> None:
        self.response = response.copy()
        self.response.block = self
        self.fields = response.headers.fields
        self.size = size
        self.keep = keep
        self.cleaner = cleaner
        self.wire = b""
        self.pairs: list[tuple[bytes, bytes, bool]] = []
        self.recoder: object = None
        self.recoded: Any = None
