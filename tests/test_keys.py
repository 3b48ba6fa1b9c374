"""What requests are told apart by."""

from __future__ import annotations

import pytest
from attrs import define
from twisted.logger import globalLogPublisher

from revproxy.http.message import Arrival, Headers, Request
from revproxy.keys import key_reader


@define
class Asked:
    request: Request


def asked(path=b"/p", query=None, *fields, client="192.0.2.7"):
    return Asked(Request(b"GET", path, query, Headers.of(fields), arrival=Arrival(peer=client)))


@pytest.mark.parametrize(
    ("by", "exchange", "key"),
    [
        ("client", asked(), b"192.0.2.7"),
        ("client", asked(client="2001:db8::1"), b"2001:db8::1"),
        ("client", asked(client=""), None),
        ("client", asked(client="\udcff"), b"?"),
        ("path", asked(b"/a%20b", b"q=1"), b"/a%20b"),
        ("header:X-User", asked(b"/", None, (b"x-user", b"u"), (b"X-User", b"v")), b"u"),
        ("header:x-user", asked(b"/", None, (b"X-User", b"")), None),
        ("header:x-user", asked(), None),
        ("cookie:sid", asked(b"/", None, (b"Cookie", b"a=1; sid=2; sid=3")), b"2"),
        ("cookie:sid", asked(b"/", None, (b"Cookie", b"a=1"), (b"Cookie", b"sid=2")), b"2"),
        ("cookie:sid", asked(b"/", None, (b"Cookie", b"sid=")), None),
        ("cookie:sid", asked(b"/", None, (b"Cookie", b"SID=1")), None),
        ("query:q", asked(b"/", b"a=1&q=x%20y"), b"x y"),
        ("query:ä b", asked(b"/", b"%C3%A4+b=1"), b"1"),
        ("query:q", asked(b"/", b"q="), None),
        ("query:q", asked(), None),
    ],
)
def test_keys(by, exchange, key):
    assert key_reader(by)(exchange) == key


OWN = """
def text(exchange): return exchange.request.client + "/ä"
def octets(exchange): return b"k"
def nothing(exchange): return None
def empty(exchange): return ""
def lone(exchange): return "\\udc80"
def number(exchange): return 7
def broken(exchange): raise RuntimeError("no")
async def later(exchange): return b"k"
def disguised(exchange): return later(exchange)
class Tenants:
    def __call__(self, exchange): return b"t"
tenants = Tenants()
value = 7
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Make readers of the module above."""
    (tmp_path / "own_keys_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: key_reader(f"own_keys_of_a_test:{name}", str(tmp_path))


@pytest.fixture
def errors():
    """Collect what is logged as an error."""
    found = []

    def observe(event):
        if event["log_level"].name in ("error", "critical"):
            found.append(event)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("text", "192.0.2.7/ä".encode()),
        ("octets", b"k"),
        ("nothing", None),
        ("empty", None),
        ("lone", b"\xed\xb2\x80"),
        ("tenants", b"t"),
    ],
)
def test_keys_of_the_user(own, errors, name, key):
    assert own(name)(asked()) == key
    assert not errors


@pytest.mark.parametrize("name", ["broken", "number", "disguised"])
def test_what_fails_has_no_key_and_is_logged_once(own, errors, name):
    read = own(name)
    assert [read(asked()) for _ in range(3)] == [None] * 3
    assert len(errors) == 1 and errors[0]["key"] == f"own_keys_of_a_test:{name}"


@pytest.mark.parametrize("name", ["absent", "later", "value"])
def test_what_gives_no_keys_is_refused(own, name):
    with pytest.raises(ValueError, match=name):
        own(name)
