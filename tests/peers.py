"""The real peers that integration tests talk to, and where they are on this machine."""

from __future__ import annotations

import os
import shutil

#: Name of a peer to the commands it may go by.
PEERS = {
    "nginx": ("nginx",),
    "haproxy": ("haproxy",),
    "caddy": ("caddy",),
    "varnish": ("varnishd",),
    "curl": ("curl",),
    "openssl": ("openssl",),
    "node": ("node", "nodejs"),
    "dnsmasq": ("dnsmasq",),
    "sslyze": ("sslyze",),
    "pebble": ("pebble",),
    "pebble-challtestsrv": ("pebble-challtestsrv",),
    "nghttp": ("nghttp",),
    "h2load": ("h2load",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
}

#: Set to 1, an absent peer fails the tests that want it, instead of skipping them.
REQUIRE = "REVPROXY_REQUIRE_PEERS"


def find_peer(name: str) -> str | None:
    """Return the path of a peer's command, or None; looks in the folders for daemons, too.

    A variable such as ``REVPROXY_SSLYZE`` names one that is elsewhere.
    """
    named = os.environ.get(f"REVPROXY_{name.upper()}")
    if named:
        return named
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = (shutil.which(command, path=path) for command in PEERS[name])
    return next(filter(None, found), None)


def peers_required() -> bool:
    """Whether an absent peer is a failure."""
    return os.environ.get(REQUIRE) == "1"


def report() -> list[str]:
    """Return the lines that say which peers are here."""
    here = [name for name in PEERS if find_peer(name)]
    absent = [name for name in PEERS if name not in here]
    fate = "tests that want them FAIL" if peers_required() else "tests that want them are skipped"
    return [
        f"real peers present: {', '.join(here) or 'none'}",
        f"real peers absent: {', '.join(absent)} ({fate})" if absent else "real peers absent: none",
    ]
