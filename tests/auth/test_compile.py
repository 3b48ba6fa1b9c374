"""What is compiled of written authentication: files that are watched, and who shares them."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from revproxy.auth.compile import Auths
from revproxy.config.auth import ApiKeyAuth, Auth
from revproxy.watched import EVERY, SETTLES
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
