"""What was written about authentication -> a hook, and what goes on by itself for it: watched files, fetched keys.

Rules of this module:

* routes whose tables are the same share what lives: results that are remembered, keys, the watch of a file;
* what can be wrong with a file is found here, before anything listens;
* what needs a package of the extra ``auth`` says so where it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.accesslog_format import printable
from revproxy.auth.credentials import remover, told_names
from revproxy.auth.forward import ForwardMethod
from revproxy.auth.hashes import MOST, Users, key_hash, read_keys, read_users
from revproxy.auth.methods import ApiKeyMethod, BasicMethod, CertificateMethod, Holder, by_digest
from revproxy.auth.passwords import Passwords
from revproxy.config.auth import ApiKeyAuth, Auth, BasicAuth, ForwardAuth, JwtAuth
from revproxy.extras import how_to_install
from revproxy.handlers.ask import AskForClient
from revproxy.keys import key_reader
from revproxy.middleware.auth import Authenticate
from revproxy.routing import Route
from revproxy.upstream.group import Upstream
from revproxy.variables import compile_template
from revproxy.watched import Watch, read_file

_log = Logger()


class _Use(Protocol):
    def use(self, value: Any, /) -> None: ...


_Live = TypeVar("_Live", bound=_Use)


class Auths:
    """The hooks of a configuration.

    :param upstreams: those that there are. :param hide: names of fields of a service's answers that clients don't get.
    :param base: the folder that relative paths start from. :param now: seconds since the epoch.
    :ivar tasks: what has to be started and stopped.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        hide: frozenset[bytes],
        reactor: Any,
        base: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.tasks: list[Any] = []
        self._upstreams = upstreams
        self._hide = hide
        self._reactor = reactor
        self._base = base
        self._now = now
        self._made: list[tuple[Auth, Authenticate]] = []

    def get(self, written: Auth) -> Authenticate:
        """The hook. :raises ValueError: for a file, a package or a template that can't be used."""
        for before, made in self._made:
            if before == written:
                return made
        told = told_names(written.told, written.strip)
        methods = [self._method(name, table, written) for name, table in written.methods()]
        removers = [remover(place) for place in written.places] if written.credentials == "remove" else []
        headers = [(name.encode("ascii"), compile_template(value)) for name, value in written.headers.items()]
        hook = Authenticate(methods, written.satisfy == "all", told, removers, headers)
        self._made.append((written, hook))
        return hook

    def _method(self, name: str, table: Any, written: Auth) -> Any:
        try:
            if name == "basic":
                return self._basic(table, written.realm)
            if name == "jwt":
                return self._jwt(table, written.realm)
            if name == "api_key":
                return self._api_key(table, written.realm)
            if name == "forward":
                return self._forward(table)
            return CertificateMethod(table)
        except ValueError as error:
            raise ValueError(f"auth.{name}: {error}") from None

    def _path(self, written: str) -> str:
        return str(Path(self._base, written))

    def _live(self, path: str, read: Callable[[bytes], Any], make: Callable[[Any], _Live], most: int = MOST) -> _Live:
        """What ``make`` makes of a file as it is read now; its ``use`` gets what the file holds later."""

        def found(value: Any) -> None:
            _log.info("{path}: changed, and read anew", path=watch.path)
            live.use(value)

        watch = Watch(
            self._path(path),
            lambda path: _parse(path, read, most),
            self._reactor,
            found,
            lambda wrong: _log.warn("{wrong}; what was read before stays", wrong=wrong),
        )
        live = make(watch.load())
        self.tasks.append(watch)
        return live

    def _basic(self, written: BasicAuth, realm: str) -> BasicMethod:
        if written.file is None:
            return BasicMethod(Passwords(Users(written.users), self._reactor, written.cache), realm)
        passwords = self._live(
            written.file,
            lambda data: Users(read_users(data)),
            lambda users: Passwords(users, self._reactor, written.cache),
        )
        return BasicMethod(passwords, realm)

    def _api_key(self, written: ApiKeyAuth, realm: str) -> ApiKeyMethod:
        if written.file is None:
            holder = Holder(by_digest({name: key_hash(text) for name, text in written.keys.items()}))
        else:
            holder = self._live(written.file, lambda data: by_digest(read_keys(data)), Holder)
        return ApiKeyMethod(holder, written.place, realm)

    def _jwt(self, written: JwtAuth, realm: str) -> Any:
        try:
            from revproxy.auth import token
        except ImportError:
            raise ValueError(f"joserfc is not installed: {how_to_install('auth')}") from None
        from revproxy.auth.tokens import JwtMethod

        rules = token.Rules(
            written.algorithms,
            None if written.issuer is None else frozenset(written.issuer),
            None if written.audience is None else frozenset(written.audience),
            written.leeway,
            written.user,
            written.require,
        )
        return JwtMethod(self._keys(written, token), rules, written.token, realm, self._now)

    def _keys(self, written: JwtAuth, token: Any) -> Any:
        from revproxy.auth.keys import FetchedKeys, FixedKeys

        algorithms = written.algorithms
        if written.jwks is None:
            if written.secret_file is not None:
                secret = read_file(self._path(written.secret_file), 65536).strip()
            else:
                secret = (written.secret or "").encode("utf-8")
            return FixedKeys(token.secret_keys(secret, algorithms))
        if not written.jwks.startswith("https://"):
            path = self._path(written.jwks)

            def first(keys: Any) -> FixedKeys:
                if not keys.keys:
                    raise ValueError(f"{path}: none of its keys is for {' or '.join(algorithms)}")
                return FixedKeys(keys, path)

            return self._live(written.jwks, lambda data: token.read_keys(data, algorithms), first, 1 << 20)
        fetched = FetchedKeys(
            written.jwks,
            fetcher(written.jwks, written.ca, self._base, self._reactor),
            lambda data: token.read_keys(data, algorithms),
            self._reactor,
            written.refresh,
        )
        self.tasks.append(fetched)
        return fetched

    def _forward(self, written: ForwardAuth) -> ForwardMethod:
        upstream = self._upstreams[written.upstream]
        keys = [key_reader(by, self._base) for by in written.by]
        return ForwardMethod(written, Route(f"auth:{upstream.name}", AskForClient(upstream)), keys, self._hide)


