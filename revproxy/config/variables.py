"""The ``$variables`` that texts of a configuration may use.

Rules of this module:

* ``$name`` or ``${name}`` is a variable, ``$$`` is a dollar sign, any other ``$`` is refused;
* ``$http_NAME`` is a field of the request (``_`` stands for ``-``), ``$cookie_NAME`` a cookie,
  ``$auth_claim_NAME`` what a token says of the user.
"""

from __future__ import annotations

import re

from revproxy.config.errors import Wrong, nearest, wrong

#: Every variable with a fixed name.
VARIABLES = (
    "client_ip",
    "client_port",
    "host",
    "authority",
    "scheme",
    "method",
    "path",
    "query",
    "target",
    "request_id",
    "route",
    "listen",
    "upstream",
    "backend",
    "server_port",
    "tls_version",
    "tls_cipher",
    "tls_server_name",
    "tls_client_subject",
    "tls_client_san",
    "tls_client_fingerprint",
    "tls_client_serial",
    "tls_client_certificate",
    "auth_user",
    "auth_method",
    "time_iso8601",
)

# The same grammar as :mod:`revproxy.variables`, which compiles what passes here.
_RESTS = {
    "http_": re.compile(r"[A-Za-z0-9_-]+"),
    "cookie_": re.compile(r"[A-Za-z0-9_.-]+"),
    "auth_claim_": re.compile(r"[A-Za-z0-9_.:/-]+"),
}
#: How those begin that tell users apart: of what they proved to be, and of their certificates.
_WHO = ("auth_", "tls_client_")
_DOLLAR = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([^{}$]*)\})?")


def split(text: str) -> list[tuple[bool, str]]:
    """The parts of a text: ``(False, literal)`` or ``(True, name of a variable)``, ``$$`` resolved.

    :raises Wrong: for a variable that does not exist or a ``$`` that begins none.
    """
    parts: list[tuple[bool, str]] = []
    literal = ""
    at = 0
    for match in _DOLLAR.finditer(text):
        literal += text[at : match.start()]
        at = match.end()
        if match[1]:
            literal += "$"
            continue
        name = match[2] or match[3]
        if not name:
            raise wrong(text, 'has a "$" that begins no variable', 'write "$$" for a dollar sign')
        _check(text, name)
        if literal:
            parts.append((False, literal))
            literal = ""
        parts.append((True, name))
    literal += text[at:]
    if literal:
        parts.append((False, literal))
    return parts


def tells_who(name: str) -> bool:
    """Whether a variable differs from user to user, beyond what their requests say by themselves."""
    return name.startswith(_WHO)


def _check(text: str, name: str) -> None:
    if name in VARIABLES:
        return
    for prefix, rest in _RESTS.items():
        if name.startswith(prefix) and rest.fullmatch(name[len(prefix) :]):
            return
    near = nearest(name, VARIABLES)
    if near is not None:
        raise Wrong(f"unknown variable ${name}; did you mean ${near}?", found=text, suggestion=near)
    known = ", ".join(f"${known}" for known in VARIABLES)
    expected = f"known are {known}, $http_NAME, $cookie_NAME and $auth_claim_NAME, and $$ is a dollar sign"
    raise Wrong(f"unknown variable ${name}; {expected}", found=text, expected=expected)
