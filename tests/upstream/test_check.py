"""One check of one backend: what it asks, what passes, and what hostile answers come to."""

from __future__ import annotations

import re

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.internet.task import Clock
from zope.interface import alsoProvides

from revproxy.config.upstreams import HealthCheck
from revproxy.upstream.check import BODY, Check, NoVerdict, check_request
from revproxy.upstream.http1 import FIELDS, HEAD, INTERIMS
from tests.memory import FakeBackend, Transport

HOST = b"app.internal:9000"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PENDING = "pending"


class Trial:
    """A check that runs, the clock it runs by, and the backend that it asks."""

    def __init__(self, endpoint=None, **written):
        self.clock = Clock()
        self.backend = endpoint or FakeBackend()
        self.check = Check(HealthCheck(**written), self.backend, self.clock, HOST)
        self.verdicts = []
        self.deferred = self.check.run()
        self.deferred.addBoth(self.verdicts.append)

    @property
    def verdict(self):
        assert len(self.verdicts) < 2
        return self.verdicts[0] if self.verdicts else PENDING

    @property
    def transport(self):
        return self.backend.transport

    def send(self, data, single=False):
        for piece in [data[at : at + 1] for at in range(len(data))] if single else [data]:
            self.backend.send(piece)

    def leave(self, error=None):
        self.backend.leave(error)

    def finish(self):
        """Nothing is left behind: the connection is closing or closed, no timer stays once it is gone."""
        assert self.verdict != PENDING
        if self.transport is not None:
            assert self.transport.disconnecting or self.transport.aborted
            self.leave()
        assert self.clock.getDelayedCalls() == []
        assert len(self.verdicts) == 1


@pytest.fixture(params=[False, True], ids=["whole", "single bytes"])
def single(request):
    return request.param


class Slow:
    """An endpoint that connects when told to, or never."""

    def __init__(self, heeds=True):
        self.cancelled = False
        self.transport = None
        self.deferred = Deferred(self.cancel if heeds else None)

    def cancel(self, deferred):
        self.cancelled = True
        deferred.errback(error.ConnectingCancelledError(None))

    def connect(self, factory):
        self.factory = factory
        return self.deferred


class Failing:
    transport = None

    def __init__(self, problem, raises=False):
        self.problem = problem
        self.raises = raises

    def connect(self, factory):
        if self.raises:
            raise self.problem
        return fail(self.problem)


class Encrypted(FakeBackend):
    """A backend behind TLS, as its protocol sees it."""

    def connect(self, factory):
        self.protocol, self.transport = factory.buildProtocol(None), Transport()
        alsoProvides(self.transport, ISSLTransport)
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


# -- what is asked


def test_the_request():
    assert check_request(HealthCheck(), HOST) == (
        b"GET / HTTP/1.1\r\nHost: app.internal:9000\r\nUser-Agent: revproxy-health\r\nConnection: close\r\n\r\n"
    )


def test_a_written_request():
    written = HealthCheck(
        path="/healthz", method="POST", host="x.example", headers={"user-agent": "probe", "authorization": "Bearer é"}
    )
    assert (
        check_request(written, HOST)
        == (
            "POST /healthz HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\nContent-Length: 0\r\n"
            "user-agent: probe\r\nauthorization: Bearer é\r\n\r\n"
        ).encode()
    )


def test_it_is_sent_once_the_connection_is_there():
    trial = Trial()
    assert trial.backend.received() == trial.check.request
    assert trial.verdict == PENDING
    assert not trial.transport.disconnecting


def test_each_run_has_a_connection_of_its_own():
    trial = Trial()
    trial.send(OK)
    trial.finish()
    again = trial.check.run()
    assert trial.backend.connections == 2
    trial.send(OK)
    assert again.result is None


# -- statuses


@pytest.mark.parametrize(
    ("status", "written", "verdict"),
    [
        (200, ("200-399",), None),
        (399, ("200-399",), None),
        (400, ("200-399",), "status 400"),
        (503, ("200-399",), "status 503"),
        (200, ("204", "301-302"), "status 200"),
        (204, ("204", "301-302"), None),
        (302, ("204", "301-302"), None),
        (303, ("204", "301-302"), "status 303"),
        (101, ("200-399",), "status 101"),
        (101, ("101",), None),
    ],
)
def test_statuses(status, written, verdict, single):
    trial = Trial(status=written)
    trial.send(b"HTTP/1.1 %d X\r\nServer: y\r\n\r" % status, single)
    assert trial.verdict == PENDING
    trial.send(b"\n", single)
    assert trial.verdict == verdict
    assert trial.transport.disconnecting and not trial.transport.aborted
    trial.finish()


