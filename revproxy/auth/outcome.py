"""What comes of a look at a request's credentials: somebody, or a refusal.

Rules of this module:

* an outcome is a value: nothing is answered or logged where it is made;
* of several refusals one is told, the one that says most: see :data:`MISSING` and its neighbours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, frozen

from revproxy.fault import Fault
from revproxy.http.message import Answer, Field

#: How much a refusal says, from nothing was shown to a whole answer that somebody else gave.
MISSING, WRONG, FORBIDDEN, BROKEN, ANSWERED = range(5)

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@define(eq=False)
class Identity:
    """Who a request comes from.

    :param user: a name for people and backends, printable UTF-8.
    :param method: what proved it, or several joined by ``+``.
    :param claims: what else is known: a token's claims. :param fields: request fields for the backend.
    :param cookies: Set-Cookie fields for the client.
    """

    user: bytes
    method: str
    claims: Mapping[str, Any] = {}  # never changed
    fields: tuple[Field, ...] = ()
    cookies: tuple[Field, ...] = ()

    def claim(self, name: str) -> bytes:
        """A claim as text: by its name, or by a path with dots into tables; ``b""`` for none.

        So it is for what no field can carry as it is (controls, blanks at its ends): what is left of it would be
        somebody else's.
        """
        found: Any = self.claims.get(name)
        if found is None:
            found = self.claims
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        text = claim_text(found)
        if _CONTROLS.search(text) or text != text.strip(" "):
            return b""
        return text.encode("utf-8", "replace")


@frozen(eq=False)
class Refusal:
    """Why a method did not accept a request.

    :param rank: one of :data:`MISSING` and its neighbours. :param detail: for the log.
    :param challenge: for WWW-Authenticate (RFC 9110 11.6.1), ``b""`` for none.
    :param answer: to be sent instead of an error page. :param retry_after: seconds, for a 503.
    """

    rank: int
    fault: Fault
    detail: str = ""
    challenge: bytes = b""
    answer: Answer | None = None
    retry_after: int = 0


def claim_text(value: Any) -> str:
    """A claim's value as one text; a table is JSON, and a list with commas in its items is nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        items = [claim_text(item) for item in value]
        return "" if any("," in item or item != item.strip(" ") for item in items) else ",".join(items)
    return json.dumps(value, ensure_ascii=False)


def most_telling(refusals: Sequence[Refusal]) -> Refusal:
    """Of refusals, in the order in which they were made, the one to be told."""
    return max(refusals, key=lambda refusal: (refusal.rank, bool(refusal.challenge)))


def merged(identities: Sequence[Identity]) -> Identity:
    """Of all that were proven together, one: the last names the user, and all tell their claims."""
    if len(identities) == 1:
        return identities[0]
    claims: dict[str, Any] = {}
    for identity in identities:
        claims |= identity.claims
    user = next((identity.user for identity in reversed(identities) if identity.user), b"")
    fields = tuple(f for identity in identities for f in identity.fields)
    cookies = tuple(f for identity in identities for f in identity.cookies)
    return Identity(user, "+".join(identity.method for identity in identities), claims, fields, cookies)
