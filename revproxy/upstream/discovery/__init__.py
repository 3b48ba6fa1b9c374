"""Backends that are found: by DNS, in a file, or by a source of one's own.

Rules of this package:

* a :class:`Source` is all that an upstream knows of where its backends come from; each kind is one file;
* a source reports the whole list, as :class:`revproxy.config.model.Backend`, each time it differs from the last one;
* an error never takes a backend away: the last good answer is kept, for as long as it takes;
* what comes from outside is bounded: :data:`MOST` backends for each source.

A source of one's own needs ``name``, ``start`` and ``stop``. :class:`Asking` is the frame for what is asked again and
again, :class:`Report` for what is pushed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from revproxy.config import model
from revproxy.upstream.discovery.report import MOST, Answer, Asking, Changed, NoAnswer, Report

__all__ = ["MOST", "Answer", "Asking", "Changed", "NoAnswer", "Report", "Source", "sources"]


class Source(Protocol):
    """Where backends are found.

    A source may also have ``hosts``, a mapping of endpoint strings to host names: who is at an address, for
    ``tls.name`` and ``host = "backend"``. It is right when ``changed`` is called.

    :ivar name: kind and place, such as ``"dns api.internal"``, for logs and for people.
    """

    name: str

    def start(self, changed: Changed) -> None:
        """Begin to look. ``changed`` is called with the whole list each time it differs from the last one; the
        first time may be within this call.

        :raises ConfigError: when what the operator wrote can't be used.
        """

    def stop(self) -> None:
        """Look no more; nothing is left in the reactor. It may be started again."""


def sources(written: model.Upstream, reactor: Any, base: str) -> list[Source]:
    """The sources that an upstream's table names; an empty list when there are none.

    :param base: folder that a relative ``file`` starts from.
    :raises ValueError: when a name is none, or a name server is no address; a loaded configuration has been checked.
    """
    found: list[Source] = []
    if written.dns is not None:
        from revproxy.upstream.discovery.dns import DnsSource

        found.append(DnsSource(written.dns, reactor))
    if written.srv is not None:
        from revproxy.upstream.discovery.srv import SrvSource

        found.append(SrvSource(written.srv, reactor))
    if written.file is not None:
        from revproxy.upstream.discovery.file import FileSource

        others = bool(written.backends or found)
        found.append(FileSource(str(Path(base, written.file)), reactor, others=others))
    return found
