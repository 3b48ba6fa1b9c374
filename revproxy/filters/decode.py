"""What a request carries, taken apart and brought into the forms that rules are written for.

Rules of this module:

* a value is decoded once as its place says (a query as a form is, JSON by its escapes); what an attacker
  coded again on top of that is undone by :func:`forms`, so that rules know plain lower-case text only;
* everything is bounded: parameters are counted, decoding is repeated so many times, nothing recurses;
* what takes long goes in steps: a generator says ``None`` after some KB, so that others are served meanwhile;
* what is malformed is read as far as it goes: a backend may be lenient, too.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Callable, Generator, Iterator
from itertools import islice

from revproxy.http.parameters import query_parameters

#: Parameters of one query, of the cookies and of one body that are looked at.
PARAMETERS = 500
#: Bytes of the head of a part that are read.
HEAD = 8192
#: Times that a value is decoded beyond what its place asks for.
AGAIN = 3
#: Bytes that are decoded in one step.
PIECE = 2048

Pair = tuple[bytes, bytes]

_HEX = b"0123456789abcdefABCDEF"
#: Signs that a lower-case text has other forms than itself: what follows each byte.
FOLDED: dict[str, bytes] = {
    "%": rb"[0-9a-f][0-9a-f]|u[0-9a-f]{4}",
    "&": rb"#|[a-z]{2,8};|[lg]t",
    "\\": rb"[ux][0-9a-f]|[0-7][0-7]",
    "\xef": rb"\xbc",
    "\xe0": rb"[\x80-\x9f]",
    "\xe5": rb"\x98",
    "\xe2": rb"\x88[\x95\x96]",
    "/": rb"\*",
    " ": rb" ",
    "'": rb"'",
    '"': rb'"',
    "$": rb"\{?ifs",
    "+": rb"a[dc]",
    **dict.fromkeys([chr(control) for control in range(32)], b""),
    **dict.fromkeys("\xa0\xc0\xc1", b""),
}
_FOLDED = re.compile(b"|".join(re.escape(byte.encode("latin-1")) + b"(?:%b)" % after for byte, after in FOLDED.items()))
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_BYTES = {b"%c%c" % (high, low): bytes((int(bytes((high, low)), 16),)) for high in _HEX for low in _HEX}
_PERCENT_U = re.compile(rb"%u([0-9a-f]{4})|\\u\{?([0-9a-f]{4})\}?|\\x([0-9a-f]{2})|\\([0-3][0-7]{2}|[4-7][0-7])")
_PAIR = re.compile(rb"\\(?:([0-3][0-7]{2})|(.))", re.DOTALL)
_ENTITY = re.compile(
    rb"&#(?:x0{0,64}([0-9a-f]{1,6})|0{0,64}([0-9]{1,7}));?|&(?:([lg]t);?|(quot|apos|amp|lpar|rpar|colon|newline|tab|sol|bsol|nbsp|equals|grave|num"
    rb"|dollar|percnt|semi|comma|period|excl|verbar|vert|lcub|lbrace|rcub|rbrace|lsqb|lbrack|rsqb|rbrack);)"
)
_ENTITIES = {
    b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'", b"amp": b"&", b"lpar": b"(", b"rpar": b")",
    b"colon": b":", b"newline": b"\n", b"tab": b"\t", b"sol": b"/", b"bsol": b"\\", b"nbsp": b" ", b"equals": b"=",
    b"grave": b"`", b"num": b"#", b"dollar": b"$", b"percnt": b"%", b"semi": b";", b"comma": b",", b"period": b".",
    b"excl": b"!",
    b"verbar": b"|", b"vert": b"|", b"lcub": b"{", b"lbrace": b"{", b"rcub": b"}", b"rbrace": b"}", b"lsqb": b"[",
    b"lbrack": b"[", b"rsqb": b"]", b"rbrack": b"]",
}  # fmt: skip
#: ASCII in more bytes than it needs (RFC 3629 3: never valid), and other letters that some systems take for ASCII.
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80\x81][\x80-\xbf]|\xf0\x80[\x80\x81][\x80-\xbf]")
_WIDE = re.compile(rb"\xef\xbc[\x81-\xbf]|\xef\xbd[\x80-\x9e]|\xe2\x88[\x95\x96]|\xe5\x98[\x8a\x8d]")
#: What begins a comment that MySQL and MariaDB execute.
_VERSIONED = re.compile(rb"/\*m?![0-9]{0,6}")
# Both take linear time on what ends where the last comment does: from each beginning there is an end.
_COMMENT = re.compile(rb"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/")
_LINE_COMMENT = re.compile(rb"(?:--|#)[^\n]*\n")
#: A comment with none in it; the search from a beginning ends at the next one.
_INNERMOST = re.compile(rb"/\*[^/*]*(?:(?:/(?!\*)|\*(?!/))[^/*]*)*\*/")
#: All controls: to SQL Server they are white space.
_SPACES = re.compile(rb"[\x01-\x1f][\x01- ]*| [\x01- ]+")
_IFS = re.compile(rb"\$\{ifs[^}]{0,16}\}|\$ifs(?:\$[0-9@*])?")
_NBSP = re.compile(rb"(?<=[\x00-\x7f])\xa0|\xc2\xa0")
#: What begins anything that is decoded, and is nowhere else in it.
_BEGINS = re.compile(rb"[ %&\\+\xc0-\xff]")
#: What begins no white space but the no-break space of UTF-8, and where that begins.
_NO_SPACE = re.compile(rb"[!-\x7f\xc2-\xff]")

_STRING = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)("?)(\s*:)?', re.DOTALL)
_PLAIN_JSON = re.compile(rb'(?:[\s\[\]{},:0-9A-Za-z+\-.]++|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z))*+', re.DOTALL)
_DISPOSITION = re.compile(
    rb'(?<![\w*.-])(name|filename)\*?[ \t]*=[ \t]*(?:"((?:[^"\\\r\n]|\\.){0,1000})"?|([^;\s"]{1,1000}))', re.IGNORECASE
)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CLEAN_HEAD = re.compile(rb"[ \t]*\r\n(?:[!-9;-~]+:[^\r\n\x00]*\r\n)*")
_SAID = rb'(?:"(?:[^"\\]|\\[^"\\])*"|[^\s;"\\,=]+)'
#: What browsers and libraries write.
_CLEAN_DISPOSITION = re.compile(
    rb"content-disposition:[ \t]*form-data;[ \t]*name=%b(?:;[ \t]*filename=(%b))?(?:;[ \t]*filename\*=[^\s;\"\\,=]+)?"
    % (_SAID, _SAID),
    re.IGNORECASE,
)
_TRANSFER = re.compile(rb"\ncontent-transfer-encoding[ \t]*:\s*(base64|quoted-printable)", re.IGNORECASE)


def form(text: bytes) -> Iterator[Pair | None]:
    """Names and values of a query or an urlencoded body; ``None`` after each step of a long one."""
    for part in text.split(b"&"):
        if len(part) <= PIECE:
            yield from query_parameters(part)
            continue
        name, _, value = part.partition(b"=")
        yield (yield from _in_steps(_form_decoded, name)), (yield from _in_steps(_form_decoded, value))


def json_strings(text: bytes) -> tuple[list[Pair], bool]:
    """Every string in a JSON text, be it cut short: pairs of the last key before it and the string itself.

    A key is a pair with an empty name. Strings are found by their quotes, so depth costs nothing.
    """
    return _bounded(_strings(text))


def plain_json(text: bytes) -> bool:
    """Whether all readers of JSON find the same strings: no comments, no other quotes, no other coding."""
    return _PLAIN_JSON.fullmatch(text.removeprefix(b"\xef\xbb\xbf")) is not None


def multipart(text: bytes, boundary: bytes) -> tuple[list[tuple[bytes, bytes, bool]], bool, bool]:
    """Parts of a multipart body (RFC 7578): name, value, and whether the value is a file's name.

    A part that some take for a file and some for a field is there as both.

    :param boundary: empty, if any line that begins with ``--`` could be one.
    :return: these, whether there were more than are looked at, and whether others could find other parts.
    """
    parts: list[tuple[bytes, bytes, bool]] = []
    mark = b"--" + boundary
    pieces = (b"\r\n" + text).split(b"\n" + mark, PARAMETERS + 1)
    more = len(pieces) > PARAMETERS + 1
    doubtful = not boundary or bool(pieces[0].strip()) or (not more and text.count(mark) != len(pieces) - 1)
    closed = False
    for piece in pieces[1 : PARAMETERS + 1]:
        doubtful = doubtful or closed
        if piece.startswith(b"--"):
            closed = True
            doubtful = doubtful or bool(piece[2:].strip())
            continue
        found = _HEAD_END.search(piece)
        if found is None:
            doubtful = doubtful or bool(piece.strip())
            continue
        head, value = piece[: found.start()], piece[found.end() :]
        if value.endswith(b"\r"):
            value = value[:-1]
        clean = found[0] == b"\r\n\r\n" and _CLEAN_HEAD.fullmatch(head + b"\r\n") is not None and len(head) <= HEAD
        name, files, certain, is_file = _disposition(head[:HEAD], clean)
        parts.extend((name, unquoted(said), True) for said in files)
        if not is_file:
            parts.append((name, value, False))
            coded = _TRANSFER.search(head[:HEAD])
            if coded is not None:
                parts.append((name, _transferred(coded[1].lower(), value), False))
        doubtful = doubtful or not certain
    return parts, more, doubtful


def _disposition(head: bytes, clean: bool) -> tuple[bytes, list[bytes], bool, bool]:
    """Of the head of a part: a field's name, files' names, whether nobody can find others, whether all see a file."""
    name, files = b"", []
    for match in _DISPOSITION.finditer(head):
        said = match[2] if match[2] is not None else match[3]
        if match[1].lower() == b"name":
            name = said
        elif said:
            files.append(said)
    lines = [line for line in head.split(b"\r\n") if line[:19].lower() == b"content-disposition"]
    written = _CLEAN_DISPOSITION.fullmatch(lines[0]) if clean and len(lines) == 1 else None
    is_file = written is not None and written[1] not in (None, b'""')
    return name, files, written is not None, is_file


def _transferred(coding: bytes, value: bytes) -> bytes:
    try:
        return a2b_qp(value) if coding == b"quoted-printable" else a2b_base64(value)
    except ValueError:
        return b""


def folded(text: bytes) -> bool:
    """Whether a lower-case text has signs of further forms."""
    return _FOLDED.search(text) is not None


def unquoted(text: bytes) -> bytes:
    """Percent-encoding undone, as ``unquote_to_bytes`` does it in 25 times as long where ``%`` is no escape."""
    if b"%" not in text:
        return text
    parts = _ESCAPE.split(text)
    parts[1::2] = map(_BYTES.__getitem__, parts[1::2])
    return b"".join(parts)


def unescaped_cookie(value: bytes) -> bytes:
    """What quotes and backslashes of a cookie's value are to Python and others (as RFC 2109, and in octal)."""
    return _PAIR.sub(_from_pair, value) if value[:1] == b'"' and b"\\" in value else value