def test_interim_responses_are_passed_over(single):
    trial = Trial()
    trial.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * INTERIMS, single)
    assert trial.verdict == PENDING
    trial.send(b"HTTP/1.1 200 OK\r\n\r\n", single)
    assert trial.verdict is None


def test_the_body_is_not_waited_for_without_a_pattern():
    trial = Trial()
    trial.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    assert trial.verdict is None
    trial.send(b"x" * 1000)  # what still comes is ignored
    trial.finish()


# -- bodies


def with_length(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body):
    half = len(body) // 2
    chunks = b"".join(b"%x;n=v\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: y\r\n\r\n"


def until_close(body):
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


@pytest.mark.parametrize("framed", [with_length, chunked, until_close])
@pytest.mark.parametrize(
    ("pattern", "body", "passes"),
    [
        ("ok", b"all is ok, really", True),
        ("ok", b"all is well", False),
        ("ok", b"", False),
        ("^$", b"", True),
        ("^ok$", b"ok", True),
        ("^ok$", b"okay", False),  # not to be judged before the end
        ('"status": *"(up|ok)"', b'{"status":  "up"}', True),
        ("grün", "alles grün".encode(), True),
    ],
)
def test_bodies(framed, pattern, body, passes, single):
    trial = Trial(body=pattern)
    trial.send(framed(body), single)
    if framed is until_close:
        assert trial.verdict == PENDING
        trial.leave()
    assert trial.verdict == (None if passes else f"body without {pattern!r}")
    if framed is not until_close:
        assert trial.transport.disconnecting and not trial.transport.aborted
        trial.finish()


@pytest.mark.parametrize("framed", [with_length, chunked, until_close])
@pytest.mark.parametrize(("before", "passes"), [(BODY - 2, True), (BODY - 1, False), (BODY, False)])
def test_only_the_first_bytes_of_a_body_are_searched(framed, before, passes):
    body = b"-" * before + b"ok" + b"-" * BODY
    for step in (1000, len(body) * 2):
        trial = Trial(body="ok")
        answer = framed(body)
        for at in range(0, len(answer), step):
            trial.send(answer[at : at + step])
        assert trial.verdict == (None if passes else "body without 'ok'")
        trial.finish()


def test_what_comes_after_a_body_is_not_searched():
    for answer in (with_length(b"no"), chunked(b"no")):
        trial = Trial(body="ok")
        trial.send(answer + b"ok")
        assert trial.verdict == "body without 'ok'"


def test_an_endless_body_is_read_no_further():
    trial = Trial(body="ok")
    trial.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(BODY // 4096 - 1):
        trial.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    assert trial.verdict == PENDING
    trial.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    assert trial.verdict == "body without 'ok'"
    trial.finish()


def test_an_unexpected_status_is_told_before_the_body():
    trial = Trial(body="ok")
    trial.send(b"HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n")
    assert trial.verdict == "status 503"


@pytest.mark.parametrize("body", [None, "^$"])
def test_head_has_no_body(body):
    trial = Trial(method="HEAD", body=body)
    trial.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert trial.verdict is None
    trial.finish()


def test_204_has_no_body():
    trial = Trial(body="ok")
    trial.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert trial.verdict == "body without 'ok'"


# -- hostile and broken answers


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "malformed status line b'SSH-2.0-OpenSSH_9.6'"),
        (b"\r\n\r\n", "malformed status line b''"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "malformed status line b'HTTP/2.0 200 OK'"),
        (b"HTTP/1.1 200 OK\n\n", "bare CR or LF, or NUL, in a head"),
        (b"HTTP/1.1 200 OK\r\nX: a\rb", "bare CR or LF, or NUL, in a head"),
        (b"HTTP/1.1 200 \0", "bare CR or LF, or NUL, in a head"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "field line without a colon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length b'2'"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length and Transfer-Encoding",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding [b'gzip']"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (FIELDS + 1) + b"\r\n", f"{FIELDS + 1} fields"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIMS + 1), f"more than {INTERIMS} interim responses"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n", "malformed chunk"),
    ],
)
def test_malformed_answers(answer, verdict, single):
    trial = Trial(body="ok")
    trial.send(answer, single)
    assert trial.verdict.startswith(verdict)
    assert trial.transport.aborted
    trial.finish()


