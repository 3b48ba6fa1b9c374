"""What the operator wrote about TLS to clients; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from revproxy.config.words import Duration, DurationOrZero, Host, HostPattern, Name, Text


@frozen(kw_only=True)
class ClientCertificates:
    """Certificates that clients show: signed by an authority in ``ca`` (a PEM file).

    A client without one is refused where it is ``required``, and let in as nobody where it is not.
    """

    ca: Name
    required: bool = True


@frozen(kw_only=True)
class Acme:
    """Certificates from an ACME authority (RFC 8555): one for all of ``names``, renewed by itself.

    ``directory`` is the authority's URL, and ``ca`` (a PEM file) proves it where the system's authorities don't.
    ``challenge`` is how control of a name is proved: a file on a plain listener at port 80, or in TLS itself.
    """

    directory: Text = "https://acme-v02.api.letsencrypt.org/directory"
    email: Text | None = None
    names: tuple[HostPattern, ...]
    challenge: Literal["http-01", "tls-alpn-01"] = "http-01"
    ca: Name | None = None


@frozen(kw_only=True)
class Hsts:
    """Strict-Transport-Security (RFC 6797) on responses of this listener that have none; ``max_age`` in seconds."""

    max_age: DurationOrZero
    subdomains: bool = False
    preload: bool = False


@frozen(kw_only=True)
class ListenTls:
    """TLS on a listener.

    ``certificates`` is a folder of PEM files, watched; what ACME orders is kept in it too. ``profile`` is Mozilla's.
    A client that names no host, or one no certificate is for, gets the certificate of ``default`` (the
    first that is valid, where it is not written), or is refused where ``strict_sni``. ``tickets`` is
    how long sessions can be resumed. ``acme = "internal"`` makes a self-signed certificate for localhost.
    """

    certificates: Name
    http2: bool = True
    profile: Literal["intermediate", "modern"] = "intermediate"
    default: Host | None = None
    strict_sni: bool = False
    client: ClientCertificates | None = None
    hsts: Hsts | None = None
    handshake_timeout: Duration = 10.0
    tickets: Duration = 12 * 3600.0
    acme: Acme | Literal["internal"] | None = None
