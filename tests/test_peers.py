"""How tests ask for real peers."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.peers import PEERS, REQUIRE, find_peer, report

Peer = Callable[[str], str]


@pytest.fixture(autouse=True)
def one_here_one_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(PEERS):
        monkeypatch.delitem(PEERS, name)
    monkeypatch.setitem(PEERS, "here", ("no-such-command-either", "sh"))
    monkeypatch.setitem(PEERS, "absent", ("no-such-command",))
    monkeypatch.delenv(REQUIRE, raising=False)


def test_present_peer_is_found_by_any_of_its_names(peer: Peer) -> None:
    assert os.access(peer("here"), os.X_OK)
    assert find_peer("absent") is None


def test_absent_peer_skips_with_its_name(peer: Peer) -> None:
    with pytest.raises(pytest.skip.Exception, match="the real peer absent is not installed"):
        peer("absent")


def test_absent_peer_fails_where_peers_are_required(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(
        pytest.fail.Exception, match="absent is not installed, and REVPROXY_REQUIRE_PEERS=1 asks for it"
    ):
        peer("absent")
    assert report()[1] == "real peers absent: absent (tests that want them FAIL)"


def test_report_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report() == [
        "real peers present: here",
        "real peers absent: absent (tests that want them are skipped)",
    ]
    monkeypatch.delitem(PEERS, "absent")
    assert report()[1] == "real peers absent: none"
