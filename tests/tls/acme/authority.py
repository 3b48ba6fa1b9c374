"""An ACME authority in memory: an ``IAgent`` that answers as RFC 8555 says, or as a test wants it to fail."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from revproxy.tls.acme.certificates import ACME_IDENTIFIER
from revproxy.tls.challenges import Challenges
from tests.certificates import authority

URL = "https://acme.test"
DIRECTORY = f"{URL}/dir"
ERRORS = "urn:ietf:params:acme:error:"

#: An answer: status, fields, body (JSON, or bytes as they are).
Said = tuple[int, dict[str, str], Any]


def problem(kind: str, status: int = 400, detail: str = "", **fields: str) -> Said:
    """A problem document."""
    shown = {name.replace("_", "-"): value for name, value in fields.items()}
    return status, shown, {"type": ERRORS + kind, "detail": detail, "status": status}


class Response:
    """What an Agent gives. :param ends: whether its body has an end. :ivar aborted: whether it was cut."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes, ends: bool = True) -> None:
        self.code = status
        self.headers = Headers({name: [value] for name, value in fields.items()})
        self.aborted = False
        self._body = body
        self._ends = ends

    def deliverBody(self, protocol: Any) -> None:
        protocol.makeConnection(self)
        for at in range(0, len(self._body), 65536):
            if not self.aborted:
                protocol.dataReceived(self._body[at : at + 65536])
        if self._ends and not self.aborted:
            protocol.connectionLost(Failure(ResponseDone()))

    def stopProducing(self) -> None:
        self.aborted = True


