"""Every attack, on revproxy: it ends, others are served meanwhile, memory stays, and so does the size of the log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.h2_attacks import ATTACKS, MOST, Attack
from tests.integration.h2_floods import Outcome, strike
from tests.integration.h2_stand import Stand, standing
from tests.integration.h2peer import Peer, Setting
from tests.integration.harness import until

#: Short, so that those who wait for a limit of time don't wait long.
_CONFIG = """
[server]
timeouts = { head = "2s", body = "3s", keep_alive = "5s" }
[access_log]
enabled = false
"""
#: Seconds that somebody else may wait for an answer during an attack; a request takes milliseconds.
WAIT = 1.0
#: Bytes that the process may take more than before an attack.
ROOM = 32_000_000
#: Lines in the log because of one attack: some requests one by one, then how many more there were.
LINES = 30
#: Requests that may reach the backend because of one connection that takes them all back.
WORK = 1_000


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("floods"), _CONFIG) as stand:
        with Peer(stand.tls) as peer:
            peer.open().get()  # what is made with the first connection is not the first attack's
        yield stand


def _attack(stand: Stand, attack: Attack) -> Outcome:
    outcome = strike(attack, stand.tls, {"large": "/large", "slow": "/slow"}, stand.proxy.pid)
    print(f"{attack.name}: {outcome}")
    return outcome


@pytest.mark.parametrize(
    "attack",
    [pytest.param(a, marks=pytest.mark.slow if a.name == "stall" else (), id=a.name) for a in ATTACKS],
)
def test_attack(stand: Stand, attack: Attack) -> None:
    asked, said = stand.origin.asked, len(stand.proxy.err)
    outcome = _attack(stand, attack)
    if attack.name == "stall":
        # each stream may end by itself, and leave the connection to others
        assert outcome.ended or sum(outcome.resets.values()) == outcome.frames, outcome
    elif attack.ends:
        assert outcome.ended, outcome
        assert outcome.frames < MOST, outcome
    assert outcome.code in ("", "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "NO_ERROR") or (
        # the code of the one wrong frame, where it is an error of the connection anyway
        attack.name.startswith("made-to-reset") and outcome.code in ("STREAM_CLOSED", "FRAME_SIZE_ERROR")
    ), outcome
    assert outcome.asked > 0 and outcome.waited < WAIT, outcome
    assert outcome.grown < ROOM, outcome
    if attack.target == "slow":
        assert stand.origin.asked - asked - outcome.asked < WORK, outcome
    with Peer(stand.tls, 5.0) as peer:
        assert peer.open().get()[0] == 200
    lines = stand.proxy.err[said:].count("\n")
    assert lines <= LINES, lines


def test_floods_are_reported_and_counted(stand: Stand) -> None:
    ping = next(attack for attack in ATTACKS if attack.name == "ping")
    assert _attack(stand, ping).code == "ENHANCE_YOUR_CALM"
    until(lambda: "client-h2-flood" in stand.proxy.err, "a line in the log", 30)


def test_nothing_is_left_of_attacks(stand: Stand) -> None:
    # runs last: the file's order
    before = stand.proxy.memory()
    descriptors = stand.proxy.descriptors()
    for name in ("rapid-reset", "made-to-reset-by-data", "crowd"):
        for _ in range(3):
            _attack(stand, next(attack for attack in ATTACKS if attack.name == name))
    stand.proxy.settles(descriptors)
    assert stand.proxy.memory() - before < ROOM / 4


def test_streams_beyond_the_limit_are_refused(stand: Stand) -> None:
    with Peer(stand.tls) as peer:
        assert peer.open().settings[Setting.MAX_CONCURRENT_STREAMS] <= 250
    crowd = next(attack for attack in ATTACKS if attack.name == "crowd")
    outcome = _attack(stand, crowd)
    assert outcome.resets.get("REFUSED_STREAM", 0) > 0 or outcome.ended, outcome
