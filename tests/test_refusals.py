"""Connections that were refused, in the log."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from revproxy.fault import CLIENT_BAD_PROXY_LINE, TLS_TIMEOUT
from revproxy.refusals import EVERY, Refusals


def begun() -> tuple[Clock, Refusals, list[str]]:
    clock, lines = Clock(), []
    return clock, Refusals(clock, Logger(observer=lambda event: lines.append(formatEvent(event)))), lines


def test_one_has_a_line() -> None:
    clock, refusals, lines = begun()
    refusals.refused(TLS_TIMEOUT, "192.0.2.1")
    refusals.refused(CLIENT_BAD_PROXY_LINE, "", "x" * 300)
    assert lines == [
        "1 connection(s) refused, the last from 192.0.2.1: tls-timeout",
        "1 connection(s) refused, the last from a local client: client-bad-proxy-line: " + "x" * 200,
    ]
    assert not clock.getDelayedCalls()


def test_a_burst_has_two_lines_and_none_is_lost() -> None:
    clock, refusals, lines = begun()
    for number in range(100):
        refusals.refused(TLS_TIMEOUT, f"192.0.2.{number}")
    assert len(lines) == 1
    clock.advance(EVERY)
    assert lines[1:] == ["99 connection(s) refused, the last from 192.0.2.99: tls-timeout"]
    assert not clock.getDelayedCalls()


def test_a_flood_has_a_line_in_a_while_for_each_kind() -> None:
    clock, refusals, lines = begun()
    for _ in range(1000):
        refusals.refused(TLS_TIMEOUT, "192.0.2.1")
        refusals.refused(CLIENT_BAD_PROXY_LINE, "192.0.2.2")
        clock.advance(EVERY / 100)
    assert len(lines) <= 2 * 12
    refusals.rest()
    assert sum(int(line.split()[0]) for line in lines) == 2000 and not clock.getDelayedCalls()


def test_what_is_left_is_told_in_the_end() -> None:
    clock, refusals, lines = begun()
    for _ in range(3):
        refusals.refused(TLS_TIMEOUT, "192.0.2.1")
    refusals.rest()
    refusals.rest()
    assert [line.split()[0] for line in lines] == ["1", "2"] and not clock.getDelayedCalls()
