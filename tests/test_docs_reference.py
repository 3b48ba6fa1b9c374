"""The tables of the documentation say what the code says: keys, defaults, faults, states, variables, log fields."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import attrs
import pytest

from revproxy import fault, stream
from revproxy.accesslog_format import Record, format_json
from revproxy.config import model
from revproxy.config.identities import identity, one_of
from revproxy.config.structure import Structurer, written_name
from revproxy.config.variables import VARIABLES
from revproxy.handlers.respond import Redirect
from revproxy.http.chunked import ChunkedReader
from revproxy.http.h1 import RequestParser
from revproxy.http.message import Answer, Arrival, ClientIdentity, Headers, Request
from revproxy.http.rewrite import compile_rewrite
from revproxy.routing import Entry, Route, RouteTable

DOCS = Path(__file__).resolve().parents[1] / "docs"
CLASSES = [value for value in vars(model).values() if isinstance(value, type) and attrs.has(value)]
_CELL = re.compile(r"   (\*| ) - (.*)$")


def read(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def table_after(text: str, marker: str) -> list[list[str]]:
    """The rows, without the head, of the first list-table after a line that is ``marker``."""
    lines = iter(text.splitlines())
    assert any(line == marker for line in lines), f"no line {marker!r}"
    assert any(line.startswith(".. list-table::") for line in lines), f"no table after {marker!r}"
    rows: list[list[str]] = []
    for line in lines:
        if match := _CELL.match(line):
            if match[1] == "*":
                rows.append([])
            rows[-1].append(match[2])
        elif line.strip() and not line.startswith("   "):
            break
        elif rows and line.strip():
            rows[-1][-1] += " " + line.strip()
    return rows[1:]


def code(cell: str) -> str:
    """The literal text of a cell that is nothing else."""
    match = re.fullmatch(r"``(.+)``", cell)
    assert match, f"{cell!r} is no literal"
    return match[1]


# -- configuration.rst


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_key_is_documented_and_no_other(cls: type) -> None:
    rows = table_after(read("configuration.rst"), f".. keys: {cls.__name__}")
    fields = [
        written_name(field.name)
        for field in attrs.fields(cls)
        if not (cls is model.Config and field.name in ("base", "source"))
    ]
    assert [code(row[0]) for row in rows] == fields
    assert all(cell.strip() for row in rows for cell in row)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_documented_defaults_are_the_models(cls: type) -> None:
    hints = get_type_hints(cls, include_extras=True)
    fields = {written_name(field.name): field for field in attrs.fields(cls)}
    for key, _, written, _ in table_after(read("configuration.rst"), f".. keys: {cls.__name__}"):
        field = fields[code(key)]
        default = field.default
        if isinstance(default, attrs.Factory):
            default = default.factory()
        match written:
            case "*required*":
                assert default is attrs.NOTHING, key
            case "*none*":
                assert default is None or default in ((), {}), key
            case "*table*":
                assert attrs.has(type(default)), key
            case _:
                structurer = Structurer()
                value = tomllib.loads(f"x = {code(written)}")["x"]
                assert structurer.value(hints[field.name], value, ("x",), default=field.default) == default, key
                assert not structurer.problems, key


def test_documentation_has_no_table_of_a_class_that_is_gone() -> None:
    documented = re.findall(r"^\.\. keys: (\w+)$", read("configuration.rst"), re.MULTILINE)
    assert sorted(documented) == sorted(cls.__name__ for cls in CLASSES)


# -- faults.rst

RETRIED = {"never": "no", "unsent": "yes", "idempotent": "idempotent"}


def test_every_fault_is_documented_as_it_is() -> None:
    rows = table_after(read("faults.rst"), ".. faults")
    documented = {code(word): tuple(rest) for word, *rest in rows}
    assert len(documented) == len(rows)
    faults = [value for value in vars(fault).values() if isinstance(value, fault.Fault)]
    expected = {
        f.word: (str(f.status) if f.status else "cut", f.side, f.phase, f.blame, RETRIED[f.retry]) for f in faults
    }
    assert {word: row[:5] for word, row in documented.items()} == expected
    assert list(documented) == [f.word for f in faults]
    assert all(row[5].strip() for row in documented.values())


# -- architecture.rst

STATES = ("ASKING", "ASKED", "EARLY", "ANSWERING", "TUNNEL", "TUNNEL_DOWN", "TUNNEL_UP", "DONE")
EVENTS = ("REQUEST_END", "HEAD", "RESPONSE_END", "SWITCH")


def test_transition_table_is_the_exchanges() -> None:
    assert tuple(getattr(stream, name) for name in STATES) == tuple(range(len(STATES)))
    assert tuple(getattr(stream, name) for name in EVENTS) == tuple(range(len(EVENTS)))
    rows = table_after(read("architecture.rst"), ".. transitions")
    table: Any = stream.TABLE
    expected = [
        [state, *("" if to < 0 else STATES[to] for to in row)] for state, row in zip(STATES, table, strict=True)
    ]
    documented = [[code(row[0]), *(code(cell) if cell != "–" else "" for cell in row[1:5])] for row in rows]
    assert documented == expected


def test_eight_hops_name_modules_that_exist() -> None:
    rows = table_after(read("architecture.rst"), ".. hops")
    assert [row[0] for row in rows] == [str(number) for number in range(1, 9)]
    root = DOCS.parent / "revproxy"
    for row in rows:
        assert (root / f"{code(row[1].partition(',')[0])}.py").is_file(), row


# -- rewriting.rst


def test_every_variable_is_documented() -> None:
    rows = table_after(read("rewriting.rst"), ".. variables")
    names = [code(row[0]).removeprefix("$") for row in rows]
    assert names == [*VARIABLES, "http_NAME", "cookie_NAME", "auth_claim_NAME", "$"]


# -- logging.rst


def test_every_field_of_the_json_log_is_documented() -> None:
    record = Record(0.0, "192.0.2.1", b"GET", b"http", b"example.com", b"/", 11, 200, 0)
    record.tls_version, record.tls_client_subject, record.user = "TLSv1.3", "CN=alice", b"alice"
    rows = table_after(read("logging.rst"), ".. json fields")
    assert [code(row[0]) for row in rows] == list(json.loads(format_json(record)))


# -- examples in tables


def literals(cell: str) -> list[str]:
    return re.findall(r"``(.+?)``", cell)


def in_toml(text: str) -> Any:
    return tomllib.loads(f"x = {text}")["x"]


def routed(pattern: str, path: bytes) -> bool:
    route = Route("documented", None)
    table = RouteTable.build([Entry(route, paths=[pattern.encode()])])
    return table.match(Request(b"GET", path, None, Headers())) is route


def test_path_patterns_match_as_documented() -> None:
    for written, matched, unmatched in table_after(read("routing.rst"), ".. paths"):
        pattern = in_toml(code(written))
        for path in literals(matched):
            assert routed(pattern, path.encode()), (pattern, path)
        for path in literals(unmatched):
            assert not routed(pattern, path.encode()), (pattern, path)


def certificate_with(text: str) -> ClientIdentity:
    subject, sans = (text, ()) if "=" in text else ("", (text,))
    return ClientIdentity(subject, sans, "", "", b"")


def test_client_certificates_match_as_documented() -> None:
    for written, matched, unmatched in table_after(read("routing.rst"), ".. identities"):
        is_one = one_of([identity(in_toml(code(written)))])
        for text in literals(matched):
            assert is_one(certificate_with(text)), (written, text)
        for text in literals(unmatched):
            assert not is_one(certificate_with(text)), (written, text)


def test_paths_are_normalised_as_documented() -> None:
    for received, becomes, why in table_after(read("routing.rst"), ".. normal"):
        for path in literals(received):
            head = f"GET {path} HTTP/1.1\r\nHost: a".encode()
            if becomes == "refused, 400":
                with pytest.raises(fault.ProtocolError) as refused:
                    RequestParser().parse(head)
                assert refused.value.fault.status == 400
                continue
            expected = path if becomes == "the same" else literals(becomes)[literals(received).index(path)]
            assert RequestParser().parse(head).path.decode() == expected
        if "merge_slashes" in why:
            merged = RequestParser(merge_slashes=True).parse(head).path.decode()
            assert merged == literals(why)[-1]


def test_rewrites_give_what_is_documented() -> None:
    for written, path, expected in table_after(read("rewriting.rst"), ".. rewrites"):
        rewrite = Structurer().table(model.Rewrite, in_toml(code(written)), ("rewrite",))
        assert compile_rewrite(rewrite)(code(path).encode(), None) == (code(expected).encode(), None)


def test_redirects_give_what_is_documented() -> None:
    for written, url, expected in table_after(read("rewriting.rst"), ".. redirects"):
        redirect = Structurer().table(model.Redirect, in_toml(code(written)), ("redirect",))
        scheme, _, rest = code(url).partition("://")
        authority, slash, target = rest.partition("/")
        request = RequestParser().parse(f"GET {slash}{target} HTTP/1.1\r\nHost: {authority}".encode())
        request.arrival = Arrival(scheme=scheme.encode())
        request.scheme = scheme.encode()
        answers: list[Answer] = []
        subject = SimpleNamespace(request=request, answer=answers.append)
        handler: Any = Redirect(redirect)
        handler.start(subject)
        assert answers[0].headers.get(b"location") == code(expected).encode(), written


def wire(text: str) -> bytes:
    """Bytes of a documented piece of a message, in which ``\\r``, ``\\n`` and ``\\xHH`` are escapes."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def head_with(piece: bytes) -> bytes:
    """A head, without its final CRLFs, that has a documented request line or documented fields."""
    line, fields = b"POST / HTTP/1.1", piece
    if b" HTTP" in piece or piece == b"GET /":
        line, _, fields = piece.partition(b"\r\n")
    lines = [line]
    if b"Host:" not in fields and fields != b"X: no host here":
        lines.append(b"Host: a")
    return b"\r\n".join([*lines, *([fields] if fields else [])])


def test_heads_are_refused_as_documented() -> None:
    assert RequestParser().parse(head_with(b"X: 1")).host == b"a"
    for what, examples, status in table_after(read("limits.rst"), ".. heads"):
        for example in literals(examples):
            with pytest.raises(fault.ProtocolError) as refused:
                RequestParser().parse(head_with(wire(example)))
            assert str(refused.value.fault.status) == status, (what, example)


def test_chunked_bodies_are_refused_as_documented() -> None:
    assert ChunkedReader().feed(b"1;x=y\r\na\r\n0\r\nX: 1\r\n\r\n") == b"a"
    for what, examples in table_after(read("limits.rst"), ".. chunks"):
        for example in literals(examples):
            with pytest.raises(fault.ProtocolError) as refused:
                ChunkedReader().feed(wire(example))
            assert refused.value.fault is fault.CLIENT_BAD_BODY, (what, example)