def forms(text: bytes) -> Iterator[bytes | None]:
    """The forms of a decoded value that rules look at, in lower case, the value itself first; ``None`` after each step.

    Second, where it differs, what it is once every coding is undone; third, that without comments, NULs and doubled
    white space; last, where databases disagree about comments, that with these as the others have them.
    """
    text = text.lower()
    yield text
    if _FOLDED.search(text) is None:
        return
    plain = text
    for _ in range(AGAIN):
        before = plain
        if b"%" in plain:
            plain = yield from _in_steps(unquoted, plain)
        plain = yield from _undone(plain)
        if plain == before:
            break
    if plain != text:
        yield plain
    yield None
    squeezed = _uncommented(plain)
    yield None
    squeezed = yield from _squeezed(squeezed)
    if squeezed != plain:
        yield squeezed
    yield None
    other = _otherwise_uncommented(plain)
    if other != plain:
        yield None
        other = yield from _squeezed(other)
        if other != squeezed:
            yield None
            yield other


def _bounded(pairs: Iterator[Pair]) -> tuple[list[Pair], bool]:
    found = list(islice(pairs, PARAMETERS + 1))
    more = len(found) > PARAMETERS
    if more:
        found.pop()
    return found, more


def _strings(text: bytes) -> Iterator[Pair]:
    key = b""
    for match in _STRING.finditer(text):
        value = match[1]
        if b"\\" in value:
            value = _unescaped(value)
        if match[3] is not None:
            key = value
            yield b"", value
        else:
            yield key, value


