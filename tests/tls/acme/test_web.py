"""One request and its answer, by a real Agent to a TLS server in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from revproxy.tls.acme.messages import AcmeFailed
from revproxy.tls.acme.web import SIZE, TIMEOUT, Answer, Unreachable, fetch, make_agent, trusted
from tests.certificates import authority
from tests.upstream.tlspeer import Backends, server_context

URL = "https://127.0.0.1:14000/dir"
ROOT = authority("Right root")
SERVER = ROOT.issues("127.0.0.1")


class Talk:
    """A request under way. :ivar told: what became of it."""

    def __init__(self, folder: Path, certified: Any = SERVER, trust: Any = ROOT, **request: Any) -> None:
        (folder / "ca.pem").write_bytes(trust.pem)
        self.backends = Backends(server_context(certified))
        self.reactor = self.backends.reactor
        agent = make_agent(trusted("ca.pem", str(folder)), self.reactor)
        self.told: list[Any] = []
        what = {"method": b"GET", "url": URL, **request}
        self.asked = Deferred.fromCoroutine(fetch(agent, self.reactor, **what))
        self.asked.addBoth(self.told.append)
        self.backends.settle()

    @property
    def peer(self) -> Any:
        return self.backends.peers[-1]

    def say(self, data: bytes) -> None:
        self.peer.say(data)
        self.backends.settle()

    @property
    def cut(self) -> bool:
        """Whether we ended the connection."""
        return bool(self.peer.gone or self.peer.closed)

    def fails(self) -> str:
        (failure,) = self.told
        assert failure.check(Unreachable), failure
        return str(failure.value)


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    talk = Talk(tmp_path, method=b"POST", body=b"{}", accept="application/pem-certificate-chain")
    head, _, body = talk.peer.plain.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /dir HTTP/1.1" and body == b"{}"
    assert {b"Content-Type: application/jose+json", b"Accept: application/pem-certificate-chain"} <= set(lines)
    assert any(line.startswith(b"User-Agent: revproxy/") for line in lines)
    talk.say(
        b"HTTP/1.1 201 Created\r\nReplay-Nonce: n1\r\nReplay-Nonce: n2\r\nLocation: https://x/1\r\nRetry-After: 3\r\n"
        b"X-Other: %b\r\nContent-Length: 2\r\n\r\nok" % (b"a" * 200)
    )
    assert talk.told == [Answer(201, {"replay-nonce": "n1", "location": "https://x/1", "retry-after": "3"}, b"ok")]
    assert talk.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("framing", [b"Content-Length: 9999999\r\n\r\n", b"\r\n"])
def test_a_huge_answer_is_cut(tmp_path: Path, framing: bytes) -> None:
    talk = Talk(tmp_path)
    talk.say(b"HTTP/1.1 200 OK\r\n" + framing)
    for _ in range(SIZE // 8192 + 8):
        if talk.told:
            break
        talk.say(b"x" * 8192)
    assert f"larger than {SIZE} bytes" in talk.fails()
    assert talk.cut


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"])
def test_an_answer_that_never_ends_is_cut(tmp_path: Path, said: bytes) -> None:
    talk = Talk(tmp_path)
    if said:
        talk.say(said)
    talk.reactor.advance(TIMEOUT - 1)
    assert talk.told == [] and not talk.cut
    talk.reactor.advance(1)
    talk.backends.settle()
    assert f"no whole answer within {TIMEOUT:g} s" in talk.fails()
    assert talk.cut and talk.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"])
def test_being_cancelled_is_not_the_authority_s_fault(tmp_path: Path, said: bytes) -> None:
    talk = Talk(tmp_path)
    if said:
        talk.say(said)
    talk.asked.cancel()
    talk.backends.settle()
    assert talk.told[0].check(CancelledError) and talk.cut and talk.reactor.getDelayedCalls() == []


def test_nobody_answers(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    backends = Backends()
    backends.refuses = True
    agent = make_agent(trusted("ca.pem", str(tmp_path)), backends.reactor)
    told: list[Any] = []
    Deferred.fromCoroutine(fetch(agent, backends.reactor, b"GET", URL)).addBoth(told.append)
    backends.settle()
    assert told[0].check(Unreachable) and "refused" in str(told[0].value)


def test_who_is_not_the_authority_gets_no_request(tmp_path: Path) -> None:
    for certified, trust, words in (
        (SERVER, authority("Wrong root"), "from an authority that is not trusted"),
        (ROOT.issues("acme.test"), ROOT, 'is for \\"acme.test\\", not for'),
        (ROOT.issues("127.0.0.1", start=-9, end=-1), ROOT, "expired at"),
    ):
        talk = Talk(tmp_path, certified, trust)
        assert words in talk.fails()
        assert talk.peer.plain == b""


@pytest.mark.parametrize("said", [b"\x00\x01garbage\r\n\r\n", b"HTTP/1.1 99999 x\r\nContent-Length: x\r\n\r\n"])
def test_what_is_not_http(tmp_path: Path, said: bytes) -> None:
    talk = Talk(tmp_path)
    talk.say(said)
    talk.reactor.advance(TIMEOUT)
    talk.backends.settle()
    assert len(talk.told) == 1 and talk.told[0].check(AcmeFailed)


def test_a_file_of_authorities_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'"none\.pem" can\'t be read'):
        trusted("none.pem", str(tmp_path))
    assert trusted(None, ".").insecure is False