def test_an_endless_head():
    trial = Trial()
    trial.send(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(HEAD // 1024 - 1):
        trial.send(b"y" * 1024)
    assert trial.verdict == PENDING
    trial.send(b"y" * 1024)
    assert trial.verdict == f"head over {HEAD} bytes"
    assert trial.transport.aborted
    trial.finish()


def test_what_comes_after_the_verdict_is_ignored():
    trial = Trial()
    trial.send(b"HTTP/1.1 200 OK\r\n\r\n")
    trial.send(b"\0garbage\n\n")
    assert not trial.transport.aborted
    trial.leave(error.ConnectionLost())
    assert trial.verdict is None


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", "{} before the answer"),
        (b"HTTP/1.1 200", "{} before the end of the answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "{} before the end of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "{} before the end of the answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", "{} before the end of the answer"),
    ],
)
@pytest.mark.parametrize(("reason", "word"), [(error.ConnectionDone(), "closed"), (error.ConnectionLost(), "cut")])
def test_a_connection_that_ends_too_early(answer, verdict, reason, word):
    trial = Trial(body="ok")
    if answer:
        trial.send(answer)
    trial.leave(reason)
    assert trial.verdict == verdict.format(word)
    assert trial.clock.getDelayedCalls() == []


def test_a_body_until_close_that_is_cut_is_not_whole():
    trial = Trial(body="ok")
    trial.send(until_close(b"ok"))
    trial.leave(error.ConnectionLost())
    assert trial.verdict == "cut before the end of the answer"


# -- time


def test_one_timeout_for_connecting_and_the_answer():
    slow = Slow()
    trial = Trial(slow, timeout=2.0)
    trial.clock.advance(1.5)
    protocol, slow.transport = slow.factory.buildProtocol(None), Transport()
    protocol.makeConnection(slow.transport)
    slow.deferred.callback(protocol)
    assert slow.transport.value() == trial.check.request
    trial.clock.advance(0.4)
    assert trial.verdict == PENDING
    trial.clock.advance(0.1)
    assert trial.verdict == "no answer within 2 s"
    assert slow.transport.aborted
    protocol.connectionLost(error.ConnectionAborted())
    assert trial.clock.getDelayedCalls() == []


def test_bytes_that_trickle_do_not_move_the_timeout():
    trial = Trial(timeout=0.5)
    for byte in b"HTTP/1.1 2":
        trial.send(bytes([byte]))
        trial.clock.advance(0.049)
    assert trial.verdict == PENDING
    trial.clock.advance(0.02)
    assert trial.verdict == "no end of the answer within 0.5 s"
    assert trial.transport.aborted
    trial.finish()


def test_a_connection_that_never_comes():
    slow = Slow()
    trial = Trial(slow)
    trial.clock.advance(2)
    assert trial.verdict == "no connection within 2 s"
    assert slow.cancelled
    trial.finish()


def test_a_connection_that_comes_in_spite_of_all_is_not_taken():
    slow = Slow(heeds=False)
    trial = Trial(slow)
    trial.clock.advance(2)
    assert trial.verdict == "no connection within 2 s"
    assert slow.factory.buildProtocol(None) is None
    trial.finish()


def test_an_endpoint_that_connects_twice_gets_one_protocol():
    trial = Trial(slow := Slow())
    protocol, slow.transport = slow.factory.buildProtocol(None), Transport()
    protocol.makeConnection(slow.transport)
    assert slow.factory.buildProtocol(None) is None
    assert trial.verdict == PENDING


def test_a_close_that_the_peer_does_not_answer_becomes_a_cut():
    trial = Trial(timeout=2.0)
    trial.clock.advance(1)
    trial.send(OK)
    assert trial.verdict is None
    assert not trial.transport.aborted
    trial.clock.advance(1)
    assert trial.transport.aborted
    trial.finish()


# -- stopping


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_stopping_while_connecting(how):
    slow = Slow()
    trial = Trial(slow)
    trial.check.stop() if how == "stop" else trial.deferred.cancel()
    assert trial.verdict == "stopped" and isinstance(trial.verdict, NoVerdict)
    assert slow.cancelled
    trial.finish()


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_stopping_while_it_waits_for_the_answer(how):
    trial = Trial()
    trial.send(b"HTTP/1.1 200")
    trial.check.stop() if how == "stop" else trial.deferred.cancel()
    assert trial.verdict == "stopped" and isinstance(trial.verdict, NoVerdict)
    assert trial.transport.aborted
    trial.check.stop()
    trial.finish()


def test_stopping_cuts_what_is_still_closing():
    trial = Trial()
    trial.send(OK)
    assert not trial.transport.aborted
    trial.check.stop()
    assert trial.transport.aborted
    assert trial.verdict is None
    trial.finish()


