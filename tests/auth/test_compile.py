"""What is compiled of written authentication: files that are watched, and who shares them."""

from __future__ import annotations

from hashlib import sha256
from time import time
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from revproxy.auth.compile import Auths
from revproxy.auth.outcome import Identity
from revproxy.config.auth import ApiKeyAuth, Auth, JwtAuth
from revproxy.watched import EVERY, SETTLES
from tests.auth.kit import jwks, key, token
from tests.auth.test_credentials import request
from tests.kit import logged


def line(name, key):
    return f"{name}:sha256:{sha256(key.encode()).hexdigest()}\n"


def test_a_file_of_keys_is_read_again_and_a_mistake_keeps_what_was(tmp_path):
    path, clock = tmp_path / "keys", Clock()
    auths = Auths({}, frozenset(), clock, str(tmp_path))
    written = Auth(api_key=ApiKeyAuth(file="keys"))

    def put(text):
        path.write_text(text)
        clock.pump([EVERY, SETTLES, EVERY])

    def knows(key):
        outcome = method.check(SimpleNamespace(request=request(f"X-API-Key: {key}")))
        return getattr(outcome, "user", None)

    put("broken\n")
    with pytest.raises(ValueError, match=r"auth\.api_key: .*keys: line 1"):
        auths.get(written)
    assert auths.tasks == []
    put(line("alice", "a" * 20))
    hook = auths.get(written)
    assert auths.get(Auth(api_key=ApiKeyAuth(file="keys"))) is hook
    (method,) = hook._methods
    (watch,) = auths.tasks
    watch.start()
    with logged("revproxy.auth.compile") as lines:
        put("broken\n")
        assert (knows("a" * 20), knows("b" * 20)) == (b"alice", None)
        put(line("bob", "b" * 20))
        assert (knows("a" * 20), knows("b" * 20)) == (None, b"bob")
    wrong, anew = lines
    assert wrong.startswith(f"{path}: line 1") and wrong.endswith("; what was read before stays")
    assert anew == f"{path}: changed, and read anew"
    watch.close()
    assert clock.getDelayedCalls() == []


def test_a_set_of_keys_that_is_emptied_counts_and_no_set_does_not(tmp_path):
    path, clock = tmp_path / "jwks", Clock()
    auths = Auths({}, frozenset(), clock, str(tmp_path))
    written = Auth(jwt=JwtAuth(algorithms=("RS256",), jwks="jwks"))
    path.write_bytes(b'{"keys": []}')
    with pytest.raises(ValueError, match=r"auth\.jwt: .*jwks: none of its keys is for RS256"):
        auths.get(written)
    path.write_bytes(jwks(("one", key())))
    (method,) = auths.get(written)._methods
    made = token({"sub": "a", "exp": time() + 600}).decode()

    def is_good():
        return isinstance(method.check(SimpleNamespace(request=request(f"Authorization: Bearer {made}"))), Identity)

    (watch,) = auths.tasks
    watch.start()
    assert is_good()
    with logged("revproxy.auth.compile", "revproxy.auth.keys") as lines:
        for data, good in ((b"{", True), (b'{"keys": []}', False), (jwks(("one", key())), True)):
            path.write_bytes(data)
            clock.pump([EVERY, SETTLES, EVERY])
            assert is_good() is good
    assert lines[0].endswith("what was read before stays")
    assert f"{path}: none of the keys in the set can be used; every token is refused" in lines
    watch.close()
