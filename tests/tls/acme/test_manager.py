"""A certificate that is kept valid, with an authority in memory and a clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy.config.tls import Acme
from revproxy.tls.acme import AcmeManager
from revproxy.tls.acme.certificates import Standing, standing
from revproxy.tls.challenges import Challenges
from tests.kit import logged
from tests.tls.acme.authority import DIRECTORY, Authority, problem

DAY = 86400.0
NAMES = ("a.test", "b.test")
WRITTEN = Acme(directory=DIRECTORY, email="me@a.test", names=NAMES)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    with logged("revproxy.tls.acme.manager") as texts:
        yield texts


class Stage:
    """Managers over one folder, one authority and one clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.began = time.time()
        self.challenges = Challenges()
        self.authority = Authority(self.challenges, self.clock)
        self.renewed = 0

    def now(self) -> float:
        return self.began + self.clock.seconds()

    def manager(self, written: Acme = WRITTEN, renewed: Callable[[], Any] | None = None, **options: Any) -> AcmeManager:
        self.authority.kind = written.challenge
        made = AcmeManager(
            written,
            str(self.folder),
            self.challenges,
            self.clock,
            renewed=renewed or self.count,
            agent=self.authority,
            now=self.now,
            chance=Random(7),
            **options,
        )
        made.start()
        return made

    def count(self) -> None:
        self.renewed += 1

    def pass_by(self, seconds: float, step: float = 0.5) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)

    @property
    def found(self) -> Standing:
        return standing((self.folder / "a.test.acme.pem").read_bytes())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_it_orders_what_is_not_there(stage: Stage, kind: Any, lines: list[str]) -> None:
    manager = stage.manager(evolve(WRITTEN, challenge=kind))
    assert stage.renewed == 0
    stage.pass_by(10)
    assert stage.renewed == 1 and stage.authority.orders == 1
    assert stage.found.names == set(NAMES) and stage.found.source == DIRECTORY
    assert stage.challenges.files == {} and stage.challenges.contexts == {}
    assert len(lines) == 1 and "the ACME authority issued a certificate for a.test, b.test, valid until" in lines[0]
    assert [account["contact"] for account in stage.authority.accounts.values()] == [["mailto:me@a.test"]]
    assert len(stage.authority.agents) == 1 and "revproxy/" in next(iter(stage.authority.agents))
    manager.stop()
    assert stage.clock.getDelayedCalls() == []


def test_files_are_for_their_owner_alone(stage: Stage) -> None:
    stage.manager(evolve(WRITTEN, challenge="tls-alpn-01"))
    stage.pass_by(10)
    modes = {}
    for folder, folders, files in os.walk(stage.folder):
        for name in [*folders, *files]:
            path = Path(folder, name)
            modes[str(path.relative_to(stage.folder))] = stat.S_IMODE(path.stat().st_mode)
    account = next(name for name in modes if name.startswith(".acme/") and "/" not in name[6:] and name != ".acme/lock")
    assert modes == {
        ".acme": 0o700, ".acme/lock": 0o600, account: 0o700, f"{account}/key.pem": 0o600,
        f"{account}/account.json": 0o600, "a.test.acme.pem": 0o600,
    }  # fmt: skip


def test_what_is_in_place_is_kept_until_two_thirds_have_passed(stage: Stage, lines: list[str]) -> None:
    stage.manager().start()
    stage.pass_by(10)
    first = stage.found
    stage.manager()  # after a restart
    two_thirds = 90 * DAY * 2 / 3 - DAY
    while stage.clock.seconds() < two_thirds - 3600:
        stage.clock.advance(1800)
    assert stage.authority.orders == 1
    while stage.clock.seconds() < two_thirds + 2 * DAY:
        stage.clock.advance(600)
    stage.pass_by(20)
    # both wait for a moment of their own, and the later one finds that it is done
    assert stage.authority.orders == 2
    assert stage.found.end > first.end + 59 * DAY
    assert len(stage.authority.accounts) == 1 and stage.authority.requests.count("account") == 1


def test_a_certificate_of_six_days(stage: Stage) -> None:
    stage.authority.issue = lambda key, names: stage.authority.issued(key, names, start=0, end=6)
    stage.manager()
    stage.pass_by(10)
    for _ in range(int(3.9 * 24 * 2)):
        stage.clock.advance(1800)
    assert stage.authority.orders == 1
    stage.authority.issue = lambda key, names: stage.authority.issued(key, names, start=0, end=6)
    for _ in range(10):
        stage.clock.advance(1800)
        stage.pass_by(5)
    assert stage.authority.orders == 2 and stage.renewed == 2


@pytest.mark.parametrize(
    "other",
    [
        evolve(WRITTEN, names=("a.test",)),
        evolve(WRITTEN, names=("a.test", "b.test", "c.test")),
        evolve(WRITTEN, directory=DIRECTORY + "/"),
    ],
)
def test_other_names_or_another_authority_are_ordered_at_once(stage: Stage, other: Acme) -> None:
    stage.manager().start()
    stage.pass_by(10)
    stage.manager(other)
    stage.pass_by(10)
    assert stage.authority.orders == 2
    assert stage.found.names == set(other.names) and stage.found.source == other.directory


def test_a_file_that_is_no_certificate_is_replaced(stage: Stage) -> None:
    (stage.folder / "a.test.acme.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nnone\n")
    stage.manager()
    stage.pass_by(10)
    assert stage.found.names == set(NAMES)


