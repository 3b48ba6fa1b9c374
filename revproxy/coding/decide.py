"""Whether a response is compressed, with what, and the fields that this changes.

Rules of this module:

* nothing is compressed that says not to be (no-transform, RFC 9110 7.7, of either side), that is coded already, or
  that is part of something (206): the backend's own choice is left whole;
* what could have been compressed varies by Accept-Encoding for every client, also those who got it plain;
* a body that was compressed is other bytes: strong validators become weak (RFC 9110 8.8.1), lengths, ranges and
  digests of the old bytes go;
* HEAD gets what GET would get, but for Content-Length;
* streams of events are compressed too, which pays most where the same keys recur in each: who feeds an
  encoder flushes it when nothing more is there, so they arrive as they would have without.

A decision takes 8 us for a response that is compressed and 2 for one that is not, where compressing 19 KB takes 25
to 40. Of a head that a backend repeats it takes half: the same list of fields is the same head.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from revproxy.coding.encoders import CODINGS, STREAM_CODINGS, Coding, available, make_coding
from revproxy.coding.negotiate import LONGEST, Negotiator
from revproxy.config.coding import Compress
from revproxy.http.fields import SECRET
from revproxy.http.message import LENGTH, OURS, Field, Headers, Request, Response

#: Fields about the bytes as they were: Content-Length, ranges (RFC 9110 14.3) and digests (RFC 9530, 3230, 1864).
STALE = frozenset(b"content-length accept-ranges content-digest repr-digest digest content-md5".split())

#: Media types, and decisions, that are remembered.
REMEMBERED = 256
#: Values of Accept-Encoding for which a head that repeats is kept.
ACCEPTED = 8

_NO, _BODY, _EVENTS = 0, 1, 2
_BODILESS = frozenset({204, 205})
_LOOKED_AT = frozenset(b"content-type content-encoding cache-control etag vary".split())
_ASKED = frozenset({b"accept-encoding", b"cache-control"})
_NO_TRANSFORM = re.compile(rb"(?:^|[,\s])no-transform(?=$|[,;\s])")
_WEAK = re.compile(rb'W/("[^"]*")')
_VARY: Field = (b"vary", b"Accept-Encoding", b"Vary: Accept-Encoding", OURS)


class Compression:
    """Compiled settings of a route.

    :ivar codings: the codings by name. :ivar minimum: bytes. :ivar usual: who chooses for bodies.
    :ivar lasting: who chooses for streams of events, by :data:`~revproxy.coding.encoders.STREAM_CODINGS`.
    """

    __slots__ = ("_decided", "_ends", "_known", "_starts", "_whole", "codings", "lasting", "minimum", "usual")

    def __init__(self, codings: dict[bytes, Coding], types: tuple[str, ...], minimum: int) -> None:
        names = tuple(name.encode("ascii") for name in CODINGS)
        lasting = tuple(name.encode("ascii") for name in STREAM_CODINGS)
        self.codings = codings
        self.usual = Negotiator(tuple(name for name in names if name in codings))
        self.lasting = Negotiator(tuple(name for name in lasting if name in codings))
        self.minimum = max(minimum, 1)
        self._whole = frozenset(each.encode("ascii") for each in types if "*" not in each)
        self._starts = tuple(each[:-1].encode("ascii") for each in types if each.endswith("*"))
        self._ends = tuple(each[1:].encode("ascii") for each in types if each.startswith("*"))
        self._known: dict[bytes, int] = {}
        self._decided: dict[tuple[int, bytes | None, bool], tuple[list[Field], Response, Decision]] = {}

    def kind(self, content_type: bytes) -> int:
        """What a body of this Content-Type is: 0 for not to be compressed, 1 a body, 2 a stream of events."""
        known = self._known
        kind = known.get(content_type)
        if kind is None:
            media = content_type.partition(b";")[0].strip(b" \t").lower()
            wanted = media in self._whole or media.startswith(self._starts) or media.endswith(self._ends)
            kind = (_EVENTS if media == b"text/event-stream" else _BODY) if wanted else _NO
            if len(content_type) <= 128:
                if len(known) >= REMEMBERED:
                    known.clear()
                known[content_type] = kind
        return kind

    def decide(self, request: Request, response: Response, asked: Headers | None = None) -> Decision | None:
        """As :func:`decide`, but what was compressed is remembered by its head's list of fields."""
        fields = response.headers.fields
        accepted, forbidden = accepted_by(request.headers if asked is None else asked)
        if forbidden or response.status == 304:
            return decide(request, response, self, None, asked)
        key = (id(fields), accepted, request.method == b"HEAD")
        known = self._decided.get(key)
        if known is not None:
            given, before, decision = known
            if (
                given is fields
                and before.status == response.status
                and before.length == response.length
                and before.reason == response.reason
            ):
                return decision
        made = decide(request, response, self, None, asked)
        if made is not None and (accepted is None or len(accepted) <= LONGEST) and not _has_secrets(fields):
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            made.head = response.copy()
            # the list is held, so that no other has its id
            self._decided[key] = (fields, made.head, made)
        return made

    def repeated(
        self,
        request: Request,
        response: Response,
        asked: Headers,
        accepted: bytes | None,
        known: dict[bytes | None, tuple[Response, Coding | None]],
    ) -> tuple[Response, Coding | None] | None:
        """The head that goes out for one that repeats, and with what its body is compressed.

        :param known: where it is kept by Accept-Encoding, for as long as the head itself.
        :return: ``None`` when it depends on more than these two.
        """
        if response.status == 304 or request.method == b"HEAD":
            return None
        decision = decide(request, response, self, None, asked)
        if decision is None:
            made: tuple[Response, Coding | None] = (response, None)
        else:
            head = response.copy()
            decision.apply(head)
            head.block = decision
            made = (head, decision.coding)
        if accepted is None or len(accepted) <= LONGEST:
            if len(known) >= ACCEPTED:
                known.clear()
            known[accepted] = made
        return made


