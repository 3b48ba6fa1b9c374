"""Which faults say that a client asks for trouble, and which happen to anybody."""

from __future__ import annotations

from revproxy import fault
from revproxy.fault import Fault

#: The word for all faults that are a client's doing, but for those that happen to anybody: a page that is not there, a
#: user who leaves or is not logged in yet, or may not see all of a page, a network that is slow, a server that is too
#: small.
REFUSED = "refused"
_INNOCENT = (
    fault.CLIENT_MISDIRECTED, fault.CLIENT_GONE, fault.CLIENT_PLAIN_HTTP, fault.TLS_HANDSHAKE, fault.TLS_NAME,
    fault.TLS_TIMEOUT, fault.AUTH_MISSING, fault.AUTH_FORBIDDEN, fault.AUTH_BUSY, fault.FILTER_BUSY,
    fault.BANNED, fault.SHED, fault.TOO_MANY_REQUESTS, fault.NO_ROUTE, fault.UPGRADE_UNSUPPORTED,
    fault.ONLY_IF_CACHED, fault.TUNNEL_IDLE, fault.TOO_MANY_CONNECTIONS,
)  # fmt: skip

#: Every fault, by its word.
WORDS = {value.word: value for value in vars(fault).values() if isinstance(value, Fault)}
#: What :data:`REFUSED` stands for.
REFUSALS = frozenset(word for word, value in WORDS.items() if value.blame == "client" and value not in _INNOCENT)
#: What happens on the way to a backend or inside the proxy, whoever asks.
NO_CLIENTS_DOING = frozenset(
    value.word
    for value in WORDS.values()
    if (value.phase == "connect" and value.blame != "client")
    or value in (fault.AUTH_UNAVAILABLE, fault.AUTH_FAILED, fault.BACKEND_FAILING, fault.STOPPED)
)
