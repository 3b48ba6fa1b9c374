"""A backend process as the tests hold it: started, told how to behave, stopped, killed, started again.

Rules of this module:

* a backend keeps its port and its ledger through all of its lives.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from tests.integration import backend_process
from tests.integration.backend_process import CONNECTED, LISTENS, Entry, read_ledger
from tests.integration.harness import PATIENCE, Running, Stage
from tests.integration.ports import free_port

_NOT_TRAFFIC = (LISTENS, CONNECTED)


class Origin:
    """One backend, through all of its lives.

    :ivar name: what its responses are signed with. :ivar port: where it listens. :ivar path: of its ledger.
    """

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.path = stage.folder / f"{name}.ledger"
        self._stage, self._lives, self._stopped = stage, 0, False
        self.running: Running | None = None
        stage.keep(self)

    def start(self) -> Origin:
        """Begin a life; :meth:`listening` waits for it."""
        self._lives += 1
        self._stopped = False
        # without site-packages it starts in half of the time
        words = [sys.executable, "-E", "-s", "-S", backend_process.__file__, self.name, self.port, self.path]
        self.running = self._stage.run([str(word) for word in words], f"{self.name}{self._lives}")
        return self

    def listening(self) -> Origin:
        """Wait until it listens."""
        assert self.running is not None
        self._control = int(self.running.says(r"control (\d+)")[1])
        return self

    def refresh(self) -> None:
        """Have it run and be well, with an empty ledger; :meth:`listening` waits for it."""
        if self._stopped:
            self.dies()
        if self.running is None or self.running.process.poll() is not None:
            self.path.unlink(missing_ok=True)
            self.start()
        else:
            self.becomes("ok")
            os.truncate(self.path, 0)

    def becomes(self, mode: str) -> float:
        """Change its mode; return when that was done."""
        with socket.create_connection(("127.0.0.1", self._control), PATIENCE) as control:
            control.sendall(mode.encode() + b"\n")
            assert control.recv(10) == b"ok\n"
        return time.monotonic()

    def stops(self) -> float:
        """Have the system stop it: its connections stay, and connections to it are made. Return when that was done."""
        assert self.running is not None
        self.running.signal(signal.SIGSTOP)
        self._stopped = True
        return time.monotonic()

    def dies(self) -> tuple[float, float]:
        """Kill it; return when that was asked for, and a time when it was surely gone with all its connections."""
        assert self.running is not None
        before = time.monotonic()
        self.running.process.kill()
        self.running.ends()
        return before, time.monotonic()

    def unread(self) -> int:
        """Return how many of its connections have bytes that it did not read yet (Linux)."""
        with open("/proc/net/tcp", encoding="ascii") as file:
            rows = [line.split() for line in file]
        mine = [row for row in rows if row[1].endswith(f":{self.port:04X}") and row[3] != "0A"]  # but who listens
        return sum(int(row[4].partition(":")[2], 16) > 0 for row in mine)

    def entries(self, *whats: str, mode: str = "", since: float = 0.0) -> list[Entry]:
        """Return what its ledger has: requests, or what is asked for; those of one mode only."""
        found = read_ledger(self.path)
        if mode:
            found = [entry for entry in found if entry.mode == mode]
        if whats:
            return [entry for entry in found if entry.what in whats and entry.time >= since]
        return [e for e in found if e.what not in _NOT_TRAFFIC and e.target != "/healthz" and e.time >= since]

    def finish(self) -> None:
        """End it, even when it is stopped."""
        if self.running is not None and self.running.process.poll() is None:
            self.dies()
