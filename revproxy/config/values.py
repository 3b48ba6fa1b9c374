"""One parser for each word of the model's vocabulary: what was written -> what it means.

Rules of this module:

* a parser takes what TOML gave (any type) and returns the value, or raises :class:`Wrong` with what
  was found and what would be right;
* it normalises what has one normal form: host names, field names, media types, paths;
* :data:`PARSERS` is the only place that joins words and parsers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from revproxy.config import tokens, variables
from revproxy.config.errors import Wrong, nearest, show, wrong
from revproxy.config.hosts import NETWORK_HINT, cors_origin, host_name, host_pattern, network, upstream_host
from revproxy.config.identities import identity
from revproxy.config.numbers import above_zero, byte_rate, integer, octets, plain_name, request_rate, seconds, string
from revproxy.config.patterns import agent_pattern, compile_path_regex, linear_pattern, path_regex, regex
from revproxy.config.portions import ban_condition, portion, retry_condition, status_class, status_range, tier
from revproxy.filters.rules import OWN
from revproxy.http.target import normalise_path

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "REPORT",
    "SEARCH",
)
#: Fields that frame a message or a connection: the proxy writes them, and a second writer would be a hole.
FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_POLICY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_MEDIA = re.compile(r"[!#$&^_.+\-0-9A-Za-z]+/(?:[!#$&^_.+\-0-9A-Za-z]+|\*)")
_SUFFIX = re.compile(r"\*\+[!#$&^_.\-0-9A-Za-z]+")
_URL = re.compile(r"(?:https?:|\$\{?scheme\}?:)?//[^/\s]", re.IGNORECASE)


def _text(value: object) -> str:
    return string(value, "a string")


def _network(value: object) -> str:
    return network(string(value, "a network", NETWORK_HINT))


def _network_or_file(value: object) -> str:
    text = string(value, "a network", f'{NETWORK_HINT}, or "file:PATH"')
    if not text.startswith("file:"):
        return network(text)
    return f"file:{plain_name(text.removeprefix('file:'))}"


def _cors_origin(value: object) -> str:
    return cors_origin(string(value, "an origin"))


def _host(value: object) -> str:
    return host_name(string(value, "a host"))


def _host_pattern(value: object) -> str:
    return host_pattern(string(value, "a host", 'write "example.com" or "*.example.com"'))


def _upstream_host(value: object) -> str:
    return upstream_host(string(value, "a host", 'write "preserve", "backend" or a name such as "example.com"'))


def _plain_path(text: str, hint: str) -> str:
    if not text.startswith("/"):
        raise wrong(text, "is not a path", hint, f"/{text}" if text and text[0].isalnum() else None)
    if "?" in text or "#" in text:
        raise wrong(text, "is not a path", 'a path has no "?" and no "#"; the query has a key of its own')
    if _CONTROL.search(text):
        raise wrong(text, "is not a path", "it has control characters")
    # Space, quotes and everything beyond ASCII arrive escaped, so that is how they are matched.
    escaped = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"<>' else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogatepass")
    )
    normal = normalise_path(escaped.encode("ascii"))
    if normal is None:
        raise wrong(text, "is a path that is always refused", "it has a dot segment or a broken % escape")
    return normal.decode("ascii")


def _path(value: object) -> str:
    hint = 'write a path that begins with "/"'
    return _plain_path(string(value, "a path", hint), hint)


def _path_pattern(value: object) -> str:
    hint = 'write "/exact", "/below/*", "/begins*" or "~" and a regular expression'
    text = string(value, "a path", hint)
    if text.startswith("~"):
        compile_path_regex(text, text[1:])
        return text
    if text == "*":
        raise wrong(text, "is not a path", hint, "/*")
    stem = text.removesuffix("*")
    if "*" in stem:
        raise wrong(text, "is not a path pattern", 'a "*" stands only at the end; write "~" and a regular expression')
    return _plain_path(stem, hint) + text[len(stem) :]


def _token(value: object, what: str, expected: str = "") -> str:
    text = string(value, what)
    if not _TOKEN.fullmatch(text):
        raise wrong(text, f"is not {what}", expected or "letters, digits and !#$%&'*+-.^_`|~ are allowed")
    return text


def _method(value: object) -> str:
    text = _token(value, "a method", 'write a method such as "GET"')
    upper = text.upper()
    if text != upper and (upper in METHODS or text.islower()):
        raise wrong(text, "is not a method", "methods are upper case", upper)
    return text


def _method_or_any(value: object) -> str:
    return "*" if value == "*" else _method(value)


def _field_name(value: object) -> str:
    return _token(value, "a header name").lower()


def _changed_field(value: object) -> str:
    name = _field_name(value)
    if name in FRAMING:
        raise wrong(value, "can't be changed", "the proxy itself writes the fields that frame messages and connections")
    if name == "host":
        raise wrong(value, "can't be changed here", 'write host = "…" in the upstream\'s table')
    return name


def _field_value(value: object) -> str:
    text = string(value, "a header value")
    if _CONTROL.search(text):
        raise wrong(text, "is not a header value", "it has control characters")
    return text


def _template(value: object) -> str:
    text = _field_value(value)
    if "\t" in text:
        raise wrong(text, "is not a header value", "it has control characters")
    variables.split(text)
    return text


def _cookie_name(value: object) -> str:
    return _token(value, "a cookie name")


def _media_type(value: object) -> str:
    text = string(value, "a media type")
    if not _MEDIA.fullmatch(text):
        raise wrong(
            text, "is not a media type", 'write one such as "application/json" or "image/*", without parameters'
        )
    return text.lower()


def _type_pattern(value: object) -> str:
    text = string(value, "a media type")
    if not _MEDIA.fullmatch(text) and not _SUFFIX.fullmatch(text):
        raise wrong(text, "is not a media type", 'write one such as "text/html", "text/*" or "*+json"')
    return text.lower()


def _protocol(value: object) -> str:
    text = _token(value, "a protocol name").lower()
    if text == "h2c":
        raise wrong(value, "is never passed on", "HTTP/2 is not reached by an upgrade")
    return text


def _pseudonym(value: object) -> str:
    text = string(value, "a name for Via")
    name, _, port = text.partition(":")
    if not _TOKEN.fullmatch(name) or (port and not port.isdigit()):
        raise wrong(text, "is not a name for Via", 'write a word such as "revproxy", or "off"')
    return text


def _location(value: object) -> str:
    text = _template(value)
    if not _URL.match(text) and not text.startswith(("/", "$")):
        raise wrong(
            text, "is not a target", 'write a URL such as "https://example.com$target", or a path that begins with "/"'
        )
    if any(character.isspace() for character in text):
        raise wrong(text, "is not a target", "white space in a URL is written %20")
    return text


def _target(value: object) -> str:
    hint = 'write a path that begins with "/", with a query if need be'
    text = string(value, "a target", hint)
    if not text.startswith("/"):
        raise wrong(text, "is not a target", hint, f"/{text}" if text and text[0].isalnum() else None)
    if not all("!" <= character <= "~" for character in text) or "#" in text:
        raise wrong(text, "is not a target", 'white space, "#" and what is not ASCII are written as % escapes')
    return text


def _path_template(value: object) -> str:
    text = _template(value)
    if not text.startswith(("/", "$")) or any(character.isspace() for character in text):
        raise wrong(text, "is not a path", 'write a path that begins with "/", without white space')
    return text


def _reference(value: object) -> str:
    hint = 'write "module:name", such as "mysite.hooks:check"'
    text = string(value, "a reference", hint)
    if not _REFERENCE.fullmatch(text):
        near = re.sub(r"\.(\w+)$", r":\1", text)
        raise wrong(text, "is not a reference", hint, near if _REFERENCE.fullmatch(near) else None)
    return text


def _key(value: object) -> str:
    hint = 'write "client", "path", "header:NAME", "cookie:NAME", "query:NAME" or "module:callable"'
    text = string(value, "a key", hint)
    kind, colon, name = text.partition(":")
    if text in ("client", "path"):
        return text
    if colon and kind in ("header", "cookie", "query"):
        if kind == "header":
            return f"header:{_field_name(name)}"
        return f"{kind}:{_cookie_name(name) if kind == 'cookie' else plain_name(name)}"
    if not _REFERENCE.fullmatch(text):
        raise wrong(text, "is not a key", hint)
    return text


def _rule_id(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    return integer(1, 999_999, "a rule's number")(value)


def _limit_key(value: object) -> str:
    hint = (
        'write "client", "route", "client_certificate", "path", "header:NAME", "cookie:NAME", "query:NAME" '
        'or "module:callable"'
    )
    text = string(value, "a key", hint)
    if text in ("route", "client_certificate"):
        return text
    if ":" not in text and text not in ("client", "path"):
        raise wrong(text, "is not a key", hint, nearest(text, ("client", "route", "client_certificate", "path")))
    return _key(text)


def _policy_name(value: object) -> str:
    text = string(value, "a name")
    if not _POLICY.fullmatch(text):
        raise wrong(text, "is not a name for a limit", 'clients read it: up to 64 letters, digits and "_.-"')
    return text


def _secret(value: object) -> str:
    text = plain_name(value)
    if len(text) < 16:
        raise Wrong("too short for a secret; write 16 characters or more", found="a secret")
    return text


#: The words of :mod:`revproxy.config.model` and who reads them.
PARSERS: dict[str, Callable[[object], Any]] = {
    "ban condition": ban_condition,
    "agent pattern": agent_pattern,
    "brotli level": integer(0, 11, "a level"),
    "changed field": _changed_field,
    "cookie name": _cookie_name,
    "cors origin": _cors_origin,
    "count": integer(1, 2**31),
    "count or zero": integer(0, 2**31),
    "duration": above_zero(seconds),
    "duration or zero": seconds,
    "error status": integer(400, 599, "a status"),
    "field name": _field_name,
    "field value": _field_value,
    "gzip level": integer(1, 9, "a level"),
    "host": _host,
    "host pattern": _host_pattern,
    "identity": identity,
    "IPv4 prefix": integer(1, 32, "a prefix"),
    "IPv6 prefix": integer(1, 128, "a prefix"),
    "key": _key,
    "key hash": tokens.hashed_key,
    "linear pattern": linear_pattern,
    "limit key": _limit_key,
    "location": _location,
    "media type": _media_type,
    "method": _method,
    "method or any": _method_or_any,
    "name": plain_name,
    "network": _network,
    "own rule id": integer(OWN, 999_999, "a number of rules of your own"),
    "network or file": _network_or_file,
    "password hash": tokens.hashed_password,
    "path": _path,
    "path pattern": _path_pattern,
    "path template": _path_template,
    "percent": portion(None),
    "policy name": _policy_name,
    "port": integer(1, 65535, "a port"),
    "protocol": _protocol,
    "pseudonym": _pseudonym,
    "rate": above_zero(byte_rate),
    "reference": _reference,
    "refusal status": integer(400, 599, "a status of a refusal"),
    "regex": regex,
    "path regex": path_regex,
    "request rate": request_rate,
    "retry condition": retry_condition,
    "rule id": _rule_id,
    "secret": _secret,
    "share": portion(1.0),
    "size": above_zero(octets),
    "size or zero": octets,
    "status": integer(200, 599, "a status"),
    "status class": status_class,
    "status range": status_range,
    "target": _target,
    "template": _template,
    "tier": tier,
    "text": _text,
    "token algorithm": tokens.algorithm,
    "token place": tokens.place,
    "type pattern": _type_pattern,
    "upstream host": _upstream_host,
    "zstd level": integer(1, 19, "a level"),
}


def parse(word: str, value: object) -> Any:
    """Read ``value`` as the vocabulary's ``word``. :raises Wrong: when it is not one."""
    try:
        return PARSERS[word](value)
    except Wrong as error:
        error.found = error.found or show(value)
        raise
