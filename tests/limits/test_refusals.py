"""Which faults tell of clients that ask for trouble."""

from __future__ import annotations

from revproxy.limits.refusals import REFUSALS, WORDS


def test_what_happens_to_anybody_is_no_refusal() -> None:
    for word in (
        "auth-missing",
        "auth-forbidden",
        "auth-busy",
        "filter-busy",
        "tls-timeout",
        "shed",
        "no-route",
        "client-gone",
    ):
        assert word in WORDS and word not in REFUSALS
    for word in ("auth-refused", "filtered", "denied", "rate-limited", "client-head-too-large", "client-h2-flood"):
        assert word in REFUSALS
