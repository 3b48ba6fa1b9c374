"""The ClientHello: what clients offer is read right, and nothing that is none passes."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest
from hypothesis import example, given, strategies as st
from OpenSSL import SSL

from revproxy.tls import hello as tls
from revproxy.tls.hello import Hello, HelloError, HelloReader, alert, looks_like_http, read_hello
from tests.tls.handshake import (
    TLS12,
    TLS13,
    Client,
    chrome,
    client_context,
    hello_body,
    numbers,
    records,
    server_name,
    vector,
)


def verdict(data: bytes) -> Hello | tuple[int, str] | None:
    try:
        return read_hello(data)
    except HelloError as error:
        return error.alert, error.detail


def test_a_browsers_hello() -> None:
    hello = read_hello(chrome())
    assert hello == Hello(
        "www.example.com",
        (b"h2", b"http/1.1"),
        (0x2A2A, 0x0304, 0x0303),
        (0x1A1A, 4588, 29, 23, 24),
        (0x1A1A, 4588, 29),
        (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
        (0x4A4A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0x9C, 0x2F),
    )


@pytest.mark.parametrize("version", [TLS12, TLS13, None])
@pytest.mark.parametrize("protocols", [(), ("h2",), ("h2", "http/1.1", "x" * 255)])
@pytest.mark.parametrize("name", [None, "a.example", "XN--BCHER-KVA.Example"])
def test_hellos_of_the_standard_library(version, protocols, name) -> None:
    context = client_context(version=version, protocols=protocols)
    hello = read_hello(Client(context, name).hello)
    assert hello is not None
    assert hello.server_name == (name and name.lower())
    assert hello.protocols == tuple(protocol.encode() for protocol in protocols)
    versions = {TLS12: (0x0303,), TLS13: (0x0304,), None: (0x0304, 0x0303)}[version]
    assert hello.versions == versions
    suites = [suite["id"] & 0xFFFF for suite in context.get_ciphers()]
    offered = [suite for suite in hello.ciphers if suite != 0x00FF]
    assert offered == [suite for suite in suites if (suite >> 8 == 0x13) == (version is TLS13) or version is None]
    assert 29 in hello.groups and 0x0403 in hello.signatures
    assert hello.key_shares == (() if version is TLS12 else (29,))


@pytest.mark.parametrize(("group", "number"), [("prime256v1", 23), ("secp384r1", 24), ("X25519", 29)])
def test_the_one_group_of_a_client(group, number) -> None:
    hello = read_hello(Client(client_context(group=group)).hello)
    assert hello is not None and hello.groups == hello.key_shares == (number,)


def test_hellos_of_another_openssl_with_a_post_quantum_key_share() -> None:
    # cryptography brings its own, newer one
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(b"b.example")
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    data = connection.bio_read(65536)
    hello = read_hello(data)
    assert hello is not None and hello.server_name == "b.example"
    assert len(data) > 1300 and hello.key_shares == (4588, 29)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-servername", "C.example", "-alpn", "h2,x"), {"server_name": "c.example", "protocols": (b"h2", b"x")}),
        (("-noservername", "-tls1_2"), {"server_name": None, "versions": (0x0303,), "key_shares": ()}),
        (("-groups", "P-384:X25519"), {"groups": (24, 29), "key_shares": (24,)}),
        (("-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA384"), {"signatures": (0x0403, 0x0805)}),
        (("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"), {"ciphers": (0x1301, 0x00FF)}),
    ],
)
def test_hellos_of_the_openssl_command(options, expected) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        to = f"127.0.0.1:{server.getsockname()[1]}"
        command = ("openssl", "s_client", "-connect", to, *options)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                data = b""
                while (hello := read_hello(data)) is None:
                    data += connection.recv(100)
    assert {name: getattr(hello, name) for name in expected} == expected


def test_what_follows_is_left_alone() -> None:
    assert read_hello(chrome() + b"\x17\x03\x03\xff\xff junk") == read_hello(chrome())


def test_nothing_yet() -> None:
    assert read_hello(b"") is None


@pytest.mark.parametrize("sizes", [(1,), (3,), (4, 1), (200, 300, 1000), (1,) * 63])
def test_a_hello_over_several_records(sizes) -> None:
    data = records(chrome()[5:], *sizes)
    assert read_hello(data) == read_hello(chrome())
    assert read_hello(data[:-1]) is None


def refused(data: bytes) -> int:
    with pytest.raises(HelloError) as caught:
        read_hello(data)
    assert caught.value.detail and str(caught.value) == caught.value.detail
    return caught.value.alert


def test_a_hello_in_too_many_records() -> None:
    assert refused(records(chrome()[5:], *[1] * 64)) == tls.DECODE_ERROR


def long(size: int, *sizes: int) -> bytes:
    empty = len(hello_body([(21, b"")])) - 4
    return records(hello_body([(21, bytes(size - empty))]), *(sizes or (16000,)))


def piecewise(data: bytes, cuts: list[int]) -> Hello | tuple[int, str] | None:
    reader, found = HelloReader(), None
    ends = [*sorted(cuts), len(data)]
    for start, end in zip([0, *ends], ends, strict=False):
        try:
            found = reader.feed(data[start:end])
        except HelloError as error:
            return error.alert, error.detail
        if found is not None:
            assert reader.data == data[:end], "OpenSSL reads it all again"
            return found
    return found


@given(st.data(), st.sampled_from([(), (1,), (3,), (4, 1), (100, 200), (1,) * 63, (1,) * 70]))
def test_a_hello_in_pieces_is_the_hello(draw, sizes) -> None:
    data = bytearray(records(chrome()[5:], *sizes))
    for _ in range(draw.draw(st.integers(0, 2))):  # and what is none stays none
        data[draw.draw(st.integers(0, 40))] = draw.draw(st.integers(0, 255))
    whole = bytes(data[: draw.draw(st.integers(0, len(data)) | st.just(len(data)))])
    cuts = draw.draw(st.lists(st.integers(0, len(whole)), max_size=5))
    assert piecewise(whole, cuts) == piecewise(whole, list(range(1, len(whole)))) == verdict(whole)


@pytest.mark.parametrize("sizes", [(16000,), (256,) * 63])
def test_the_work_is_in_proportion_to_the_bytes(monkeypatch, sizes) -> None:
    data = long(tls.LONGEST, *sizes)
    looked = 0
    begin_record = HelloReader._begin_record

    def count(self: HelloReader, size: int) -> bool:
        nonlocal looked
        looked += 1
        return begin_record(self, size)

    monkeypatch.setattr(HelloReader, "_begin_record", count)
    assert piecewise(data, list(range(1, len(data)))) == read_hello(data)
    assert looked <= 8 * (len(sizes) + 2)  # and not for each of 16,000 bytes


def test_the_longest_hello() -> None:
    assert read_hello(long(tls.LONGEST)) is not None
    assert refused(long(tls.LONGEST + 1)) == tls.DECODE_ERROR
    # its length alone says so
    assert refused(long(tls.LONGEST + 1)[:9]) == tls.DECODE_ERROR


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"G", tls.UNEXPECTED_MESSAGE),
        (b"\x15\x03\x01\x00\x02\x01\x00", tls.UNEXPECTED_MESSAGE),
        (b"\x80\x2e\x01\x03\x01", tls.UNEXPECTED_MESSAGE),  # as SSL 2.0 has it
        (b"\x16\x02", tls.PROTOCOL_VERSION),
        (b"\x16\x03\x01\x00\x00", tls.UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x40\x01", tls.RECORD_OVERFLOW),
        (b"\x16\x03\x01\x00\x09\x02", tls.UNEXPECTED_MESSAGE),
        (records(chrome()[5:], 100)[:105] + b"\x17", tls.UNEXPECTED_MESSAGE),
        (records(hello_body(version=0x0200)), tls.PROTOCOL_VERSION),
        (records(hello_body(session=bytes(33))), tls.DECODE_ERROR),
        (records(hello_body(ciphers=b"")), tls.DECODE_ERROR),
        (records(hello_body(ciphers=b"\0\1\2")), tls.DECODE_ERROR),
        (records(hello_body(compression=b"")), tls.DECODE_ERROR),
        (records(hello_body([(5, b""), (5, b"")])), tls.ILLEGAL_PARAMETER),
        (records(b"\x01" + vector(3, hello_body()[4:] + b"x")), tls.DECODE_ERROR),
        (records(b"\x01" + vector(3, hello_body()[4:-1])), tls.DECODE_ERROR),
        (records(hello_body(None)[:-2] + b"\x05\x00"), tls.DECODE_ERROR),
    ],
)
def test_what_can_not_be_a_hello(data, expected) -> None:
    assert refused(data) == expected


@pytest.mark.parametrize(
    "extension",
    [
        (0, b""),
        (0, vector(2, b"\0" + vector(2, b"a")) + b"x"),
        (0, vector(2, b"\1" + vector(2, b"a"))),
        (0, vector(2, b"\0" + vector(2, b"a") + b"\0" + vector(2, b"b"))),
        (10, b""),
        (10, vector(2, b"")),
        (10, vector(2, b"\0\x1d\0")),
        (13, vector(2, b"\4")),
        (16, vector(2, b"")),
        (16, vector(2, b"\0")),
        (16, vector(2, b"\3h2")),
        (16, vector(2, vector(1, b"h2")) + b"x"),
        (43, b"\0"),
        (43, b"\3\3\4\3"),
        (43, b"\2\3\4\3"),
        (51, vector(2, b"\0\x1d\0\x05abc")),
        (51, vector(2, b"\0\x1d\0\x03abc") + b"x"),
        (51, b""),
    ],
)
def test_a_malformed_extension(extension) -> None:
    assert refused(records(hello_body([extension]))) == tls.DECODE_ERROR
    # nothing is read from what comes after it
    assert refused(records(hello_body([extension, (99, bytes(64))]))) == tls.DECODE_ERROR


def test_no_key_share_yet() -> None:
    hello = read_hello(records(hello_body([(51, vector(2, b""))])))
    assert hello is not None and hello.key_shares == ()


def test_a_hello_without_extensions() -> None:
    hello = read_hello(records(hello_body(None, ciphers=numbers(0xC02F))))
    assert hello == Hello(None, (), (0x0303,), (), (), (), (0xC02F,))
    # a version of TLS 1.3 is offered by an extension only
    late = read_hello(records(hello_body(None, version=0x0304)))
    assert late is not None and late.versions == (0x0303,)
    early = read_hello(records(hello_body(None, version=0x0301)))
    assert early is not None and early.versions == (0x0301,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.example", "a.example"),
        (b"A.Example.", "a.example"),
        (b"_x.a-b.example", "_x.a-b.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"localhost", "localhost"),
        (b"1.example", "1.example"),
        (b"127.0.0.1", None),
        (b"::1", None),
        (b"[2001:db8::1]", None),
        (b"fe80::1%eth0", None),
        (b"a" * 63 + b".example", "a" * 63 + ".example"),
    ],
)
def test_server_names(name, expected) -> None:
    hello = read_hello(records(hello_body([server_name(name)])))
    assert hello is not None and hello.server_name == expected


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"a..b", b".a", b"a b", b"a\0.example", b"*.example", b"-a.example", b"a-.example", b"a/b", b"a:80x",
     "bücher.example".encode(), b"a" * 64 + b".example", b"a." * 130 + b"example", b"a.example\n"],
)  # fmt: skip
def test_a_server_name_that_is_none(name) -> None:
    assert refused(records(hello_body([server_name(name)]))) == tls.UNRECOGNIZED_NAME


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.integers(0, 1788), st.binary(min_size=1, max_size=4)).map(
        lambda change: chrome()[: change[0]] + change[1] + chrome()[change[0] + len(change[1]) :]
    ),
    st.lists(st.integers(1, 400), max_size=8).map(lambda sizes: records(chrome()[5:], *sizes)),
    st.lists(st.tuples(st.sampled_from([0, 10, 13, 16, 43, 51, 99]), st.binary(max_size=12)), max_size=4).map(
        lambda extensions: records(hello_body(extensions))
    ),
)


@given(HOSTILE, st.data())
@example(chrome(), None)
def test_the_verdict_does_not_depend_on_cuts(data, draws) -> None:
    whole = verdict(data)
    cuts = range(len(data)) if draws is None else [draws.draw(st.integers(0, len(data)))]
    for cut in cuts:
        part = verdict(data[:cut])
        assert part is None or part == whole


@given(HOSTILE)
@example(chrome())
@example(records(hello_body([server_name(b"A.example.")])))
@example(records(hello_body([server_name(b"a b")])))
def test_openssl_reads_the_same(data) -> None:
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda connection, name, _: seen.append(name)
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    with suppress(ssl.SSLError):  # there is no certificate
        server.do_handshake()
    if not seen:
        return  # it takes this for no hello, or waits for more
    got = verdict(data)
    if isinstance(got, Hello):
        name = seen[0] and seen[0].lower().removesuffix(".")
        assert got.server_name == name or (got.server_name is None and name[-1].isdigit())
    else:
        # where we are stricter: what no client sends, and no certificate is for
        assert got is not None
        assert got[0] == tls.UNRECOGNIZED_NAME or got[0] == tls.ILLEGAL_PARAMETER, got


@pytest.mark.parametrize(
    "data", [b"G", b"GE", b"GET", b"GET ", b"GET / HTTP/1.1\r\n", b"POST /", b"M-SEARCH *", b"PRI * HTTP/2.0"]
)
def test_plain_http(data) -> None:
    assert looks_like_http(data)


@pytest.mark.parametrize("data", [b"", b"\x16", chrome(), b"get / HTTP/1.1", b"GET\r\n", b"\x80\x2e\x01", b"A" * 40])
def test_no_plain_http(data) -> None:
    assert not looks_like_http(data)


def test_an_alert_is_understood() -> None:
    client = Client(client_context())
    client.incoming.write(alert(tls.UNRECOGNIZED_NAME))
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        client.turn()