def _unescaped(value: bytes) -> bytes:
    try:
        decoded: str = json.loads(b'"%b"' % value, strict=False)
    except ValueError:
        return value
    return decoded.encode("utf-8", "surrogatepass")


def _in_steps(
    decoded: Callable[[bytes], bytes], text: bytes, begins: re.Pattern[bytes] = _BEGINS
) -> Generator[None, None, bytes]:
    """``decoded(text)``, piece by piece; none ends within what is decoded."""
    if len(text) <= PIECE:
        return decoded(text)
    made, at = [], 0
    while len(text) - at > PIECE:
        found = begins.search(text, at + PIECE)
        if found is None:
            break
        made.append(decoded(text[at : found.start()]))
        at = found.start()
        yield
    made.append(decoded(text[at:]))
    yield
    return b"".join(made)


def _form_decoded(text: bytes) -> bytes:
    return next(query_parameters(b"=" + text))[1]


def _undone(text: bytes) -> Generator[None, None, bytes]:
    if b"\\" in text or b"%u" in text:
        text = yield from _in_steps(lambda piece: _PERCENT_U.sub(_from_number, piece), text)
    if b"&" in text:
        text = yield from _in_steps(lambda piece: _ENTITY.sub(_from_entity, piece), text)
    if not text.isascii():
        text = yield from _in_steps(lambda piece: _WIDE.sub(_from_wide, _OVERLONG.sub(_from_overlong, piece)), text)
    if b"+ad" in text or b"+ac" in text:  # UTF-7
        for coded, meant in ((b"+adw-", b"<"), (b"+ad4-", b">"), (b"+aci-", b'"')):
            text = text.replace(coded, meant)
    return text.lower()


