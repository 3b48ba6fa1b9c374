"""The written ``cache`` table of a route -> the rules of its cache."""

from __future__ import annotations

from revproxy.cache.rules import Rules
from revproxy.config.caching import Cache
from revproxy.config.model import HeaderChanges
from revproxy.variables import names_in

#: No changes of fields.
NOTHING = HeaderChanges()


def compile_rules(
    written: Cache, name: str, largest: int, scope: bytes = b"", changes: HeaderChanges = NOTHING
) -> Rules:
    """Rules.

    :param name: what the keys of the route's responses begin with.
    :param scope: what tells them apart from those of other routes that share this name.
    :param changes: what becomes of request fields on their way to the backends.
    :param largest: bytes of the largest body that its store takes.
    """

    def wire(names: tuple[str, ...]) -> tuple[bytes, ...]:
        return tuple(each.encode("utf-8") for each in names)

    values = [*changes.set.items(), *changes.add.items()]
    templates = {name.lower().encode("ascii") for name, value in values if names_in(value)}
    return Rules(
        name=name.encode("utf-8"),
        scope=scope,
        written=frozenset(templates),
        fixed=frozenset(name.lower().encode("ascii") for name in changes.set) - templates,
        key_headers=wire(written.key_headers),
        key_cookies=wire(written.key_cookies),
        query_sort=written.query_sort,
        query_ignore=wire(written.query_ignore),
        query_only=None if written.query_only is None else wire(written.query_only),
        default_ttl=dict(written.ttl),
        override_ttl=dict(written.override_ttl),
        bypass_headers=wire(written.bypass.header),
        bypass_cookies=wire(written.bypass.cookie),
        bypass_query=wire(written.bypass.query),
        honour_client=written.honour_client,
        grace=written.grace,
        disconnected=written.disconnected,
        store_set_cookie=written.store_set_cookie,
        heuristic=written.heuristic,
        largest=largest,
        targeted=wire(written.targeted),
        status_name=written.status or "",
        status_key=written.status_key,
    )
