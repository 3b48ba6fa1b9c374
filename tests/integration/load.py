"""Clients that ask again and again, and an account of every single request.

Rules of this module:

* a closed loop: each of so many connections sends a request, waits for the response, rests, and sends the next one;
* every request has a target of its own and ends up in :attr:`Load.asked`, as exactly one of: a status, or a word for
  what went wrong on the connection. Nothing is sent twice, nothing is forgotten;
* a response counts as good only when its framing is exact and its body is the one for this very request.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from tests.integration.backend_process import answer_to, body_of
from tests.integration.harness import fields_of

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [^\r\n]*\r\n")


class Asked:
    """One request. Times are seconds of the monotonic clock.

    :ivar status: of the response, 0 when there was no whole and well-formed one; then ``problem`` is not empty.
    :ivar backend: who answered, as the response's field says.
    """

    __slots__ = ("backend", "began", "ended", "method", "problem", "status", "target")

    def __init__(self, method: bytes, target: bytes, began: float) -> None:
        self.method, self.target, self.began = method, target, began
        self.ended, self.status, self.problem, self.backend = 0.0, 0, "", ""

    @property
    def took(self) -> float:
        return self.ended - self.began

    @property
    def good(self) -> bool:
        return self.status == 200

    def __repr__(self) -> str:
        outcome = self.status or self.problem
        return f"<{self.method.decode()} {self.target.decode()} {outcome} by {self.backend or '-'} {self.took:.3f} s>"


class _Client(asyncio.Protocol):
    """One connection after another of one client."""

    def __init__(self, load: Load, number: int) -> None:
        self.load, self.number = load, number
        self.asking: Asked | None = None
        self.count = 0
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        self.next: asyncio.TimerHandle | None = None  # what it does after its rest, one thing at a time

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self.load.port)
        except OSError:
            self.asking = Asked(self.load.method, b"-", began)
            self._account(problem="not connected")
            self._later(self.reconnect)

    def reconnect(self) -> None:
        self.transport = None
        if not self.load.stopping:
            self.load.spawn(self.connect())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream it is
        self.buffer = b""
        self.load.connections += 1
        self.ask()

    def ask(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return  # closed while it rested: a new connection is on its way
        if self.load.stopping:
            transport.close()
            return
        self.count += 1
        target = b"/%b/%d/%d" % (self.load.name, self.number, self.count)
        method = self.load.method
        body = body_of(target) if method == b"POST" else b""
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        self.asking = Asked(method, target, time.monotonic())
        transport.write(b"%b %b HTTP/1.1\r\nHost: load\r\n%b\r\n%b" % (method, target, length, body))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if self.asking is None:
            self.load.surplus += 1
            self._drop("")
            return
        line = _STATUS_LINE.match(head + b"\r\n")
        fields = fields_of(head)
        length = fields.get("content-length", "")
        if line is None or not length.isdecimal() or "transfer-encoding" in fields:
            self._drop("malformed")
            return
        if len(rest) < int(length):
            return
        status = int(line[1])
        backend = fields.get("x-answered-by", "")
        if len(rest) > int(length):
            self._drop("surplus")
            return
        if status == 200 and rest != answer_to(backend.encode(), self.asking.method, self.asking.target):
            self._drop("wrong body")
            return
        self.buffer = b""
        self._account(status=status, backend=backend)
        if fields.get("connection", "").lower() == "close":
            self._drop("")
        else:
            self._later(self.ask)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.asking is not None:
            self._account(problem="reset" if exc else "closed within a response" if self.buffer else "closed")
        self._later(self.reconnect)

    def _drop(self, problem: str) -> None:
        if self.asking is not None:
            self._account(problem=problem)
        if self.transport is not None:
            self.transport.abort()

    def _account(self, status: int = 0, problem: str = "", backend: str = "") -> None:
        asked, self.asking = self.asking, None
        assert asked is not None
        asked.ended = time.monotonic()
        asked.status, asked.problem, asked.backend = status, problem, backend
        self.load.asked.append(asked)

    def _later(self, then: Callable[[], None]) -> None:
        if self.next is not None:
            self.next.cancel()
        rest = self.load.pause * self.load.chance.uniform(0.5, 1.5)
        self.next = asyncio.get_running_loop().call_later(rest, then)

    def give_up(self) -> None:
        """Account for a request that nothing ever came for."""
        if self.asking is not None:
            self._account(problem="no answer")
        if self.transport is not None:
            self.transport.abort()


class Load:
    """So many clients, in a thread, from now on until :meth:`stop`.

    :param port: of the proxy. :param name: the first part of all targets; no two loads of a test share one.
    :param pause: seconds between a response and the next request of its client, give or take a half.
    :ivar asked: every request that ended. :ivar surplus: bytes came that nobody had asked for.
    :ivar connections: how many were made.
    """

    def __init__(
        self, port: int, method: str = "GET", *, clients: int = 64, pause: float = 0.015, name: str = "load"
    ) -> None:
        self.port, self.method, self.clients, self.pause = port, method.encode(), clients, pause
        self.name = name.encode()
        self.asked: list[Asked] = []
        self.surplus = 0
        self.connections = 0
        self.stopping = False
        self.chance = random.Random(clients)
        self.began = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._patience = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def spawn(self, coroutine: object) -> None:
        """Have a coroutine run, and keep hold of it."""
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]  # one it is
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        clients = [_Client(self, number) for number in range(self.clients)]
        for client in clients:
            self.spawn(client.connect())
        while not self.stopping:
            await asyncio.sleep(0.02)
        end = time.monotonic() + self._patience
        while any(client.asking for client in clients) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for client in clients:
            client.give_up()

    def stop(self, patience: float = 4.0) -> None:
        """Ask nothing more; wait so many seconds for the answers that are still to come."""
        self._patience = patience
        self.stopping = True
        self._thread.join(patience + 5)
        assert not self._thread.is_alive(), "the load does not end"

    def reaches(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many requests have ended, and stop."""
        end = time.monotonic() + seconds
        while len(self.asked) < count and time.monotonic() < end:
            time.sleep(0.02)
        self.stop()
        assert len(self.asked) >= count, str(self)

    def finish(self) -> None:
        """Stop whatever happened."""
        self.stop(0.0)

    # -- the account

    def bad(self) -> list[Asked]:
        """Return every request that was not answered 200."""
        return [asked for asked in self.asked if not asked.good]

    def with_status(self, *statuses: int) -> list[Asked]:
        """Return the requests that were answered so."""
        return [asked for asked in self.asked if asked.status in statuses]

    def slower_than(self, seconds: float) -> list[Asked]:
        """Return the requests that took longer."""
        return [asked for asked in self.asked if asked.took > seconds]

    def slowest(self) -> float:
        """Return the seconds of the slowest one."""
        return max((asked.took for asked in self.asked), default=0.0)

    def __str__(self) -> str:
        so_far = list(self.asked)
        counts = Counter(str(asked.status) if asked.status else asked.problem for asked in so_far)
        shares = Counter(asked.backend for asked in so_far if asked.good)
        seconds = max((asked.ended for asked in so_far), default=self.began) - self.began
        return (
            f"{len(so_far)} {self.method.decode()} in {seconds:.1f} s: {_listed(counts)}; "
            f"good by {_listed(shares)}; slowest {self.slowest():.3f} s"
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "none"


def per_second(times: Iterable[float], since: float) -> str:
    """Return how many of the times fall into each second, as text."""
    counts = Counter(int(when - since) for when in times)
    return " ".join(str(counts[second]) for second in range(max(counts, default=-1) + 1)) or "0"
