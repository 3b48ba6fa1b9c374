"""Which certificate a client gets: an index that is made when something changes, and looked up for each client.

Rules of this module:

* no I/O, no clock: certificates and the time are arguments;
* what is best comes first, so that the first one that a client can check is the one;
* an index is never changed: there is a new one when a certificate comes, goes, or begins or ends to be valid.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable

from attrs import frozen

from revproxy.config.errors import show
from revproxy.tls.certificate import Certificate
from revproxy.tls.hello import Hello

#: Seconds before its end at which a certificate is told about.
SOON = 7 * 86400.0

_KINDS = {"ecdsa": 0, "ed25519": 1, "rsa": 2}


class Served:
    """A certificate in service, with its context."""

    __slots__ = ("certificate", "context")

    def __init__(self, certificate: Certificate, context: ssl.SSLContext) -> None:
        self.certificate = certificate
        self.context = context


Candidates = tuple[Served, ...]


@frozen
class Index:
    """Candidates, best first: by exact name, by what follows ``*.`` in a wildcard, and for all others.

    :ivar until: Unix time at which it has to be made anew.
    """

    exact: dict[str, Candidates]
    wildcard: dict[str, Candidates]
    default: Candidates
    until: float

    def pick(self, hello: Hello) -> Served | None:
        """The certificate for a client, ``None`` when there is none and it has to be refused.

        Of several for its name, the first that it can check; where it can check none, it finds out itself.
        """
        name = hello.server_name
        if name is None:
            found = self.default
        else:
            found = self.exact.get(name) or self.wildcard.get(name.partition(".")[2]) or self.default
        if len(found) > 1:
            for served in found:
                if served.certificate.suits(hello):
                    return served
        return found[0] if found else None


def make_index(served: Iterable[Served], default: str | None, strict: bool, now: float) -> Index:
    """Order certificates by how good they are: valid, then for the very name, then ECDSA, then the newest.

    :param served: in the order in which they are the default. :param default: a name that the default is for.
    :param strict: whether there is no default. :param now: Unix time.
    """
    everyone = list(served)
    exact: dict[str, list[Served]] = {}
    wildcard: dict[str, list[Served]] = {}
    until = float("inf")
    for one in everyone:
        certificate = one.certificate
        times = (certificate.not_before, certificate.not_after - SOON, certificate.not_after)
        until = min((until, *(moment for moment in times if moment > now)))
        for name in certificate.names:
            if name.startswith("*."):
                wildcard.setdefault(name[2:], []).append(one)
            else:
                exact.setdefault(name, []).append(one)

    def order(one: Served) -> tuple[bool, int, float]:
        certificate = one.certificate
        return not certificate.valid_at(now), _KINDS[certificate.kind], -certificate.not_before

    wild = {parent: tuple(sorted(found, key=order)) for parent, found in wildcard.items()}
    named = {}
    for name, found in exact.items():
        found.sort(key=order)
        # a wildcard's stands in for one that is not valid
        both = dict.fromkeys((*found, *wild.get(name.partition(".")[2], ())))
        named[name] = tuple(sorted(both, key=lambda one: not one.certificate.valid_at(now)))
    others: Candidates = ()
    if not strict and everyone:
        if default is not None:
            others = tuple(sorted((one for one in everyone if one.certificate.covers(default)), key=order))
        if not others:
            first = min(everyone, key=lambda one: (not one.certificate.valid_at(now), not one.certificate.names))
            alike = (one for one in everyone if one.certificate.names == first.certificate.names)
            others = tuple(sorted(alike, key=order))
    return Index(named, wild, others, until)


def remarks(certificates: Iterable[Certificate], default: str | None, now: float) -> list[str]:
    """What an operator should know of certificates in service, a sentence each."""
    said = []
    seen: dict[str, str] = {}
    alike: dict[tuple[str, frozenset[str]], Certificate] = {}
    covered = default is None
    for certificate in certificates:
        source = show(certificate.source)
        covered = covered or certificate.covers(default or "")
        if certificate.fingerprint in seen:
            said.append(f"{source} is the same certificate as {seen[certificate.fingerprint]}")
            continue
        seen[certificate.fingerprint] = source
        if now > certificate.not_after:
            said.append(f"{source} expired at {date(certificate.not_after)}")
        elif now < certificate.not_before:
            said.append(f"{source} is not valid before {date(certificate.not_before)}")
        elif now >= certificate.not_after - SOON:
            said.append(f"{source} expires at {date(certificate.not_after)}")
        if not certificate.names:
            said.append(f"{source} names no host (it has no subjectAltName) and is served only as the default")
            continue
        key = (certificate.kind, frozenset(certificate.names))
        other = alike.setdefault(key, certificate)
        if other is not certificate:
            alike[key] = max(other, certificate, key=lambda one: (one.valid_at(now), one.not_before))
            both = f"{show(other.source)} and {source} are for the same names"
            said.append(f"{both}; {show(alike[key].source)} is served")
    if not seen:
        said.append("there is no certificate to serve")
    elif not covered:
        said.append(f"no certificate is for the default name, {show(default)}")
    return said


def date(moment: float) -> str:
    """Unix time in words."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
