"""What the operator wrote about authentication; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from attrs import Factory, frozen

from revproxy.config.words import (
    ChangedField,
    CookieName,
    Duration,
    DurationOrZero,
    FieldName,
    Identity,
    KeyHash,
    KeyOf,
    Method,
    Name,
    PasswordHash,
    Secret,
    Target,
    Template,
    Text,
    TokenAlgorithm,
    TokenPlace,
)

#: The methods, in the order in which they are asked: what costs little first.
METHODS = ("client_certificate", "api_key", "jwt", "basic", "forward")


@frozen(kw_only=True)
class BasicAuth:
    """Names and passwords (RFC 7617): from a ``file`` as htpasswd writes it, which is watched, or ``users``.

    Hashes are bcrypt's or argon2id's. ``cache`` is how long a result is remembered.
    """

    file: Name | None = None
    users: Mapping[Name, PasswordHash] = Factory(dict)
    cache: DurationOrZero = 60.0


@frozen(kw_only=True)
class ForwardAuth:
    """Another service decides: it is asked by a request of its own, without the body.

    ``path`` and ``method`` are what it is asked by; ``copy_request`` are the client's fields that it gets, all where
    nothing is written. Of a 2xx, ``copy_response`` are the fields that go to the backend, ``copy_cookies`` the cookies
    that the client gets (``"name*"`` is all that begin so), and ``user`` is the field that names the user. A 2xx is
    remembered for ``cache``, by what ``by`` names.
    """

    upstream: Name
    path: Target = "/"
    method: Method = "GET"
    copy_request: tuple[FieldName, ...] = ()
    copy_response: tuple[ChangedField, ...] = ()
    copy_cookies: tuple[CookieName, ...] = ()
    user: FieldName = "remote-user"
    timeout: Duration = 5.0
    cache: DurationOrZero = 0.0
    by: tuple[KeyOf, ...] = ()


@frozen(kw_only=True)
class JwtAuth:
    """Signed tokens (RFC 7519): keys from ``jwks`` (an https URL, or a file that is watched), or a shared secret.

    ``algorithms`` are the only ones taken. ``token`` is where it stands: ``"header"`` is Authorization: Bearer.
    ``user`` is the claim that names the user, ``require`` what claims have to be (one of several values).
    ``refresh`` is how often keys are fetched; ``ca`` (a PEM file) proves their server where the system's
    authorities don't.
    """

    algorithms: tuple[TokenAlgorithm, ...]
    jwks: Name | None = None
    secret: Secret | None = None
    secret_file: Name | None = None
    issuer: tuple[Text, ...] | None = None
    audience: tuple[Text, ...] | None = None
    leeway: DurationOrZero = 60.0
    token: TokenPlace = "header"
    user: Name = "sub"
    require: Mapping[Name, tuple[Text, ...]] = Factory(dict)
    refresh: Duration = 3600.0
    ca: Name | None = None


@frozen(kw_only=True)
class ApiKeyAuth:
    """Keys of clients, kept as hashes: from a ``file`` that is watched, or ``keys``.

    The key stands in the field ``header`` (``x-api-key`` where neither is written) or in the parameter ``query``.
    """

    header: FieldName | None = None
    query: Name | None = None
    file: Name | None = None
    keys: Mapping[Name, KeyHash] = Factory(dict)

    @property
    def place(self) -> str:
        """Where keys stand, in the words of :attr:`Auth.places`."""
        return f"query:{self.query}" if self.query is not None else f"header:{self.header or 'x-api-key'}"


@frozen(kw_only=True)
class CertificateAuth:
    """A verified client certificate for one of ``names``; ``user`` is what of it names the user."""

    names: tuple[Identity, ...] = ("*",)
    user: Literal["subject", "name", "fingerprint"] = "subject"


@frozen(kw_only=True)
class Auth:
    """Who may use a route, and what its backends are told of them.

    The methods that are written are accepted: any of them, or all of them together. ``headers`` are request fields for
    backends, with ``$variables``; one whose value is empty is left out. ``credentials`` that were checked
    here are removed from the request, or passed on. ``strip`` names more fields that clients can't send.
    """

    basic: BasicAuth | None = None
    forward: ForwardAuth | None = None
    jwt: JwtAuth | None = None
    api_key: ApiKeyAuth | None = None
    client_certificate: CertificateAuth | None = None
    satisfy: Literal["any", "all"] = "any"
    realm: Text = "restricted"
    headers: Mapping[ChangedField, Template] = Factory(dict)
    credentials: Literal["remove", "pass"] = "remove"
    strip: tuple[FieldName, ...] = ()

    def methods(self) -> Iterator[tuple[str, Any]]:
        """The methods that are written, with their names, in the order of :data:`METHODS`."""
        for name in METHODS:
            written = getattr(self, name)
            if written is not None:
                yield name, written

    @property
    def told(self) -> tuple[str, ...]:
        """The names of the request fields that backends get from here."""
        return (*self.headers, *(self.forward.copy_response if self.forward is not None else ()))

    @property
    def places(self) -> tuple[str, ...]:
        """Where the credentials stand that are checked here; those that a service checks are its own.

        ``"header"`` is Authorization, others are ``"header:NAME"``, ``"cookie:NAME"`` and ``"query:NAME"``.
        """
        return tuple(dict.fromkeys(self.places_by_method.values()))

    @property
    def places_by_method(self) -> Mapping[str, str]:
        """Each of :attr:`places` by the name of the method that reads it."""
        found = {}
        if self.basic is not None:
            found["basic"] = "header"
        if self.jwt is not None:
            found["jwt"] = self.jwt.token
        if self.api_key is not None:
            found["api_key"] = self.api_key.place
        return found