def _uncommented(text: bytes) -> bytes:
    """Without comments between signs, but with what stands in those that are executed."""
    if b"*/" not in text and b"/*" not in text:
        return text
    text = _VERSIONED.sub(b" ", text)
    end = text.rfind(b"*/") + 2
    if end > 1:
        text = _COMMENT.sub(b" ", text[:end]) + text[end:]
    return text.replace(b"*/", b" ")


def _otherwise_uncommented(text: bytes) -> bytes:
    """Without comments up to the end of a line or for other versions, and with what stands between quoted signs."""
    end = text.rfind(b"\n") + 1
    if end and (b"--" in text or b"#" in text):
        text = _LINE_COMMENT.sub(b" ", text[:end]) + text[end:]
    if b"/*" in text:
        text = _INNERMOST.sub(b" ", text).replace(b"*/", b" ")
    return text


def _squeezed(text: bytes) -> Generator[None, None, bytes]:
    if b"\x00" in text:
        text = text.replace(b"\x00", b"")
    if b"''" in text or b'""' in text:
        text = text.replace(b"''", b"").replace(b'""', b"")
    if b"$" in text:
        text = _IFS.sub(b" ", text)
    if b"\xa0" in text:
        text = yield from _in_steps(lambda piece: _NBSP.sub(b" ", piece), text, _NO_SPACE)
    return (yield from _in_steps(lambda piece: _SPACES.sub(b" ", piece), text, _NO_SPACE))


def _character(number: int) -> bytes:
    if 0xD800 <= number < 0xE000 or number > 0x10FFFF:
        return b"?"
    return chr(number).encode("utf-8")


def _from_number(match: re.Match[bytes]) -> bytes:
    octal = match[4]
    return _character(int(match[1] or match[2] or match[3], 16)) if octal is None else bytes((int(octal, 8),))


def _from_entity(match: re.Match[bytes]) -> bytes:
    coded, decimal = match[1], match[2]
    if coded is None and decimal is None:
        return _ENTITIES[match[3] or match[4]]
    return _character(int(decimal) if coded is None else int(coded, 16))


def _from_pair(match: re.Match[bytes]) -> bytes:
    return match[2] if match[1] is None else bytes((int(match[1], 8),))


def _from_overlong(match: re.Match[bytes]) -> bytes:
    found = match[0]
    return b"%c" % ((found[-2] & 0x03) << 6 | found[-1] & 0x3F if len(found) > 1 else 0)


def _from_wide(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found.startswith(b"\xe2\x88"):  # division slash, set minus
        return b"/" if found[2] == 0x95 else b"\\"
    if found.startswith(b"\xe5\x98"):  # cut down to a byte they are LF and CR
        return b"\n" if found[2] == 0x8A else b"\r"
    return b"%c" % ((found[1] - 0xBC << 6) + (found[2] & 0x3F) + 0x20)
