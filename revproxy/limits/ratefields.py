"""The response fields RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11).

Rules of this module:

* both are lists of strings with parameters (RFC 9651): a policy is what was written (``q`` requests in ``w`` seconds),
  a limit what is left of it: ``r`` requests now, and no more than these within ``t`` seconds is what never is refused;
* seconds are whole and rounded up, so that who waits so long has waited long enough;
* ``pk`` is not sent: it would tell clients by what they are told apart;
* they are made as lines that a head of HTTP/1.1 ends with, and remembered for the numbers in them: 0.4 us, making
  them takes 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from revproxy.http.fields import Pair
from revproxy.http.message import OURS, Field

#: Numbers that fields are kept for, for one set of limits; about 200 bytes each, and as many for HTTP/2.
_KEPT = 2048
#: RFC 9651 3.3.1.
_LARGEST = 10**15 - 1

#: Of each limit what is left and for how many seconds, one behind the other; twice ``None`` where it does not count.
Numbers = tuple[int | None, ...]


class Policy:
    """What clients are told of a limit.

    :param name: letters, digits and ``_.-``. :param count: requests, :param seconds: in this time.
    """

    __slots__ = ("item", "limit")

    def __init__(self, name: str, count: int, seconds: int) -> None:
        self.item = b'"%b";q=%d;w=%d' % (name.encode("ascii"), min(count, _LARGEST), seconds)
        self.limit = b'"%b";' % name.encode("ascii") + b"r=%d;t=%d"


class Fields:
    """Makes the fields of a set of limits. :param policies: of each limit, in the order of the numbers.

    :ivar known: those that were made.
    """

    __slots__ = ("_all", "_policies", "known")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)
        self._all = _form(self._policies)
        self.known: dict[Numbers, bytes] = {}

    def told(self, numbers: Numbers) -> bytes:
        """The fields for these numbers, as lines with CRLF; nothing where no limit counts the request."""
        found = self.known.get(numbers)
        if found is not None:
            return found
        if None not in numbers:
            made = self._all % numbers
        else:
            form = _form(
                [policy for policy, left in zip(self._policies, numbers[::2], strict=True) if left is not None]
            )
            made = form % tuple([number for number in numbers if number is not None])
        if len(self.known) >= _KEPT:
            self.known.clear()
        self.known[numbers] = made
        return made


def _form(policies: Sequence[Policy]) -> bytes:
    """What numbers are put into."""
    if not policies:
        return b""
    items = b", ".join(policy.item for policy in policies)
    limits = b", ".join(policy.limit for policy in policies)
    return b"RateLimit-Policy: %b\r\nRateLimit: %b\r\n" % (items, limits)


def fields_of(lines: bytes) -> list[Field]:
    """The same fields, for those that want no lines."""
    parts = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return [(name.lower(), value, name + b": " + value, OURS) for name, _, value in parts]


_pairs: dict[bytes, list[Pair]] = {}


def pairs_of(lines: bytes) -> list[Pair]:
    """The same fields for HPACK; the same list again for the same lines, so it must not be changed."""
    made = _pairs.get(lines)
    if made is None:
        if len(_pairs) >= _KEPT:
            _pairs.clear()
        made = _pairs[lines] = [(name, value, False) for name, value, _, _ in fields_of(lines)]
    return made
