"""Passwords that are checked beside the reactor, a bounded number at a time, and results that are remembered.

Rules of this module:

* checking one takes 50 ms or more of a core: it is done in threads, at most :data:`THREADS` at once; :data:`WAITING`
  more wait, :data:`EACH` of one client (an IPv6 one by its /64); what is beyond is :class:`Busy`;
* the same name and password asked for by many requests at once are checked once;
* results are remembered by a keyed hash, which nobody else can make: no password is kept;
* wrong ones are remembered apart from right ones, so that a flood of guesses pushes nobody out;
* another file of names forgets all of it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from secrets import token_bytes
from typing import Any

from twisted.internet.defer import Deferred

from revproxy.auth.hashes import Users, verify
from revproxy.threads import in_thread

#: Passwords that are checked at once: a core is left to the reactor.
THREADS = max(1, min(4, (os.cpu_count() or 2) - 1))
#: Those that wait for it, of everybody and of one client.
WAITING = 64
EACH = 8
#: Requests that wait for any of these.
REQUESTS = 1024
#: Results that are remembered, of each kind.
REMEMBERED = 4096


class Busy(Exception):
    """Too many passwords wait to be checked."""


class _Job:
    """One check. :ivar waiters: who waits for it."""

    __slots__ = ("client", "digest", "hashed", "known", "password", "started", "users", "waiters")

    def __init__(self, digest: bytes, users: Users, known: bool, hashed: bytes, password: bytes, client: str) -> None:
        self.digest = digest
        self.users = users
        self.known = known
        self.hashed = hashed
        self.password = password
        self.client = client
        self.waiters: list[Deferred[bool]] = []
        self.started = False


class Passwords:
    """Checks names and passwords.

    :param users: who there is. :param keep: seconds for which a result is remembered, 0 for not at all.
    :param check: whether a password is that of a hash; it blocks.
    """

    __slots__ = (
        "_by_client", "_check", "_jobs", "_keep", "_queue", "_reactor", "_right", "_running", "_secret", "_threads",
        "_users", "_waiting", "_wrong",
    )  # fmt: skip

    def __init__(
        self,
        users: Users,
        reactor: Any,
        keep: float = 60.0,
        *,
        check: Callable[[bytes, bytes], bool] = verify,
        threads: int = THREADS,
    ) -> None:
        self._users = users
        self._reactor = reactor
        self._keep = keep
        self._check = check
        self._threads = threads
        self._secret = token_bytes(32)
        self._right: dict[bytes, float] = {}
        self._wrong: dict[bytes, float] = {}
        self._jobs: dict[bytes, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._by_client: dict[str, int] = {}
        self._running = 0
        self._waiting = 0

    def use(self, users: Users) -> None:
        """Others are known from now on."""
        self._users = users
        self._right.clear()
        self._wrong.clear()
        self._jobs.clear()  # what is being checked is told to those who wait, and to nobody else

    def ask(self, name: bytes, password: bytes, client: str) -> bool | Deferred[bool]:
        """Whether this is somebody's password. :raises Busy: when too many are being checked."""
        digest = blake2b(b"%d:%b%b" % (len(name), name, password), key=self._secret, digest_size=20).digest()
        until = self._right.get(digest)
        if until is not None and self._reactor.seconds() < until:
            return True
        until = self._wrong.get(digest)
        if until is not None and self._reactor.seconds() < until:
            return False
        job = self._jobs.get(digest)
        if job is None:
            hashed = self._users.hash_of(name)
            if hashed is None:
                return False
            job = self._begin(_Job(digest, self._users, name in self._users, hashed, password, _network(client)))
        elif self._waiting >= REQUESTS:
            raise Busy
        waiter: Deferred[bool] = Deferred(lambda waiter: self._leave(job, waiter))
        job.waiters.append(waiter)
        self._waiting += 1
        if not job.started:
            self._pump()
        return waiter

    def _begin(self, job: _Job) -> _Job:
        if self._running >= self._threads or self._queue:
            if len(self._queue) >= WAITING or self._by_client.get(job.client, 0) >= EACH or self._waiting >= REQUESTS:
                raise Busy
        self._by_client[job.client] = self._by_client.get(job.client, 0) + 1
        self._queue.append(job)
        self._jobs[job.digest] = job
        return job

    def _pump(self) -> None:
        while self._queue and self._running < self._threads:
            job = self._queue.popleft()
            self._out_of_queue(job)
            job.started = True
            self._running += 1
            done = in_thread(self._reactor, self._check, job.hashed, job.password)
            done.addBoth(self._done, job)

    def _out_of_queue(self, job: _Job) -> None:
        left = self._by_client[job.client] - 1
        if left:
            self._by_client[job.client] = left
        else:
            del self._by_client[job.client]

    def _done(self, result: Any, job: _Job) -> None:
        self._running -= 1
        if self._jobs.get(job.digest) is job:
            del self._jobs[job.digest]
        right = result is True and job.known
        if self._keep and job.users is self._users and isinstance(result, bool):
            self._remember(self._right if right else self._wrong, job.digest)
        waiters, job.waiters = job.waiters, []
        self._waiting -= len(waiters)
        for waiter in waiters:
            if isinstance(result, bool):
                waiter.callback(right)
            else:
                waiter.errback(result)
        self._pump()

    def _remember(self, results: dict[bytes, float], digest: bytes) -> None:
        results.pop(digest, None)
        while len(results) >= REMEMBERED:
            del results[next(iter(results))]
        results[digest] = self._reactor.seconds() + self._keep

    def _leave(self, job: _Job, waiter: Deferred[bool]) -> None:
        """Who asked is gone: what nobody waits for is not checked."""
        if waiter in job.waiters:
            job.waiters.remove(waiter)
            self._waiting -= 1
            if not job.waiters and not job.started:
                self._queue.remove(job)
                self._out_of_queue(job)
                if self._jobs.get(job.digest) is job:
                    del self._jobs[job.digest]


def _network(client: str) -> str:
    """An address, of IPv6 its /64."""
    if ":" not in client:
        return client
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or IPv6Address(int(address) >> 64 << 64))
