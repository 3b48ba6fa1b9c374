"""One line of the access log for one request: Combined Log Format or a JSON object.

Rules of this module:

* a line is printable ASCII without a line break, whatever a peer sent: nobody can forge a second
  line or move a terminal's cursor;
* in Combined Log Format everything else is written ``\\xHH``, a quote and a backslash too, so that
  a quoted part ends at the next quote. In JSON a byte is the character of the same number
  (U+0000 to U+00FF), so that nothing is lost: ``value.encode("latin-1")`` gives the bytes back;
* clean values, nearly all of them, are found by one ``translate`` and copied.
"""

from __future__ import annotations

import json
from functools import lru_cache
from time import gmtime

from attrs import define

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

#: Characters of a detail.
_DETAIL = 1000

#: What may stand as it is between quotes, and in a part that ends at a space.
_QUOTED = bytes(c for c in range(0x20, 0x7F) if c not in b'"\\')
_WORD = _QUOTED.replace(b" ", b"")


@define(eq=False)
class Record:
    """One request that ended. Made once per request: give the arguments by position.

    Positional takes a third of the time of keywords.

    :param time: end of the request, seconds since the epoch.
    :param client: the client's address.
    :param target: the request target as received; ``b""`` with ``method`` when it was never read.
    :param version: 10, 11 or 20.
    :param status: of the final response, 0 when none was sent.
    :param sent: bytes of body to the client.
    :param received: bytes of body from the client.
    :param connect: seconds to connect to the backend, ``None`` when there was no need.
    :param first_byte: seconds to the first byte of the response, ``None`` when none came.
    :param total: seconds of the whole exchange.
    :param fault: the word of the fault, ``""`` for none.
    :param retries: how many further backends were asked.
    :param detail: what is known of a failure, or a filter found; in JSON only.
    :param tls_version: of the client's connection, ``""`` for none; in JSON only.
    :param tls_client_subject: of the certificate that the client showed, ``""`` for none; in JSON only.
    :param user: who it was, where the route asks for that, else ``b""``.
    """

    time: float
    client: str
    method: bytes
    scheme: bytes
    host: bytes
    target: bytes
    version: int
    status: int
    sent: int
    received: int = 0
    request_id: bytes = b""
    route: str = ""
    upstream: str = ""
    backend: str = ""
    connect: float | None = None
    first_byte: float | None = None
    total: float = 0.0
    fault: str = ""
    retries: int = 0
    referer: bytes = b""
    user_agent: bytes = b""
    detail: str = ""
    tls_version: str = ""
    tls_client_subject: str = ""
    user: bytes = b""


def format_combined(record: Record) -> str:
    """One line of Combined Log Format, without its line break; times are UTC.

    An absent referer or user agent is ``-``; a request that was never read is ``"-"``.
    """
    method, target, referer, agent = record.method, record.target, record.referer, record.user_agent
    if not method or not target or (method + target).translate(None, _WORD):
        method, target = _word(method), _word(target)
    if (referer + agent).translate(None, _QUOTED):
        referer, agent = _escape(referer, _QUOTED), _escape(agent, _QUOTED)
    line = b'%b - %b [%b] "%b %b %b" %03d %d "%b" "%b"' % (
        _client(record.client),
        _word(record.user) if record.user else b"-",
        _clf_time(int(record.time)),
        method,
        target,
        _protocol(record.version),
        record.status,
        record.sent,
        referer or b"-",
        agent or b"-",
    )
    if not record.method and not record.target:
        line = line.replace(b'"- - ' + _protocol(record.version) + b'"', b'"-"', 1)
    return line.decode("ascii")


