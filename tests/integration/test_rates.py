"""The accuracy of a rate limit, of a real process under a load above it."""

from __future__ import annotations

import re
import selectors
import socket
import time
from pathlib import Path

import pytest

from tests.integration.harness import LISTEN, Proxy

CONFIG = f"""
[access_log]
enabled = false
[[listen]]
endpoint = "{LISTEN}"
[[routes]]
respond = 200
rate_limit = {{ rate = "RATE/s", burst = BURST, by = "route", fields = "off" }}
"""
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def passes(port: int, seconds: float, clients: int = 8) -> tuple[int, int, float]:
    """Ask as fast as it answers; requests that passed, those that were refused, and the seconds this took."""
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(ASK * 4)
    counts = {200: 0, 429: 0}
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        for key, _ in selector.select(1):
            connection = key.fileobj  # type: ignore[assignment]  # a socket
            found = _STATUS.findall(connection.recv(65536))
            for status in found:
                counts[int(status)] += 1
            connection.sendall(ASK * len(found))
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]  # a socket
    return counts[200], counts[429], now - began


@pytest.mark.parametrize(
    ("rate", "seconds"), [(300, 2.0), pytest.param(1000, 10.0, marks=pytest.mark.slow, id="1000/s-10s")]
)
def test_a_rate_is_kept(tmp_path: Path, rate: int, seconds: float) -> None:
    config = tmp_path / "revproxy.toml"
    config.write_text(CONFIG.replace("RATE", str(rate)).replace("BURST", str(rate // 10)))
    proxy = Proxy(tmp_path, "--config", str(config))
    try:
        passed, refused, took = passes(proxy.port, seconds)
        print(f"{passed} of {passed + refused} requests passed in {took:.2f} s at {rate}/s")
        assert refused > 0, "the load has to be above the rate"
        # the burst is a tenth of a second's requests
        assert rate * took * 0.98 <= passed <= rate * (took + 0.1) * 1.01
    finally:
        proxy.finish()
