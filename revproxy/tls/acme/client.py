"""Signed requests to one ACME authority: nonces, errors, what is sent once more (RFC 8555 6).

Rules of this module:

* one request at a time, for each spends the nonce of the answer before;
* a nonce that was not taken costs nothing: the same is sent again with a fresh one, :data:`NONCES` times;
* what only reads is sent again when the authority stumbles, at most :data:`TRIES` times in all; what changes
  something only when the authority said that it did not look at it. :func:`again` decides;
* a pause that the authority asks for is kept where it is short, and otherwise is for the one who asked us.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.task import deferLater

from revproxy.config.errors import show
from revproxy.threads import in_thread
from revproxy.tls.acme.messages import (
    BAD_NONCE,
    RATE_LIMITED,
    AcmeFailed,
    Directory,
    Problem,
    nonce_of,
    read_directory,
    read_json,
    read_problem,
    retry_after,
    url_of,
)
from revproxy.tls.acme.web import Answer, Unreachable, fetch

if TYPE_CHECKING:
    from revproxy.tls.acme.jose import AccountKey

#: How often one request is signed anew because its nonce was not taken.
NONCES = 6
#: How often one request is sent where the authority stumbles.
TRIES = 4
#: Seconds of the first pause between two of them (then twice as many each time), and the longest that is waited here.
PAUSE, LONGEST = 1.0, 60.0


@frozen
class Reply:
    """A successful answer. :param location: its URL, or ``""``. :param pause: seconds of its Retry-After."""

    location: str
    pause: float | None
    body: bytes

    @property
    def said(self) -> Mapping[str, Any]:
        """Its JSON. :raises AcmeFailed: when it has none."""
        return read_json(self.body)


def again(tries: int, reads: bool, status: int, kind: str, pause: float | None) -> float | None:
    """Seconds until a failed request is sent once more; ``None``: not at all.

    :param tries: how often it was sent. :param reads: whether it changes nothing.
    :param status: of the answer, 0 without one. :param kind: the problem's type.
    :param pause: seconds that the authority asks for.
    """
    if tries >= TRIES:
        return None
    unread = kind == RATE_LIMITED or status in (429, 503)
    if not (unread or (reads and (status == 0 or status >= 500))):
        return None
    if pause is None:
        # a limit without a word how long it holds is not one of seconds
        return None if kind == RATE_LIMITED or status == 429 else PAUSE * 2.0 ** (tries - 1)
    return max(PAUSE, pause) if pause <= LONGEST else None


class Client:
    """Speaks to one authority for one account.

    :param agent: an ``IAgent``. :param directory: the URL. :param now: gives Unix time.
    :ivar account: the account's URL, once there is one.
    """

    __slots__ = ("_agent", "_key", "_nonce", "_now", "_reactor", "_url", "account", "directory")

    def __init__(self, agent: Any, url: str, key: AccountKey, reactor: Any, now: Callable[[], float]) -> None:
        self._agent = agent
        self._url = url
        self._key = key
        self._reactor = reactor
        self._now = now
        self._nonce: str | None = None
        self.account: str | None = None
        self.directory: Directory | None = None

    async def find(self) -> Directory:
        """The directory, asked for once. :raises AcmeFailed: when there is none."""
        if self.directory is None:
            self.directory = read_directory((await self._plain(b"GET", self._url)).said)
        return self.directory

    async def post(self, url: str, payload: Mapping[str, Any], *, as_account: bool = True) -> Reply:
        """Change something (RFC 8555 6.2). :raises AcmeFailed: when it is refused."""
        return await self._signed(url, json.dumps(payload).encode("ascii"), as_account, False, "")

    async def get(self, url: str, accept: str = "") -> Reply:
        """Read something, by POST-as-GET (RFC 8555 6.3). :raises AcmeFailed: when it is refused."""
        return await self._signed(url, b"", True, True, accept)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self._reactor, seconds)

    async def _signed(self, url: str, payload: bytes, as_account: bool, reads: bool, accept: str) -> Reply:
        account = self.account if as_account else None
        nonces = 0

        async def send() -> Answer:
            nonlocal nonces
            while True:
                nonce = await self._take_nonce()
                body = await in_thread(self._reactor, self._key.sign, url, nonce, account, payload)
                answer = await self._fetch(b"POST", url, body, accept)
                nonces += 1
                if answer.status < 400 or nonces >= NONCES or _problem(answer).type != BAD_NONCE:
                    return answer

        return await self._persist(url, send, reads)

    async def _plain(self, method: bytes, url: str) -> Reply:
        return await self._persist(url, lambda: self._fetch(method, url), True)

    async def _persist(self, url: str, send: Callable[[], Any], reads: bool) -> Reply:
        tries = 0
        while True:
            tries += 1
            try:
                answer = await send()
            except Unreachable:
                wait = again(tries, reads, 0, "", None)
                if wait is None:
                    raise
            else:
                pause = retry_after(answer.fields.get("retry-after"), self._now())
                if 200 <= answer.status < 300:
                    return Reply(answer.fields.get("location", ""), pause, answer.body)
                problem = _problem(answer)
                wait = again(tries, reads, answer.status, problem.type, pause)
                if wait is None:
                    raise AcmeFailed(f"{show(url)}: {problem}", problem, pause)
            await self.pause(wait)

    async def _take_nonce(self) -> str:
        if self._nonce is None:
            await self._plain(b"HEAD", (await self.find()).new_nonce)
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            raise AcmeFailed("the authority gives no nonce (RFC 8555 7.2)")
        return nonce

    async def _fetch(self, method: bytes, url: str, body: bytes | None = None, accept: str = "") -> Answer:
        answer = await fetch(self._agent, self._reactor, method, url, body, accept)
        self._nonce = nonce_of(answer.fields.get("replay-nonce"))
        return answer


def location(reply: Reply, what: str) -> str:
    """The URL of what was made. :raises AcmeFailed: when the answer does not say it."""
    return url_of(reply.location, f"the URL of {what}")


def _problem(answer: Answer) -> Problem:
    """What an error says; an answer that is no problem document is one by its status."""
    try:
        return read_problem(read_json(answer.body), answer.status)
    except AcmeFailed:
        return Problem(f"status {answer.status}")
