"""One certificate that is kept valid: looked at, ordered, renewed.

Rules of this module:

* one loop, which :meth:`AcmeManager.stop` ends: look at what is in place, order when it is due, wait;
* an order is made with the folder's lock held, after another look: who shares the folder orders once;
* a failure is one line, and another try later; what is in place stays in service;
* time, chance and the authority's agent are arguments.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as LateError, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.config.tls import Acme
from revproxy.threads import in_thread
from revproxy.tls.acme.certificates import Standing
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.lock import FolderLock
from revproxy.tls.acme.messages import AcmeFailed
from revproxy.tls.acme.order import Ordering, in_words
from revproxy.tls.acme.schedule import LOOK, backoff, is_due, renewal
from revproxy.tls.acme.storage import Storage
from revproxy.tls.acme.web import make_agent, trusted
from revproxy.tls.challenges import Challenges

#: Seconds that an order may take in all, while the lock is held.
ORDER = 1800.0

_log = Logger()


class AcmeManager:
    """Keeps the certificate of one ``acme`` table in a listener's folder.

    :param written: the table, as :mod:`revproxy.config.check_listen` lets it pass.
    :param folder: where certificates are read from, absolute.
    :param challenges: what the listeners answer the authority with.
    :param renewed: called when a new certificate is in place; may give an awaitable.
    :param log: where the lines go. :param base: the folder that a relative ``ca`` starts from.
    :param agent: an ``IAgent`` instead of one that trusts ``ca``. :param now: gives Unix time.
    """

    __slots__ = (
        "_agent", "_base", "_chance", "_challenges", "_due", "_log", "_now", "_reactor", "_renewed", "_running",
        "_standing", "_storage", "_written",
    )  # fmt: skip

    def __init__(
        self,
        written: Acme,
        folder: str,
        challenges: Challenges,
        reactor: Any,
        *,
        renewed: Callable[[], Awaitable[Any] | None],
        log: Logger | None = None,
        base: str = ".",
        agent: Any = None,
        now: Callable[[], float] = time.time,
        chance: Random | None = None,
    ) -> None:
        self._written = written
        self._challenges = challenges
        self._reactor = reactor
        self._renewed = renewed
        self._log = log or _log
        self._base = base
        self._agent = agent
        self._now = now
        self._chance = chance or Random()
        self._storage = Storage(folder, written.names[0], written.directory)
        self._standing: Standing | None = None
        self._due = 0.0
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin; does nothing when it has begun."""
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(self._ended)

    def stop(self) -> Deferred[None]:
        """End what is under way. Fires when nothing is left of it but, at most, a thread that writes a file."""
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                wait = await self._turn()
                failures = 0
            except CancelledError:
                raise
            except Exception as error:
                failures += 1
                wait = backoff(failures, error.retry_after if isinstance(error, AcmeFailed) else None, self._chance)
                self._complain(error, wait)
            await deferLater(self._reactor, wait)

    async def _turn(self) -> float:
        """Look, order what is due, and say how many seconds may pass until the next look."""
        if not await self._is_due():
            return self._wait()
        await in_thread(self._reactor, self._storage.prepare)
        lock = FolderLock(self._storage.lock, self._reactor)
        try:
            await lock.take()
            ours = await self._is_due(again=True)
            if ours:
                await self._order()
        finally:
            lock.release()
        await self._tell(ours)
        if self._due <= self._now():
            # ordering at once again would bring another like it, until the authority has enough of us
            raise AcmeFailed(
                "the certificate in place is not valid now, or due already; is this machine's clock right?"
            )
        return self._wait()

    async def _is_due(self, again: bool = False) -> bool:
        """Whether an order is to be made; ``again``: although chance chose a moment for the one in place."""
        found = await in_thread(self._reactor, self._storage.standing)
        now = self._now()
        if found is None or not found.serves(self._written.names, self._written.directory, now):
            self._standing, self._due = found, now
            return True
        if found != self._standing:
            first = self._standing is None
            self._standing = found
            # at the start nothing is left to chance: it may have stood still for long
            late = is_due(found.start, found.end, now)
            self._due = now if late and (first or again) else renewal(found.start, found.end, self._chance)
        return now >= self._due

    def _wait(self) -> float:
        return min(self._due - self._now(), LOOK)

    async def _order(self) -> None:
        agent = self._agent
        if agent is None:  # a new one each time: months pass, and "ca" may be another file by then
            agent = make_agent(await in_thread(self._reactor, trusted, self._written.ca, self._base), self._reactor)
        account = await in_thread(self._reactor, self._storage.account)
        client = Client(agent, self._written.directory, account.key, self._reactor, self._now)
        ordering = Ordering(self._written, self._storage, account, client, self._challenges, self._reactor, self._now)
        pem = await Deferred.fromCoroutine(ordering.run()).addTimeout(ORDER, self._reactor)
        await in_thread(self._reactor, self._storage.install, pem)
        await self._is_due()

    async def _tell(self, ours: bool) -> None:
        found = self._standing
        if found is not None:
            self._log.info(
                "{who} a certificate for {names}, valid until {end}; it is renewed from {due} on",
                who="the ACME authority issued" if ours else "another process ordered",
                names=in_words(self._written.names),
                end=_moment(found.end),
                due=_moment(self._due),
            )
        try:
            waiting = self._renewed()
            if waiting is not None:
                await waiting
        except CancelledError:
            raise
        except Exception:
            self._log.failure("the new certificate of {names} is not in service", names=in_words(self._written.names))

    def _complain(self, error: Exception, wait: float) -> None:
        found = self._standing
        self._log.warn(
            "no certificate for {names} from {url}: {why}; next try in {wait:.0f} s; {now}",
            names=in_words(self._written.names),
            url=self._written.directory,
            why=_why(error),
            wait=wait,
            now="there is none yet" if found is None else f"the one in place is valid until {_moment(found.end)}",
        )
        if not isinstance(error, (AcmeFailed, OSError, ValueError, LateError)):
            self._log.failure("ACME failed by an error of the proxy's own", Failure(error))

    def _ended(self, why: Failure) -> None:
        if not why.check(CancelledError):
            self._log.failure("ACME for {names} has ended", why, names=in_words(self._written.names))


def _why(error: Exception) -> str:
    if isinstance(error, LateError):
        return f"the order was not finished within {ORDER:g} s"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{json.dumps(os.fsdecode(error.filename))}: {error.strerror}"
    return str(error) or type(error).__name__


def _moment(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"