def compile_compression(written: Compress, load: Callable[[str], Any] = import_module) -> Compression:
    """Settings ready for :func:`decide`.

    :param load: imports a module.
    :raises revproxy.coding.encoders.MissingPackage: for a coding that is named and not installed.
    """
    levels: dict[str, int | None] = dict(written.levels) or dict.fromkeys(available(load))
    codings = {name.encode("ascii"): make_coding(name, level, load) for name, level in levels.items()}
    return Compression(codings, written.types, written.minimum)


class Decision:
    """What changes.

    :ivar fields: the fields to send. :ivar coding: whose encoder the body goes through, ``None`` where it is sent as it
        is, or where there is none.
    :ivar recoded: whether the fields speak of a compressed body: then the response's length is no longer known.
    :ivar head: the head that it was made for. :ivar wire: what became of it as it is sent, without Content-Length.
    :ivar pairs: and in HTTP/2.
    """

    __slots__ = ("coding", "fields", "head", "pairs", "recoded", "wire")

    def __init__(self, fields: list[Field], coding: Coding | None = None, recoded: bool = False) -> None:
        self.fields = fields
        self.coding = coding
        self.recoded = recoded
        self.head: Response | None = None
        self.wire = b""
        self.pairs: list[tuple[bytes, bytes, bool]] = []

    def apply(self, response: Response, length: int | None = None) -> None:
        """Change the head. :param length: of a body that was compressed whole."""
        response.headers.fields = self.fields
        if self.recoded:
            response.length = length
            response.kinds &= ~LENGTH


def decide(
    request: Request,
    response: Response,
    compression: Compression,
    trace: list[str] | None = None,
    asked: Headers | None = None,
) -> Decision | None:
    """Whether ``response`` is compressed for who sent ``request``; changes neither.

    :param trace: gets the reason. :param asked: the fields that the client sent, if not those of ``request``.
    :return: ``None`` when nothing changes.
    """
    status = response.status
    if status < 200 or status in _BODILESS:
        return _nothing(trace, "has no body")
    fields = response.headers.fields
    content_type = etag = vary = control = None
    for f in fields:
        name = f[0]
        if name in _LOOKED_AT:
            if name == b"content-type":
                if content_type is not None:
                    return _nothing(trace, "has two content types")
                content_type = f[1]
            elif name == b"etag":
                etag = f[1]
            elif name == b"content-encoding":
                return _nothing(trace, "is coded already")
            elif name == b"vary":
                vary = f[1] if vary is None else vary + b"," + f[1]
            elif control is None:
                control = f[1]
            else:
                control += b"," + f[1]
    if control is not None and _forbids(control):
        return _nothing(trace, "says no-transform")
    if asked is None:
        asked = request.headers
    if status == 304:
        return _not_modified(asked, fields, content_type, etag, vary, compression, trace)
    kind = _NO if content_type is None else compression.kind(content_type)
    if kind == _NO:
        return _nothing(trace, "is of a type that is not compressed")
    length = response.length
    if length is not None and length < compression.minimum and status != 206:
        return _nothing(trace, "is too small")
    if status == 206:  # says Vary as the whole would (RFC 9110 15.3.7)
        return _plain(fields, vary, trace, "is a part")
    coding = _chosen(asked, compression, kind)
    if coding is None:
        return _plain(fields, vary, trace, "is not accepted compressed")
    changed = [f for f in fields if f[0] not in STALE]
    if etag is not None:
        changed = _weakened(changed)
    changed.append((b"content-encoding", coding.name, coding.line, OURS))
    if trace is not None:
        trace.append(f"compressed with {coding!r}")
    return Decision(_varied(changed, vary), None if request.method == b"HEAD" else coding, True)


