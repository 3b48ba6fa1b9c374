"""Descriptions of responses for the tests of the store: as large as real ones."""

from __future__ import annotations

from revproxy.cache.entry import Key
from revproxy.http.message import Field, Headers, field

NAMES = (
    b"Content-Type", b"Date", b"Cache-Control", b"ETag", b"Last-Modified", b"Vary", b"X-Frame-Options",
    b"X-Content-Type-Options", b"Strict-Transport-Security", b"Referrer-Policy", b"Accept-Ranges", b"Server-Timing",
)  # fmt: skip

_LOWER = {name: name.lower() for name in NAMES}


class Described:
    """What a cache keeps of a response beside its body: 21 attributes, its fields among them."""

    __slots__ = (
        "born", "serve_until", "vary", "selected", "bits", "fresh_until", "while_until", "error_until",
        "disconnected_until", "lifetime", "source", "key", "status", "reason", "headers", "length", "request_time",
        "response_time", "date", "etag", "last_modified",
    )  # fmt: skip

    def __init__(self, key: Key, fields: list[Field], selected: tuple[bytes | None, ...] = ()) -> None:
        self.key = key
        self.headers = Headers(fields)
        self.vary = tuple(b"accept" for _ in selected)
        self.selected = selected
        self.status = 200
        self.reason = b"OK"
        self.source = "max-age"
        self.bits = 1
        self.length = None
        self.etag = b""
        self.last_modified = None
        self.serve_until = self.fresh_until = 0.0

    def set_times(self, now: float) -> None:
        """Each its own object, as what is computed for each response."""
        self.response_time = now + 0.5
        self.born = now + 0.25
        self.date = float(int(now)) + 0.0
        self.lifetime = int(now) % 86400 + 300
        self.serve_until = self.fresh_until = self.born + self.lifetime
        self.while_until, self.error_until = self.fresh_until + 1, self.fresh_until + 2
        self.disconnected_until = self.fresh_until + 3
        self.request_time = now + 0.125
        self.last_modified = int(now)

    def expire(self, now: float) -> None:
        self.serve_until = self.fresh_until = min(self.fresh_until, now)


def described(key: Key = (b"u", b""), *, selected: tuple[bytes | None, ...] = (), count: int = 2) -> Described:
    """A description with that many fields, the values of which are its own."""
    fields: list[Field] = []
    for name in NAMES[:count]:
        made = field(name, b"%s of a response %d" % (name.lower(), len(key[0])))
        fields.append((_LOWER[name], *made[1:]))  # names are mostly shared
    described = Described(key, fields, selected)
    described.set_times(1e9)
    return described