def format_json(record: Record) -> str:
    """One JSON object, without its line break.

    ``time`` is ISO 8601 in UTC with milliseconds; ``connect_ms``, ``first_byte_ms`` and
    ``total_ms`` are milliseconds with three decimals, ``null`` where there was nothing to measure;
    ``bytes`` and ``received`` count the bodies to and from the client. ``tls_version`` and
    ``tls_client_subject`` are there only where the connection has them, ``detail``
    where there is one, and ``user`` where it is known who it was.
    """
    values = (
        record.method,
        record.scheme,
        record.host,
        record.target,
        record.request_id,
        record.referer,
        record.user_agent,
    )
    if b"".join(values).translate(None, _QUOTED):
        values = tuple(map(_json_inside, values))  # type: ignore[assignment]  # seven stay seven
    method, scheme, host, target, request_id, referer, agent = values
    second, milli = divmod(round(record.time * 1000), 1000)
    connect, first_byte = record.connect, record.first_byte
    line = _JSON % (
        _iso_second(second),
        milli,
        _json_name(record.client),
        method,
        scheme,
        host,
        target,
        _protocol(record.version),
        record.status,
        record.sent,
        record.received,
        request_id,
        _json_names(record.route, record.upstream, record.backend),
        b"null" if connect is None else b"%.3f" % (connect * 1000),
        b"null" if first_byte is None else b"%.3f" % (first_byte * 1000),
        record.total * 1000,
        _json_name(record.fault),
        record.retries,
        referer,
        agent,
    )
    if record.detail:
        line = line[:-1] + b',"detail":%b}' % _json_text(record.detail[:_DETAIL])
    if record.tls_version:
        line = line[:-1] + b',"tls_version":%b' % _json_name(record.tls_version)
        if record.tls_client_subject:
            line += b',"tls_client_subject":%b' % _json_name(record.tls_client_subject)
        line += b"}"
    if record.user:
        user = record.user.decode("utf-8", "replace")
        line = b'%b,"user":%b}' % (line[:-1], _json_text(user))
    return line.decode("ascii")


_JSON = (
    b'{"time":"%b.%03dZ","client":%b,"method":"%b","scheme":"%b","host":"%b","path":"%b","protocol":"%b"'
    b',"status":%d,"bytes":%d,"received":%d,"request_id":"%b",%b'
    b',"connect_ms":%b,"first_byte_ms":%b,"total_ms":%.3f,"fault":%b,"retries":%d,"referer":"%b","user_agent":"%b"}'
)


def printable(value: bytes) -> str:
    """``value`` with everything escaped that could forge a line or a terminal sequence."""
    return _escape(value, _QUOTED).decode("ascii")


def _escape(value: bytes, safe: bytes) -> bytes:
    return b"".join([b"%c" % c if c in safe else b"\\x%02x" % c for c in value])


def _word(value: bytes) -> bytes:
    return _escape(value, _WORD) or b"-"


@lru_cache(maxsize=1024)
def _client(text: str) -> bytes:
    return _word(text.encode("utf-8", "surrogatepass"))


def _json_text(text: str) -> bytes:
    # The standard encoder leaves DEL as it is.
    return json.dumps(text).replace("\x7f", "\\u007f").encode("ascii")


def _json_inside(value: bytes) -> bytes:
    return _json_text(value.decode("latin-1"))[1:-1]


# Only for clients' addresses, for names that the operator gave, and for subjects that an authority of the operator's
# signed: what else a peer sends could fill a table with long values.
_json_name = lru_cache(maxsize=1024)(_json_text)


@lru_cache(maxsize=1024)
def _json_names(route: str, upstream: str, backend: str) -> bytes:
    names = (_json_name(route), _json_name(upstream), _json_name(backend))
    return b'"route":%b,"upstream":%b,"backend":%b' % names


@lru_cache(maxsize=16)
def _protocol(version: int) -> bytes:
    return b"HTTP/%d.%d" % divmod(version, 10)


@lru_cache(maxsize=16)
def _clf_time(second: int) -> bytes:
    t = gmtime(second)
    month = _MONTHS[t.tm_mon - 1]
    return b"%02d/%b/%04d:%02d:%02d:%02d +0000" % (t.tm_mday, month, t.tm_year, t.tm_hour, t.tm_min, t.tm_sec)


@lru_cache(maxsize=16)
def _iso_second(second: int) -> bytes:
    t = gmtime(second)
    return b"%04d-%02d-%02dT%02d:%02d:%02d" % (t.tm_year, t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)
