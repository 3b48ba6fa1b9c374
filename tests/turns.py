"""Turns of the reactor that something waits for."""

from __future__ import annotations

from typing import Any


def turns_of(scenario: Any) -> list[float]:
    """They, as they come from now on."""
    turns: list[float] = []
    later = scenario.reactor.callLater

    def count(delay: float, call: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(call, "__name__", "") == "_turn":
            turns.append(delay)
        return later(delay, call, *args, **kwargs)

    scenario.reactor.callLater = count
    return turns
