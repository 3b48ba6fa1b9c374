"""One order, from the account to the certificate (RFC 8555 7).

Rules of this module:

1. the account is registered, or what is kept of it is used (7.3);
2. the names are ordered (7.4);
3. each that is not proved yet is: its answer is put where listeners find it, and the authority is told (7.5);
4. it is waited for until all are proved, and the order is ready;
5. a new key's request goes out, and it is waited for until the certificate is issued (7.4);
6. the chain is fetched, and is only used when it is for that key and those names (7.4.2).

Whatever comes of it, the answers of step 3 are taken away.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve

from revproxy.config.tls import Acme
from revproxy.threads import in_thread
from revproxy.tls.acme.certificates import answering, checked, new_key, request
from revproxy.tls.acme.client import Client, Reply, location
from revproxy.tls.acme.messages import (
    NO_ACCOUNT,
    AcmeFailed,
    Authorization,
    Order,
    choose,
    misnamed,
    read_authorization,
    read_order,
    refused,
    strange,
)
from revproxy.tls.acme.storage import Account, Storage
from revproxy.tls.challenges import Challenges

CHAIN = "application/pem-certificate-chain"
#: Seconds between looks at what the authority works on, where it does not say: the first, and the most.
POLL, POLL_MOST = 0.5, 10.0
#: Seconds that it can make us wait between two looks, and in all for one thing.
PAUSE_MOST, POLL_TIME = 60.0, 600.0

_T = TypeVar("_T", Authorization, Order)


class Answers:
    """What is put into ``challenges`` for one order, and taken away from there.

    :param challenges: what the listeners look into.
    """

    __slots__ = ("_challenges", "_contexts", "_files")

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges
        self._files: list[bytes] = []
        self._contexts: dict[str, ssl.SSLContext] = {}

    def file(self, token: str, authorization: str) -> None:
        """Answer HTTP-01."""
        self._files.append(token.encode("ascii"))
        self._challenges.files[token.encode("ascii")] = authorization.encode("ascii")

    def context(self, name: str, context: ssl.SSLContext) -> None:
        """Answer TLS-ALPN-01."""
        self._contexts[name] = context
        self._challenges.contexts[name] = context

    def clear(self) -> None:
        """Take them away, and only ours: another order may prove the same name."""
        for token in self._files:
            self._challenges.files.pop(token, None)
        for name, context in self._contexts.items():
            if self._challenges.contexts.get(name) is context:
                del self._challenges.contexts[name]
        self._files.clear()
        self._contexts.clear()


class Ordering:
    """Orders one certificate.

    :param account: as it is kept. :param client: speaks with that account's key. :param now: gives Unix time.
    """

    __slots__ = ("_account", "_answers", "_client", "_now", "_reactor", "_storage", "_written")

    def __init__(
        self,
        written: Acme,
        storage: Storage,
        account: Account,
        client: Client,
        challenges: Challenges,
        reactor: Any,
        now: Callable[[], float],
    ) -> None:
        self._written = written
        self._storage = storage
        self._account = account
        self._client = client
        self._answers = Answers(challenges)
        self._reactor = reactor
        self._now = now

    async def run(self) -> bytes:
        """Order, and give what is to be installed: certificate, chain and key as one PEM.

        :raises AcmeFailed: when there will be none.
        """
        try:
            url, order = await self._ordered()
            if order.status == "pending":
                await self._prove(order)
                order = await self._until(url, read_order, {"pending"})
            if order.status != "ready":
                raise strange(order)
            return await self._issued(url, order)
        finally:
            self._answers.clear()

    async def _ordered(self) -> tuple[str, Order]:
        known = bool(self._account.url)
        try:
            await self._registered()
            return await self._new_order()
        except AcmeFailed as error:
            if not known or error.problem is None or error.problem.type != NO_ACCOUNT:
                raise
        self._account = evolve(self._account, url="", contact=())
        await self._registered()
        return await self._new_order()

    async def _registered(self) -> None:
        account = self._account
        contact = () if self._written.email is None else (f"mailto:{self._written.email}",)
        directory = await self._client.find()
        if account.url:
            self._client.account = account.url
            if account.contact == contact:
                return
            await self._client.post(account.url, {"contact": contact})
        else:
            if directory.wants_binding:
                raise AcmeFailed("the authority wants accounts bound to its customers' (externalAccountRequired)")
            wish: dict[str, Any] = {"termsOfServiceAgreed": True}
            if contact:
                wish["contact"] = contact
            reply = await self._client.post(directory.new_account, wish, as_account=False)
            self._client.account = location(reply, "the account")
        self._account = Account(account.key, self._client.account, contact)
        await in_thread(self._reactor, self._storage.keep, self._account)

    async def _new_order(self) -> tuple[str, Order]:
        identifiers = [{"type": "dns", "value": name} for name in self._written.names]
        directory = await self._client.find()
        reply = await self._client.post(directory.new_order, {"identifiers": identifiers})
        return location(reply, "the order"), read_order(reply.said)

    async def _prove(self, order: Order) -> None:
        waiting = []
        for url in order.authorizations:
            authorization = read_authorization((await self._client.get(url)).said)
            if (problem := misnamed(self._written.names, authorization)) is not None:
                raise problem
            challenge = choose(authorization, self._written.challenge)
            if challenge is None:
                continue
            await self._answer(authorization.name, challenge.token)
            if challenge.status == "pending":
                await self._client.post(challenge.url, {})
            waiting.append(url)
        for url in waiting:
            authorization = await self._until(url, read_authorization, {"pending"})
            if authorization.status != "valid":
                raise refused(authorization)

    async def _answer(self, name: str, token: str) -> None:
        text = self._account.key.authorization(token)
        if self._written.challenge == "http-01":
            self._answers.file(token, text)
        else:
            self._answers.context(name, await in_thread(self._reactor, self._context, name, text))

    def _context(self, name: str, text: str) -> ssl.SSLContext:
        return self._storage.context(answering(name, text, self._now()))

    async def _issued(self, url: str, order: Order) -> bytes:
        names = self._written.names
        key = await in_thread(self._reactor, new_key)
        wish = await in_thread(self._reactor, request, key, names)
        csr = base64.urlsafe_b64encode(wish).rstrip(b"=").decode("ascii")
        reply = await self._client.post(order.finalize, {"csr": csr})
        order = await self._until(url, read_order, {"ready", "processing"}, reply)
        if order.status != "valid" or not order.certificate:
            raise strange(order)
        chain = (await self._client.get(order.certificate, CHAIN)).body
        return await in_thread(self._reactor, checked, chain, key, names, self._written.directory, self._now())

    async def _until(
        self, url: str, read: Callable[[Mapping[str, Any]], _T], waiting: set[str], reply: Reply | None = None
    ) -> _T:
        """What is at ``url`` once its status is none of ``waiting``. :raises AcmeFailed: when that takes too long."""
        end = self._reactor.seconds() + POLL_TIME
        pause = POLL
        if reply is None:
            reply = await self._client.get(url)
        while (found := read(reply.said)).status in waiting:
            wait = pause if reply.pause is None else min(max(reply.pause, POLL), PAUSE_MOST)
            if self._reactor.seconds() + wait > end:
                raise AcmeFailed(f"the authority did not finish within {POLL_TIME:g} s: still {found.status}")
            await self._client.pause(wait)
            pause = min(pause * 1.5, POLL_MOST)
            reply = await self._client.get(url)
        return found


def in_words(names: Sequence[str]) -> str:
    """The names of an order in a line of the log."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
