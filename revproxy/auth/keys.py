"""Where the keys of tokens come from: a secret, a file that is watched, or a URL that is asked again and again.

Rules of this module:

* no request asks for keys by itself: they are fetched in the background, and a token of an unknown key brings that
  forward, at most once in :data:`AGAIN` seconds whoever sends how many of them;
* what was read last stays while a set can't be fetched or read; that it can't be is one line of the log, and another
  when it can be;
* a set that was read is the one that counts, also where no key of it can be used: keys that were withdrawn are trusted
  no longer, and the log says so;
* an answer is bounded in size and time (:mod:`revproxy.tls.acme.web`), and so are those who wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.auth.token import Keys

_log = Logger()

#: Seconds between two requests for keys, at least.
AGAIN = 30.0
#: Requests that wait for keys.
WAITERS = 256


#: What is wrong with a set of which nothing is left.
_NONE = "none of the keys in the set can be used"


class FixedKeys:
    """Keys that are there. A watched file calls :meth:`use`. :param name: of where they are from, for the log."""

    __slots__ = ("_name", "keys")

    def __init__(self, keys: Keys, name: str = "") -> None:
        self._name = name
        self.keys: Keys = keys

    def use(self, keys: Keys) -> None:
        self.keys = keys
        if not keys.keys:
            _log.warn("{name}: {why}; every token is refused", name=self._name, why=_NONE)

    def more(self) -> None:
        """There are no more to be had."""


class FetchedKeys:
    """Keys that are fetched, from the first need or :meth:`start` on.

    :param fetch: gives the bytes of a set, or fails. :param read: makes keys of it, and raises ``ValueError``.
    :param refresh: seconds after which they are fetched again.
    :ivar keys: those of the last set that could be read, ``None`` before there is one.
    """

    __slots__ = (
        "_fetch", "_name", "_reactor", "_read", "_refresh", "_running", "_timer", "_told", "_tried", "_waiters",
        "fetching", "keys",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Deferred[bytes]],
        read: Callable[[bytes], Keys],
        reactor: Any,
        refresh: float,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._read = read
        self._reactor = reactor
        self._refresh = refresh
        self._timer: Any = None
        self._tried = float("-inf")
        self._told = ""
        self._running = False
        self._waiters: list[Deferred[None]] = []
        self.fetching: Deferred[Any] | None = None
        self.keys: Keys | None = None

    def start(self) -> None:
        """Fetch them now, and again and again."""
        self._running = True
        if self.fetching is None:
            self._ask()

    def close(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fetching, self.fetching = self.fetching, None
        if fetching is not None:
            fetching.cancel()
        self._tell()

    def more(self) -> Deferred[None] | None:
        """A Deferred that fires when there may be other keys; ``None`` where they were asked for a moment ago."""
        if self.fetching is None:
            if self._reactor.seconds() - self._tried < AGAIN:
                return None
            self._running = True
            self._ask()
            if self.fetching is None:  # it is over already
                done: Deferred[None] = Deferred()
                done.callback(None)
                return done
        if len(self._waiters) >= WAITERS:
            return None
        waiter: Deferred[None] = Deferred(self._leave)
        self._waiters.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _ask(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tried = self._reactor.seconds()
        self.fetching = fetching = self._fetch()
        fetching.addCallback(self._came).addErrback(self._failed).addBoth(self._over, fetching)

    def _came(self, data: bytes) -> None:
        self.keys = self._read(data)
        if not self.keys.keys:
            self._warn(_NONE, "every token is refused")
        elif self._told:
            self._told = ""
            _log.info("{name}: the keys could be fetched again", name=self._name)

    def _failed(self, failure: Any) -> None:
        if self.fetching is None and not self._running:
            return  # it was stopped
        rest = "tokens can't be checked" if self.keys is None else "the last ones stay"
        self._warn(f"no keys: {failure.getErrorMessage()}", rest)

    def _warn(self, why: str, rest: str) -> None:
        if why != self._told:
            self._told = why
            _log.warn("{name}: {why}; {rest}", name=self._name, why=why, rest=rest)

    def _over(self, result: Any, fetching: Deferred[Any]) -> None:
        if self.fetching is fetching:
            self.fetching = None
        if self._running:
            seconds = AGAIN if self._told else self._refresh
            self._timer = self._reactor.callLater(seconds, self._due)
        self._tell()

    def _due(self) -> None:
        self._timer = None
        self._ask()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
