"""Which certificate a client gets, and what an operator should know."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import rsa

from revproxy.tls.certificate import Certificate, read_pair
from revproxy.tls.index import SOON, Index, Served, make_index, remarks
from tests.certificates import authority
from tests.tls.handshake import hello

DAY = 86400.0
NOW = 1_800_000_000.0
RSA_ONLY = {"signatures": (0x0804,)}
ECDSA_ONLY = {"signatures": (0x0403,)}
CONTEXT: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, Certificate]:
    folder = tmp_path_factory.mktemp("certificates")
    root = authority()
    key = rsa.generate_private_key(65537, 2048)
    return {
        "ecdsa": read_pair(*root.issues("a.example").write(folder, "e")),
        "rsa": read_pair(*root.issues("a.example", key=key).write(folder, "r")),
    }


@pytest.fixture
def made(kinds):
    def make(source: str, *names: str, kind: str = "ecdsa", start: float = -10, end: float = 50) -> Certificate:
        return evolve(
            kinds[kind],
            names=names,
            source=source,
            fingerprint=source,
            not_before=NOW + start * DAY,
            not_after=NOW + end * DAY,
        )

    return make


def index_of(*certificates: Certificate, default: str | None = None, strict: bool = False, now: float = NOW) -> Index:
    return make_index([Served(one, CONTEXT) for one in certificates], default, strict, now)


def picked(index: Index, name: str | None, **offered: Any) -> str | None:
    served = index.pick(hello(server_name=name, **offered))
    return None if served is None else served.certificate.source


def test_by_name(made) -> None:
    index = index_of(made("d", "d.example"), made("w", "*.a.example"), made("x", "x.a.example", "y.example"))
    assert picked(index, "x.a.example") == "x"
    assert picked(index, "y.example") == "x"
    assert picked(index, "z.a.example") == "w"
    # neither the parent of a wildcard nor what is deeper
    assert picked(index, "a.example") == picked(index, "z.z.a.example") == "d"
    assert picked(index, None) == picked(index, "unknown") == "d"


def test_strict(made) -> None:
    index = index_of(made("d", "d.example"), strict=True)
    assert picked(index, "d.example") == "d"
    assert picked(index, None) is picked(index, "unknown.example") is None
    assert picked(index_of(), None) is None


@pytest.mark.parametrize(("default", "source"), [("b.example", "b"), ("*.c.example", "c"), ("x.c.example", "c")])
def test_the_default_that_was_written(made, default, source) -> None:
    index = index_of(made("a", "a.example"), made("b", "b.example"), made("c", "*.c.example"), default=default)
    assert picked(index, None) == source


def test_the_default_that_is_not_there(made) -> None:
    assert picked(index_of(made("a", "a.example"), default="b.example"), None) == "a"


def test_the_default_is_the_first_that_is_valid_and_names_someone(made) -> None:
    old, nobody = made("a", "a.example", end=-1), made("b")
    assert picked(index_of(old, nobody, made("c", "c.example")), None) == "c"
    assert picked(index_of(old, nobody), None) == "b"
    assert picked(index_of(old), None) == "a"


def test_the_newest_of_those_that_are_valid(made) -> None:
    older, newer = made("older", "a.example", start=-9), made("newer", "a.example", start=-8)
    early, late = made("early", "a.example", start=1), made("late", "a.example", start=-7, end=-1)
    for some in ((older, newer, early, late), (late, early, newer, older)):
        assert picked(index_of(*some), "a.example") == "newer"
        assert picked(index_of(*some), None) == "newer"
    assert picked(index_of(late, older), "a.example") == "older"
    assert picked(index_of(late), "a.example") == "late"


def test_a_wildcard_stands_in_for_what_is_not_valid(made) -> None:
    old, wild = made("old", "x.a.example", end=-1), made("wild", "*.a.example")
    assert picked(index_of(old, wild), "x.a.example") == "wild"
    assert picked(index_of(made("new", "x.a.example", start=-20), wild), "x.a.example") == "new"
    assert picked(index_of(old, evolve(wild, not_after=NOW - 1)), "x.a.example") == "old"


def test_by_what_the_client_can_check(made) -> None:
    ecdsa, rsa = made("ecdsa", "a.example", start=-30), made("rsa", "a.example", kind="rsa")
    index = index_of(rsa, ecdsa)
    for name in ("a.example", None):
        assert picked(index, name) == "ecdsa"
        assert picked(index, name, **ECDSA_ONLY) == "ecdsa"
        assert picked(index, name, **RSA_ONLY) == "rsa"
        # it has to be told something
        assert picked(index, name, signatures=(0x0999,)) == "ecdsa"
    # one that is valid comes before the better kind
    assert picked(index_of(rsa, evolve(ecdsa, not_after=NOW - 1)), "a.example") == "rsa"
    # what can be checked comes before what is valid
    assert picked(index_of(rsa, evolve(ecdsa, not_after=NOW - 1)), "a.example", **ECDSA_ONLY) == "ecdsa"


def test_until_when_an_index_is_good(made) -> None:
    certificate = made("a", "a.example")
    moments = [certificate.not_before, certificate.not_after - SOON, certificate.not_after]
    seen, now = [], moments[0] - 1
    while now != float("inf"):
        now = index_of(certificate, now=now).until
        seen.append(now)
    assert seen == [*moments, float("inf")]


def test_remarks(made) -> None:
    certificates = [
        made("a", "a.example"),
        made("b", "a.example", start=-5),
        made("c", "a.example", kind="rsa"),
        made("d", "d.example", end=-1),
        made("e", "e.example", start=1),
        made("f", "f.example", end=6),
        made("g", "g.example", end=8),
        evolve(made("h", "a.example"), fingerprint="a"),
        made("i"),
    ]
    said = remarks(certificates, "z.example", NOW)
    assert said == [
        '"a" and "b" are for the same names; "b" is served',
        '"d" expired at 2027-01-14 08:00:00 UTC',
        '"e" is not valid before 2027-01-16 08:00:00 UTC',
        '"f" expires at 2027-01-21 08:00:00 UTC',
        '"h" is the same certificate as "a"',
        '"i" names no host (it has no subjectAltName) and is served only as the default',
        'no certificate is for the default name, "z.example"',
    ]
    assert remarks(certificates[:1], "a.example", NOW) == remarks(certificates[:1], None, NOW) == []
    assert remarks([], "a.example", NOW) == ["there is no certificate to serve"]