def _parse(path: str, read: Callable[[bytes], Any], most: int) -> Any:
    data = read_file(path, most)
    try:
        return read(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def query_secrets(all_written: Iterable[Auth | None]) -> frozenset[bytes]:
    """The names of the query parameters that are credentials: no log shows their values."""
    found = (place for written in all_written if written is not None for place in written.places)
    return frozenset(place[len("query:") :].encode("utf-8") for place in found if place.startswith("query:"))


def hidden_places(all_written: Iterable[Auth | None]) -> frozenset[str]:
    """Where credentials stand, in the words of :class:`revproxy.filters.report.Hit`."""
    found: set[str] = set()
    for place in (place for written in all_written if written is not None for place in written.places):
        kind, _, name = place.partition(":")
        shown = printable(name.encode("utf-8")[:32])
        if kind == "query":
            # the page that a request comes from may have had it
            found |= {f"query {shown}", "query", "header referer"}
        else:
            found |= {f"{kind} {shown.lower() if kind == 'header' else shown}", kind}
    return frozenset(found)


def fetcher(url: str, ca: str | None, base: str, reactor: Any) -> Callable[[], Deferred[bytes]]:
    """What fetches a document over TLS, whole or not at all. :raises ValueError: ``ca`` can't be used."""
    from revproxy.tls.acme.web import fetch, make_agent, trusted

    agent = make_agent(trusted(ca, base), reactor)

    async def ask() -> bytes:
        answer = await fetch(agent, reactor, b"GET", url, accept="application/json")
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status}")
        return answer.body

    return lambda: Deferred.fromCoroutine(ask())
