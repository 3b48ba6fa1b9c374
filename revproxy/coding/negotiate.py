"""Accept-Encoding -> the content coding of a response (RFC 9110 12.5.3).

Rules of this module:

* the highest weight wins, equal ones go by the order of what is offered; identity wins only over
  what weighs less, since a client that does not name it rather has fewer bytes;
* what is unclear is never sent: a malformed member is a coding refused, of a coding named twice
  the lesser weight counts, and a field too long to be a browser's is not read;
* identity is the answer when nothing else is accepted, even to those who refuse it, too: a body that
  may be of use is better than a 406;
* browsers have few different fields: each is read once. The table is bounded.
"""

from __future__ import annotations

import re

#: Bytes of the longest field that is read; browsers send about 30.
LONGEST = 512
#: Fields that are remembered for one list of offers.
REMEMBERED = 256

_MEMBER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ALIASES = {b"x-gzip": b"gzip"}  # RFC 9110 8.4.1.3


def weights(value: bytes) -> dict[bytes, int]:
    """The members of an Accept-Encoding field and their weights in thousandths.

    Names are in lower case. A member whose weight is malformed, or that has other parameters, weighs 0; one
    without a name is left out.
    """
    found: dict[bytes, int] = {}
    for part in value.split(b","):
        part = part.strip(b" \t")
        match = _MEMBER.fullmatch(part)
        if match is not None:
            name, written = match[1], match[2]
            weight = 1000 if written is None else round(float(written) * 1000)
        else:
            match = _NAME.match(part)
            if match is None:
                continue
            name, weight = match[0], 0
        name = name.lower()
        name = _ALIASES.get(name, name)
        found[name] = min(weight, found.get(name, 1000))
    return found


def choose(value: bytes, offers: tuple[bytes, ...]) -> bytes | None:
    """The coding to use for a client that sent ``value``; ``None`` for identity.

    :param offers: names of codings in lower case, the preferred one first.
    """
    if len(value) > LONGEST:
        return None
    found = weights(value)
    others = found.get(b"*", 0)
    best, most = None, 0
    for name in offers:
        weight = found.get(name, others)
        if weight > most:
            best, most = name, weight
    return None if found.get(b"identity", others) > most else best


class Negotiator:
    """:func:`choose` for one list of offers, each field read once.

    :ivar offers: names of codings, the preferred one first.
    """

    __slots__ = ("_known", "offers")

    def __init__(self, offers: tuple[bytes, ...]) -> None:
        self.offers = offers
        self._known: dict[bytes | None, bytes | None] = {None: None}

    def choose(self, value: bytes | None) -> bytes | None:
        """The coding for a field's value; ``None``, which is no field, gets identity.

        A client that sends no such field accepts anything by RFC 9110, but is most often one that decodes nothing.
        """
        known = self._known
        try:
            return known[value]
        except KeyError:
            assert value is not None
            coding = choose(value, self.offers)
            if len(value) <= LONGEST:
                if len(known) > REMEMBERED:
                    known.clear()
                    known[None] = None
                known[value] = coding
            return coding
