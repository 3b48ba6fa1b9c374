"""How many retries an upstream gets, so that they never multiply an outage. Pure.

Rules of this module:

* retries are paid from a budget that requests fill: a share of 20 % is one retry for five requests;
* a little is always there (ten a second), so that the few requests of a quiet time can be tried again;
* what was saved is bounded by the requests in flight: a backend that dies may cost each of them one
  retry at once, and after that only the share is left.

Source: Finagle's ``RetryBudget``; gRPC's retry throttling has the same idea.
"""

from __future__ import annotations

#: Retries a second that are always allowed, and how many of them can be saved up.
TRICKLE = 10.0
SAVED = 100.0


class Budget:
    """The retries that are left, counted in requests: a retry costs ``1 / share`` of them.

    It is asked only when something failed, so an upstream that is well pays nothing for it.
    """

    __slots__ = ("_at", "_requests", "_retries", "_saved", "_trickle")

    def __init__(self) -> None:
        self._saved = float("inf")
        self._trickle = SAVED
        self._requests = 0
        self._retries = 0
        self._at = 0.0

    def spend(self, share: float | None, now: float, requests: int, live: int) -> bool:
        """Whether one more retry may be made; it is paid for when it may.

        :param share: retries against requests; ``None`` for no bound.
        :param requests: sent to the upstream in all its life, retries included. :param live: in flight.
        """
        if share is None:
            return True
        fresh = max(0, requests - self._retries - self._requests)
        self._requests += fresh
        self._trickle = min(SAVED, self._trickle + TRICKLE * max(0.0, now - self._at))
        self._at = now
        if share > 0:
            cost = 1 / share
            self._saved = min(self._saved + fresh, live * cost)
            if self._saved >= cost:
                self._saved -= cost
                self._retries += 1
                return True
        if self._trickle >= 1:
            self._trickle -= 1
            self._retries += 1
            return True
        return False
