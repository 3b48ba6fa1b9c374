"""When a certificate is renewed, and when a failed order is tried again; numbers in, numbers out.

Rules of this module:

* times are Unix time in seconds; chance is an argument;
* what is right for 90 days has to be right for 6, too: all is shares of the lifetime.
"""

from __future__ import annotations

from random import Random

#: Share of its lifetime after which a certificate is renewed.
RENEW_AT = 2 / 3
#: Share of its lifetime that this may come later: many proxies began on one day.
JITTER = 1 / 50
#: Seconds until the second try, and the most between two.
FIRST, MOST = 60.0, 12 * 3600.0
#: Seconds that an authority can make us wait for the next try.
PATIENCE = 24 * 3600.0
#: Seconds after which the files are looked at again: another process may have renewed, and clocks are set.
LOOK = 3600.0


def renewal(start: float, end: float, chance: Random) -> float:
    """When a certificate that is valid from ``start`` to ``end`` is to be renewed."""
    return start + (end - start) * (RENEW_AT + chance.uniform(0, JITTER))


def is_due(start: float, end: float, now: float) -> bool:
    """Whether two thirds of a lifetime have passed."""
    return now >= start + (end - start) * RENEW_AT


def backoff(failures: int, retry_after: float | None, chance: Random) -> float:
    """Seconds until the next try, after ``failures`` in a row (at least 1)."""
    wait = min(FIRST * 2.0 ** min(failures - 1, 20), MOST) * chance.uniform(0.8, 1.2)
    return max(FIRST, min(wait, MOST), min(retry_after or 0.0, PATIENCE))
