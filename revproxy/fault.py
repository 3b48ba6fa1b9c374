"""Every way an exchange can fail, by name.

Rules of this module:

* a failure has one name, and the name decides everything that follows from it: the status the
  client sees, who is to blame, whether another backend may be asked, and the word in the log;
* nothing else in the package chooses an error status.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Side = Literal["client", "backend", "proxy"]
Retry = Literal["never", "unsent", "idempotent"]


@frozen
class Fault:
    """One way to fail.

    :param word: what the access log says; also the name in documentation.
    :param side: on which side of the proxy it was seen.
    :param phase: ``connect``, ``head``, ``body``, ``route``, ``hook`` or ``stop``.
    :param status: what the client is answered, 0 when its connection can only be cut.
    :param blame: whose doing it was; only ``"backend"`` counts against a backend's health.
    :param retry: ``"unsent"``: another backend may be asked, whatever the method;
        ``"idempotent"``: only for idempotent methods and by the rules of
        :mod:`revproxy.upstream.retry`; ``"never"``.
    """

    word: str
    side: Side
    phase: str
    status: int
    blame: Side
    retry: Retry = "never"


class ProtocolError(Exception):
    """A peer broke the rules: ``fault`` says how it ends, ``detail`` is for the log only.

    :param retry_after: seconds, 0 for not saying any.
    """

    def __init__(self, fault: Fault, detail: str = "", retry_after: int = 0) -> None:
        super().__init__(f"{fault.word}: {detail}" if detail else fault.word)
        self.fault = fault
        self.detail = detail
        self.retry_after = retry_after


def _client(word: str, phase: str, status: int) -> Fault:
    return Fault(word, "client", phase, status, "client")


def _backend(word: str, phase: str, status: int, retry: Retry = "never") -> Fault:
    return Fault(word, "backend", phase, status, "backend", retry)


CLIENT_BAD_PROXY_LINE = _client("client-bad-proxy-line", "connect", 0)
CLIENT_BAD_REQUEST = _client("client-bad-request", "head", 400)
CLIENT_BAD_PATH = _client("client-bad-path", "head", 400)
CLIENT_BAD_VERSION = _client("client-bad-version", "head", 505)
CLIENT_HEAD_TOO_LARGE = _client("client-head-too-large", "head", 431)
CLIENT_TARGET_TOO_LONG = _client("client-target-too-long", "head", 414)
CLIENT_CONNECT_REFUSED = _client("client-connect-refused", "head", 405)
CLIENT_EXPECTATION = _client("client-expectation", "head", 417)
CLIENT_MISDIRECTED = _client("client-misdirected", "head", 421)
CLIENT_HEAD_TIMEOUT = _client("client-head-timeout", "head", 408)
CLIENT_BAD_BODY = _client("client-bad-body", "body", 400)
CLIENT_CONTENT_TYPE = _client("client-content-type", "head", 415)
CLIENT_BODY_TOO_LARGE = _client("client-body-too-large", "body", 413)
CLIENT_BODY_TIMEOUT = _client("client-body-timeout", "body", 408)
CLIENT_BODY_SLOW = _client("client-body-slow", "body", 408)
CLIENT_READS_SLOWLY = _client("client-reads-slowly", "body", 0)
CLIENT_GONE = _client("client-gone", "body", 499)

CLIENT_PLAIN_HTTP = _client("client-plain-http", "connect", 400)
TLS_HANDSHAKE = _client("tls-handshake", "connect", 0)
TLS_NAME = _client("tls-unrecognized-name", "connect", 0)
TLS_TIMEOUT = _client("tls-timeout", "connect", 0)
CLIENT_H2_PROTOCOL = _client("client-h2-protocol", "connect", 0)
CLIENT_H2_FLOOD = _client("client-h2-flood", "connect", 0)

BANNED = Fault("banned", "proxy", "route", 403, "client")
SHED = Fault("shed", "proxy", "route", 503, "client")
TOO_MANY_REQUESTS = Fault("too-many-requests", "proxy", "route", 503, "client")
TOO_MANY_REQUESTS_FROM_ADDRESS = Fault("too-many-requests-from-address", "proxy", "route", 429, "client")
NO_ROUTE = Fault("no-route", "proxy", "route", 404, "client")
DENIED = Fault("denied", "proxy", "route", 403, "client")
UPGRADE_UNSUPPORTED = Fault("upgrade-unsupported", "proxy", "route", 501, "client")
AUTH_MISSING = Fault("auth-missing", "client", "hook", 401, "client")
AUTH_REFUSED = Fault("auth-refused", "client", "hook", 401, "client")
AUTH_FORBIDDEN = Fault("auth-forbidden", "client", "hook", 403, "client")
AUTH_BUSY = Fault("auth-busy", "proxy", "hook", 503, "client")
AUTH_UNAVAILABLE = Fault("auth-unavailable", "proxy", "hook", 503, "proxy")
AUTH_FAILED = Fault("auth-failed", "proxy", "hook", 502, "proxy")
RATE_LIMITED = Fault("rate-limited", "proxy", "hook", 429, "client")
HOOK_FAILED = Fault("hook-failed", "proxy", "hook", 500, "proxy")
HOOK_TIMEOUT = Fault("hook-timeout", "proxy", "hook", 503, "proxy")
FILTERED = Fault("filtered", "proxy", "hook", 403, "client")
FILTER_BUSY = Fault("filter-busy", "proxy", "hook", 503, "client")
ONLY_IF_CACHED = Fault("only-if-cached", "proxy", "route", 504, "client")
BACKEND_FAILING = Fault("backend-failing", "proxy", "route", 503, "backend")
HANDLER_FAILED = Fault("handler-failed", "proxy", "route", 500, "proxy")
STOPPED = Fault("stopped", "proxy", "stop", 503, "proxy")
TUNNEL_IDLE = Fault("tunnel-idle", "proxy", "body", 0, "client")

BACKEND_NONE = _backend("backend-none", "connect", 503)
BACKEND_QUEUE_FULL = Fault("backend-queue-full", "proxy", "connect", 503, "proxy")
BACKEND_QUEUE_TIMEOUT = Fault("backend-queue-timeout", "proxy", "connect", 503, "proxy")
CIRCUIT_OPEN = Fault("circuit-open", "proxy", "connect", 503, "proxy")
OUT_OF_DESCRIPTORS = Fault("out-of-descriptors", "proxy", "connect", 503, "proxy")
BACKEND_CONNECT = _backend("backend-connect", "connect", 502, "unsent")
BACKEND_CONNECT_TIMEOUT = _backend("backend-connect-timeout", "connect", 504, "unsent")
BACKEND_RESET = _backend("backend-reset", "head", 502, "idempotent")
BACKEND_UNSENT = _backend("backend-unsent", "head", 502, "unsent")
BACKEND_BAD_RESPONSE = _backend("backend-bad-response", "head", 502)
BACKEND_FIRST_BYTE_TIMEOUT = _backend("backend-first-byte-timeout", "head", 504, "idempotent")
BACKEND_STATUS = _backend("backend-status", "head", 502, "idempotent")
BACKEND_SEND_TIMEOUT = _backend("backend-send-timeout", "body", 504)
BACKEND_TOTAL_TIMEOUT = _backend("backend-total-timeout", "body", 504)
BACKEND_BODY_CUT = _backend("backend-body-cut", "body", 502)
BACKEND_BAD_BODY = _backend("backend-bad-body", "body", 502)
BACKEND_IDLE_TIMEOUT = _backend("backend-idle-timeout", "body", 504)

TOO_MANY_CONNECTIONS = Fault("too-many-connections", "proxy", "connect", 503, "client")
TOO_MANY_FROM_ADDRESS = Fault("too-many-connections-from-address", "proxy", "connect", 503, "client")
