"""Attacks on HTTP/2 servers, carried out: how each went, for the attacker and for others.

Run against any server::

    python -m tests.integration.h2_floods --port 8443 --tls [--pid PID] [--only rapid] [--large /large] [--slow /slow]

Rules of this module:

* an attack ends when the server closes or says GOAWAY, when the server takes no more (*stalled*), or when all is sent
  that may be, and the server had its time to do something (*survived*);
* meanwhile somebody else asks the same server for something small over a connection of their own: how long they wait
  at most is part of the outcome, and so is the memory that the server took.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.integration.h2_attacks import ATTACKS, Attack
from tests.integration.h2peer import Code, Frame, Gone, Peer, Server, Silent, Type

#: Seconds between two batches: a server that is slower lets the attacker send some more than it wanted.
PAUSE = 0.004


class Outcome(NamedTuple):
    """How an attack went.

    ``how`` is ``goaway``, ``closed``, ``stalled`` or ``survived``; ``resets`` counts RST_STREAM by code; ``waited``
    is the longest that the other client waited, in seconds; ``grown`` the server's memory, in bytes.
    """

    how: str
    code: str
    frames: int
    seconds: float
    resets: dict[str, int]
    asked: int
    waited: float
    grown: int

    @property
    def ended(self) -> bool:
        return self.how in ("goaway", "closed")

    def __str__(self) -> str:
        resets = " ".join(f"{name}:{count}" for name, count in self.resets.items())
        return (
            f"{self.how} {self.code} after {self.frames} frames, {self.seconds:.2f} s; resets {resets or 'none'}; "
            f"others asked {self.asked} times, waited {self.waited * 1000:.0f} ms at most; {self.grown / 1e6:+.1f} MB"
        )


def _code_name(number: int) -> str:
    return Code(number).name if number in iter(Code) else hex(number)


class Neighbour(threading.Thread):
    """Somebody who asks for something small, again and again, over one connection.

    :ivar waited: the longest, in seconds. :ivar asked: how often. :ivar trouble: what went wrong.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.waited, self.asked, self.trouble = 0.0, 0, ""
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        began = time.monotonic()
        try:
            with Peer(self.server, 10.0) as peer:
                peer.open()
                stream = 1
                while not self._over.is_set():
                    peer.get(stream)
                    self.asked += 1
                    self.waited = max(self.waited, time.monotonic() - began)
                    stream += 2
                    self._over.wait(0.02)
                    began = time.monotonic()
        except (OSError, Gone, Silent) as error:
            self.waited = max(self.waited, time.monotonic() - began)
            self.trouble = repr(error)

    def finish(self) -> None:
        self._over.set()
        self.join(15.0)


def memory(pid: int) -> int:
    """The resident memory of a process, in bytes (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]) * 1024  # type: ignore[index]  # always there


def strike(attack: Attack, server: Server, paths: dict[str, str], pid: int | None = None) -> Outcome:
    """Attack a server. ``paths`` has those for the words of :attr:`Attack.target`; ``pid`` is whose memory counts."""
    target = server._replace(path=paths.get(attack.target, server.path))
    neighbour = Neighbour(server)
    before = memory(pid) if pid else 0
    resets: dict[str, int] = {}
    how, code, frames = "survived", "", 0
    began = time.monotonic()
    with Peer(target, 1.0, 4096 if attack.deaf else None) as peer:
        if not attack.raw:
            peer.open()
        peer.socket.settimeout(3.0)

        def note(got: Frame) -> bool:
            nonlocal code
            if got.type == Type.RST_STREAM:
                name = _code_name(got.code)
                resets[name] = resets.get(name, 0) + 1
            if got.type == Type.GOAWAY:
                code = _code_name(got.code)
            return got.type == Type.GOAWAY

        try:
            for count in attack.play(peer):
                frames += count
                peer.push(3.0)
                time.sleep(PAUSE)
                if not attack.deaf and any(map(note, peer.waiting())):
                    how = "goaway"
                    break
            else:
                end = time.monotonic() + attack.hold
                while not attack.deaf and time.monotonic() < end and how == "survived":
                    if attack.name == "stall" and sum(resets.values()) >= frames:
                        break  # nothing is left that could wait
                    try:
                        how = "goaway" if note(peer.read(0.2)) else how
                    except Silent:
                        pass
        except Silent:
            how = "stalled"
        except Gone:
            how = "goaway" if code else "closed"
        seconds = time.monotonic() - began
        grown = memory(pid) - before if pid else 0
    neighbour.finish()
    waited = 99.0 if neighbour.trouble else neighbour.waited
    return Outcome(how, code, frames, seconds, resets, neighbour.asked, waited, grown)


def main() -> int:
    """Strike with everything, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.h2_floods", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--large", default="/", help="a path with a large response")
    parser.add_argument("--slow", default="/", help="a path that keeps a backend at work for a while")
    parser.add_argument("--pid", type=int, help="whose memory to measure")
    parser.add_argument("--only", default="", help="the beginning of attacks' names")
    options = parser.parse_args()
    server = Server(options.host, options.port, options.tls)
    for attack in ATTACKS:
        if attack.name.startswith(options.only):
            outcome = strike(attack, server, {"large": options.large, "slow": options.slow}, options.pid)
            print(f"{attack.name}: {outcome}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