def test_stopping_what_never_ran():
    Check(HealthCheck(), FakeBackend(), Clock(), HOST).stop()


# -- connecting


@pytest.mark.parametrize(
    ("problem", "verdict"),
    [
        (error.ConnectionRefusedError(111, "x"), "connection refused"),
        (error.ConnectError(2, "x"), "no such file or directory"),
        (error.NoRouteError(113, "x"), "no route to host"),
        (error.TimeoutError(), "connection timed out"),
        (error.DNSLookupError("x"), "host not found"),
        (error.UnknownHostError(-2, "x"), "host not found"),
        (FileNotFoundError(2, "x"), "no such file or directory"),
        (error.ConnectBindError(24, "x"), NoVerdict("too many open files")),
        (OSError(24, "x"), NoVerdict("too many open files")),
        (ValueError("a plugin's\nown  words"), "a plugin's own words"),
        (ValueError("w" * 1000), "w" * 160),
        (ValueError(), "ValueError"),
    ],
)
@pytest.mark.parametrize("raises", [False, True])
def test_no_connection(problem, verdict, raises):
    trial = Trial(Failing(problem, raises))
    assert trial.verdict == verdict
    assert type(trial.verdict) is type(verdict)
    trial.finish()


def test_tcp_needs_a_connection_only():
    trial = Trial(type="tcp")
    assert trial.verdict is None
    assert trial.transport.disconnecting
    assert trial.backend.received() == b""
    trial.finish()
    assert Trial(Failing(error.ConnectionRefusedError(111)), type="tcp").verdict == "connection refused"


# -- TLS


def test_tls_needs_the_whole_handshake():
    trial = Trial(Encrypted(), type="tls")
    assert IHandshakeListener.providedBy(trial.backend.protocol)
    assert trial.verdict == PENDING
    trial.backend.protocol.handshakeCompleted()
    assert trial.verdict is None
    assert trial.transport.disconnecting
    assert trial.backend.received() == b""
    trial.finish()


def test_a_handshake_that_never_ends():
    trial = Trial(Encrypted(), type="tls")
    trial.clock.advance(2)
    assert trial.verdict == "no TLS handshake within 2 s"
    assert trial.transport.aborted
    trial.finish()


@pytest.mark.parametrize("kind", ["tls", "http"])
@pytest.mark.parametrize(
    ("problem", "verdict"),
    [
        (error.ConnectionDone(), "closed before the TLS handshake"),
        (error.ConnectionLost(), "cut before the TLS handshake"),
        (
            SSL.Error([("SSL routines", "", "tlsv1 alert"), ("SSL routines", "", "certificate verify failed")]),
            "TLS: certificate verify failed",
        ),
        (SSL.Error("other"), "TLS: other"),
        (SSL.Error(), "TLS: "),
        (VerificationError([]), "TLS: the certificate is for another name"),
        (RuntimeError("else"), "else"),
    ],
)
def test_handshakes_that_fail(kind, problem, verdict):
    trial = Trial(Encrypted(), type=kind)
    trial.leave(problem)
    assert trial.verdict == verdict.strip()
    assert trial.clock.getDelayedCalls() == []


def test_http_over_tls(single):
    trial = Trial(Encrypted(), timeout=2)
    trial.clock.advance(1)
    trial.backend.protocol.handshakeCompleted()
    assert trial.verdict == PENDING
    assert trial.backend.received() == trial.check.request
    trial.send(OK, single)
    assert trial.verdict is None
    trial.finish()


def test_http_over_tls_tells_what_was_missing():
    for shaken, verdict in ((False, "no TLS handshake within 2 s"), (True, "no answer within 2 s")):
        trial = Trial(Encrypted())
        if shaken:
            trial.backend.protocol.handshakeCompleted()
        trial.clock.advance(2)
        assert trial.verdict == verdict
        trial.finish()


def test_a_pattern_that_takes_long_is_given_up():
    import time

    from revproxy.upstream.check import _is_in

    began = time.perf_counter()
    assert not _is_in(re.compile(rb"ready: .*; db: .*; x: .*up"), b"ready: ; db: ; x: " * 3600)
    assert time.perf_counter() - began < 1  # 20 ms and a piece, where the whole would take minutes


def test_what_is_looked_for_may_stand_on_the_border_of_two_pieces():
    from revproxy.upstream.check import _is_in

    for at in (0, 500, 1020, 1024, 60_000):
        assert _is_in(re.compile(rb"ready{3}"), b"x" * at + b"readyyy" + b"x" * 3000)
        assert not _is_in(re.compile(rb"^ready"), b"\n" + b"x" + b"ready" * 3)