def test_a_failure_is_one_line_and_tried_again_later_and_later(stage: Stage, lines: list[str]) -> None:
    said = problem("rejectedIdentifier", 400, "a.test\nis not\x00 ours")
    stage.authority.faults["orders"] = [said] * 6
    stage.manager()
    starts: list[float] = []
    while len(starts) < 6:
        before = stage.authority.requests.count("orders")
        stage.pass_by(1)
        if stage.authority.requests.count("orders") > before or not starts:
            starts.append(stage.clock.seconds())
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(0.79 * 60 * 2**i - 1 <= gap <= 1.21 * 60 * 2**i + 1 for i, gap in enumerate(gaps)), gaps
    assert len(lines) == 6
    start = (
        f'no certificate for a.test, b.test from {DIRECTORY}: "https://acme.test/orders": rejectedIdentifier: a.test'
    )
    assert lines[0].startswith(start) and "\n" not in lines[0] and "\x00" not in lines[0]
    assert lines[0].endswith("there is none yet")
    assert stage.renewed == 0


def test_what_is_in_place_stays_when_its_renewal_fails(stage: Stage, lines: list[str]) -> None:
    stage.manager().stop()
    stage.manager()
    stage.pass_by(10)
    before = (stage.folder / "a.test.acme.pem").read_bytes()
    stage.authority.faults["orders"] = [(500, {}, b"")]
    stage.clock.advance(88 * DAY)
    stage.pass_by(5)
    assert (stage.folder / "a.test.acme.pem").read_bytes() == before
    assert "status 500; next try in" in lines[-1] and "the one in place is valid until" in lines[-1]


def test_a_limit_without_its_end_is_waited_for_by_the_manager(stage: Stage, lines: list[str]) -> None:
    stage.authority.faults["orders"] = [problem("rateLimited", 429, "too many", retry_after="7200")]
    stage.manager()
    stage.pass_by(7000)
    assert stage.authority.orders == 0 and "rateLimited: too many; next try in 7200 s" in lines[0]
    stage.pass_by(210)
    assert stage.authority.orders == 1 and stage.renewed == 1


def test_two_that_share_a_folder_order_once(stage: Stage, lines: list[str]) -> None:
    first, second = stage.manager(), stage.manager()
    stage.pass_by(20)
    assert stage.authority.orders == 1 and stage.renewed == 2
    assert sum("another process ordered" in line for line in lines) == 1
    first.stop()
    second.stop()
    assert stage.clock.getDelayedCalls() == []


def test_one_that_is_stopped_leaves_the_order_to_the_other(stage: Stage) -> None:
    stage.authority.faults["orders"] = [None]
    first = stage.manager()
    second = stage.manager()
    stage.pass_by(5)
    assert stage.authority.orders == 0
    first.stop()
    stage.pass_by(20)
    assert stage.authority.orders == 1 and stage.renewed == 1
    second.stop()


@pytest.mark.parametrize("part", ["dir", "nonce", "account", "orders", "authz", "chall", "order", "finalize", "cert"])
def test_stopping_leaves_nothing(stage: Stage, part: str) -> None:
    stage.authority.faults[part] = [None]
    manager = stage.manager()
    stage.pass_by(20)
    assert len(stage.authority.hanging) == 1 and stage.authority.cut == 0
    done: list[Any] = []
    manager.stop().addBoth(done.append)
    assert done == [None] and stage.authority.cut == 1
    assert stage.challenges.files == {} and stage.clock.getDelayedCalls() == []
    assert not (stage.folder / "a.test.acme.pem").exists()
    stage.manager()  # and the lock is free
    stage.pass_by(20)
    assert stage.renewed == 1


def test_stopping_twice_and_before_the_start(stage: Stage) -> None:
    manager = stage.manager()
    assert manager.stop().called and manager.stop().called


def test_a_rescan_that_fails_is_no_reason_to_order_again(stage: Stage, lines: list[str]) -> None:
    def fail() -> Any:
        raise RuntimeError("no rescan")

    stage.manager(renewed=fail)
    stage.pass_by(300)
    assert stage.authority.orders == 1
    assert any("is not in service" in line for line in lines)


def test_a_rescan_is_waited_for(stage: Stage) -> None:
    waiting: Deferred[None] = Deferred()
    manager = stage.manager(renewed=lambda: waiting)
    stage.pass_by(10)
    assert stage.authority.orders == 1 and stage.clock.getDelayedCalls() == []
    waiting.callback(None)
    assert len(stage.clock.getDelayedCalls()) == 1
    manager.stop()


def test_a_certificate_that_is_due_at_once_is_not_ordered_in_a_circle(stage: Stage, lines: list[str]) -> None:
    stage.authority.issue = lambda key, names: stage.authority.issued(key, names, start=-80, end=10)
    stage.manager()
    stage.pass_by(40)
    assert stage.authority.orders == 1 and "due already" in lines[-1]


def test_a_folder_that_is_not_there(stage: Stage, lines: list[str]) -> None:
    stage.folder = stage.folder / "gone"
    stage.manager()
    stage.pass_by(5)
    assert len(lines) == 1 and "gone/.acme" in lines[0] and "No such file or directory" in lines[0]


def test_an_authority_file_that_is_not_there(stage: Stage, lines: list[str]) -> None:
    written = evolve(WRITTEN, ca="no-such.pem")
    AcmeManager(
        written, str(stage.folder), stage.challenges, stage.clock, renewed=stage.count, chance=Random(7)
    ).start()
    assert '"no-such.pem" can\'t be read: no such file or directory' in lines[0]


def test_an_order_that_takes_too_long_is_given_up(stage: Stage, lines: list[str]) -> None:
    stage.authority.turns = 10**6
    stage.manager()
    stage.pass_by(640, step=5)
    assert "did not finish within 600 s: still pending" in lines[0]
    assert stage.challenges.files == {}
