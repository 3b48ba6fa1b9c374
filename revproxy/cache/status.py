"""Cache-Status: how the cache handled a request (RFC 9211).

Rules of this module:

* a member of its own line, after those of the caches behind us, which stay (RFC 9211 2);
* what does not apply is left out: ``hit`` and ``fwd`` exclude each other, and ``fwd-status``,
  ``stored`` and ``collapsed`` go with ``fwd``;
* not for answers that are nobody's but ours, such as error pages.
"""

from __future__ import annotations

import re

from revproxy.http.message import Field

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_UNSAFE = re.compile(r"[^\x20-\x7e]")
_LONGEST = 1024  # characters of a key that is told


def _string(text: str) -> str:
    """A String of structured fields (RFC 9651 3.3.3); what it can't hold is escaped as in URLs."""
    text = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8")), text[:_LONGEST])
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _named(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _string(text)


def _line(value: str) -> Field:
    encoded = value.encode("ascii")
    return (b"cache-status", encoded, b"Cache-Status: " + encoded, 0)


def status_of_hit(name: str, ttl: int, key: str | None = None, detail: str | None = None) -> Field:
    """The field of an answer that no backend was asked for (RFC 9211 2.1).

    :param name: ours; a token, or any text. :param ttl: seconds of freshness left, negative when stale.
    """
    value = f"{_named(name)}; hit; ttl={ttl}"
    if key is not None:
        value += f"; key={_string(key)}"
    if detail is not None:
        value += f"; detail={_named(detail)}"
    return _line(value)


def status_of_forward(
    name: str,
    fwd: str,
    *,
    fwd_status: int | None = None,
    stored: bool | None = None,
    collapsed: bool | None = None,
    ttl: int | None = None,
    key: str | None = None,
    detail: str | None = None,
) -> Field:
    """The field of an answer that a backend was asked for (RFC 9211 2.2).

    :param fwd: why. :param fwd_status: of the backend's answer, where ours has another.
    :param collapsed: whether the answer to another's request was used; ``False`` when it could not be.
    """
    value = f"{_named(name)}; fwd={fwd}"
    if fwd_status is not None:
        value += f"; fwd-status={fwd_status}"
    if ttl is not None:
        value += f"; ttl={ttl}"
    if stored:
        value += "; stored"
    if collapsed is not None:
        value += "; collapsed" if collapsed else "; collapsed=?0"
    if key is not None:
        value += f"; key={_string(key)}"
    if detail is not None:
        value += f"; detail={_named(detail)}"
    return _line(value)