def _forbids(control: bytes) -> bool:
    control = control.lower()
    return b"no-transform" in control and _NO_TRANSFORM.search(control) is not None


def _nothing(trace: list[str] | None, why: str) -> Decision | None:
    if trace is not None:
        trace.append(f"not compressed: {why}")
    return None


def _plain(fields: list[Field], vary: bytes | None, trace: list[str] | None, why: str) -> Decision | None:
    _nothing(trace, why)
    varied = _varied(fields, vary)
    return None if varied is fields else Decision(varied)


def _has_secrets(fields: list[Field]) -> bool:
    return any(f[0] in SECRET for f in fields)


def accepted_by(asked: Headers) -> tuple[bytes | None, bool]:
    """Accept-Encoding, and whether the client wants nothing transformed."""
    accepted: bytes | None = None
    for f in asked.fields:
        if f[0] in _ASKED:
            if f[0] == b"accept-encoding":
                accepted = f[1] if accepted is None else accepted + b"," + f[1]
            elif _forbids(f[1]):
                return accepted, True
    return accepted, False


def _chosen(asked: Headers, compression: Compression, kind: int) -> Coding | None:
    accepted, forbidden = accepted_by(asked)
    if forbidden:
        return None
    chosen = (compression.usual if kind == _BODY else compression.lasting).choose(accepted)
    return None if chosen is None else compression.codings[chosen]


def _weakened(fields: list[Field]) -> list[Field]:
    """``fields`` with weak entity tags; what is no entity tag, and so can't be made weak, goes."""
    changed = []
    for f in fields:
        value = f[1]
        if f[0] != b"etag" or value.startswith(b"W/"):
            changed.append(f)
        elif value.startswith(b'"'):
            changed.append((b"etag", b"W/" + value, f[2][: -len(value)] + b"W/" + value, OURS))
    return changed


def _varied(fields: list[Field], vary: bytes | None) -> list[Field]:
    """``fields`` with Accept-Encoding in Vary; the same list when it is there.

    :param vary: what Vary says already, over all its lines.
    """
    if vary is None:
        return [*fields, _VARY]
    members = [member.strip(b" \t").lower() for member in vary.split(b",")]
    if b"*" in members or b"accept-encoding" in members:
        return fields
    kept = b", ".join(part for member in vary.split(b",") if (part := member.strip(b" \t")))
    value = kept + b", Accept-Encoding" if kept else b"Accept-Encoding"
    return [*(f for f in fields if f[0] != b"vary"), (b"vary", value, b"Vary: " + value, OURS)]


def _not_modified(
    asked: Headers,
    fields: list[Field],
    content_type: bytes | None,
    etag: bytes | None,
    vary: bytes | None,
    compression: Compression,
    trace: list[str] | None,
) -> Decision | None:
    """A 304 names the entity tag that the client has (RFC 9110 15.4.5).

    What it has is weak if it asked with the weak form of a tag that the backend calls strong: it was we who made it so.
    """
    weak = False
    if etag is not None and etag.startswith(b'"'):
        weak = any(etag in _WEAK.findall(value) for value in asked.get_all(b"if-none-match"))
    if not weak and (content_type is None or compression.kind(content_type) == _NO):
        return _nothing(trace, "has no body")
    if weak:
        return Decision(_varied(_weakened(fields), vary))
    return _plain(fields, vary, trace, "has no body")
