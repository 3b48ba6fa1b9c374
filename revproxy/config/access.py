"""What the operator wrote about who is let in; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from revproxy.config.words import (
    AgentPattern,
    FieldName,
    FieldValue,
    Method,
    NetworkOrFile,
    PathPattern,
    RefusalStatus,
)


@frozen(kw_only=True)
class Access:
    """Who is let in. A request has to pass everything that is written; others are answered ``status``.

    ``allow`` and ``deny`` are networks of clients, words for networks, or ``"file:PATH"`` for a list that is watched.
    The most specific network decides, of equals the denied one; with ``allow``, whoever is in no network is refused.
    ``methods`` are those that are let in. A field in ``header`` has to be there with one of the values written, and
    none in ``deny_header`` may be; ``"*"`` is any value. ``deny_user_agent`` has words, in upper or lower case, and
    regular expressions after ``"~"``.
    """

    allow: tuple[NetworkOrFile, ...] | None = None
    deny: tuple[NetworkOrFile, ...] = ()
    methods: tuple[Method, ...] | None = None
    deny_paths: tuple[PathPattern, ...] = ()
    header: Mapping[FieldName, tuple[FieldValue, ...]] = Factory(dict)
    deny_header: Mapping[FieldName, tuple[FieldValue, ...]] = Factory(dict)
    deny_user_agent: tuple[AgentPattern, ...] = ()
    status: RefusalStatus = 403
