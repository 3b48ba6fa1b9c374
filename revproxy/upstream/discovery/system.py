"""What this machine says about names: its hosts file and its resolver's configuration (``resolv.conf(5)``).

Rules of this module:

* both are read anew for each question, in a thread: they change, and containers write them late;
* they mean what they mean to the C library: the hosts file comes first, three name servers count, ``search`` and
  ``ndots`` complete short names;
* ``localhost`` never leaves the machine (RFC 6761, section 6.3).
"""

from __future__ import annotations

from ipaddress import ip_address

from attrs import frozen
from twisted.names.dns import PORT
from twisted.names.hosts import searchFileForAll
from twisted.python.filepath import FilePath

HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
#: The C library's limits.
_SERVERS, _SEARCHED, _NDOTS = 3, 6, 15
#: Characters of a configuration that are read.
_SIZE = 64 * 1024


@frozen
class System:
    """How names are looked up.

    :param servers: addresses and ports. :param search: suffixes that complete a name.
    :param ndots: a name with fewer dots is completed first, and tried as it is last.
    :param hosts: the addresses that the hosts file has for the name that was asked for.
    """

    servers: tuple[tuple[str, int], ...]
    search: tuple[str, ...] = ()
    ndots: int = 1
    hosts: tuple[str, ...] = ()

    def candidates(self, name: str) -> list[str]:
        """The absolute names that ``name`` may stand for, in the order in which they are tried."""
        if name.endswith("."):
            return [name[:-1]]
        longer = [f"{name}.{suffix}" for suffix in self.search if len(name) + len(suffix) < 253]
        return [name, *longer] if name.count(".") >= self.ndots else [*longer, name]


def parse_resolv_conf(text: str) -> System:
    """What ``resolv.conf(5)`` says; what is malformed is left out, as the C library does."""
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and _is_address(words[1]):
            servers.append((words[1], PORT))
        elif words[0] in ("search", "domain"):
            listed = words[1:2] if words[0] == "domain" else words[1:]
            search = tuple(word.rstrip(".") for word in listed[:_SEARCHED] if word.isascii() and word.strip("."))
        elif words[0] == "options":
            for word in words[1:]:
                key, _, value = word.partition(":")
                if key == "ndots" and value.isascii() and value.isdigit():
                    ndots = min(int(value[:4]), _NDOTS)
    return System(tuple(servers[:_SERVERS]) or (("127.0.0.1", PORT),), search, ndots)


def read_system(name: str, hosts: str = HOSTS, resolv_conf: str = RESOLV_CONF) -> System:
    """What this machine says about ``name``; a file that can't be read is as an empty one. It blocks."""
    bare = name.rstrip(".")
    found = tuple(dict.fromkeys(searchFileForAll(FilePath(hosts), bare.encode("ascii"))))
    if not found and (bare.lower() == "localhost" or bare.lower().endswith(".localhost")):
        found = ("127.0.0.1",)
    if found:
        return System((), hosts=found)
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            text = file.read(_SIZE)
    except OSError:
        text = ""
    return parse_resolv_conf(text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
