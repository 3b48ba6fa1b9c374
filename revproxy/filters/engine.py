"""Requests against rules: what was found, where, and what it weighs.

Rules of this module:

* a rule counts once for a request, whatever it finds how often; the scores of those that found something are added;
* :meth:`RuleSet.glance` says whether any rule could find something in a head; that is what a benign request costs
  (a query and the 13 fields of a browser: 1.3 times a list of 100 squares; the closer look takes 4 times as much);
* the closer look goes in steps, so that others are served between them; a step is a value and its rules, or a rule
  where the value is long;
* time is bounded: texts by the limits of a head and by the size of a body that is asked for, parameters by their
  number, and a search by its pattern, which is linear. What is over a bound is not looked at, and said in the report.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from revproxy.filters.decode import (
    PARAMETERS,
    Pair,
    form,
    json_strings,
    multipart,
    plain_json,
    unescaped_cookie,
    unquoted,
)
from revproxy.filters.linear import compile_pattern
from revproxy.filters.media import Reading
from revproxy.filters.place import GLANCED, Place
from revproxy.filters.report import Report
from revproxy.filters.rules import AGENT, BODY, COOKIES, FILES, HEADERS, OWN, PATH, PLACES, QUERY, RULES, Rule
from revproxy.filters.signs import Signs
from revproxy.http.message import Field, Request

#: Header fields that are looked at, beside those that begin with ``x-``.
FIELDS = frozenset((
    b"referer", b"origin", b"accept", b"accept-language", b"accept-charset", b"content-type", b"from", b"forwarded",
    b"true-client-ip", b"client-ip", b"via", b"range", b"if-modified-since",
))  # fmt: skip
#: Fields with credentials, which no log may show.
SECRET = frozenset((
    b"x-api-key", b"x-auth-token", b"x-access-token", b"x-csrf-token", b"x-xsrf-token", b"x-csrftoken",
    b"x-session-token", b"x-amz-security-token", b"x-vault-token", b"x-gitlab-token", b"x-goog-api-key",
    b"x-functions-key",
))  # fmt: skip
#: Harmless paths, agents, lines of cookies and values of other fields that are remembered, each: few paths and agents
#: are seen often, and clients send the same cookies and Referer again. Longer ones are looked at each time.
_REMEMBERED, _LONG = 2048, 300
# What a field is looked at as.
_VALUE, _LINK, _COOKIE, _AGENT = 1, 2, 3, 4
#: Kinds of fields that are remembered by name.
_NAMES = 256
_SEPARATED = bytes.maketrans(b"&+", b", ")
#: What JSON begins with that does not say it is.
_OPENS = (b"{", b"[", b'"')
#: Parameters of a query, and cookies of all lines, that are looked at one by one: heads are looked at on the reactor.
IN_HEAD = 100
#: Bytes of the others that are looked at, as one text.
REST = 4096
#: What may stand before JSON: white space, and the mark of UTF-8.
_BLANK = b" \t\r\n\xef\xbb\xbf"


class _Kinds(dict[bytes, int]):
    """What fields are looked at as, by name; 0 for not at all."""

    def __missing__(self, name: bytes) -> int:
        if name == b"referer":
            kind = _LINK
        elif name in FIELDS or (name[:2] == b"x-" and name not in SECRET):
            kind = _VALUE
        else:
            kind = _COOKIE if name == b"cookie" else _AGENT if name == b"user-agent" else 0
        if len(self) < _NAMES:
            self[name] = kind
        return kind


class RuleSet:
    """Rules, compiled.

    :param own: rules of the operator's, beside the built-in ones.
    :param without: numbers of rules that are not used. :param level: the highest level that is.
    :param engine: as :func:`~revproxy.filters.linear.compile_pattern` takes it.
    :raises NotLinear: for a pattern of ``own``.
    """

    __slots__ = (
        "_agent", "_agents", "_body", "_cookies", "_files", "_header", "_header_signs", "_jars", "_kinds",
        "_line_signs", "_path", "_path_signs", "_paths", "_query", "_values",
    )  # fmt: skip

    def __init__(
        self,
        own: Iterable[Rule] = (),
        without: Iterable[int] = (),
        level: int = 1,
        engine: str | None = None,
    ) -> None:
        left_out = frozenset(without)
        used = [
            (rule, compile_pattern(rule.pattern, ignore_case=rule.id >= OWN, engine=engine))
            for rule in (*RULES, *own)
            if rule.level <= level and rule.id not in left_out
        ]
        places = {
            place: Place([(rule, matcher) for rule, matcher in used if rule.places & place])
            for place in PLACES.values()
        }
        self._path, self._query, self._cookies = places[PATH], places[QUERY], places[COOKIES]
        self._header, self._body, self._files = places[HEADERS], places[BODY], places[FILES]
        self._agent = Place([(rule, matcher) for rule, matcher in used if rule.places & (AGENT | HEADERS)])
        self._path_signs = _signs(self._path)
        self._line_signs = _signs(self._query, self._cookies)
        self._header_signs = _signs(self._header)
        self._agents: dict[bytes, None] = {}
        self._jars: dict[bytes, None] = {}
        self._paths: dict[bytes, None] = {}
        self._values: dict[bytes, None] = {}
        self._kinds = _Kinds()

    def glance(self, request: Request) -> int:
        """Bytes of texts of a head in which something could be found; 0 for most."""
        path, query = request.path, request.query
        kinds, agents, jars, harmless = self._kinds, self._agents, self._jars, self._values
        size = 0
        line = b"" if query is None else query.translate(_SEPARATED)
        jar = values = b""
        new = []
        for f in request.headers.fields:
            kind = kinds[f[0]]
            if not kind:
                continue
            if kind <= _LINK:
                value = f[1]
                if value not in harmless:
                    new.append(value)
                    values += (value if kind == _VALUE else _link(value)) + b","
            elif kind == _COOKIE:
                if f[1] not in jars:
                    jar = f[1]
                    line += b"," + jar.replace(b"; ", b",")
            elif kind == _AGENT and f[1] not in agents:
                size += len(f[1])
        if len(path) + len(line) + len(values) > GLANCED:
            return size + len(path) + len(line) + len(values)
        if path not in self._paths:
            signs = self._path_signs
            if signs is None or signs.seen(unquoted(path).lower()):
                size += len(path)
            else:
                self._remember(self._paths, path)
        if line:
            signs = self._line_signs
            if signs is None or b"\\" in line or signs.seen(unquoted(line).lower()):
                size += len(line)
            elif jar:
                self._remember(jars, jar)
        if values:
            signs = self._header_signs
            if signs is None or signs.seen(unquoted(values).lower()):
                size += len(values)
            else:
                for value in new:
                    self._remember(harmless, value)
        return size

    def head(self, request: Request, report: Report) -> Iterator[None]:
        """Look at path, query, cookies and header fields; a step at a time."""
        path = request.path
        among = self._path.among(path)
        if among:
            path = unquoted(path)
            yield from self._path.search(path, "path", b"", report, among)
        query = request.query
        if query:
            among = self._query.among(query.translate(_SEPARATED))
            if among:
                yield from self._pairs(self._query, query, "query", report, among, IN_HEAD)
        yield from self._fields(request.headers.fields, report)

    def body(self, ways: Reading, body: bytes, report: Report) -> Iterator[None]:
        """Look at what is there of a body; a step at a time. :param ways: how backends could read it."""
        raw = ways.raw
        if ways.boundary is not None:
            raw |= yield from self._multipart(ways.boundary, body, report)
        if ways.json or (ways.guess and body.lstrip(_BLANK)[:1] in _OPENS):
            pairs, more = json_strings(body)
            yield
            yield from self._named(self._body, pairs, "body", report)
            raw |= not plain_json(body)
            yield
            if more:
                report.skipped(f"strings after the first {PARAMETERS}")
        if ways.form:
            yield from self._pairs(self._body, body, "body", report)
        if raw:
            yield from self._body.search(body.replace(b"\x00", b""), "body", b"", report)

    def _multipart(self, boundary: bytes, body: bytes, report: Report) -> Generator[None, None, bool]:
        parts, more, doubtful = multipart(body, boundary)
        for name, value, is_file in parts:
            if is_file:
                yield from self._files.search(value, "file name", name, report)
            else:
                yield from self._body.search(value, "body", name, report)
            if not name.isalnum():
                yield from self._body.search(name, "name in body", b"", report)
        if more:
            report.skipped(f"parts after the first {PARAMETERS}")
        return doubtful

    def _pairs(
        self, place: Place, text: bytes, where: str, report: Report, among: int = -1, bound: int = PARAMETERS
    ) -> Iterator[None]:
        pieces = text.split(b"&", bound)
        if len(pieces) > bound:
            report.skipped(f"{where} parameters after the first {bound}, but as one text")
            rest = pieces.pop()
            yield from place.search(unquoted(rest[:REST].translate(_SEPARATED)), where, b"", report)
            text = text[: -len(rest) - 1]
        yield from self._named(place, form(text), where, report, among)

    def _named(
        self, place: Place, pairs: Iterable[Pair | None], where: str, report: Report, among: int = -1
    ) -> Iterator[None]:
        for pair in pairs:
            if pair is None:
                yield
                continue
            name, value = pair
            if value:
                yield from place.search(value, where, name, report, among)
            if name and not name.isalnum():
                yield from place.search(name, f"name in {where}", b"", report, among)

    def _fields(self, fields: list[Field], report: Report) -> Iterator[None]:
        cookies = []
        for f in fields:
            name, value = f[0], f[1]
            kind = self._kinds[name]
            if kind == _AGENT:
                if value not in self._agents:
                    yield from self._agent.search(value, "header", b"user-agent", report)
                    # a rule that has found something elsewhere is not tried again, and says nothing of this agent
                    if not report.hits:
                        self._remember(self._agents, value)
            elif kind == _COOKIE:
                if value not in self._jars:
                    cookies.append(value)
            elif kind and value not in self._values:
                text = unquoted(value if kind == _VALUE else _link(value))
                yield from self._header.search(text, "header", name, report)
                if not report.hits:
                    self._remember(self._values, value)
        if cookies:
            line = b";".join(cookies)
            yield from self._look_at_cookies(line, report)
            if len(cookies) == 1 and not report:
                self._remember(self._jars, line)

    def _remember(self, harmless: dict[bytes, None], text: bytes) -> None:
        if len(text) <= _LONG:
            if len(harmless) >= _REMEMBERED:
                harmless.clear()
            harmless[text] = None

    def _look_at_cookies(self, line: bytes, report: Report) -> Iterator[None]:
        among = -1 if b"\\" in line else self._cookies.among(line.replace(b"; ", b","))
        if not among:
            return
        pairs = line.split(b";", IN_HEAD)
        if len(pairs) > IN_HEAD:
            report.skipped(f"cookies after the first {IN_HEAD}, but as one text")
            rest = pairs.pop()[:REST].replace(b";", b",")
            yield from self._cookies.search(unquoted(rest), "cookie", b"", report)
        for pair in pairs:
            name, equals, value = pair.strip(b" \t").partition(b"=")
            if not equals:
                name, value = b"", name
            value = unquoted(value)
            yield from self._cookies.search(value, "cookie", name, report, among)
            unescaped = unescaped_cookie(value)
            if unescaped != value:
                yield from self._cookies.search(unescaped, "cookie", name, report)


def _link(value: bytes) -> bytes:
    """A link with what separates its parameters turned into what separates no commands."""
    before, mark, query = value.partition(b"?")
    return before + mark + query.replace(b"&", b",") if mark else value


def _signs(*places: Place) -> Signs | None:
    """Of what has to be there for rules of these places; ``None`` where one needs nothing."""
    needs = {need for place in places for need in place.needs}
    return None if "" in needs else Signs(needs)
