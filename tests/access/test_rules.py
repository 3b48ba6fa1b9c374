"""One ``access`` table: who is let in, and why others are not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from revproxy.access import rules
from revproxy.access.networks import NetworkTable, parse_networks
from revproxy.access.rules import Rule, compile_access
from revproxy.config.model import Access
from revproxy.http.message import Headers, Request


class List:
    def __init__(self, *words: str) -> None:
        self.table = NetworkTable(item for word in words for item in parse_networks(word))


def no_file(name: str) -> List:
    raise AssertionError(name)


def rule(**written: object) -> Rule:
    return compile_access(Access(**written), no_file)  # type: ignore[arg-type]


def request(
    client: str = "192.0.2.7", method: bytes = b"GET", path: bytes = b"/", fields: tuple[tuple[bytes, bytes], ...] = ()
) -> Request:
    made = Request(method, path, None, Headers.of(fields))
    made.client = client
    return made


@pytest.mark.parametrize(
    ("allow", "deny", "client", "why"),
    [
        # nobody is denied who is in no network
        ((), ("10.0.0.0/8",), "192.0.2.7", None),
        ((), ("10.0.0.0/8",), "10.1.2.3", "deny: 10.0.0.0/8"),
        ((), ("10.0.0.0/8",), "::ffff:10.1.2.3", "deny: 10.0.0.0/8"),
        ((), ("2001:db8::/32",), "2001:db8:1::1", "deny: 2001:db8::/32"),
        ((), ("2001:db8::/32",), "2001:db9::1", None),
        # and with allow, nobody else is let in
        (("10.0.0.0/8",), (), "10.1.2.3", None),
        (("10.0.0.0/8",), (), "192.0.2.7", "allow: 192.0.2.7 is in none of its networks"),
        (("10.0.0.0/8",), ("10.6.6.0/24",), "192.0.2.7", "allow: 192.0.2.7 is in none of its networks"),
        # the most specific decides, whichever it is
        (("10.0.0.0/8",), ("10.6.6.0/24",), "10.6.6.6", "deny: 10.6.6.0/24"),
        (("10.0.0.0/8",), ("10.6.6.0/24",), "10.6.7.6", None),
        (("all", "203.0.113.7"), ("203.0.113.0/24",), "203.0.113.7", None),
        (("all", "203.0.113.7"), ("203.0.113.0/24",), "203.0.113.8", "deny: 203.0.113.0/24"),
        (("all", "203.0.113.7"), ("203.0.113.0/24",), "192.0.2.7", None),
        # of equals the one that denies
        (("10.0.0.0/8",), ("10.0.0.0/8",), "10.1.2.3", "deny: 10.0.0.0/8"),
        # who has no address is in no network
        ((), ("all",), "", None),
        (("all",), (), "", "allow: the client has no address"),
        (("all",), (), "unknown", "allow: the client has no address"),
    ],
)
def test_networks(allow: tuple[str, ...], deny: tuple[str, ...], client: str, why: str | None) -> None:
    assert rule(allow=allow or None, deny=deny)(request(client)) == why


_NETWORKS = st.lists(
    st.sampled_from(
        ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "11.0.0.0/8"]
    ),
    max_size=4,
)


@given(
    _NETWORKS,
    _NETWORKS,
    _NETWORKS,
    st.sampled_from(["10.1.2.3", "10.1.2.4", "10.1.3.1", "10.200.0.1", "11.1.1.1", "9.9.9.9"]),
)
def test_networks_in_files_count_as_those_written(
    allow: list[str], deny: list[str], in_file: list[str], client: str
) -> None:
    refuses = compile_access(Access(allow=tuple(allow), deny=(*deny, "file:x")), lambda name: List(*in_file))
    address = ip_address(client)

    def longest(words: list[str]) -> int:
        return max((n.prefixlen for n in map(ip_network, words) if address in n), default=-1)

    allowed, denied = longest(allow), longest(deny + in_file)
    assert (refuses(request(client)) is None) == (allowed > denied)


def test_a_file_that_changes_counts_at_once() -> None:
    held = List()
    refuses = compile_access(Access(deny=("file:x",)), lambda name: held)
    assert refuses(request()) is None
    held.table = List("192.0.2.0/24").table
    assert refuses(request()) == "deny: 192.0.2.0/24"


@pytest.mark.parametrize("more", [{}, {"deny": ("10.0.0.0/8",)}, {"deny_paths": ("/x",)}])
def test_lists_that_are_empty_let_nobody_in(more) -> None:
    assert rule(allow=(), **more)(request()) == "allow: 192.0.2.7 is in none of its networks"
    assert rule(methods=(), **more)(request()) == "methods: GET"


def test_an_allowed_list_that_is_empty_lets_nobody_in() -> None:
    assert compile_access(Access(allow=("file:x",)), lambda name: List())(request()) is not None


def test_methods() -> None:
    refuses = rule(methods=("GET", "HEAD"))
    assert refuses(request()) is None
    assert refuses(request(method=b"POST")) == "methods: POST"
    assert refuses(request(method=b"get")) == "methods: get"


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("/.env", [b"/.env"], [b"/.env2", b"/x/.env", b"/"]),
        ("/.git/*", [b"/.git", b"/.git/", b"/.git/config"], [b"/.gitx", b"/a/.git"]),
        ("/wp-*", [b"/wp-", b"/wp-login.php", b"/wp-admin/x"], [b"/wp", b"/a/wp-"]),
        ("/*", [b"/", b"/x"], []),
        ("~\\.(bak|sql)$", [b"/a/b.sql", b"/x.bak"], [b"/b.sql.gz"]),
    ],
)
def test_paths(pattern: str, inside: list[bytes], outside: list[bytes]) -> None:
    refuses = rule(deny_paths=(pattern,))
    for path in inside:
        assert refuses(request(path=path)) == f"deny_paths: {path.decode()}"
    for path in outside:
        assert refuses(request(path=path)) is None


def test_fields_that_have_to_be_there() -> None:
    refuses = rule(header={"x-key": ("a", "b")})
    assert refuses(request(fields=((b"X-Key", b"b"),))) is None
    assert refuses(request()) == "header: x-key is missing"
    assert refuses(request(fields=((b"X-Key", b"c"),))) == "header: x-key is another"
    # a backend could read either
    assert refuses(request(fields=((b"X-Key", b"a"), (b"X-Key", b"c")))) == "header: x-key is another"
    assert rule(header={"x-key": ("*",)})(request(fields=((b"X-Key", b"c"),))) is None


def test_fields_that_must_not_be_there() -> None:
    refuses = rule(deny_header={"x-a": ("*",), "x-b": ("1",)})
    assert refuses(request(fields=((b"X-B", b"2"),))) is None
    assert refuses(request(fields=((b"X-B", b"2"), (b"X-B", b"1")))) == "deny_header: x-b: 1"
    assert refuses(request(fields=((b"X-A", b"s3cret"),))) == "deny_header: x-a"


def test_user_agents() -> None:
    refuses = rule(deny_user_agent=("SQLmap", "~^curl/[0-6]\\."))
    assert refuses(request()) is None
    for agent, why in (
        (b"sqlmap/1.7", "deny_user_agent: SQLmap"),
        (b"Mozilla (SqlMap)", "deny_user_agent: SQLmap"),
        (b"CURL/6.1", "deny_user_agent: ~^curl/[0-6]\\."),
        (b"curl/8.1", None),
        (b"x" * 1024 + b"sqlmap", "deny_user_agent: SQLmap"),
        (b"x" * 1024, None),
        (b"x" * 1025, "deny_user_agent: longer than 1024 bytes"),
    ):
        for _ in range(2):  # anew, and remembered
            assert refuses(request(fields=((b"User-Agent", agent),))) == why
    assert refuses(request(fields=((b"User-Agent", b"x"), (b"User-Agent", b"sqlmap")))) is not None


def test_words_are_looked_for_in_the_whole_of_long_user_agents() -> None:
    refuses = rule(deny_user_agent=("SQLmap",))
    for number in range(5):
        long = b"%d" % number + b"x" * 30_000
        assert refuses(request(fields=((b"User-Agent", long),))) is None
        assert refuses(request(fields=((b"User-Agent", long + b"sqlMAP"),))) == "deny_user_agent: SQLmap"
    (known,) = [cell.cell_contents for cell in refuses.__closure__ or () if isinstance(cell.cell_contents, dict)]
    assert not known, "long ones are not kept"


def test_what_is_remembered_of_user_agents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_REMEMBERED", 3)
    refuses = rule(deny_user_agent=("bad",))
    for number in range(10):
        assert refuses(request(fields=((b"User-Agent", b"good%d" % number),))) is None
        assert refuses(request(fields=((b"User-Agent", b"bad%d" % number),))) is not None
    (known,) = [cell.cell_contents for cell in refuses.__closure__ or () if isinstance(cell.cell_contents, dict)]
    assert len(known) <= 3


def test_what_is_remembered_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_CLIENTS", 3)
    refuses = rule(deny=("10.0.0.0/8",))
    for number in range(10):
        assert refuses(request(f"11.0.0.{number}")) is None
        assert refuses(request(f"10.0.0.{number}")) == "deny: 10.0.0.0/8"
    (known,) = [cell.cell_contents for cell in refuses.__closure__ or () if isinstance(cell.cell_contents, dict)]
    assert len(known) <= 3


def test_everything_has_to_let_in() -> None:
    refuses = rule(deny=("10.0.0.0/8",), methods=("GET",), deny_paths=("/x",))
    assert refuses(request()) is None
    assert refuses(request("10.0.0.1", b"POST", b"/x")) == "deny: 10.0.0.0/8"
    assert refuses(request(method=b"POST", path=b"/x")) == "methods: POST"
    assert refuses(request(path=b"/x")) == "deny_paths: /x"
