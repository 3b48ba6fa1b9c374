"""Every wrong configuration gives exactly these lines: key path, line, what was found, what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from revproxy.config.errors import ConfigError, Problem
from revproxy.config.load import load_file, load_text

# A whole configuration that is right; a case replaces or adds to it. Its keys keep their lines.
GOOD = """\
[[listen]]
endpoint = "tcp:8080"
[upstreams.api]
backends = ["tcp:127.0.0.1:9000"]
[[routes]]
upstream = "api"
"""


def lines(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, source="F")
    assert len(str(caught.value).splitlines()) == len(caught.value.errors)
    return str(caught.value).splitlines()


def test_good_is_good() -> None:
    assert load_text(GOOD).routes[0].upstream == "api"


ROUTE = {
    # unknown keys
    "mach = 1": 'F:7: routes[0].mach: unknown key; did you mean "match"?',
    "zebra = 1": "F:7: routes[0].zebra: unknown key",
    "metrics = true": "F:7: routes[0].metrics: unknown key",
    "compress = 5": "F:7: routes[0].compress: 5 can't be used here; write true or false, "
    "or a table { gzip = …, br = …, zstd = …, … }",
    "compress.gzip = 12": "F:7: routes[0].compress.gzip: 12 is out of range; write a whole number from 1 to 9",
    "rate_limit = 5": 'F:7: routes[0].rate_limit: 5 is not a table; write a rate such as "100/s", or a table',
    "rate_limit = '5'": (
        'F:7: routes[0].rate_limit.rate: "5" is not a rate of requests; '
        'write 1 to 1000000000 requests and a unit, such as "100/s", "20/m", "1000/h", "5000/d"'
    ),
    "rate_limit = { rate = '1MB/s' }": (
        'F:7: routes[0].rate_limit.rate: "1MB/s" is not a rate of requests; '
        'write 1 to 1000000000 requests and a unit, such as "100/s", "20/m", "1000/h", "5000/d"'
    ),
    "rate_limit = { burst = 5 }": 'F:7: routes[0].rate_limit: "rate" is missing',
    "rate_limit = { rate = '1/s', by = 'clients' }": (
        'F:7: routes[0].rate_limit.by: "clients" is not a key; write "client", "route", "client_certificate", "path", '
        '"header:NAME", "cookie:NAME", "query:NAME" or "module:callable"; did you mean "client"?'
    ),
    "rate_limit = { rate = '1/s', status = 200 }": (
        "F:7: routes[0].rate_limit.status: 200 is out of range; write a whole number from 400 to 599"
    ),
    "rate_limit = { rate = '1/s', name = 'a b' }": (
        'F:7: routes[0].rate_limit.name: "a b" is not a name for a limit; '
        'clients read it: up to 64 letters, digits and "_.-"'
    ),
    "rate_limit = [{ rate = '1/s', name = 'a' }, { rate = '2/s', name = 'a' }]": (
        'F:7: routes[0].rate_limit[1].name: "a" is also the name of another limit of these requests'
    ),
    "rate_limit = { rate = '1/s', hits = false }": (
        'F:7: routes[0].rate_limit.hits: has no meaning without "cache"; leave it out'
    ),
    "cache.sise = 1": 'F:7: routes[0].cache.sise: unknown key; did you mean "size"?',
    "cache = { ttl = { 6xx = '1s' } }": (
        'F:7: routes[0].cache.ttl.6xx: "6xx" is not a status; '
        'write a status such as 200, a class such as "4xx", or "any"'
    ),
    "match.pth = 1": 'F:7: routes[0].match.pth: unknown key; did you mean "path"?',
    "match.hosts = 'a.b'": 'F:7: routes[0].match.hosts: unknown key; did you mean "host"?',
    "match.content-type = 'a/b'": 'F:7: routes[0].match.content-type: unknown key; did you mean "content_type"?',
    "match = { host = 'a.b', 'odd key' = 1 }": 'F:7: routes[0].match."odd key": unknown key',
    # tables and lists
    "match = 'x'": 'F:7: routes[0].match: "x" is not a table; write a table { host = …, path = …, method = …, … }',
    "headers.request.set = ['a']": "F:7: routes[0].headers.request.set: a list is not a table; "
    'write a table such as { name = "value" }',
    # hosts
    "match.host = 'exa mple.com'": 'F:7: routes[0].match.host: "exa mple.com" is not a host; '
    'write a name such as "example.com"',
    "match.host = '*'": 'F:7: routes[0].match.host: "*" is not a host pattern; '
    "leave the condition out to match any host",
    "match.host = 'a.*.com'": 'F:7: routes[0].match.host: "a.*.com" is not a host pattern; '
    'a "*" stands only for all that comes first, as in "*.example.com"',
    "match.host = 'a.b:80'": 'F:7: routes[0].match.host: "a.b:80" is not a host; '
    "leave out the port (an IPv6 address stands in brackets)",
    "match.host = 'a.b/c'": 'F:7: routes[0].match.host: "a.b/c" is not a host; '
    'write only the name, such as "example.com"; a path has a key of its own',
    "match.host = ['a.b',\n 3]": "F:8: routes[0].match.host[1]: 3 is not a host; "
    'write "example.com" or "*.example.com"',
    "match.host = '[::g]'": 'F:7: routes[0].match.host: "[::g]" is not a host; its IPv6 address is malformed',
    # paths
    "match.path = 'api'": 'F:7: routes[0].match.path: "api" is not a path; write "/exact", "/below/*", "/begins*" '
    'or "~" and a regular expression; did you mean "/api"?',
    "match.path = '/a/*/b'": 'F:7: routes[0].match.path: "/a/*/b" is not a path pattern; a "*" stands only at the end; '
    'write "~" and a regular expression',
    "match.path = '~^/a('": 'F:7: routes[0].match.path: "~^/a(" is not a regular expression; '
    "missing ), unterminated subpattern at position 3",
    "match.path = '/a?b'": 'F:7: routes[0].match.path: "/a?b" is not a path; '
    'a path has no "?" and no "#"; the query has a key of its own',
    "match.path = '/a/../b'": 'F:7: routes[0].match.path: "/a/../b" is a path that is always refused; '
    "it has a dot segment or a broken % escape",
    "match.path = '/%zz'": 'F:7: routes[0].match.path: "/%zz" is a path that is always refused; '
    "it has a dot segment or a broken % escape",
    # other conditions
    "match.method = 'get'": 'F:7: routes[0].match.method: "get" is not a method; methods are upper case; '
    'did you mean "GET"?',
    "match.method = 'GE T'": 'F:7: routes[0].match.method: "GE T" is not a method; write a method such as "GET"',
    "match.header = { 'x y' = 'a' }": 'F:7: routes[0].match.header."x y": "x y" is not a header name; '
    "letters, digits and !#$%&'*+-.^_`|~ are allowed",
    "match.header = { X-A = 'a', x-a = 'b' }": 'F:7: routes[0].match.header.x-a: "x-a" is named twice; '
    "names differ in more than case",
    "match.cookie = { 'a;b' = 'a' }": 'F:7: routes[0].match.cookie."a;b": "a;b" is not a cookie name; '
    "letters, digits and !#$%&'*+-.^_`|~ are allowed",
    "match.query = { a = 1 }": "F:7: routes[0].match.query.a: 1 is not a string; write a string in quotes",
    "match.content_type = 'json'": 'F:7: routes[0].match.content_type: "json" is not a media type; '
    'write one such as "application/json" or "image/*", without parameters',
    "match.client = '10.0.0.1/8'": 'F:7: routes[0].match.client: "10.0.0.1/8" has bits set behind its prefix; '
    'did you mean "10.0.0.0/8"?',
    "match.client = 'privat'": 'F:7: routes[0].match.client: "privat" is not a network; '
    'write a network such as "10.0.0.0/8", an address, "private", "loopback" or "all"; did you mean "private"?',
    "match.scheme = 'htps'": 'F:7: routes[0].match.scheme: "htps" is not known here; write "http" or "https"; '
    'did you mean "https"?',
    "match.listen = 'tcp:8081'": 'F:7: routes[0].match.listen: no listener is named "tcp:8081"; '
    'did you mean "tcp:8080"?',
    # headers
    'headers.request.set.x-a = "a\\nb"': 'F:7: routes[0].headers.request.set.x-a: "a\\nb" is not a header value; '
    "it has control characters",
    "headers.request.set.x-a = '$clientip'": "F:7: routes[0].headers.request.set.x-a: unknown variable $clientip; "
    "did you mean $client_ip?",
    "headers.request.set.x-a = '$five'": "F:7: routes[0].headers.request.set.x-a: unknown variable $five; known are "
    "$client_ip, $client_port, $host, $authority, $scheme, $method, $path, $query, $target, $request_id, $route, "
    "$listen, $upstream, $backend, $server_port, $tls_version, $tls_cipher, $tls_server_name, $tls_client_subject, "
    "$tls_client_san, $tls_client_fingerprint, $tls_client_serial, $tls_client_certificate, "
    "$auth_user, $auth_method, $time_iso8601, $http_NAME, $cookie_NAME and $auth_claim_NAME, and $$ is a dollar sign",
    "headers.request.add.x-a = 'a $'": 'F:7: routes[0].headers.request.add.x-a: "a $" has a "$" '
    'that begins no variable; write "$$" for a dollar sign',
    "headers.response.set.Transfer-Encoding = 'x'": "F:7: routes[0].headers.response.set.Transfer-Encoding: "
    '"Transfer-Encoding" can\'t be changed; the proxy itself writes the fields that frame messages and connections',
    "headers.request.set.Host = 'x'": 'F:7: routes[0].headers.request.set.Host: "Host" can\'t be changed here; '
    'write host = "…" in the upstream\'s table',
    # units
    "buffer.request = 'big'": 'F:7: routes[0].buffer.request: "big" is not a size; '
    'write a number with a unit such as "64KB", "1MB", "1GB", or plain bytes',
    "limits.body = -1": "F:7: routes[0].limits.body: -1 is not a size; "
    'write a number with a unit such as "64KB", "1MB", "1GB", or plain bytes',
    "minimum_rate = 'slow'": 'F:7: routes[0].minimum_rate: "slow" can\'t be used here; write "off" or "server", '
    "or a table { rate = …, over = … }",
    "minimum_rate.rate = '240'": 'F:7: routes[0].minimum_rate.rate: "240" is not a rate; '
    'write a rate such as "100/s", "1000/m", "240B/s", "1MB/s"',
    "minimum_rate.over = '0s'": 'F:7: routes[0].minimum_rate.over: "0s" is too little; write more than zero',
    # middleware, upgrade
    "middleware = ['my.hooks']": 'F:7: routes[0].middleware[0].call: "my.hooks" is not a reference; '
    'write "module:name", such as "mysite.hooks:check"; did you mean "my:hooks"?',
    "middleware = [{ at = 'client-request' }]": 'F:7: routes[0].middleware[0]: "call" is missing',
    "middleware = [{ call = 'a:b', fail = 'close' }]": 'F:7: routes[0].middleware[0].fail: "close" is not known here; '
    'write "open" or "closed"; did you mean "closed"?',
    "middleware = 5": 'F:7: routes[0].middleware: 5 is not a table; write "module:name", or a table',
    "upgrade = 'h2c'": 'F:7: routes[0].upgrade: "h2c" is never passed on; HTTP/2 is not reached by an upgrade',
    # rewriting
    "rewrite = {}": "F:7: routes[0].rewrite: an empty table changes nothing; leave it out",
    "rewrite.strip_prefix = 'a'": 'F:7: routes[0].rewrite.strip_prefix: "a" is not a path; '
    'write a path that begins with "/"; did you mean "/a"?',
    "rewrite.regex = '^/a'": 'F:7: routes[0].rewrite: "regex" needs "to", the new path',
    "rewrite.to = '/a'": 'F:7: routes[0].rewrite: "to" needs "regex", what it replaces',
    "rewrite = { regex = '[', to = '/' }": 'F:7: routes[0].rewrite.regex: "[" is not a regular expression; '
    "unterminated character set at position 0",
    "rewrite = { regex = '^/(.)', to = '/$2' }": 'F:7: routes[0].rewrite.to: "/$2" uses group 2, but "^/(.)" has 1',
    "rewrite = { regex = '(?P<item>.)', to = '/${itm}' }": "F:7: routes[0].rewrite.to: no group of the regular "
    'expression is named "itm"; did you mean "item"?',
    "rewrite = { regex = '(.)', to = '/$x' }": 'F:7: routes[0].rewrite.to: "/$x" has a "$" that names no group; '
    'write "$1", "${name}", or "$$" for a dollar sign',
    "rewrite = { replace = '/x', add_prefix = '/y' }": "F:7: routes[0].rewrite.add_prefix: has no meaning beside "
    '"replace", which gives the whole path; keep one',
    # what ends a route
    "respond = 404": 'F:5: routes[0]: "upstream" and "respond" each end this route; keep one',
    "name = ''": 'F:7: routes[0].name: "" can\'t be used here; '
    "write a text that is not empty and has no control characters",
}


@pytest.mark.parametrize(("added", "message"), ROUTE.items(), ids=list(ROUTE))
def test_route(added: str, message: str) -> None:
    assert lines(GOOD + added + "\n") == [message]


END = {
    "": "F:5: routes[0]: nothing ends this route; "
    'write one of "upstream", "split", "respond", "redirect", "resource" or "files"',
    "upstream = 'apj'": 'F:6: routes[0].upstream: no upstream is named "apj"; did you mean "api"?',
    "upstream = 'backend-of-b'": 'F:6: routes[0].upstream: no upstream is named "backend-of-b"; known: "api"',
    "upstrem = 'api'": 'F:6: routes[0].upstrem: unknown key; did you mean "upstream"?',
    "respond = 99": "F:6: routes[0].respond.status: 99 is out of range; write a whole number from 200 to 599",
    "respond = 'gone'": 'F:6: routes[0].respond: "gone" is not a table; write a status such as 404, or a table',
    "respond = true": "F:6: routes[0].respond: true is not a table; write a status such as 404, or a table",
    "respond = { status = 204, body = 'x' }": "F:6: routes[0].respond.body: a response of status 204 has no body; "
    "leave it out",
    "respond = { headers = { Content-Length = '4' } }": "F:6: routes[0].respond.headers.Content-Length: "
    '"Content-Length" can\'t be changed; the proxy itself writes the fields that frame messages and connections',
    "redirect = 'example.com'": 'F:6: routes[0].redirect.to: "example.com" is not a target; '
    'write a URL such as "https://example.com$target", or a path that begins with "/"',
    "redirect = {}": "F:6: routes[0].redirect: goes nowhere; "
    'write "to", or what changes: "scheme", "host", "port", "path"',
    "redirect = { to = '/x', port = 1, host = 'a' }": 'F:6: routes[0].redirect: "to" is the whole target and leaves '
    'no place for "host" or "port"; keep one',
    "redirect = { to = '/x', status = 300 }": "F:6: routes[0].redirect.status: 300 is not known here; "
    "write 301, 302, 303, 307 or 308",
    "redirect = { port = 70000 }": "F:6: routes[0].redirect.port: 70000 is out of range; "
    "write a whole number from 1 to 65535",
    "resource = 'a b:c'": 'F:6: routes[0].resource: "a b:c" is not a reference; '
    'write "module:name", such as "mysite.hooks:check"',
    "files = 'no/such/folder'": 'F:6: routes[0].files: the folder "no/such/folder" does not exist',
}


@pytest.mark.parametrize(("end", "message"), END.items(), ids=list(END))
def test_end_of_route(end: str, message: str) -> None:
    assert lines(GOOD.replace('upstream = "api"', end)) == [message]


WHOLE = {
    "server = 1\n" + GOOD: [
        "F:1: server: 1 is not a table; write a table { workers = …, trusted_proxies = …, drain_timeout = …, … }"
    ],
    GOOD + "rate_limit = { rate = '5/s', name = 'per-second' }\n[server]\nrate_limit = '100/s'": [
        'F:7: routes[0].rate_limit.name: "per-second" is also the name of another limit of these requests'
    ],
    GOOD + "[server]\nworkers = 4": ["F:8: server.workers: 4 can't be used; only 1 is accepted for now"],
    GOOD + "[server]\nworkers = true": ["F:8: server.workers: true can't be used; only 1 is accepted for now"],
    GOOD + "[server.timeouts]\nhead = '10 sec'": [
        (
            'F:8: server.timeouts.head: "10 sec" is not a duration; '
            'write a number with a unit such as "250ms", "5s", "2m", "1h"'
        )
    ],
    GOOD + "[server.timeouts]\nhead = 10": [
        (
            "F:8: server.timeouts.head: 10 is not a duration; "
            'write a number with a unit such as "250ms", "5s", "2m", "1h"; did you mean "10s"?'
        )
    ],
    GOOD + "[server.timeouts]\nhead = 'off'": [
        (
            'F:8: server.timeouts.head: "off" is not a duration; '
            'write a number with a unit such as "250ms", "5s", "2m", "1h"'
        )
    ],
    GOOD + "[server.limits]\nfields = 0": [
        "F:8: server.limits.fields: 0 is out of range; write a whole number of 1 or more"
    ],
    GOOD + "[server.limits]\nfields = '5'": [
        'F:8: server.limits.fields: "5" is not a number; write a whole number of 1 or more'
    ],
    GOOD + "[server]\nmerge_slashes = 'yes'": ['F:8: server.merge_slashes: "yes" is not a switch; write true or false'],
    GOOD + "[server]\nvia = 'a b'": [
        'F:8: server.via: "a b" is not a name for Via; write a word such as "revproxy", or "off"'
    ],
    GOOD + "[acess_log]\nenabled = false": ['F:7: acess_log: unknown key; did you mean "access_log"?'],
    GOOD + "[access_log]\nformat = 'jsn'": [
        'F:8: access_log.format: "jsn" is not known here; write "combined" or "json"; did you mean "json"?'
    ],
    GOOD + "[[listen]]\nendpoint = 'tcp:8080'": [
        'F:8: listen[1].endpoint: "tcp:8080" is listened on twice, here and in listen[0]'
    ],
    GOOD + "[[listen]]\nname = 'x'": ['F:7: listen[1]: "endpoint" is missing'],
    GOOD + "[[listen]]\nendpoint = 'tcp:1'\nname='x'\n[[listen]]\nendpoint = 'tcp:2'\nname='x'": [
        'F:12: listen[2].name: "x" is also the name of listen[1]'
    ],
    GOOD.replace("tcp:8080", "8080"): ['F:2: listen[0].endpoint: "8080" is not an endpoint; did you mean "tcp:8080"?'],
    GOOD.replace("[[listen]]", "[listen]"): ["F:1: listen: a table is not a list of tables; write [[listen]]"],
    GOOD.replace("[[listen]]", "[[listn]]"): ['F:1: listn: unknown key; did you mean "listen"?'],
    "": [
        'F:1: listen: nowhere to listen; write [[listen]] with an endpoint such as "tcp:8080"',
        "F:1: routes: no routes; write [[routes]] with what ends them: upstream, respond, redirect, …",
    ],
    GOOD.replace('["tcp:127.0.0.1:9000"]', "[]"): [
        'F:4: upstreams.api.backends: no backends; write backends = ["tcp:127.0.0.1:9000"], '
        "or where to find them: dns, srv or file"
    ],
    GOOD.replace('"tcp:127.0.0.1:9000"', "{ endpoint = 'unix:/x', backup = true }"): [
        "F:4: upstreams.api.backends: all are backups; at least one has to serve without backup = true"
    ],
    GOOD.replace('"tcp:127.0.0.1:9000"', '\n"tpc:h:1:2",\n7'): [
        (
            'F:5: upstreams.api.backends[0]: "tpc:h:1:2" has an unknown endpoint type "tpc"; '
            'known are "ssl", "tcp", "tls" and "unix"; did you mean "tcp"?'
        ),
        'F:6: upstreams.api.backends[1]: 7 is not a table; write an endpoint such as "tcp:127.0.0.1:9000", or a table',
    ],
    GOOD.replace('"tcp:127.0.0.1:9000"', "{ endpoint = 'unix:/x', weight = 0 }"): [
        "F:4: upstreams.api.backends[0].weight: 0 is out of range; write a whole number of 1 or more"
    ],
    GOOD.replace("backends", "backend"): [
        'F:4: upstreams.api.backend: unknown key; did you mean "backends"?',
    ],
    GOOD.replace("[upstreams.api]", "[upstreams.api]\nbalance = 'least'"): [
        'F:4: upstreams.api.balance: "least" is not known here; write "round-robin", "least-requests", "two-choices", '
        '"random" or "hash"; did you mean "least-requests"?'
    ],
    GOOD.replace("[upstreams.api]", "[upstreams.api]\nhost = 'a b'"): [
        'F:4: upstreams.api.host: "a b" is not a host; write a name such as "example.com"'
    ],
    GOOD.replace("[upstreams.api]", "[upstreams.api]\nhealth.pth = '/'"): [
        'F:4: upstreams.api.health.pth: unknown key; did you mean "path"?'
    ],
    "upstreams = 5\n" + GOOD.replace("[upstreams.api]", "[x]"): [
        "F:1: upstreams: 5 is not a table; write [upstreams.NAME]",
        "F:4: x: unknown key",
    ],
    GOOD + "name = 'a'\n[[routes]]\nname = 'a'\nrespond = 404": [
        'F:9: routes[1].name: "a" is also the name of routes[0]'
    ],
    "routes = ['x']\n" + GOOD.replace("[[routes]]", "[x]"): [
        'F:1: routes[0]: "x" is not a table; write a table { name = …, match = …, auth = …, … }',
        "F:6: x: unknown key",
    ],
    # the text itself
    "a = ": ["F:1: not valid TOML: invalid value (at the end)"],
    "\n\na b": ["F:3: not valid TOML: expected '=' after a key in a key/value pair (column 3)"],
    "a = 1\na = 2": ["F:2: not valid TOML: cannot overwrite a value (at the end)"],
    "a = " + "[" * 100_000: ["F:1: not readable: nested too deeply"],
}


@pytest.mark.parametrize(("text", "messages"), WHOLE.items(), ids=range(len(WHOLE)))
def test_whole(text: str, messages: list[str]) -> None:
    assert lines(text) == messages


def test_all_at_once_in_the_order_of_the_file() -> None:
    text = """\
