"""What of a written ``acme`` table can't come to a certificate, said before anything is tried.

Rules of this module:

* it opens nothing and asks nobody; what only the authority knows, it says when it is asked;
* it needs none of the packages that ordering needs: a missing one is one of the problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import urlsplit

from revproxy.config.errors import show
from revproxy.config.tls import Acme

#: Names in one certificate; the well-known authorities allow no more.
NAMES = 100
_PACKAGE = "josepy"


def _is_there(package: str) -> bool:
    return find_spec(package) is not None


def check_acme(written: Acme, is_there: Callable[[str], bool] = _is_there) -> Iterator[str]:
    """Yield what is wrong with a table, a sentence for the operator each.

    :param is_there: whether a package is installed.
    """
    if not is_there(_PACKAGE):
        yield f'acme needs the package {_PACKAGE}: pip install "revproxy[acme]"'
    yield from _directory(written.directory)
    if written.email is not None and not _is_address(written.email):
        yield f'{show(written.email)} is not one mail address; write email = "admin@example.com"'
    if not written.names:
        yield 'no names to order a certificate for; write names = ["example.com"]'
    elif len(written.names) > NAMES:
        yield f"{len(written.names)} names are too many for one certificate; {NAMES} is the most"
    seen: set[str] = set()
    for name in written.names:
        if name in seen:
            yield f"{show(name)} is named twice"
        elif (why := _name(name)) is not None:
            yield why
        seen.add(name)


def _directory(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isascii() and url.isprintable()
    except ValueError:
        sound = False
    if not sound or " " in url:
        yield f'{show(url)} is not a URL; write the authority\'s, such as "https://acme.example/directory"'
    elif parts.scheme != "https":
        yield f"{show(url)} is not an https URL, and ACME is spoken over TLS only (RFC 8555 6.1)"
    elif parts.username is not None or parts.fragment:
        yield f'{show(url)} has a part that is never sent; leave out the user before "@" and what follows "#"'


def _is_address(text: str) -> bool:
    # RFC 8555 7.3: a mailto URL with one address and without fields
    local, _, domain = text.rpartition("@")
    return bool(local and domain) and text.isprintable() and not any(sign in text for sign in ' ,;?&%<>"')


def _name(name: str) -> str | None:
    if "*" in name:
        return f"{show(name)} can't be ordered: wildcards are proved by DNS only, which is none of our challenges"
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    else:
        return f"{show(name)} is an address; certificates are ordered for names"
    if not name or name != name.lower() or "/" in name or name.startswith(".") or not name.isascii():
        return f"{show(name)} is not a host name in its normal form: lower case, A-labels"
    return None