@implementer(IAgent)
class Authority:
    """The authority.

    :ivar faults: by the first part of a path, answers that come before the right ones; ``None`` never comes.
    :ivar requests: the first parts of the paths that were asked for. :ivar orders: how many were made.
    :ivar turns: how often an authorization or a finalized order is looked at until it is done.
    :ivar issue: makes a chain (PEM) of a public key and names.
    """

    def __init__(self, challenges: Challenges, clock: Any) -> None:
        self.challenges = challenges
        self.clock = clock
        self.kind = "http-01"
        self.requests: list[str] = []
        self.faults: dict[str, list[Any]] = {}
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders = 0
        self.turns = 1
        self.pause: str | None = None
        self.proved: set[str] = set()
        self.hanging: list[Deferred[Any]] = []
        self.cut = 0
        self.agents: set[str] = set()
        self.meta: dict[str, Any] = {}
        self.issue: Callable[[Any, list[str]], bytes] = self.issued
        self.root = authority("Fake root")
        self.above = self.root.issues(authority=True, called="Fake intermediate")
        self._nonces: set[str] = set()
        self._count = 0
        self._orders: dict[str, dict[str, Any]] = {}
        self._authorizations: dict[str, dict[str, Any]] = {}

    # -- as an Agent

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        url = uri.decode("ascii")
        assert url.startswith(URL + "/")
        part = url.removeprefix(URL + "/").partition("/")[0]
        self.requests.append(part)
        self.agents.update(value.decode() for value in headers.getRawHeaders(b"User-Agent"))
        body = b""
        if bodyProducer is not None:
            sent = _Sent()
            bodyProducer.startProducing(sent)
            body = sent.data
            assert bodyProducer.length == len(body)
            assert headers.getRawHeaders(b"Content-Type") == [b"application/jose+json"]
        waiting = self.faults.get(part)
        fault = waiting.pop(0) if waiting else True
        if fault is None:
            return self._never()
        if isinstance(fault, Exception):
            return Deferred.fromCoroutine(_raising(fault))
        if isinstance(fault, Response):
            return succeed(fault)
        said = fault if isinstance(fault, tuple) else self._answer(method, url, part, body, headers)
        status, fields, found = said
        nonce = encode_b64jose(b"nonce %d" % self._next())
        if "replay-nonce" not in fields and part != "dir":
            self._nonces.add(nonce)
            fields = {"replay-nonce": nonce, **fields}
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        return succeed(Response(status, fields, data))

    def _never(self) -> Deferred[Any]:
        def cut(made: Deferred[Any]) -> None:
            self.cut += 1
            # an Agent has a word of its own for it
            made.errback(Failure(ResponseNeverReceived([Failure(RuntimeError("cut"))])))

        made: Deferred[Any] = Deferred(cut)
        self.hanging.append(made)
        return made

    def _next(self) -> int:
        self._count += 1
        return self._count

    # -- as an authority

    def _answer(self, method: bytes, url: str, part: str, body: bytes, headers: Any) -> Said:
        if part == "dir":
            assert method == b"GET"
            names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "orders"}
            return 200, {}, {**{name: f"{URL}/{path}" for name, path in names.items()}, "meta": self.meta}
        if part == "nonce":
            assert method == b"HEAD"
            return 200, {}, b""
        assert method == b"POST"
        jws = json.loads(body)
        assert set(jws) == {"protected", "payload", "signature"}
        protected = json.loads(decode_b64jose(jws["protected"]))
        assert protected["alg"] == "ES256" and protected["url"] == url
        assert ("jwk" in protected) != ("kid" in protected)
        if protected["nonce"] not in self._nonces:
            return problem("badNonce", 400, "unknown")
        self._nonces.discard(protected["nonce"])
        if "jwk" in protected:
            assert part == "account"
            key = JWK.from_json(protected["jwk"])
        elif protected["kid"] not in self.accounts:
            return problem("accountDoesNotExist", 400, "no such account")
        else:
            key = self.accounts[protected["kid"]]["key"]
        assert set(key.to_json()) == {"kty", "crv", "x", "y"}
        signed = f"{jws['protected']}.{jws['payload']}".encode()
        assert ES256.verify(key.key, signed, decode_b64jose(jws["signature"]))
        payload = decode_b64jose(jws["payload"])
        said = json.loads(payload) if payload else None
        if part == "account":
            return self._account(url, key, said)
        if part == "orders":
            return self._new_order(said)
        return getattr(self, f"_{part}")(url, said, key, headers)

    def _account(self, url: str, key: Any, said: Any) -> Said:
        if url != f"{URL}/account":
            self.accounts[url]["contact"] = said["contact"]
            return 200, {}, {"status": "valid"}
        assert said["termsOfServiceAgreed"] is True
        thumbprint = encode_b64jose(key.thumbprint())
        url = f"{URL}/account/{thumbprint}"
        known = url in self.accounts
        self.accounts.setdefault(url, {"key": key, "contact": said.get("contact")})
        return 200 if known else 201, {"location": url}, {"status": "valid"}

    def _new_order(self, said: Any) -> Said:
        self.orders += 1
        names = [identifier["value"] for identifier in said["identifiers"]]
        assert {identifier["type"] for identifier in said["identifiers"]} == {"dns"}
        at = str(self.orders)
        urls = []
        for name in names:
            url = f"{URL}/authz/{at}-{name}"
            proved = name in self.proved
            token = encode_b64jose(f"token {at} {name}".encode())
            self._authorizations[url] = {
                "name": name, "status": "valid" if proved else "pending", "token": token, "turns": -1, "error": None,
            }  # fmt: skip
            urls.append(url)
        url = f"{URL}/order/{at}"
        self._orders[url] = {"names": names, "urls": urls, "turns": -1, "at": at, "chain": b""}
        return 201, {"location": url}, self._shown(self._orders[url])

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        states = {self._authorizations[url]["status"] for url in order["urls"]}
        status = "ready" if states == {"valid"} else "invalid" if "invalid" in states else "pending"
        if order["chain"]:
            status = "processing" if order["turns"] > 0 else "valid"
            order["turns"] -= 1
        shown = {"status": status, "authorizations": order["urls"], "finalize": f"{URL}/finalize/{order['at']}"}
        if status == "valid":
            shown["certificate"] = f"{URL}/cert/{order['at']}"
        return shown

    def _order(self, url: str, said: Any, key: Any, headers: Any) -> Said:
        return 200, self._paused(), self._shown(self._orders[url])

    def _authz(self, url: str, said: Any, key: Any, headers: Any) -> Said:
        assert said is None
        found = self._authorizations[url]
        if found["turns"] >= 0:
            found["turns"] -= 1
            if found["turns"] < 0:
                found["status"] = "invalid" if found["error"] else "valid"
        challenge: dict[str, Any] = {
            "type": self.kind,
            "url": url.replace("/authz/", "/chall/"),
            "status": found["status"],
            "token": found["token"],
        }
        if found["error"]:
            challenge["error"] = found["error"]
        other = {"type": "dns-01", "url": f"{URL}/chall/x", "status": "pending", "token": found["token"]}
        identifier = {"type": "dns", "value": found["name"]}
        return 200, self._paused(), {
            "status": found["status"], "identifier": identifier, "challenges": [other, challenge],
        }  # fmt: skip

    def _chall(self, url: str, said: Any, key: Any, headers: Any) -> Said:
        assert said == {}
        found = self._authorizations[url.replace("/chall/", "/authz/")]
        expected = f"{found['token']}.{encode_b64jose(key.thumbprint())}"
        if self.kind == "http-01":
            proved = self.challenges.files.get(found["token"].encode()) == expected.encode()
        else:
            proved = proves(self.challenges.contexts[found["name"]], found["name"], expected)
        found["turns"] = self.turns
        if not proved:
            found["error"] = {"type": ERRORS + "unauthorized", "detail": "nothing found"}
        challenge = {"type": self.kind, "url": url, "status": "processing", "token": found["token"]}
        return 200, {}, challenge

    def _finalize(self, url: str, said: Any, key: Any, headers: Any) -> Said:
        order = self._orders[url.replace("/finalize/", "/order/")]
        request = x509.load_der_x509_csr(decode_b64jose(said["csr"]))
        assert request.is_signature_valid and not list(request.subject)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == order["names"]
        order["chain"] = self.issue(request.public_key(), order["names"])
        order["turns"] = self.turns
        self.proved.update(order["names"])
        return 200, self._paused(), self._shown(order)

    def _cert(self, url: str, said: Any, key: Any, headers: Any) -> Said:
        assert headers.getRawHeaders(b"Accept") == [b"application/pem-certificate-chain"]
        order = self._orders[url.replace("/cert/", "/order/")]
        return 200, {"content-type": "application/pem-certificate-chain"}, order["chain"]

    def _paused(self) -> dict[str, str]:
        return {} if self.pause is None else {"retry-after": self.pause}

    def issued(self, public: Any, names: list[str], start: float = -1, end: float = 89) -> bytes:
        """A chain for a key. :param start: days from the clock's now. :param end: the same."""
        now = self.clock.seconds() / 86400
        return self.above.issues(*names, key=_Public(public), start=now + start, end=now + end).chain_pem


class _Public:
    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public


class _Sent:
    data = b""

    def write(self, data: bytes) -> None:
        self.data += data


async def _raising(error: Exception) -> None:
    raise error


def proves(context: ssl.SSLContext, name: str, authorization: str) -> bool:
    """Whether a TLS handshake with a context answers TLS-ALPN-01 (RFC 8737 3)."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    asking.set_alpn_protocols(["acme-tls/1"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(back, there, server_hostname=name)
    server = context.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    shown = client.getpeercert(True)
    assert shown is not None and client.selected_alpn_protocol() == "acme-tls/1"
    certificate = x509.load_der_x509_certificate(shown)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    digest = Hash(SHA256())
    digest.update(authorization.encode())
    certificate.verify_directly_issued_by(certificate)
    expected = b"\x04\x20" + digest.finalize()
    return extension.critical and list(names) == [x509.DNSName(name)] and extension.value.value == expected