[server]
workers = 2
[[listen]]
endpoint = "tcp:x"
[upstreams.api]
backends = ["tcp:h:1"]
timeouts.connect = "5s"
timeouts.first_byte = 60
[[routes]]
match = { host = "a b" }
upstream = "apis"
[[routes]]
respond = 700
"""
    assert [(line.split(":")[1], line.split(": ")[1]) for line in lines(text)] == [
        ("2", "server.workers"),
        ("4", "listen[0].endpoint"),
        ("8", "upstreams.api.timeouts.first_byte"),
        ("10", "routes[0].match.host"),
        ("11", "routes[0].upstream"),
        ("13", "routes[1].respond.status"),
    ]


def test_a_problem_is_a_value() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(GOOD + "match.pth = 1\n", source="F")
    assert caught.value.errors == [
        Problem(
            key="routes[0].match.pth",
            text='unknown key; did you mean "path"?',
            line=7,
            source="F",
            found='"pth"',
            suggestion="path",
        )
    ]


def test_values_never_break_the_line() -> None:
    (line,) = lines(GOOD + 'name = "a\\u001b[2J\\u2028b\\n"\n')
    assert line.isprintable()
    (line,) = lines(GOOD + f'match.host = "{"x " * 5000}"\n')
    assert len(line) < 250


class TestFile:
    def message(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_file(path)
        return str(caught.value).removeprefix(str(path))

    def test_missing(self, tmp_path: Path) -> None:
        assert self.message(tmp_path / "none") == ": can't be read: no such file or directory"

    def test_folder(self, tmp_path: Path) -> None:
        assert self.message(tmp_path) == ": can't be read: is a directory"

    def test_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"a = 1\n# \xe9\n")
        assert self.message(path) == ":2: not UTF-8: byte 0xE9; TOML files are written in UTF-8"

    def test_wrong(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_text(GOOD + "zebra = 1\n")
        assert self.message(path) == ":7: routes[0].zebra: unknown key"

    def test_folders_start_from_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        (tmp_path / "site").mkdir()
        path.write_text(GOOD.replace('upstream = "api"', 'files = "site"'))
        config = load_file(path)
        assert (config.base, config.routes[0].files) == (str(tmp_path), "site")


def test_checks_of_tls_want_backends_with_tls() -> None:
    text = GOOD.replace("[upstreams.api]", "[upstreams.api]\nhealth = { type = 'tls' }")
    with pytest.raises(ConfigError) as caught:
        load_text(text, source="F")
    assert [str(each) for each in caught.value.errors] == [
        'F:5: upstreams.api.backends[0]: "tcp:127.0.0.1:9000" is without TLS, '
        "and its health check wants a TLS handshake"
    ]
    load_text(text.replace("tcp:127.0.0.1:9000", "https://127.0.0.1:9000"))


def test_one_backend_written_in_several_ways() -> None:
    text = GOOD.replace('["tcp:127.0.0.1:9000"]', '["tcp:127.0.0.1:9000", "http://127.0.0.1:9000"]')
    with pytest.raises(ConfigError) as caught:
        load_text(text, source="F")
    assert [str(each) for each in caught.value.errors] == [
        'F:4: upstreams.api.backends[1]: "http://127.0.0.1:9000" is there twice, here and as number 0; use weight'
    ]


def test_srv_has_no_port() -> None:
    text = GOOD.replace("[upstreams.api]", "[upstreams.api]\nsrv = '_http._tcp.api.internal:80'")
    with pytest.raises(ConfigError, match="has a port; SRV records say the ports themselves"):
        load_text(text, source="F")


@pytest.mark.parametrize(
    ("written", "key", "text"),
    [
        ('bans = { rules = [{ when = "refuse" }] }', "server.bans.rules[0].when", 'did you mean "refused"?'),
        ('bans = { rules = [{ when = "no-rout" }] }', "server.bans.rules[0].when", 'did you mean "no-route"?'),
        ("bans = { rules = [{ when = 200 }] }", "server.bans.rules[0].when", "write one from 400 to 599"),
        ('bans = { rules = [{ when = "404" }] }', "server.bans.rules[0].when", "without quotes"),
        ("bans = { rules = [{ when = [] }] }", "server.bans.rules[0].when", "is empty"),
        ("bans = { rules = [{ count = 1001 }] }", "server.bans.rules[0].count", "write 1000 or less"),
        ('bans = { allow = "10.0.0.1/8" }', "server.bans.allow", "10.0.0.0/8"),
        ("shed = 5", "server.shed", "true or false"),
        ('shed = { queue = "101%" }', "server.shed.queue", "100%"),
    ],
)
def test_protection(written: str, key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(f'[server]\n{written}\n[[listen]]\nendpoint = "tcp:1"\n[[routes]]\nrespond = 200\n')
    assert [(problem.key, text in str(problem)) for problem in caught.value.errors] == [(key, True)]
