"""An event-driven reverse proxy on Twisted: run it, embed it, point it anywhere.

This module holds the public names, and only they. They are imported when they are first asked
for: ``import revproxy`` alone imports no Twisted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revproxy.downstream.resource import ReverseProxyResource
    from revproxy.downstream.site import ReverseProxySite
    from revproxy.downstream.tree import PathTree, VirtualHosts
    from revproxy.service import ReverseProxyService

__version__ = "0.1.0"

__all__ = ["PathTree", "ReverseProxyResource", "ReverseProxyService", "ReverseProxySite", "VirtualHosts", "__version__"]

_HOMES = {
    "PathTree": "revproxy.downstream.tree",
    "ReverseProxyResource": "revproxy.downstream.resource",
    "ReverseProxyService": "revproxy.service",
    "ReverseProxySite": "revproxy.downstream.site",
    "VirtualHosts": "revproxy.downstream.tree",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
