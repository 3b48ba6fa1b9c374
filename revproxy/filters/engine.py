"""Requests against rules: what was found, where, and what it weighs.

Rules of this module:

* a rule counts once for a request, whatever it finds how often; the scores of those that found something are added;
* a text is searched only by rules of whose needed literals it has one: that look is what a benign request costs
  (a query and the 13 fields of a browser: 4 times a list of 100 squares);
* time is bounded: texts by the limits of a head and by the size of a body that is asked for, parameters by their
  number, and a search by its pattern, which is linear. What is over a bound is not looked at, and said in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

from attrs import define, field, frozen

from revproxy.accesslog_format import printable
from revproxy.filters.decode import PARAMETERS, Pair, folded, form, forms, json_strings, multipart, plain_json
from revproxy.filters.linear import Matcher, compile_pattern
from revproxy.filters.media import Reading
from revproxy.filters.rules import AGENT, BODY, COOKIES, FILES, HEADERS, OWN, PATH, PLACES, QUERY, RULES, Rule
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
#: Bytes of which fields other than the agent and cookies have one, or they are passed over.
_NOT_ODD = bytes(byte for byte in range(256) if byte not in b"\x00'\"<>{}$`|\\%")
#: Agents that are remembered: few are seen often. Longer ones are looked at each time.
_AGENTS, _AGENT = 1024, 300
#: Bytes that texts have often, the most frequent first.
_COMMON = "/ .=-_:&,;?+()"
_SEPARATED = bytes.maketrans(b"&+", b", ")
#: Rules that are tried on each part of a text without another look at which of them could find something there.
_FEW = 6
#: What JSON begins with that does not say it is.
_OPENS = (b"{", b"[", b'"')
#: Bytes of a matched part, and hits, that a report shows.
SHOWN, LISTED = 48, 8
#: Parameters of a query, and cookies of all lines, that are looked at one by one: heads are looked at on the reactor.
IN_HEAD = 200
#: Bytes of the others that are looked at, as one text.
REST = 4096
#: What may stand before JSON: white space, and the mark of UTF-8.
_BLANK = b" \t\r\n\xef\xbb\xbf"


@frozen
class Hit:
    """A rule that found something. :param where: such as ``query id``. :param text: the matched part."""

    rule: Rule
    where: str
    text: bytes

    def __str__(self) -> str:
        text = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + b"..."
        return f'{self.rule.id} {self.rule.name} in {self.where}: "{printable(text)}"'


@define(eq=False)
class Report:
    """What is known of one request.

    :ivar score: of all rules that found something. :ivar uninspected: what was not looked at, in words.
    """

    hits: dict[int, Hit] = field(factory=dict)
    score: int = 0
    uninspected: list[str] = field(factory=list)

    def add(self, rule: Rule, where: str, text: bytes) -> None:
        if rule.id not in self.hits:
            self.hits[rule.id] = Hit(rule, where, text)
            self.score += rule.score

    def skipped(self, what: str) -> None:
        if what not in self.uninspected:
            self.uninspected.append(what)

    def __bool__(self) -> bool:
        return bool(self.hits or self.uninspected)

    def detail(self, threshold: int) -> str:
        """For the log: the score, each hit, what was not looked at."""
        said = [str(hit) for hit in self.hits.values()]
        if len(said) > LISTED:
            said[LISTED:] = [f"{len(said) - LISTED} more"]
        if self.hits:
            said.insert(0, f"score {self.score} of {threshold}")
        if self.uninspected:
            said.append(f"not inspected: {', '.join(self.uninspected)}")
        return "; ".join(said)


class _Place:
    """The rules for texts of one place, and the literals that say which of them to try.

    Each literal stands under its rarest byte that is no letter or digit, and is looked for only in texts with that
    byte: of 260, a usual query is asked for 40. (Text is asked as ``str``: ``in`` of ``bytes`` takes 8 times as long.)
    """

    __slots__ = ("_gates", "_other", "_rules", "_ungated", "_words")

    def __init__(self, rules: Sequence[tuple[Rule, Matcher]]) -> None:
        self._rules = rules
        self._ungated = 0
        needed: dict[str, int] = {}
        for at, (rule, _) in enumerate(rules):
            if not rule.needs:
                self._ungated |= 1 << at
            for need in rule.needs:
                needed[need] = needed.get(need, 0) | 1 << at
        self._gates: dict[int, list[tuple[str, int]]] = {}
        words = []
        for need, bits in needed.items():
            odd = [character for character in need if not (character.isascii() and character.isalnum())]
            if odd:
                rarest = max(odd, key=_rarity)
                self._gates.setdefault(ord(rarest), []).append((need, bits))
            else:
                words.append((need, bits))
        self._words = tuple(words)
        self._other = bytes(byte for byte in range(256) if byte not in self._gates)

    def gate(self, text: bytes) -> int:
        """Which rules could find something in a lower-case text, as bits."""
        found = self._ungated
        string = str(text, "latin-1")
        for literal, rules in self._words:
            if literal in string:
                found |= rules
        for byte in set(text.translate(None, self._other)):
            for literal, rules in self._gates[byte]:
                if literal in string:
                    found |= rules
        return found

    def search(self, text: bytes, where: str, name: bytes, report: Report, among: int = -1) -> None:
        """Try the rules that could find something in a decoded value, and in its other forms.

        :param among: those that could find something in a text that this one is a part of.
        """
        first = True
        for made in forms(text):
            if first and among >= 0 and among.bit_count() <= _FEW:
                chosen = among
            else:
                chosen = self.gate(made)
            first = False
            while chosen:
                lowest = chosen & -chosen
                chosen ^= lowest
                rule, matcher = self._rules[lowest.bit_length() - 1]
                if rule.id in report.hits:
                    continue
                match = matcher.search(made)
                if match is not None:
                    place = f"{where} {printable(name[:32])}" if name else where
                    report.add(rule, place, match.group())


class RuleSet:
    """Rules, compiled.

    :param own: rules of the operator's, beside the built-in ones.
    :param without: numbers of rules that are not used. :param level: the highest level that is.
    :param engine: as :func:`~revproxy.filters.linear.compile_pattern` takes it.
    :raises NotLinear: for a pattern of ``own``.
    """

    __slots__ = ("_agent", "_agents", "_body", "_cookies", "_files", "_header", "_path", "_query")

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
            place: _Place([(rule, matcher) for rule, matcher in used if rule.places & place])
            for place in PLACES.values()
        }
        self._path, self._query, self._cookies = places[PATH], places[QUERY], places[COOKIES]
        self._header, self._body, self._files = places[HEADERS], places[BODY], places[FILES]
        self._agent = _Place([(rule, matcher) for rule, matcher in used if rule.places & (AGENT | HEADERS)])
        self._agents: dict[bytes, None] = {}

    def head(self, request: Request, report: Report) -> None:
        """Look at path, query, cookies and header fields."""
        path = request.path
        text = unquote_to_bytes(path).lower() if b"%" in path else path.lower()
        among = self._path.gate(text)
        if among or folded(text):
            self._path.search(text, "path", b"", report, among)
        query = request.query
        if query:
            # what separates parameters is no separator of commands: with it, rules would be tried on each query
            text = query.translate(_SEPARATED)
            text = unquote_to_bytes(text).lower() if b"%" in text else text.lower()
            among = self._query.gate(text)
            if among or folded(text):
                self._pairs(self._query, query, "query", report, among, IN_HEAD)
        self._fields(request.headers.fields, report)

    def body(self, ways: Reading, body: bytes, report: Report) -> None:
        """Look at what is there of a body. :param ways: how backends could read it."""
        raw = ways.raw
        if ways.boundary is not None:
            raw |= self._multipart(ways.boundary, body, report)
        if ways.json or (ways.guess and body.lstrip(_BLANK)[:1] in _OPENS):
            pairs, more = json_strings(body)
            self._named(self._body, pairs, "body", report)
            raw |= not plain_json(body)
            if more:
                report.skipped(f"strings after the first {PARAMETERS}")
        if ways.form:
            self._pairs(self._body, body, "body", report)
        if raw:
            self._body.search(body.replace(b"\x00", b""), "body", b"", report)

    def _multipart(self, boundary: bytes, body: bytes, report: Report) -> bool:
        parts, more, doubtful = multipart(body, boundary)
        for name, value, is_file in parts:
            if is_file:
                self._files.search(value, "file name", name, report)
            else:
                self._body.search(value, "body", name, report)
            if not name.isalnum():
                self._body.search(name, "name in body", b"", report)
        if more:
            report.skipped(f"parts after the first {PARAMETERS}")
        return doubtful

    def _pairs(
        self, place: _Place, text: bytes, where: str, report: Report, among: int = -1, bound: int = PARAMETERS
    ) -> None:
        pieces = text.split(b"&", bound)
        if len(pieces) > bound:
            report.skipped(f"{where} parameters after the first {bound}, but as one text")
            rest = pieces.pop()
            place.search(unquote_to_bytes(rest[:REST].translate(_SEPARATED)), where, b"", report)
            text = text[: -len(rest) - 1]
        self._named(place, form(text)[0], where, report, among)

    def _named(self, place: _Place, pairs: Iterable[Pair], where: str, report: Report, among: int = -1) -> None:
        for name, value in pairs:
            if value:
                place.search(value, where, name, report, among)
            if name and not name.isalnum():
                place.search(name, f"name in {where}", b"", report, among)

    def _fields(self, fields: list[Field], report: Report) -> None:
        values, cookies = [], []
        for f in fields:
            name = f[0]
            if name == b"user-agent":
                if f[1] not in self._agents:
                    self._look_at_agent(f[1], report)
            elif name == b"cookie":
                cookies.append(f[1])
            elif name in FIELDS or (name[:2] == b"x-" and name not in SECRET):
                values.append(f[1])
        if cookies:
            self._look_at_cookies(b";".join(cookies), report)
        if b"".join(values).translate(None, _NOT_ODD):
            for f in fields:
                name = f[0]
                if (name in FIELDS or (name[:2] == b"x-" and name not in SECRET)) and f[1].translate(None, _NOT_ODD):
                    value = unquote_to_bytes(f[1]) if b"%" in f[1] else f[1]
                    self._header.search(value, "header", name, report)

    def _look_at_agent(self, agent: bytes, report: Report) -> None:
        self._agent.search(agent, "header", b"user-agent", report)
        # a rule that has found something elsewhere is not tried again, and says nothing of the agent
        if len(agent) <= _AGENT and not report.hits:
            if len(self._agents) >= _AGENTS:
                self._agents.clear()
            self._agents[agent] = None

    def _look_at_cookies(self, line: bytes, report: Report) -> None:
        text = line.replace(b"; ", b",")
        text = unquote_to_bytes(text).lower() if b"%" in text else text.lower()
        among = self._cookies.gate(text)
        if not among and not folded(text):
            return
        pairs = line.split(b";", IN_HEAD)
        if len(pairs) > IN_HEAD:
            report.skipped(f"cookies after the first {IN_HEAD}, but as one text")
            rest = pairs.pop()[:REST].replace(b";", b",")
            self._cookies.search(unquote_to_bytes(rest), "cookie", b"", report)
        for pair in pairs:
            name, equals, value = pair.strip(b" \t").partition(b"=")
            if not equals:
                name, value = b"", name
            self._cookies.search(unquote_to_bytes(value) if b"%" in value else value, "cookie", name, report, among)


def _rarity(character: str) -> int:
    at = _COMMON.find(character)
    return len(_COMMON) if at < 0 else at
