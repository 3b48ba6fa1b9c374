"""Ports for processes that are told theirs: free, and not among those that the system gives to clients."""

from __future__ import annotations

import os
import random
import socket

#: Linux gives clients ports from 32768 on: load elsewhere would take one between our look and its use.
_FROM, _TO = 12000, 32000
_chance = random.Random(os.getpid())


def free_port() -> int:
    """A port that nobody uses, neither TCP nor UDP."""
    while True:
        port = _chance.randrange(_FROM, _TO)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
