"""Whether a failed try goes to a backend again: a decision, pure (RFC 9110 9.2.2).

Rules of this module:

* nothing was sent: any method may be tried again;
* something was sent and no byte of a response came, on a connection that had been used before:
  the backend most likely closed it just then. Idempotent requests whose body can be repeated go
  out again, on a fresh connection. That is no failure of the backend, and costs no try;
* everything else is as the route says (``retry``), and for the methods it names: a reset, a response
  head that does not come in time, a status. It is tried at another backend, or at the same one after
  a pause where the route has one;
* what may not be repeated is not, whatever the route says: it would risk doing a thing twice.
"""

from __future__ import annotations

from typing import Literal

from revproxy.config.upstreams import Retry
from revproxy.fault import (
    BACKEND_CONNECT,
    BACKEND_CONNECT_TIMEOUT,
    BACKEND_FIRST_BYTE_TIMEOUT,
    BACKEND_RESET,
    BACKEND_UNSENT,
    Fault,
)

#: RFC 9110 9.2.2, with 9.2.1's safe ones.
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
#: RFC 9110 9.2.1, but for TRACE: what may be used to find out whether a backend is well again.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})

_WORDS = {
    BACKEND_CONNECT: "connect",
    BACKEND_CONNECT_TIMEOUT: "connect",
    BACKEND_UNSENT: "connect",
    BACKEND_RESET: "reset",
    BACKEND_FIRST_BYTE_TIMEOUT: "timeout",
}

Verdict = Literal["no", "free", "paid"]


class Policy:
    """A route's ``retry`` table, ready for use; ``None`` is ``"off"``.

    :ivar tries: in all. :ivar methods: what may be sent again after it was sent.
    :ivar statuses: responses that are a failed try. :ivar per_try: seconds for a response head, or ``None``.
    :ivar backoff: seconds before a backend is asked again, or ``None`` when it never is.
    :ivar budget: retries against requests, ``None`` for no bound. :ivar body: bytes that are kept to be sent again.
    """

    __slots__ = ("_on", "backoff", "body", "budget", "methods", "off", "per_try", "statuses", "tries")

    def __init__(self, written: Retry | None) -> None:
        self.off = written is None
        if written is None:
            written = Retry(on=(), methods=(), tries=1)
        self._on = frozenset(written.on)
        self.tries = written.tries
        self.methods = frozenset(method.encode("ascii") for method in written.methods)
        self.statuses = frozenset(int(word) for word in written.on if word.isdigit())
        self.per_try = written.per_try
        self.backoff = None if written.backoff is None else max(written.backoff, 0.0)
        self.budget = written.budget
        self.body = written.body

    def verdict(
        self,
        fault: Fault,
        *,
        method: bytes,
        reused: bool,
        replayable: bool,
        tries: int,
        trace: list[str] | None = None,
    ) -> Verdict:
        """Whether to try again after ``fault``; a ``"paid"`` one needs a backend and a place in the budget, too.

        :param reused: the connection had carried another exchange before.
        :param replayable: all that was sent of the body is still there.
        :param tries: paid tries so far, this one included.
        """
        verdict, why = self._decide(fault, method, reused, replayable, tries)
        if trace is not None:
            trace.append(why)
        return verdict

    def _decide(self, fault: Fault, method: bytes, reused: bool, replayable: bool, tries: int) -> tuple[Verdict, str]:
        if fault is BACKEND_UNSENT and reused:
            return "free", "nothing was sent on a connection that was closed"
        if self.off:
            return "no", "retries are off"
        sent = fault.retry != "unsent"
        if fault.retry == "never":
            return "no", f"{fault.word} is never tried again"
        if sent and not replayable:
            return "no", "its body can't be repeated"
        if fault is BACKEND_RESET and reused:
            if method not in IDEMPOTENT:
                return "no", f"{method.decode('ascii', 'replace')} is not idempotent"
            return "free", "idempotent, on a connection the backend had kept open"
        word = _WORDS.get(fault)
        if word is not None and word not in self._on:
            return "no", f"{word} is not in retry.on"
        if sent and method not in self.methods:
            return "no", f"{method.decode('ascii', 'replace')} is not in retry.methods"
        if tries >= self.tries:
            return "no", f"{tries} tries were made"
        return "paid", "nothing was sent" if not sent else f"{method.decode('ascii', 'replace')} may be sent again"
