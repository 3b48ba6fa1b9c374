"""An event-driven reverse proxy on Twisted: run it, embed it, point it anywhere.

This module holds the public names, and only they. They are imported on first use, so that
choosing a reactor comes first and ``import revproxy`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from revproxy.config.errors import ConfigError
    from revproxy.config.load import load_file, load_text
    from revproxy.config.model import Config
    from revproxy.downstream.resource import ReverseProxyResource
    from revproxy.downstream.site import ReverseProxySite
    from revproxy.downstream.tree import PathTree, VirtualHosts
    from revproxy.exchange import Exchange
    from revproxy.http.message import Answer, Headers
    from revproxy.service import ReverseProxyService
    from revproxy.upstream.group import Upstream

_HOMES = {
    "Answer": "revproxy.http.message",
    "Config": "revproxy.config.model",
    "ConfigError": "revproxy.config.errors",
    "Exchange": "revproxy.exchange",
    "Headers": "revproxy.http.message",
    "PathTree": "revproxy.downstream.tree",
    "ReverseProxyResource": "revproxy.downstream.resource",
    "ReverseProxyService": "revproxy.service",
    "ReverseProxySite": "revproxy.downstream.site",
    "Upstream": "revproxy.upstream.group",
    "VirtualHosts": "revproxy.downstream.tree",
    "load_file": "revproxy.config.load",
    "load_text": "revproxy.config.load",
}

__all__ = [
    "Answer",
    "Config",
    "ConfigError",
    "Exchange",
    "Headers",
    "PathTree",
    "ReverseProxyResource",
    "ReverseProxyService",
    "ReverseProxySite",
    "Upstream",
    "VirtualHosts",
    "load_file",
    "load_text",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'revproxy' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
