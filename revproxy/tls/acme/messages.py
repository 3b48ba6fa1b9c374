"""What an ACME authority says, and what follows from it (RFC 8555), without I/O.

Rules of this module:

* bytes or parsed JSON in, values out; what does not have the shape that the RFC gives it is an
  :class:`AcmeFailed`, and nothing of it is used;
* URLs of the authority's are https; tokens and nonces have the alphabet of base64url: they end in our paths and fields;
* whatever is said to the operator is one line, shortened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import frozen

from revproxy.config.errors import show

#: Prefix of the errors that the RFC knows (RFC 8555 6.7).
ERRORS = "urn:ietf:params:acme:error:"
BAD_NONCE = ERRORS + "badNonce"
RATE_LIMITED = ERRORS + "rateLimited"
NO_ACCOUNT = ERRORS + "accountDoesNotExist"

_TEXT = 300  # characters of a detail that are told
_URL = 2048
_SUBPROBLEMS = 3
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
_AUTHORIZATIONS = 200


class AcmeFailed(Exception):
    """No certificate came of it; ``str()`` is one line for the log.

    :ivar problem: what the authority said, where it did.
    :ivar retry_after: seconds after which it may be asked again, where it said that.
    """

    def __init__(self, text: str, problem: Problem | None = None, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.problem = problem
        self.retry_after = retry_after


@frozen
class Problem:
    """A problem document (RFC 9457, RFC 8555 6.7).

    :param type: a URI. :param detail: a stranger's text. :param parts: the same of single identifiers.
    """

    type: str
    detail: str = ""
    name: str = ""
    parts: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.name, self.type.removeprefix(ERRORS), self.detail) if part)
        if self.parts:
            more = ", …" if len(self.parts) > _SUBPROBLEMS else ""
            text += f" ({'; '.join(map(str, self.parts[:_SUBPROBLEMS]))}{more})"
        return text


@frozen
class Directory:
    """Where the authority's resources are (RFC 8555 7.1.1)."""

    new_nonce: str
    new_account: str
    new_order: str
    wants_binding: bool = False


@frozen
class Order:
    """An order (RFC 8555 7.1.3). ``certificate`` is ``""`` until there is one."""

    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    error: Problem | None = None


@frozen
class Challenge:
    """One way to prove control of a name (RFC 8555 8)."""

    type: str
    url: str
    status: str
    token: str
    error: Problem | None = None


@frozen
class Authorization:
    """A name, and the ways to prove control of it (RFC 8555 7.1.4)."""

    status: str
    name: str
    challenges: tuple[Challenge, ...]


