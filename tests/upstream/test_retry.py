"""Which failed tries are made again, as a table, and what never is, whatever the route says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from revproxy import fault
from revproxy.config.upstreams import Retry
from revproxy.upstream.retry import IDEMPOTENT, SAFE, Policy

DEFAULT = Policy(Retry())
STATUSES = Policy(Retry(on=("connect", "reset", "timeout", "503"), methods=("GET", "PUT")))
OFF = Policy(None)

FAULTS = [value for value in vars(fault).values() if isinstance(value, fault.Fault)]


def verdict(policy: Policy, why: fault.Fault, method: bytes, **how: Any) -> str:
    given = {"reused": False, "replayable": True, "tries": 1} | how
    return policy.verdict(why, method=method, **given)


TABLE = [
    # nothing was sent: any method
    (DEFAULT, fault.BACKEND_CONNECT, b"POST", {}, "paid"),
    (DEFAULT, fault.BACKEND_CONNECT_TIMEOUT, b"POST", {}, "paid"),
    (DEFAULT, fault.BACKEND_CONNECT, b"POST", {"replayable": False}, "paid"),
    (DEFAULT, fault.BACKEND_CONNECT, b"GET", {"tries": 2}, "paid"),
    (DEFAULT, fault.BACKEND_CONNECT, b"GET", {"tries": 3}, "no"),
    (DEFAULT, fault.BACKEND_UNSENT, b"POST", {}, "paid"),
    (DEFAULT, fault.BACKEND_UNSENT, b"POST", {"reused": True}, "free"),
    (DEFAULT, fault.BACKEND_UNSENT, b"POST", {"reused": True, "tries": 3}, "free"),
    # closed on a connection that had been kept
    (DEFAULT, fault.BACKEND_RESET, b"GET", {"reused": True}, "free"),
    (DEFAULT, fault.BACKEND_RESET, b"PUT", {"reused": True}, "free"),
    (DEFAULT, fault.BACKEND_RESET, b"PUT", {"reused": True, "replayable": False}, "no"),
    (DEFAULT, fault.BACKEND_RESET, b"POST", {"reused": True}, "no"),
    (DEFAULT, fault.BACKEND_RESET, b"FROB", {"reused": True}, "no"),
    # closed on a fresh one, and heads that don't come
    (DEFAULT, fault.BACKEND_RESET, b"GET", {}, "paid"),
    (DEFAULT, fault.BACKEND_RESET, b"PUT", {}, "no"),
    (DEFAULT, fault.BACKEND_RESET, b"POST", {}, "no"),
    (DEFAULT, fault.BACKEND_FIRST_BYTE_TIMEOUT, b"GET", {}, "paid"),
    (DEFAULT, fault.BACKEND_FIRST_BYTE_TIMEOUT, b"GET", {"reused": True}, "paid"),
    (DEFAULT, fault.BACKEND_FIRST_BYTE_TIMEOUT, b"GET", {"replayable": False}, "no"),
    (DEFAULT, fault.BACKEND_FIRST_BYTE_TIMEOUT, b"POST", {}, "no"),
    # statuses, where the route names them
    (DEFAULT, fault.BACKEND_STATUS, b"POST", {}, "no"),
    (STATUSES, fault.BACKEND_STATUS, b"PUT", {}, "paid"),
    (STATUSES, fault.BACKEND_STATUS, b"HEAD", {}, "no"),
    (STATUSES, fault.BACKEND_RESET, b"PUT", {}, "paid"),
    (STATUSES, fault.BACKEND_STATUS, b"PUT", {"tries": 3}, "no"),
    # a route says less
    (Policy(Retry(on=("reset",))), fault.BACKEND_CONNECT, b"GET", {}, "no"),
    (Policy(Retry(on=("connect",))), fault.BACKEND_FIRST_BYTE_TIMEOUT, b"GET", {}, "no"),
    (Policy(Retry(on=("connect",))), fault.BACKEND_RESET, b"GET", {}, "no"),
    (Policy(Retry(tries=1)), fault.BACKEND_CONNECT, b"GET", {}, "no"),
    (OFF, fault.BACKEND_CONNECT, b"GET", {}, "no"),
    (OFF, fault.BACKEND_RESET, b"GET", {"reused": True}, "no"),
    (OFF, fault.BACKEND_UNSENT, b"POST", {"reused": True}, "free"),
    # what is never repeated
    (DEFAULT, fault.BACKEND_BAD_RESPONSE, b"GET", {}, "no"),
    (DEFAULT, fault.BACKEND_BODY_CUT, b"GET", {}, "no"),
    (DEFAULT, fault.BACKEND_TOTAL_TIMEOUT, b"GET", {}, "no"),
    (DEFAULT, fault.CLIENT_GONE, b"GET", {}, "no"),
    (DEFAULT, fault.OUT_OF_DESCRIPTORS, b"GET", {}, "no"),
]


@pytest.mark.parametrize(("policy", "why", "method", "how", "expected"), TABLE)
def test_table(policy: Policy, why: fault.Fault, method: bytes, how: dict[str, Any], expected: str) -> None:
    trace: list[str] = []
    assert verdict(policy, why, method, trace=trace, **how) == expected
    assert len(trace) == 1 and trace[0]


def test_safe_methods_are_idempotent() -> None:
    assert SAFE < IDEMPOTENT
    assert b"POST" not in IDEMPOTENT and b"PATCH" not in IDEMPOTENT


@given(
    why=st.sampled_from(FAULTS),
    method=st.sampled_from([b"POST", b"PATCH", b"FROB"]),
    reused=st.booleans(),
    replayable=st.booleans(),
    tries=st.integers(1, 9),
    policy=st.sampled_from([DEFAULT, STATUSES, OFF, Policy(Retry(on=("connect", "reset", "timeout", "502"), tries=9))]),
)
def test_what_is_not_idempotent_is_repeated_only_when_nothing_was_sent(
    why: fault.Fault, method: bytes, reused: bool, replayable: bool, tries: int, policy: Policy
) -> None:
    if policy.verdict(why, method=method, reused=reused, replayable=replayable, tries=tries) != "no":
        assert why.retry == "unsent"


@given(
    why=st.sampled_from(FAULTS),
    method=st.sampled_from(sorted(IDEMPOTENT)),
    reused=st.booleans(),
    tries=st.integers(1, 9),
)
def test_what_was_sent_and_is_not_kept_is_never_repeated(
    why: fault.Fault, method: bytes, reused: bool, tries: int
) -> None:
    if STATUSES.verdict(why, method=method, reused=reused, replayable=False, tries=tries) != "no":
        assert why.retry == "unsent"
