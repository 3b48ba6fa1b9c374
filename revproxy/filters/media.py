"""How a backend could read a body, by what its Content-Type says.

Rules of this module:

* a type that is written well says one thing, and the body is read in this one way;
* where backends could differ (several lines, a list, parameters that are malformed, a boundary that is there twice) it
  is read in every way: who wants to get past the rules chooses what only the backend understands;
* time is linear in the length of the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

#: Field values of several lines are joined by this, which no value has.
LINES = b"\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9a-z]+"
_PARAMETER = rb'(%b)=(?:(%b)|"([^"\\\x00-\x08\n-\x1f\x7f]*)")' % (_TOKEN, _TOKEN)
_PARAMETERS = re.compile(_PARAMETER, re.IGNORECASE)
_WELL_WRITTEN = re.compile(
    rb"[ \t]*(%b/%b)[ \t]*((?:;[ \t]*(?:%b[ \t]*)?)*)" % (_TOKEN, _TOKEN, re.sub(rb"\((?!\?)", b"(?:", _PARAMETER)),
    re.IGNORECASE,
)
#: What ends a boundary, or begins another one, for those who do not know quotes.
_CUT = re.compile(rb"[;,]|boundary=", re.IGNORECASE)

#: Codings that make other bytes of a text. A backend that is told of others cannot but ignore them.
CODINGS = frozenset((
    b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress", b"dcb", b"dcz", b"exi", b"pack200-gzip",
    b"aes128gcm", b"snappy", b"lz4", b"xz", b"bzip2",
))  # fmt: skip
_NO_CODINGS = frozenset((b"", b"identity"))
#: Bytes of text, with what is white space to some.
_TEXT_BYTES = bytes((*range(9, 14), *range(32, 127), 0xA0))
_TEXT = re.compile(b"[%b]{12,}" % re.escape(_TEXT_BYTES))


@frozen
class Reading:
    """Ways to read a body; none of them: it is not looked at.

    :ivar boundary: of parts; empty where any line that begins with ``--`` could be one, ``None`` without parts.
    :ivar raw: as one text. :ivar guess: as JSON, if it begins like it.
    """

    form: bool = False
    json: bool = False
    guess: bool = False
    raw: bool = False
    boundary: bytes | None = None

    def __bool__(self) -> bool:
        return self.form or self.json or self.boundary is not None


NOT_READ = Reading()
FORM = Reading(form=True)
JSON = Reading(json=True)
UNKNOWN = Reading(form=True, guess=True)
ANYHOW = Reading(form=True, json=True, raw=True, boundary=b"")


def reading(kind: bytes) -> Reading:
    """How to read a body. :param kind: its Content-Type; of several, joined by :data:`LINES`; empty without one."""
    if not kind.strip(b" \t"):
        return UNKNOWN
    written = _WELL_WRITTEN.fullmatch(kind)
    if written is None:
        return ANYHOW
    media = written[1].lower()
    if media.startswith(b"multipart/"):
        return _parts(written[2])
    if b"urlencoded" in media:
        return FORM
    if b"json" in media or media == b"application/csp-report":
        return JSON
    return UNKNOWN if media == b"text/plain" else NOT_READ


def _parts(parameters: bytes) -> Reading:
    """The word must be there once, beside the boundary itself: some look for it anywhere."""
    others, boundary = [], b""
    for match in _PARAMETERS.finditer(parameters):
        if match[1].lower() == b"boundary" and not boundary:
            boundary = match[2] or match[3] or b""
        else:
            others.append(match[0])
    doubtful = not 0 < len(boundary) <= 70 or boundary.endswith((b" ", b"\t")) or boundary.startswith((b" ", b"\t"))
    if doubtful or b"boundary" in b";".join(others).lower() or _CUT.search(boundary):
        return ANYHOW
    return Reading(boundary=boundary)


def codings(lines: Iterable[bytes]) -> frozenset[bytes]:
    """The content codings of a body (RFC 9110 8.4): ``identity`` and nothing are none."""
    return frozenset(word.strip(b" \t").lower() for line in lines for word in line.split(b",")) - _NO_CODINGS


def readable(body: bytes) -> bytes:
    """What is text in a body that is said to be compressed: backends that know no codings read it as it stands.

    All of it where most of it is text, but for NULs, which any coding has. What really is compressed has two bytes of
    text in five, and next to no runs of twelve.
    """
    if 3 * len(body.translate(None, _TEXT_BYTES)) <= len(body):
        return body.replace(b"\x00", b"")
    return b"&".join(_TEXT.findall(body))
