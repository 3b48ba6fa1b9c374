"""What has to agree in the ``auth`` table of a route, and between it and the listeners.

What it has to do with a cache is in :mod:`revproxy.config.check_shared`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from revproxy.auth.credentials import is_told, told_names
from revproxy.config.auth import ApiKeyAuth, Auth, BasicAuth, ForwardAuth, JwtAuth
from revproxy.config.check_access import never_comes
from revproxy.config.errors import Key, either, show
from revproxy.config.model import Route, Server
from revproxy.config.structure import Found
from revproxy.config.tokens import HMAC


def check_auth(
    key: Key, route: Route, server: Server, upstreams: Collection[str], has_client_certificates: bool
) -> Iterator[Found]:
    """What is wrong with the ``auth`` of a route, of which ``key`` is the path."""
    auth = route.auth
    if auth is None:
        return
    here: Key = (*key, "auth")
    names = [name for name, _ in auth.methods()]
    if not names:
        words = either(("basic", "forward", "jwt", "api_key", "client_certificate"))
        yield Found(here, f"nothing is accepted; write one of {words}")
    if auth.basic is not None:
        yield from _basic((*here, "basic"), auth.basic)
    if auth.api_key is not None:
        yield from _api_key((*here, "api_key"), auth.api_key)
    if auth.jwt is not None:
        yield from _jwt((*here, "jwt"), auth.jwt)
    if auth.forward is not None:
        yield from _forward((*here, "forward"), auth.forward, upstreams)
    if auth.client_certificate is not None and not auth.client_certificate.names:
        text = 'is empty: no certificate would be taken; write whose it has to be, or "*" for any'
        yield Found((*here, "client_certificate", "names"), text)
    if auth.client_certificate is not None and not has_client_certificates:
        text = "no listener asks clients for certificates; write tls = { …, client = … } in a [[listen]] table"
        yield Found((*here, "client_certificate"), text)
    yield from _read(here, auth, server)
    yield from _together(here, auth)


def _basic(key: Key, basic: BasicAuth) -> Iterator[Found]:
    if (basic.file is None) == (not basic.users):
        yield Found(key, 'write either "file", as htpasswd makes it, or "users"')
    for name in basic.users:
        if ":" in name or len(name) > 255:
            yield Found((*key, "users", name), 'a name has no ":" and 255 characters at most')


def _api_key(key: Key, api_key: ApiKeyAuth) -> Iterator[Found]:
    if (api_key.file is None) == (not api_key.keys):
        yield Found(key, 'write either "file" or "keys"')
    if api_key.header is not None and api_key.query is not None:
        yield Found(key, '"header" and "query" are two places; keep one')
    seen: dict[str, str] = {}
    for name, digest in api_key.keys.items():
        if digest in seen:
            yield Found((*key, "keys", name), f"the same key as that of {show(seen[digest])}")
        seen.setdefault(digest, name)


def _read(key: Key, auth: Auth, server: Server) -> Iterator[Found]:
    """Credentials that never come to where they are looked for."""
    told = told_names(auth.told, auth.strip)
    where = {"api_key": ("api_key", "header"), "jwt": ("jwt", "token"), "basic": ("basic",)}
    for method, place in auth.places_by_method.items():
        kind, _, name = place.partition(":")
        if kind == "query":
            continue
        field = "cookie" if kind == "cookie" else name.lower() or "authorization"
        dropped = never_comes(field, server)
        if dropped is not None:
            yield Found((*key, *where[method]), f"{dropped}: it would never be there")
        elif is_told(field.encode("ascii"), told):
            names = {other.lower().replace("_", "-") for other in (*auth.told, *auth.strip)}
            by = "strip" if field in {other.lower().replace("_", "-") for other in auth.strip} else "headers"
            why = f"by {by}" if field in names else "since clients may not say who they are"
            yield Found(
                (*key, *where[method]),
                f"the field {show(field)} is taken out of all requests {why}, before it is looked at; read another, "
                f"such as {show('x-api-key' if method == 'api_key' and field != 'x-api-key' else 'x-token')}"
                f"{', or leave it out there' if field in names else ''}",
            )


def _jwt(key: Key, jwt: JwtAuth) -> Iterator[Found]:
    for name in ("issuer", "audience"):
        if getattr(jwt, name) == ():
            yield Found((*key, name), "is empty: every token would be refused; write some, or leave it out")
    for name, values in jwt.require.items():
        if not values:
            yield Found((*key, "require", name), "has no value: every token would be refused; write what it may be")
    if not jwt.algorithms:
        yield Found((*key, "algorithms"), 'no algorithm is taken; write one such as ["RS256"]')
    shared = [name for name in jwt.algorithms if name in HMAC]
    if shared and len(shared) < len(jwt.algorithms):
        text = f"{either(shared)} sign with a secret and the others with keys of two halves; keep one kind"
        yield Found((*key, "algorithms"), text)
        return
    keys = [name for name in ("jwks", "secret", "secret_file") if getattr(jwt, name) is not None]
    wanted = ("secret", "secret_file") if shared else ("jwks",)
    if jwt.algorithms and (len(keys) != 1 or keys[0] not in wanted):
        yield Found(key, f"{either(jwt.algorithms)} need {either(wanted)}, and nothing else")
    if jwt.secret is not None and shared and len(jwt.secret.encode("utf-8")) < max(HMAC[name] for name in shared):
        least = max(HMAC[name] for name in shared)
        yield Found((*key, "secret"), f"too short for {either(shared)}; {least} bytes or more are needed")
    if jwt.jwks is not None and "://" in jwt.jwks:
        try:
            parts = urlsplit(jwt.jwks)
            good = parts.scheme == "https" and bool(parts.hostname) and jwt.jwks.isascii() and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.username is not None or " " in jwt.jwks:
            yield Found((*key, "jwks"), f"{show(jwt.jwks)} can't be used; write an https URL, or a file's path")
    elif jwt.ca is not None:
        yield Found((*key, "ca"), "nothing is fetched, so nobody has to prove who they are; leave it out")


def _forward(key: Key, forward: ForwardAuth, upstreams: Collection[str]) -> Iterator[Found]:
    if forward.upstream and forward.upstream not in upstreams:
        known = ", ".join(map(show, sorted(upstreams)[:10]))
        yield Found((*key, "upstream"), f"no upstream is named {show(forward.upstream)}; known: {known or 'none'}")
    if forward.cache and not forward.by:
        text = 'answers are remembered by nothing; write what tells clients apart, such as by = ["cookie:session"]'
        yield Found((*key, "cache"), text)
    if forward.method in ("HEAD", "CONNECT", "TRACE"):
        yield Found((*key, "method"), f"a service can't be asked by {forward.method}; write GET or POST")


def _together(key: Key, auth: Auth) -> Iterator[Found]:
    if auth.satisfy == "all":
        if len(list(auth.methods())) == 1:
            yield Found((*key, "satisfy"), "one method is all there is; leave it out")
        if auth.basic is not None and auth.jwt is not None and auth.jwt.token == "header":
            text = 'a request has one Authorization field; read the token elsewhere: token = "cookie:NAME"'
            yield Found((*key, "satisfy"), f"basic and jwt can't both be there: {text}")
    for name in auth.headers:
        if name == "authorization" and auth.credentials == "pass":
            yield Found((*key, "headers", name), "credentials are passed on in this very field; write one or the other")