def read_json(body: bytes) -> Mapping[str, Any]:
    """The object in a body. :raises AcmeFailed: when there is none."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise AcmeFailed(
            f"the authority's answer is not JSON: {_quoted(body[:60].decode('utf-8', 'replace'))}"
        ) from None
    if not isinstance(read, dict):
        raise AcmeFailed("the authority's answer is not an object of JSON")
    return read


def read_problem(said: Any, status: int = 0) -> Problem:
    """A problem document as far as it is one; never fails."""
    if not isinstance(said, dict):
        return Problem(f"status {status}" if status else "unknown")
    named = said.get("identifier")
    name = named.get("value") if isinstance(named, dict) else None
    below = said.get("subproblems")
    parts = below[: _SUBPROBLEMS + 1] if isinstance(below, list) else ()
    return Problem(
        _line(said.get("type")) or (f"status {status}" if status else "unknown"),
        _line(said.get("detail")),
        _line(name),
        # one level: subproblems have none (RFC 8555 6.7.1)
        tuple(read_problem({**part, "subproblems": None}) for part in parts if isinstance(part, dict)),
    )


def read_directory(said: Mapping[str, Any]) -> Directory:
    """:raises AcmeFailed: when a resource that we need is not in it."""
    meta = said.get("meta")
    return Directory(
        url_of(said.get("newNonce"), "the directory's newNonce"),
        url_of(said.get("newAccount"), "the directory's newAccount"),
        url_of(said.get("newOrder"), "the directory's newOrder"),
        isinstance(meta, dict) and meta.get("externalAccountRequired") is True,
    )


def read_order(said: Mapping[str, Any]) -> Order:
    """:raises AcmeFailed: when it is none."""
    urls = said.get("authorizations")
    if not isinstance(urls, list) or len(urls) > _AUTHORIZATIONS:
        raise AcmeFailed("the order's authorizations are not a list of sensible length")
    found = said.get("certificate")
    return Order(
        _word(said, "status", "order"),
        tuple(url_of(url, "an authorization's URL") for url in urls),
        url_of(said.get("finalize"), "the order's finalize"),
        "" if found is None else url_of(found, "the certificate's URL"),
        None if said.get("error") is None else read_problem(said["error"]),
    )


def read_authorization(said: Mapping[str, Any]) -> Authorization:
    """Challenges without a token, of kinds that are not ours, are left out. :raises AcmeFailed: when it is none."""
    identifier = said.get("identifier")
    name = identifier.get("value") if isinstance(identifier, dict) else None
    listed = said.get("challenges")
    if not isinstance(name, str) or not isinstance(listed, list):
        raise AcmeFailed("an authorization has no identifier or no challenges")
    found = tuple(read_challenge(one) for one in listed[:20] if isinstance(one, dict) and "token" in one)
    return Authorization(_word(said, "status", "authorization"), name.lower(), found)


def read_challenge(said: Mapping[str, Any]) -> Challenge:
    """:raises AcmeFailed: when it is none, or its token could do harm."""
    token = said.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise AcmeFailed("a challenge's token is not base64url (RFC 8555 8.3)")
    error = said.get("error")
    return Challenge(
        _word(said, "type", "challenge"),
        url_of(said.get("url"), "a challenge's URL"),
        _word(said, "status", "challenge"),
        token,
        None if error is None else read_problem(error),
    )


def url_of(said: Any, what: str) -> str:
    """An https URL. :raises AcmeFailed: when it is none; ``what`` is called so."""
    if not isinstance(said, str) or len(said) > _URL or not said.startswith("https://"):
        raise AcmeFailed(f"{what} is not an https URL: {_quoted(said)}")
    if not said.isascii() or not said.isprintable() or " " in said:
        raise AcmeFailed(f"{what} has characters that no URL has: {_quoted(said)}")
    return said


def nonce_of(field: str | None) -> str | None:
    """A Replay-Nonce field; one that is malformed counts as none (RFC 8555 6.5.1)."""
    return field if field is not None and _TOKEN.fullmatch(field) else None


def retry_after(field: str | None, now: float) -> float | None:
    """Seconds of a Retry-After field, a number or a date (RFC 9110 10.2.3); ``None`` when it is neither.

    :param now: Unix time.
    """
    if field is None:
        return None
    if field.isascii() and field.isdigit():
        return float(field[:12])
    try:
        when = parsedate_to_datetime(field)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def choose(authorization: Authorization, kind: str) -> Challenge | None:
    """The challenge that a pending authorization is proved by; ``None`` when nothing is left to prove.

    :raises AcmeFailed: when it can't be proved any more, or not by this kind.
    """
    if authorization.status == "valid":
        return None
    if authorization.status != "pending":
        raise refused(authorization)
    for challenge in authorization.challenges:
        if challenge.type == kind:
            return challenge
    offered = ", ".join(show(challenge.type) for challenge in authorization.challenges) or "nothing"
    raise AcmeFailed(f"{_quoted(authorization.name)}: the authority does not offer {show(kind)}, only {offered}")


def refused(authorization: Authorization) -> AcmeFailed:
    """Why an authorization did not become valid."""
    for challenge in authorization.challenges:
        if challenge.error is not None:
            return AcmeFailed(f"{_quoted(authorization.name)} was not proved: {challenge.error}", challenge.error)
    return AcmeFailed(f"{_quoted(authorization.name)} was not proved: its authorization is {authorization.status}")


def strange(order: Order) -> AcmeFailed:
    """Why an order goes no further."""
    why = order.error or f"its status is {order.status}"
    return AcmeFailed(f"the order came to nothing: {why}", order.error)


def misnamed(names: Sequence[str], authorization: Authorization) -> AcmeFailed | None:
    """A complaint about an authorization for what we did not order."""
    if authorization.name in names:
        return None
    return AcmeFailed(f"the authority wants a proof for {_quoted(authorization.name)}, which was not ordered")


def _word(said: Mapping[str, Any], key: str, of: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or len(value) > 64 or not value.isprintable():
        raise AcmeFailed(f"the authority's {of} has no {key} that is a word")
    return value


def _line(said: Any) -> str:
    if not isinstance(said, str):
        return ""
    short = said if len(said) <= _TEXT else said[: _TEXT - 1] + "…"
    return "".join(sign if sign.isprintable() else " " for sign in short)


def _quoted(said: Any) -> str:
    return show(said) if isinstance(said, str) else show(str(type(said).__name__))
