"""Caps, load shedding, bans and rate limits: what has to agree.

The rules are those of :mod:`revproxy.config.check`, and one more: what does nothing where it stands is an error, what
somebody may have meant is not. So a ``delay`` that is shorter than the time from one request to the next is none:
those that come a little early wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, fields_dict

from revproxy.access.networks import Prefix, parse_networks
from revproxy.config.errors import Key, show
from revproxy.config.model import Bans, Config, Limits, RateLimit, RouteLimits
from revproxy.config.ratelimit import limit_names
from revproxy.config.structure import Found
from revproxy.fault import BANNED
from revproxy.limits.refusals import NO_CLIENTS_DOING

#: Of the ends that one rule of a ban counts; what it remembers of all addresses is some times that.
_MOST_COUNTED = 1000
#: What every request has: there is nothing to be missing.
_ALWAYS_THERE = ("client", "route", "path")
_DEFAULTS = {name: attribute.default for name, attribute in fields_dict(RateLimit).items()}


def check_protection(config: Config) -> Iterator[Found]:
    """What does not agree in the tables about who gets through."""
    server = config.server
    yield from _caps(("server", "limits"), server.limits)
    if server.shed is not None and server.shed.queue == 0:
        found = "0%"
        yield Found(
            ("server", "shed", "queue"),
            f'{show(found)} would let nobody wait; write more, or "off" for not looking at queues',
            found=show(found),
            suggestion="off",
        )
    if server.bans is not None:
        yield from _bans(config, server.bans)
    cached = any(route.cache is not None for route in config.routes)
    certified = _certified(config)
    yield from _rate_limits(("server", "rate_limit"), server.rate_limit, (), cached, certified)
    for index, route in enumerate(config.routes):
        key: Key = ("routes", index)
        if route.limits is not None:
            yield from _caps((*key, "limits"), route.limits)
        if route.priority != "normal" and server.shed is None:
            yield Found(
                (*key, "priority"), 'has no meaning without "shed" in [server]; write that, or leave the priority out'
            )
        cached = route.cache is not None
        yield from _rate_limits((*key, "rate_limit"), route.rate_limit, server.rate_limit, cached, certified)


def _caps(key: Key, limits: Limits | RouteLimits) -> Iterator[Found]:
    pairs = [("requests", limits.requests, limits.requests_per_address)]
    if isinstance(limits, Limits):
        pairs.append(("connections", limits.connections, limits.connections_per_address))
    for name, most, each in pairs:
        if most is not None and each is not None and each > most:
            yield Found(
                (*key, f"{name}_per_address"),
                f"{each} is more than the {most} of {show(name)}, so it is never reached; write less, or leave it out",
                found=str(each),
            )


def _bans(config: Config, bans: Bans) -> Iterator[Found]:
    for index, rule in enumerate(bans.rules):
        key: Key = ("server", "bans", "rules", index)
        if rule.count > _MOST_COUNTED:
            yield Found((*key, "count"), f"is more than can be remembered; write {_MOST_COUNTED} or less")
        if not rule.when:
            yield Found((*key, "when"), 'is empty; write "refused", words of faults, or statuses')
        for at, word in enumerate(rule.when):
            here: Key = (*key, "when", *([at] if len(rule.when) > 1 else []))
            if word == BANNED.word:
                text = f"{show(word)} is how requests of the banned end, and they are banned already; leave it out"
                yield Found(here, text, found=show(word))
            elif word in NO_CLIENTS_DOING:
                text = f"{show(word)} is no client's doing: while it lasts all of them would be banned; leave it out"
                yield Found(here, text, found=show(word))
    yield from _never_banned(config, bans)


def _never_banned(config: Config, bans: Bans) -> Iterator[Found]:
    """Written addresses of which none is ever banned."""
    spared: dict[Prefix, str] = {}
    for name, words in (
        ('"allow"', bans.allow),
        ('"trusted_proxies"', config.server.trusted_proxies),
        *((f'"proxy_protocol" of listen[{at}]', listen.proxy_protocol) for at, listen in enumerate(config.listen)),
    ):
        for word in words:
            for network in parse_networks(word):
                spared.setdefault(network, name)
    for at, word in enumerate(bans.addresses if spared else ()):
        around = [_around(network, spared) for network in parse_networks(word)]
        if all(around):
            # an address was made a network of its own
            shown = show(word.removesuffix("/128" if ":" in word else "/32"))
            here: Key = ("server", "bans", "addresses", *([at] if len(bans.addresses) > 1 else []))
            yield Found(here, f"{shown} is in {around[0]}, so it is never banned; keep one", found=shown)


def _around(network: Prefix, spared: dict[Prefix, str]) -> str:
    """Where a network stands that has all of this one, or ``""``."""
    bits, first, length = network
    for shorter in range(length + 1):
        found = spared.get((bits, first >> (bits - shorter) << (bits - shorter), shorter))
        if found is not None:
            return found
    return ""


def _certified(config: Config) -> bool:
    """Whether clients may show certificates; what is not known (there is no listener) may be."""
    return not config.listen or any(
        listen.tls is not None and listen.tls.client is not None for listen in config.listen
    )


def _rate_limits(
    key: Key, limits: tuple[RateLimit, ...], before: tuple[RateLimit, ...], cached: bool, certified: bool
) -> Iterator[Found]:
    """Limits of one table. :param before: the server's, which clients are told of on the same responses."""
    names: set[str | None] = set(limit_names(before))
    same: dict[RateLimit, int] = {}
    for index, limit in enumerate(limits):
        at: Key = (*key, index) if len(limits) > 1 else key
        if limit.name is not None and limit.name in names:
            yield Found((*at, "name"), f"{show(limit.name)} is also the name of another limit of these requests")
        names.add(limit.name)
        first = same.setdefault(evolve(limit, name=None), index)
        if first != index:
            yield Found(at, f"says the same as rate_limit[{first}]; keep one")
        if not limit.hits and not cached:
            where = " on any route" if key[0] == "server" else ""
            yield Found((*at, "hits"), f'has no meaning without "cache"{where}; leave it out')
        if limit.by == "client_certificate" and not certified:
            yield Found(
                (*at, "by"),
                "no listener asks clients for certificates; write tls = { …, client = … } in a [[listen]] table",
                found=show(limit.by),
            )
        yield from _unused(at, limit)


def _unused(key: Key, limit: RateLimit) -> Iterator[Found]:
    """What a limit says and never asks."""
    if limit.delay is None and _written(limit, ["waiting"]):
        yield Found((*key, "waiting"), 'has no meaning without "delay": no request waits; write that, or leave it out')
    if limit.by in _ALWAYS_THERE:
        if _written(limit, ["missing"]):
            yield Found((*key, "missing"), f"has no meaning with by = {show(limit.by)}, which all have; leave it out")
        why = "" if limit.by == "client" else f"by = {show(limit.by)}"
    else:
        why = "" if limit.missing == "client" else f"missing = {show(limit.missing)}"
    if why:
        for name in _written(limit, ["ipv4", "ipv6"]):
            yield Found((*key, name), f"has no meaning with {why}: no addresses are counted; leave it out")


def _written(limit: RateLimit, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(limit, name) != _DEFAULTS[name]]
